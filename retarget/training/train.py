"""Train a learned map: DexHiL's two stages, and the maps they are compared with.

The networks: one per finger, one for drives that several fingers share, and for the thumb a base
and a bounded residual that sees where the robot's other fingertips are.

As in the paper (``meet=False``):
    Stage 1 fits all but the residual to Eq. (1). Stage 2 freezes all but the thumb, and fits its
    base and its residual, which is zero until then, to Eq. (2) on synchronised frames.

As shipped (``meet=True``):
    Stage 1 fits everything at once, the residual too, to Eq. (1) and Eq. (2)'s terms of contact
    and smoothness: so the fingers learn to go where the thumb can touch them. Stage 2 freezes
    all but the thumb, and goes on with base and residual from where stage 1 left them, to Eq. (2).

Everything random follows from the seed. From the command line: ``dexhil retarget train``.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import cos, isfinite, pi
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.models.kinematics import Kinematics
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.human import HumanProportions
from dexhil.retarget.keypoints import FINGERS, to_palm
from dexhil.retarget.learned import FORMAT, kinematics_hash
from dexhil.retarget.synthetic import sample_postures
from dexhil.retarget.training import losses
from dexhil.retarget.training.losses import LossWeights
from dexhil.retarget.training.nets import (
    Answer,
    AnyMap,
    Batch,
    HandMap,
    JointMap,
    contacts,
    fingerprint,
    weights_of,
)
from dexhil.retarget.training.torch_hand import tensor

ProgressCallback = Callable[[str, int, int, float], None]
"""Called with the stage, steps done, steps in all, and the loss."""

Loss = Callable[[Batch, torch.Generator], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How to train.

    Attributes:
        seed: Of everything random.
        steps: Gradient steps of each stage.
        batch: Frames per step.
        learning_rate: Its peak.
        samples: Synthetic frames.
        noise_m: On their keypoints [m].
        meet: Whether the fingers learn to go where the thumb can touch them, which takes a
            residual that learns with them from the start. The paper's do not: there only the
            thumb learns to pinch, in stage 2.
        clip_share: Of all frames, those of a person's own recording, if there is one.
        weights: Of the terms.
    """

    seed: int = 0
    steps: int = 4000
    batch: int = 512
    learning_rate: float = 4e-3
    samples: int = 40_000
    noise_m: float = 5e-4
    meet: bool = True
    clip_share: float = 0.3
    weights: LossWeights = field(default_factory=LossWeights)


def synthetic_batch(kinematics: Kinematics, config: TrainConfig) -> Batch:
    """Return synchronised frames of synthetic people that pinch with the robot's fingers."""
    names = ["little" if name == "pinky" else name for name in kinematics.tips]
    sample = sample_postures(
        np.random.default_rng(config.seed),
        config.samples,
        fingers=tuple(name for name in FINGERS[1:] if name in names),
        noise_m=config.noise_m,
    )
    return Batch(tensor(sample.points), tensor(sample.reaches))


def with_clip(data: Batch, clip: Matrix, share: float) -> Batch:
    """Return synthetic frames, and a person's own as the given share of all.

    Args:
        data: Synthetic frames.
        clip: Keypoints of a right hand in any rigid frame [m]. Shape (frames, 21, 3). Frames
            that show none, as where a glove lost track, are left out.
        share: Of all frames.

    Raises:
        RetargetError: No frame shows a right hand.
    """
    palm = hands_in(clip)
    points = tensor(palm)
    reaches = tensor(HumanProportions.measure(palm).reaches)
    times = max(1, round(share / (1.0 - share) * len(data.points) / len(points)))
    points = points.repeat(times, 1, 1)
    return Batch(
        torch.cat((data.points, points)),
        torch.cat((data.reaches, reaches.expand(len(points), 5))),
    )


def hands_in(clip: Matrix) -> Matrix:
    """Return, in the palm frame, the frames that show a right hand. Shape (shown, 21, 3).

    Raises:
        RetargetError: None does. The message says what is wrong with the first.
    """
    shown, problems = [], []
    for frame in clip:
        try:
            shown.append(to_palm(frame))
        except RetargetError as error:
            problems.append(str(error))
    if not shown:
        why = problems[0] if problems else "It is empty."
        raise RetargetError(f"Training: no frame of the clip shows a right hand. {why}")
    return np.array(shown)


def train_two_stage(
    kinematics: Kinematics,
    *,
    clip: Matrix | None = None,
    seed: int = 0,
    steps: int = 3000,
    config: TrainConfig | None = None,
    progress: ProgressCallback = lambda *_: None,
) -> dict[str, npt.NDArray[Any]]:
    """Train a map for a hand and return the arrays of its weights file.

    Args:
        kinematics: The right hand; left ones use its weights.
        clip: Keypoints of a person's right hand, to fit them in particular [m].
            Shape (frames, 21, 3). Ten seconds of varied motion are enough.
        seed: Of everything random.
        steps: Gradient steps of each stage.
        config: All the rest.
        progress: Called after every step.

    Raises:
        RetargetError: The hand is a left one, the clip is no right hand, or the loss ran away.
    """
    if kinematics.side != "right":
        raise RetargetError("Training: train the right hand; a left one uses its weights mirrored.")
    config = replace(config or TrainConfig(), seed=seed, steps=steps)
    data = synthetic_batch(kinematics, config)
    if clip is not None:
        data = with_clip(data, clip, config.clip_share)
    map_ = fit_two_stage(kinematics, data, config, progress)
    metadata = {
        "format": FORMAT,
        "model": kinematics.model,
        "joint_names": list(kinematics.joint_names),
        "kinematics": kinematics_hash(kinematics),
        "hidden": map_.hidden,
        "clip_frames": 0 if clip is None else len(hands_in(clip)),
        "config": asdict(config),
    }
    return weights_of(map_) | {"metadata": np.array(json.dumps(metadata))}


def fit_two_stage(
    kinematics: Kinematics,
    data: Batch,
    config: TrainConfig,
    progress: ProgressCallback = lambda *_: None,
) -> HandMap:
    """Return a map trained in two stages, as the module describes them.

    Args:
        kinematics: The right hand.
        data: Synchronised frames.
        config: Its ``meet`` says which of the two ways.
        progress: Called after every step.

    Raises:
        RetargetError: The loss ran away.
    """
    torch.manual_seed(config.seed)
    map_ = HandMap(kinematics, meet=config.meet)
    map_.fit_inputs(data)
    objective = _Objective(map_, config)
    fingers = [map_.fingers, map_.thumb, *([map_.shared] if map_.shared else [])]
    fit = _Fit(data, config, progress)
    if map_.residual is not None and config.meet:
        fingers.append(map_.residual)
    fit(fingers, objective.stage_one, "fingers")
    # What the residual sees of the robot has changed.
    if config.meet:
        map_.refit_residual(data)
    else:
        map_.fit_inputs(data)
    frozen = fingerprint(map_.fingers)
    fit([map_.thumb, *([map_.residual] if map_.residual else [])], objective.stage_two, "thumb")
    if fingerprint(map_.fingers) != frozen:
        raise RetargetError("Training: the frozen fingers changed in stage 2.")
    return map_


def fit_joint(
    kinematics: Kinematics,
    data: Batch,
    config: TrainConfig,
    progress: ProgressCallback = lambda *_: None,
) -> JointMap:
    """Return one network for all fingers, trained on the terms of both stages at once."""
    torch.manual_seed(config.seed)
    map_ = JointMap(kinematics)
    map_.fit_inputs(data)
    fit = _Fit(data, replace(config, steps=2 * config.steps), progress)
    fit([map_], _Objective(map_, config).joint, "all fingers")
    return map_


def fit_geort(
    kinematics: Kinematics,
    data: Batch,
    config: TrainConfig,
    progress: ProgressCallback = lambda *_: None,
) -> HandMap:
    """Return one network per finger that sees its tip, trained on GeoRT's terms and weights.

    Ours is kinder than the original in one point: the pinches are of synchronised frames.
    """
    torch.manual_seed(config.seed)
    map_ = HandMap(kinematics, hidden=64, inputs="tip", residual=False)
    map_.fit_inputs(data)
    fit = _Fit(data, replace(config, steps=2 * config.steps), progress)
    fit([map_], _Objective(map_, config).geort, "GeoRT")
    return map_


Fit = Callable[[Kinematics, Batch, TrainConfig, ProgressCallback], AnyMap]
"""What the `fit` functions are."""


class _Objective:
    """The loss of a batch in each kind of training."""

    def __init__(self, map_: AnyMap, config: TrainConfig) -> None:
        self._map, self._weights = map_, config.weights
        self._all = list(range(len(map_.layout.rows)))
        tips = map_.hand.sample_tips(config.batch, config.seed)
        self._reachable = tips - tensor(map_.layout.wrist)

    def stage_one(self, batch: Batch, _: torch.Generator) -> Tensor:
        """Return Eq. (1) of every finger, the thumb too; to meet, with contact and smoothness."""
        map_, weights = self._map, self._weights
        if isinstance(map_, HandMap) and not map_.meet:
            return self._eq1(map_.without_residual(batch), batch)
        n, few = len(batch.points), len(batch.points) // 4
        around = losses.between(batch, few)
        both = map_(Batch(*(torch.cat(pair) for pair in zip(batch, around, strict=True))))
        answer = Answer(*(column[:n] for column in both))
        return (
            self._eq1(answer, batch)
            + weights.kin * losses.kin_term(answer, batch, map_, weights)
            + weights.smooth * losses.smooth_term(answer.tips[:few], both.tips[n:])
        )

    def _eq1(self, answer: Answer, batch: Batch) -> Tensor:
        weights = self._weights
        vector = losses.vector_terms(answer, batch, self._map).sum(1).mean()
        rest = losses.rest_term(answer, self._map, weights)
        closing = losses.closing_terms(answer, batch, self._map, weights).sum(1).mean()
        return weights.vector * vector + rest + closing

    def stage_two(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return Eq. (2) of the thumb.

        It leaves the thumb free where it touches nothing: there we keep its own vector.
        """
        answer, eq2 = self._eq2(batch, [0], generator)
        free = 1.0 - contacts(batch, self._map.layout.rows).amax(1)
        vector = (free * losses.vector_terms(answer, batch, self._map)[:, 0]).mean()
        return eq2 + self._weights.vector * vector

    def joint(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return both."""
        answer, eq2 = self._eq2(batch, self._all, generator)
        return self._eq1(answer, batch) + eq2

    def geort(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Return GeoRT's loss: its weights 1, 80, 0.1 and 1 count metres, ours centimetres."""
        answer, direction, flat, _ = self._moving(batch, self._all, generator)
        cover = losses.cover_term(answer.tips, self._reachable)
        pinch = losses.pinch_term(answer, batch, self._map.layout.rows, hard=True)
        return direction + (80.0 * cover + 0.1 * flat + pinch) / losses.CM**2

    def _eq2(
        self, batch: Batch, fingers: list[int], generator: torch.Generator
    ) -> tuple[Answer, Tensor]:
        weights = self._weights
        answer, direction, flat, smooth = self._moving(batch, fingers, generator)
        few = len(batch.points) // 4
        cover = losses.cover_term(answer.tips[:few, fingers], self._reachable[:, fingers])
        terms = (
            weights.kin * losses.kin_term(answer, batch, self._map, weights),
            weights.pinch * losses.pinch_term(answer, batch, self._map.layout.rows, hard=False),
            weights.direction * direction,
            weights.cover * cover,
            weights.flat * flat,
            weights.smooth * smooth,
        )
        return answer, torch.stack(terms).sum()

    def _moving(
        self, batch: Batch, fingers: list[int], generator: torch.Generator
    ) -> tuple[Answer, Tensor, Tensor, Tensor]:
        """Answer the batch; return direction, flatness and smoothness around a quarter of it."""
        n, few = len(batch.points), len(batch.points) // 4
        part = Batch(*(column[:few] for column in batch))
        there, steps = losses.motions(self._map, part, fingers, generator)
        around = losses.between(batch, few)
        all_ = self._map(
            Batch(*(torch.cat(columns) for columns in zip(batch, there, around, strict=True)))
        )
        answer = Answer(*(column[:n] for column in all_))
        direction, flat = losses.motion_terms(
            answer.tips[:few, fingers], all_.tips[n : n + 3 * few, fingers], steps
        )
        smooth = losses.smooth_term(answer.tips[:few, fingers], all_.tips[n + 3 * few :, fingers])
        return answer, direction, flat, smooth


@dataclass(frozen=True, slots=True)
class _Fit:
    """Minimises losses over the parameters of some networks and no others."""

    data: Batch
    config: TrainConfig
    progress: ProgressCallback

    def __call__(self, modules: Sequence[nn.Module], loss_of: Loss, stage: str) -> None:
        parameters = [parameter for module in modules for parameter in module.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=self.config.learning_rate)
        generator = torch.Generator().manual_seed(self.config.seed)
        steps = self.config.steps
        for step in range(steps):
            rise = min(1.0, (step + 1) / 100)
            fall = 0.5 + 0.5 * cos(pi * step / steps)
            optimizer.param_groups[0]["lr"] = self.config.learning_rate * rise * fall
            rows = torch.randint(len(self.data.points), (self.config.batch,), generator=generator)
            loss = loss_of(Batch(*(column[rows] for column in self.data)), generator)
            value = float(loss.detach())
            if not isfinite(value):
                raise RetargetError(f"Training: the loss of {stage} is {value} at step {step}.")
            slopes = torch.autograd.grad(loss, parameters)
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.grad = slope
            nn.utils.clip_grad_norm_(parameters, 10.0)
            optimizer.step()
            self.progress(stage, step + 1, steps, value)
