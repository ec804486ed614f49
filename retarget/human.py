"""A parametric human right hand: joint angles to 21 keypoints, and its proportions."""

from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix, Vector, freeze_fields
from dexhil.drivers.models.kinematics import Joint, Kinematics
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.keypoints import FINGERS, bone_lengths
from dexhil.retarget.model import FingerModel

USUAL_REACH_M: Final = 0.144
"""Of the hand for which distances of contact are given: wrist over knuckle to tip, mean of the
five fingers [m]. A small adult's."""

# An adult hand, wrist to middle fingertip 0.196 m; after the median of a tracked right hand,
# with the phalanges' ratios of published anthropometry.
_KNUCKLES: Final = np.array(
    [
        (0.014, 0.024, 0.026),
        (0.004, 0.024, 0.093),
        (0.000, 0.000, 0.096),
        (0.004, -0.020, 0.090),
        (0.009, -0.037, 0.078),
    ]
)
_BONES: Final = np.array(
    [
        (0.044, 0.033, 0.028),
        (0.043, 0.026, 0.023),
        (0.047, 0.030, 0.023),
        (0.043, 0.028, 0.023),
        (0.034, 0.020, 0.020),
    ]
)
_THUMB_ROLL: Final = 0.6
"""How far the plane in which the thumb bends is turned towards the fingers [rad]."""

POSTURES: Final = {
    # Thumb: opposition, elevation, knuckle, end. Fingers: spread, knuckle, middle, end.
    "open": np.array(
        [
            (0.50, 0.80, 0.05, 0.05),
            (0.10, 0.05, 0.08, 0.04),
            (0.00, 0.05, 0.08, 0.04),
            (-0.08, 0.05, 0.08, 0.04),
            (-0.16, 0.05, 0.08, 0.04),
        ]
    ),
    "relaxed": np.array(
        [
            (0.80, 0.85, 0.15, 0.15),
            (0.06, 0.30, 0.35, 0.20),
            (0.00, 0.35, 0.40, 0.22),
            (-0.05, 0.38, 0.42, 0.24),
            (-0.10, 0.40, 0.42, 0.25),
        ]
    ),
    "grasp": np.array(
        [
            (1.30, 0.70, 0.25, 0.35),
            (0.05, 0.80, 0.75, 0.45),
            (0.00, 0.80, 0.80, 0.50),
            (-0.04, 0.85, 0.80, 0.50),
            (-0.08, 0.90, 0.75, 0.50),
        ]
    ),
    "fist": np.array(
        [
            (1.80, 0.45, 0.45, 0.60),
            (0.00, 1.45, 1.70, 1.00),
            (0.00, 1.50, 1.75, 1.00),
            (0.00, 1.50, 1.75, 1.00),
            (0.00, 1.50, 1.70, 1.00),
        ]
    ),
}
"""Joint angles of named postures [rad]. Shape (5, 4) each. Blend them linearly."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HumanProportions:
    """How long a person's fingers are, and how their glove misplaces the thumb.

    Attributes:
        reaches: Wrist over knuckle to tip along the straight finger [m], thumb first. Shape (5,).
        thumb_offset: To add to the thumb's keypoints, in the palm frame [m]. Shape (3,).
        touch_gaps: What still seems to be between the tips of the thumb and of index to little
            finger while they touch [m]. Shape (4,).
    """

    reaches: Vector
    thumb_offset: Vector = field(default_factory=lambda: np.zeros(3))
    touch_gaps: Vector = field(default_factory=lambda: np.zeros(4))

    def __post_init__(self) -> None:
        freeze_fields(self, "reaches", "thumb_offset", "touch_gaps")
        if self.reaches.shape != (5,) or not (self.reaches > 0.0).all():
            raise RetargetError(f"Human proportions: {self.reaches} are not five lengths [m].")
        if self.thumb_offset.shape != (3,) or not np.isfinite(self.thumb_offset).all():
            raise RetargetError(
                f"Human proportions: thumb offset {self.thumb_offset} is not x, y, z [m]."
            )
        if self.touch_gaps.shape != (4,) or not (self.touch_gaps >= 0.0).all():
            raise RetargetError(
                f"Human proportions: touch gaps {self.touch_gaps} are not four distances [m]."
            )

    @property
    def size(self) -> float:
        """Against the hand of `USUAL_REACH_M`."""
        return float(self.reaches.mean()) / USUAL_REACH_M

    @classmethod
    def measure(cls, keypoints: npt.ArrayLike) -> Self:
        """Take the median bone lengths of a few frames, shape (frames, 21, 3), in any frame."""
        frames = np.asarray(keypoints, dtype=np.float64)
        if frames.ndim != 3 or frames.shape[1:] != (21, 3) or not np.isfinite(frames).all():
            raise RetargetError(
                f"Human proportions: need finite keypoints of shape (frames, 21, 3), "
                f"got {frames.shape}."
            )
        bones = np.median([bone_lengths(frame) for frame in frames], axis=0)
        return cls(reaches=bones.reshape(5, 4).sum(axis=1))


class HumanHand:
    """A human right hand that can be posed.

    Each finger has four joint angles [rad]. Fingers: spread (to the thumb side),
    then flexion of knuckle, middle and end joint. Thumb: opposition (0 beside the
    palm, pi/2 in front of it), elevation (towards the fingers), flexion of knuckle
    and end joint.

    Args:
        scale: Size against the average adult.
        rng: Draws this person's proportions; needed when ``jitter`` is not zero.
        jitter: Largest relative deviation of any bone.
    """

    def __init__(
        self, scale: float = 1.0, *, rng: np.random.Generator | None = None, jitter: float = 0.0
    ) -> None:
        bones, knuckles = scale * _BONES, scale * _KNUCKLES
        if rng is not None:
            bones = bones * (1.0 + jitter * rng.uniform(-1.0, 1.0, bones.shape))
            # Sideways and along the palm only, which leaves the palm's frame as it is.
            knuckles[:, 1:] *= 1.0 + jitter * rng.uniform(-1.0, 1.0, (5, 1))
        elif jitter:
            raise RetargetError(f"HumanHand: a jitter of {jitter} needs an rng.")
        self._model = FingerModel(_kinematics(knuckles, bones))
        self.proportions = HumanProportions.measure(self.keypoints(np.zeros((5, 4)))[None])

    def keypoints(self, joint_angles: npt.ArrayLike) -> Matrix:
        """Return the keypoints in the palm frame, wrist at the origin [m]. Shape (21, 3)."""
        angles = np.ascontiguousarray(joint_angles, dtype=np.float64)
        if angles.shape != (5, 4):
            raise RetargetError(
                f"HumanHand: joint_angles have shape {angles.shape}, expected (5, 4)."
            )
        origins, tips = self._model.points(angles.reshape(20))
        points = np.zeros((21, 3))
        fingers = points[1:].reshape(5, 4, 3)
        # Two joints sit in each knuckle, one after the other.
        fingers[:, :3] = origins.reshape(5, 4, 3)[:, [0, 2, 3]]
        fingers[:, 3] = tips
        return points

    def pinch(self, *fingers: str, near: npt.ArrayLike | None = None) -> Matrix:
        """Return joint angles that bring the tips of thumb and ``fingers`` together. Shape (5, 4).

        The other fingers stay half open. Gaps end within 3 mm for one finger; the
        tips of several fingers meet the thumb as closely as they can.

        Args:
            fingers: Some of index, middle, ring and little.
            near: Posture to stay near to instead of a half open hand. Shape (5, 4).

        Raises:
            RetargetError: A name is not one of index, middle, ring and little.
        """
        if not fingers or not set(fingers) <= set(FINGERS[1:]):
            raise RetargetError(f"HumanHand: {fingers} cannot pinch; name some of {FINGERS[1:]}.")
        rows = [FINGERS.index(finger) for finger in fingers]
        home = POSTURES["relaxed"].copy()
        home[0] = (1.30, 0.70, 0.20, 0.20)
        home[rows, 1:] = (0.75, 0.70, 0.35)
        rest = (home if near is None else np.array(near, dtype=np.float64)).reshape(20)
        angles = rest.copy()
        stiffness = np.full((5, 4), 5e-5)
        stiffness[1:, 0] = 1e-3
        for _ in range(30):
            tips, jacobian = self._model.tips(angles), self._model.jacobian(angles)
            matrix = np.vstack([jacobian[row] - jacobian[0] for row in rows])
            gaps = np.concatenate([tips[row] - tips[0] for row in rows])
            gradient = matrix.T @ gaps + stiffness.reshape(20) * (angles - rest)
            hessian = matrix.T @ matrix + np.diag(stiffness.reshape(20) + 1e-4)
            angles = angles - np.linalg.solve(hessian, gradient)
        return angles.reshape(5, 4)


def _kinematics(knuckles: Matrix, bones: Matrix) -> Kinematics:
    joints: list[Joint] = []
    tips: dict[str, str] = {}
    for row, finger in enumerate(FINGERS):
        thumb = finger == "thumb"
        # Rows: position, rpy, axis. Thumb bones lie along y where a finger's lie along z.
        swing = (0.0, 0.0, -1.0) if thumb else (-1.0, 0.0, 0.0)
        bend = (1.0, 0.0, 0.0) if thumb else (0.0, 1.0, 0.0)
        along = np.eye(3)[1 if thumb else 2]
        roll = (0.0, _THUMB_ROLL if thumb else 0.0, 0.0)
        first, second, third = (tuple(length * along) for length in bones[row])
        placed = (
            (tuple(knuckles[row]), (0.0, 0.0, 0.0), swing),
            ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0), bend),
            (first, roll, bend),
            (second, (0.0, 0.0, 0.0), bend),
        )
        link = "wrist"
        for number, (position, rpy, axis) in enumerate(placed):
            child = f"{finger}_{number}"
            joints.append(
                Joint(
                    name=child,
                    urdf_name=child,
                    type="revolute",
                    parent=link,
                    child=child,
                    position=position,
                    rpy=rpy,
                    axis=axis,
                )
            )
            link = child
        tips[finger] = f"{finger}_tip"
        joints.append(
            Joint(
                name=tips[finger],
                urdf_name=tips[finger],
                type="fixed",
                parent=link,
                child=tips[finger],
                position=third,
            )
        )
    return Kinematics(
        model="human",
        kind="hand",
        source="dexhil.retarget.human",
        root="wrist",
        joints=tuple(joints),
        joint_names=tuple(joint.name for joint in joints if joint.type == "revolute"),
        tips=tips,
    )
