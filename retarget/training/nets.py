"""The networks: one per finger and a residual for the thumb, and what they are compared with."""

from hashlib import sha256
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dexhil.drivers.arrays import Vector
from dexhil.drivers.models.kinematics import Kinematics
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.kernels.net import CONTACT_M, CONTACT_WIDTH_M
from dexhil.retarget.keypoints import TIPS
from dexhil.retarget.learned import RESIDUAL_SHARE, Layout
from dexhil.retarget.training.torch_hand import TorchHand, tensor

Inputs = Literal["joints", "tip"]


class Batch(NamedTuple):
    """Synchronised frames of right hands in the palm frame.

    Attributes:
        points: [m]. Shape (batch, 21, 3).
        reaches: Of the row's person [m]. Shape (batch, 5).
    """

    points: Tensor
    reaches: Tensor


class Answer(NamedTuple):
    """What a map makes of a batch.

    Attributes:
        q: Commanded joints [rad]. Shape (batch, n).
        tips: Of the robot, from where the person's wrist would be [m]. Shape (batch, fingers, 3).
    """

    q: Tensor
    tips: Tensor


def open_posture(kinematics: Kinematics, hand: TorchHand) -> Vector:
    """Return the joints of the open hand [rad]. Shape (n,)."""
    rest = np.array(kinematics.extra.get("open", np.zeros(hand.model.n_joints)), dtype=np.float64)
    within: Vector = np.clip(rest, *hand.model.limits.T)
    return within


def contacts(batch: Batch, rows: tuple[int, ...]) -> Tensor:
    """Return how much the thumb touches each other finger, 0 to 1. Shape (batch, fingers - 1)."""
    tips = batch.points[:, TIPS[list(rows)]]
    gaps = torch.linalg.vector_norm(tips[:, 1:] - tips[:, :1], dim=2)
    return torch.sigmoid((CONTACT_M - gaps) / CONTACT_WIDTH_M)


def finger_inputs(batch: Batch, rows: tuple[int, ...], inputs: Inputs) -> Tensor:
    """Return the keypoints of each finger by its reach. Shape (fingers, batch, 12 or 3)."""
    fingers = batch.points[:, 1:].view(-1, 5, 4, 3)[:, list(rows)]
    scaled = fingers / batch.reaches[:, list(rows), None, None]
    chosen = scaled[:, :, 3:] if inputs == "tip" else scaled
    return chosen.flatten(2).transpose(0, 1)


def pair_inputs(batch: Batch, rows: tuple[int, ...]) -> Tensor:
    """Return vectors from the thumb's tip to the others, and contacts. Shape (batch, 4 others)."""
    tips = batch.points[:, TIPS[list(rows)]] / batch.reaches[:, list(rows)].mean(1)[:, None, None]
    return torch.cat(((tips[:, 1:] - tips[:, :1]).flatten(1), contacts(batch, rows)), dim=1)


class Mlps(nn.Module):
    """Several equal networks side by side: two hidden layers of SiLU, inputs standardised.

    Args:
        count: Networks.
        sizes: Inputs, hidden units and outputs of each.
        zero: Start with outputs of zero.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, count: int, sizes: tuple[int, int, int], *, zero: bool = False) -> None:
        super().__init__()
        n_in, hidden, n_out = sizes
        self.register_buffer("mean", torch.zeros(count, 1, n_in))
        self.register_buffer("scale", torch.ones(count, 1, n_in))
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for a, b in ((n_in, hidden), (hidden, hidden), (hidden, n_out)):
            spread = 0.0 if zero and b == n_out else (1.5 / a) ** 0.5
            self.weights.append(nn.Parameter(spread * torch.randn(count, a, b)))
            self.biases.append(nn.Parameter(torch.zeros(count, 1, b)))

    def fit(self, inputs: Tensor) -> None:
        """Standardise by these inputs. Shape (count, batch, inputs)."""
        self.mean.copy_(inputs.mean(1, keepdim=True))
        self.scale.copy_(1.0 / inputs.std(1, keepdim=True).clamp_min(0.02))

    def refit(self, inputs: Tensor) -> None:
        """Standardise by these inputs, and answer as before. Shape (count, batch, inputs)."""
        with torch.no_grad():
            first, shift = self._first_layer()
            self.fit(inputs)
            self.weights[0].copy_(first / self.scale.transpose(1, 2))
            self.biases[0].copy_(shift + self.mean @ first)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return shape (count, batch, outputs)."""
        x = (inputs - self.mean) * self.scale
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if number < 2:
                x = nn.functional.silu(x)
        return x

    def arrays(self) -> dict[str, np.ndarray]:
        """Return float32 weights with the standardisation folded in."""
        with torch.no_grad():
            first, shift = self._first_layer()
            weights = [first, *self.weights[1:]]
            biases = [shift, *self.biases[1:]]
        out = {f"w{k}": w.detach().numpy().astype(np.float32) for k, w in enumerate(weights)}
        out |= {f"b{k}": b.detach().numpy()[:, 0].astype(np.float32) for k, b in enumerate(biases)}
        return out

    def _first_layer(self) -> tuple[Tensor, Tensor]:
        """Return weights and bias for inputs as they are, not standardised."""
        first = self.weights[0] * self.scale.transpose(1, 2)
        return first, self.biases[0] - self.mean @ first


class HandMap(nn.Module):
    """Keypoints to commanded joints.

    Args:
        kinematics: The robot hand.
        hidden: Units of every hidden layer.
        inputs: Whether a finger's network sees all joints of the finger or its tip only.
        residual: Whether the thumb has a second network that sees the other fingertips.
        meet: Whether a finger's network is told how much the thumb touches the finger.
    """

    def __init__(
        self,
        kinematics: Kinematics,
        *,
        hidden: int = 48,
        inputs: Inputs = "joints",
        residual: bool = True,
        meet: bool = True,
    ) -> None:
        super().__init__()
        self.hand = TorchHand(kinematics)
        self.layout = Layout.of(kinematics, self.hand.model)
        self.rest = tensor(open_posture(kinematics, self.hand))
        self.inputs: Inputs = inputs
        self.meet = meet
        self.hidden = hidden
        n_in, others = (3 if inputs == "tip" else 12), len(self.layout.rows) - 1
        outputs = max(len(drives) for drives in self.layout.own[1:])
        self.fingers = Mlps(others, (n_in + meet, hidden, outputs))
        self.thumb = Mlps(1, (n_in, hidden, len(self.layout.own[0])))
        shared = len(self.layout.shared)
        self.shared = Mlps(1, ((n_in + meet) * others, hidden, shared)) if shared else None
        sees = n_in + 7 * others
        self.residual = (
            Mlps(1, (sees, hidden, len(self.layout.own[0])), zero=True) if residual else None
        )
        self._wrist = tensor(self.layout.wrist)
        self._reaches = tensor(self.layout.reaches)

    def forward(self, batch: Batch) -> Answer:
        """Return joints within the limits and where they bring the tips."""
        seen = finger_inputs(batch, self.layout.rows, self.inputs)
        q = self._spread(batch, seen)
        if self.residual is not None:
            with torch.no_grad():
                tips = self.hand(q) - self._wrist
            inputs = self.residual_inputs(batch, seen, tips)
            low, high = self.hand.limits[list(self.layout.own[0])].T
            turn = RESIDUAL_SHARE * (high - low) / 2.0 * torch.tanh(self.residual(inputs)[0])
            thumb = torch.clamp(q[:, list(self.layout.own[0])] + turn, low, high)
            q = q.index_copy(1, torch.tensor(self.layout.own[0]), thumb)
        return Answer(q, self.hand(q) - self._wrist)

    def without_residual(self, batch: Batch) -> Answer:
        """Return the same of the networks of the first stage."""
        q = self._spread(batch, finger_inputs(batch, self.layout.rows, self.inputs))
        return Answer(q, self.hand(q) - self._wrist)

    def residual_inputs(self, batch: Batch, seen: Tensor, tips: Tensor) -> Tensor:
        """Return the thumb, the robot's other tips, and the person's pairs. Shape (1, batch, .)."""
        robot = (tips[:, 1:] / self._reaches.mean()).flatten(1)
        return torch.cat((seen[0], robot, pair_inputs(batch, self.layout.rows)), dim=1)[None]

    def _fingers_see(self, batch: Batch, seen: Tensor) -> Tensor:
        if not self.meet:
            return seen[1:]
        return torch.cat((seen[1:], contacts(batch, self.layout.rows).T[..., None]), dim=2)

    def _spread(self, batch: Batch, seen: Tensor) -> Tensor:
        """Return joints without the residual."""
        low, high = self.hand.limits.T
        shares = torch.zeros(seen.shape[1], len(low))
        fingers = self._fingers_see(batch, seen)
        outputs = self.fingers(fingers)
        for finger, drives in enumerate(self.layout.own[1:]):
            shares[:, list(drives)] = outputs[finger, :, : len(drives)]
        shares[:, list(self.layout.own[0])] = self.thumb(seen[:1])[0]
        if self.shared is not None:
            together = fingers.transpose(0, 1).flatten(1)[None]
            shares[:, list(self.layout.shared)] = self.shared(together)[0]
        q: Tensor = low + (high - low) * (0.5 + 0.5 * torch.tanh(shares))
        return q

    def fit_inputs(self, batch: Batch) -> None:
        """Standardise what every network sees. For networks that were not trained yet."""
        with torch.no_grad():
            seen = finger_inputs(batch, self.layout.rows, self.inputs)
            fingers = self._fingers_see(batch, seen)
            self.fingers.fit(fingers)
            self.thumb.fit(seen[:1])
            if self.shared is not None:
                self.shared.fit(fingers.transpose(0, 1).flatten(1)[None])
            if self.residual is not None:
                self.residual.fit(self._residual_sees(batch, seen))

    def refit_residual(self, batch: Batch) -> None:
        """Standardise what the residual sees of the robot by now. The map answers as before."""
        if self.residual is not None:
            with torch.no_grad():
                seen = finger_inputs(batch, self.layout.rows, self.inputs)
                self.residual.refit(self._residual_sees(batch, seen))

    def _residual_sees(self, batch: Batch, seen: Tensor) -> Tensor:
        tips = self.hand(self._spread(batch, seen)) - self._wrist
        return self.residual_inputs(batch, seen, tips)


class JointMap(nn.Module):
    """One network for all five fingers, with as many weights as a `HandMap` has.

    Args:
        kinematics: The robot hand.
        hidden: Units of every hidden layer.
    """

    def __init__(self, kinematics: Kinematics, *, hidden: int = 100) -> None:
        super().__init__()
        self.hand = TorchHand(kinematics)
        self.layout = Layout.of(kinematics, self.hand.model)
        self.rest = tensor(open_posture(kinematics, self.hand))
        n_fingers = len(self.layout.rows)
        self.net = Mlps(1, (12 * n_fingers + 4 * (n_fingers - 1), hidden, self.hand.model.n_joints))
        self._wrist = tensor(self.layout.wrist)

    def forward(self, batch: Batch) -> Answer:
        """Return joints within the limits and where they bring the tips."""
        low, high = self.hand.limits.T
        q = low + (high - low) * (0.5 + 0.5 * torch.tanh(self.net(self._inputs(batch))[0]))
        return Answer(q, self.hand(q) - self._wrist)

    def fit_inputs(self, batch: Batch) -> None:
        """Standardise what the network sees."""
        with torch.no_grad():
            self.net.fit(self._inputs(batch))

    def _inputs(self, batch: Batch) -> Tensor:
        seen = finger_inputs(batch, self.layout.rows, "joints").transpose(0, 1).flatten(1)
        return torch.cat((seen, pair_inputs(batch, self.layout.rows)), dim=1)[None]


AnyMap = HandMap | JointMap


def fingerprint(module: nn.Module) -> str:
    """Return a hash of all parameters: equal for networks that are equal to the bit."""
    digest = sha256()
    for name, parameter in module.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().numpy().tobytes())
    return digest.hexdigest()


def weights_of(map_: HandMap) -> dict[str, np.ndarray]:
    """Return the arrays that `dexhil.retarget.learned.LearnedMap` reads, but for metadata."""
    if not map_.meet or map_.inputs != "joints" or map_.residual is None:
        raise RetargetError("Only maps of the shipped kind can be saved.")
    nets = {"thumb": map_.thumb, "residual": map_.residual}
    arrays = {f"fingers.{name}": array for name, array in map_.fingers.arrays().items()}
    hidden = map_.hidden
    shared = map_.shared or Mlps(1, (13 * (len(map_.layout.rows) - 1), hidden, 0))
    for net, module in (*nets.items(), ("shared", shared)):
        arrays |= {f"{net}.{name}": array[0] for name, array in module.arrays().items()}
    return arrays
