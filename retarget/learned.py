"""Learned retargeting: 21 keypoints to joint targets by small networks, without memory.

DexHiL's two stages (arXiv 2603.09121, section III): one network per finger, and for the thumb a
base and a bounded residual that sees where the robot's other fingertips are. Trained by
`dexhil.retarget.training`; this module reads the weights and needs no torch. An answer depends
on its own frame only, so a bad frame is forgotten with the next one.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import Kinematics, mirrored
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.human import HumanHand, HumanProportions
from dexhil.retarget.kernels.arrays import Net, Nets, Person
from dexhil.retarget.keypoints import FINGERS, to_palm
from dexhil.retarget.model import FingerModel

FORMAT: Final = 1
RESIDUAL_SHARE: Final = 0.5
"""Of half a joint's range: the most that the residual may turn the thumb."""
_WEIGHTS: Final = "weights"
_FLIP: Final = np.array([1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Which drive belongs to which network.

    Attributes:
        rows: Human finger of each robot finger, thumb (0) first.
        own: Drives that move one finger only, by finger.
        shared: Drives that move several fingers; a network of their own sets them.
        reaches: Of the robot's fingers [m]. Shape (fingers,).
        wrist: Where the person's wrist would be in the root frame [m]. Shape (3,).
    """

    rows: tuple[int, ...]
    own: tuple[tuple[int, ...], ...]
    shared: tuple[int, ...]
    reaches: Vector
    wrist: Vector

    @classmethod
    def of(cls, kinematics: Kinematics, model: FingerModel) -> Self:
        """Sort the drives of a hand."""
        users: dict[int, set[int]] = {column: set() for column in range(model.n_joints)}
        for finger in range(len(model.fingers)):
            for column in model.chains.columns[slice(*model.chains.starts[finger : finger + 2])]:
                users[int(column)].add(finger)
        wrist = np.array(kinematics.extra.get("wrist", (0.0, 0.0, 0.0)), dtype=np.float64)
        return cls(
            rows=tuple(FINGERS.index("little" if f == "pinky" else f) for f in model.fingers),
            own=tuple(
                tuple(column for column, fingers in users.items() if fingers == {finger})
                for finger in range(len(model.fingers))
            ),
            shared=tuple(column for column, fingers in users.items() if len(fingers) > 1),
            reaches=model.reach(wrist),
            wrist=wrist,
        )

    def shapes(self, hidden: int) -> dict[str, tuple[int, ...]]:
        """Return the shape that every array of a weights file must have."""
        others, most = len(self.rows) - 1, max(map(len, self.own[1:]))
        thumb = len(self.own[0])
        sizes = {
            "fingers": ((others,), 13, most),
            "thumb": ((), 12, thumb),
            "residual": ((), 12 + 7 * others, thumb),
            "shared": ((), 13 * others, len(self.shared)),
        }
        out: dict[str, tuple[int, ...]] = {}
        for net, (count, n_in, n_out) in sizes.items():
            for layer, (a, b) in enumerate(((n_in, hidden), (hidden, hidden), (hidden, n_out))):
                out[f"{net}.w{layer}"] = (*count, a, b)
                out[f"{net}.b{layer}"] = (*count, b)
        return out


def kinematics_hash(kinematics: Kinematics) -> str:
    """Return a hash of what a map was trained for: geometry, couplings and limits to 1e-7."""
    model = FingerModel(kinematics)
    digest = sha256(repr((kinematics.joint_names, model.fingers)).encode())
    wrist = np.array(kinematics.extra.get("wrist", (0.0, 0.0, 0.0)))
    for table in (*model.chains, model.limits, wrist):
        # A hash must not hang on the last digit of somebody's sine, nor on the sign of zero.
        rounded = np.round(np.asarray(table, dtype=np.float64), 7) + 0.0
        digest.update(rounded.astype(np.float32).tobytes())
    return digest.hexdigest()


def person_of(human: HumanProportions, *, size: float) -> Person:
    """Return a person for compiled code, whose keypoints are divided by ``size``."""
    gaps = np.concatenate((np.zeros(1), human.touch_gaps / size))
    return Person(size, human.reaches / size, gaps)


class LearnedMap:
    """Keypoints in the palm frame to joints within the limits.

    Weights are those of a right hand; a left one answers in its mirror.

    Args:
        kinematics: The hand, left or right.
        arrays: Of a weights file.
        name: Of that file, for errors.

    Attributes:
        metadata: How the weights were made.
        nets: The weights, for compiled code.

    Raises:
        RetargetError: The weights are not those of this hand.
    """

    def __init__(
        self, kinematics: Kinematics, arrays: Mapping[str, npt.NDArray[Any]], name: str
    ) -> None:
        from dexhil.retarget.kernels import net  # noqa: PLC0415 - loads the compiler

        self._compiled = net.recall
        left = kinematics.side == "left"
        right = mirrored(kinematics) if left else kinematics
        order, signs = _from_right(kinematics, right)
        model = FingerModel(right)
        layout = Layout.of(right, model)
        self.metadata = _checked(right, layout, arrays, name)
        own = np.full((len(layout.own), max(map(len, layout.own))), -1, dtype=np.int64)
        for finger, drives in enumerate(layout.own):
            own[finger, : len(drives)] = drives
        nets = {
            part: Net(
                *(
                    np.ascontiguousarray(arrays[f"{part}.{kind}{layer}"], dtype=np.float32)
                    for layer in range(3)
                    for kind in "wb"
                )
            )
            for part in ("fingers", "thumb", "residual", "shared")
        }
        low, high = np.ascontiguousarray(model.limits.T)
        self.nets = Nets(
            **nets,
            rows=np.array(layout.rows, dtype=np.int64),
            own=own,
            common=np.array(layout.shared, dtype=np.int64),
            low=low,
            high=high,
            wrist=layout.wrist,
            reach=float(layout.reaches.mean()),
            share=RESIDUAL_SHARE,
            chains=model.chains,
            left=left,
            order=order,
            signs=signs,
        )
        person = HumanHand()
        points = person.keypoints(np.zeros((5, 4)))
        self(points * _FLIP if left else points, person.proportions)  # Compiles.

    @classmethod
    def load(cls, kinematics: Kinematics) -> Self:
        """Return the map that is shipped for a hand.

        Raises:
            RetargetError: There is none, or the hand's table is not the one it was trained for.
        """
        path = _shipped(kinematics)
        if not path.is_file():
            known = sorted(each.stem for each in path.parent.glob("*.npz"))
            raise RetargetError(
                f"No learned map is shipped for {kinematics.model!r}. Known: {known}. "
                f"Train one with dexhil retarget train, or use method 'solver'."
            )
        return cls.read(path, kinematics)

    @staticmethod
    def shipped(kinematics: Kinematics) -> bool:
        """Tell whether a map for this very hand comes with this package."""
        path = _shipped(kinematics)
        if not path.is_file():
            return False
        with np.load(path, allow_pickle=False) as file:
            metadata = json.loads(str(file["metadata"]))
        right = mirrored(kinematics) if kinematics.side == "left" else kinematics
        return bool(metadata["kinematics"] == kinematics_hash(right))

    @classmethod
    def read(cls, path: Path, kinematics: Kinematics) -> Self:
        """Return the map in a weights file.

        Raises:
            RetargetError: The file cannot be read, or is not of this hand.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError) as error:
            raise RetargetError(f"{path}: not a weights file ({error}).") from error
        return cls(kinematics, arrays, str(path))

    def __call__(self, points: Matrix, human: HumanProportions) -> Vector:
        """Return joints within the limits, in the order of the hand [rad]. Shape (n,).

        Args:
            points: In the palm frame of the hand's side, the person's thumb offset already
                added [m]. Shape (21, 3).
            human: Their reaches and touch gaps.

        Raises:
            RetargetError: The points are so wrong that the answer is not finite.
        """
        return self._recall(person_of(human, size=1.0), points)

    def of(self, human: HumanProportions) -> Callable[[Matrix], Vector]:
        """Return the map for one person, whom it sees at the usual size: all pinch alike then."""
        return partial(self._recall, person_of(human, size=human.size))

    def _recall(self, person: Person, points: Matrix) -> Vector:
        q = np.empty(len(self.nets.order))
        if not self._compiled(self.nets, person, points, q):
            raise RetargetError("Learned map: no finite answer to these keypoints. Hold the hand.")
        return q


class LearnedRetargeter:
    """Turns human keypoints into joint targets with a learned map; as `Retargeter`, but forgetful.

    Args:
        kinematics: The robot hand.
        human: The person's proportions; an average adult if not given.
        map_: Weights of your own; those shipped for the hand if not given.

    Raises:
        RetargetError: No weights fit the hand.
    """

    def __init__(
        self,
        kinematics: Kinematics,
        *,
        human: HumanProportions | None = None,
        map_: LearnedMap | None = None,
    ) -> None:
        self._human = human or HumanHand().proportions
        self._map = (map_ or LearnedMap.load(kinematics)).of(self._human)
        self._side = kinematics.side
        self.model = FingerModel(kinematics)
        self.joint_names = kinematics.joint_names
        layout = Layout.of(kinematics, self.model)
        self.wrist = layout.wrist
        self.fingers = np.array(layout.rows)
        self.scales = layout.reaches / self._human.reaches[self.fingers]

    def reset(self, joint_positions: npt.ArrayLike) -> None:
        """Check the positions [rad], shape (n,); there is no state to start from them.

        Raises:
            RetargetError: Wrong shape or not finite.
        """
        q = np.array(joint_positions, dtype=np.float64)
        if q.shape != (len(self.joint_names),) or not np.isfinite(q).all():
            raise RetargetError(
                f"Retargeter: cannot start from {q.tolist()}; "
                f"{len(self.joint_names)} finite joint positions needed."
            )

    def retarget(self, keypoints: npt.ArrayLike) -> Vector:
        """Return joint targets within the limits, ordered as ``joint_names`` [rad]. Shape (n,).

        Args:
            keypoints: Of a hand of the robot's side, in any rigid frame [m]. Shape (21, 3).

        Raises:
            RetargetError: The keypoints are not a plausible hand of that side.
        """
        points = to_palm(keypoints, self._side, thumb_offset=self._human.thumb_offset)
        return self._map(points)


def _shipped(kinematics: Kinematics) -> Path:
    return Path(str(files("dexhil.retarget").joinpath(_WEIGHTS, f"{kinematics.model}.npz")))


def _from_right(kinematics: Kinematics, right: Kinematics) -> tuple[npt.NDArray[np.int64], Vector]:
    """Return for every joint its place in the right hand's answer, and its sign."""
    n = len(kinematics.joint_names)
    if kinematics is right:
        return np.arange(n), np.ones(n)
    names = {**right.renamed_on_left}
    names |= {new: old for old, new in names.items()}
    order = [right.joint_names.index(names.get(name, name)) for name in kinematics.joint_names]
    signs = [
        -1.0 if right.joint_names[column] in right.reversed_on_left else 1.0 for column in order
    ]
    return np.array(order), np.array(signs)


def _checked(
    right: Kinematics, layout: Layout, arrays: Mapping[str, npt.NDArray[Any]], name: str
) -> dict[str, Any]:
    """Return the metadata of weights that fit the hand."""
    try:
        metadata: dict[str, Any] = json.loads(str(arrays["metadata"]))
    except (KeyError, ValueError) as error:
        raise RetargetError(f"{name}: not a weights file, its metadata are missing.") from error
    wanted = {
        "format": FORMAT,
        "model": right.model,
        "joint_names": list(right.joint_names),
        "kinematics": kinematics_hash(right),
    }
    for key, value in wanted.items():
        if metadata.get(key) != value:
            raise RetargetError(
                f"{name}: weights of another hand: its {key} is {metadata.get(key)!r}, "
                f"needed {value!r}. Train again for this hand."
            )
    for array, shape in layout.shapes(int(metadata.get("hidden", 0))).items():
        if array not in arrays or arrays[array].shape != shape:
            found = arrays[array].shape if array in arrays else "missing"
            raise RetargetError(f"{name}: {array} has shape {found}, expected {shape}.")
        if not np.isfinite(arrays[array]).all():
            raise RetargetError(f"{name}: {array} is not finite.")
    return metadata
