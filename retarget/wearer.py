"""Who wears the glove: to know a calibrated person again, on the same hand."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix, Vector, freeze_fields
from dexhil.drivers.models.kinematics import Side
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.human import HumanProportions
from dexhil.retarget.kernels.bounds import MIN_HANDEDNESS
from dexhil.retarget.keypoints import bone_lengths, handedness
from dexhil.retarget.score import palm_points

MIN_SAMPLES: Final = 8
"""Frames that show a hand, to tell anything about it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fingerprint:
    """By what a person in a glove is known again: the bone lengths that the glove shows.

    A glove that measures angles only shows everybody the same bones. Nobody can be told
    apart by them.

    Attributes:
        bones: Length of the bone that ends at each of the keypoints 1 to 20 [m]. Shape (20,).
        tolerance: Relative difference up to which it is still the same person. A glove whose
            bones wander needs more.
    """

    bones: Vector
    tolerance: float

    def __post_init__(self) -> None:
        freeze_fields(self, "bones")
        if self.bones.shape != (20,) or not (np.isfinite(self.bones) & (self.bones > 0)).all():
            raise RetargetError(f"Fingerprint: {self.bones} are not 20 lengths [m].")
        if not 0.0 < self.tolerance < 1.0:
            raise RetargetError(f"Fingerprint: tolerance {self.tolerance} is not within 0 and 1.")

    def difference(self, bones: Vector) -> float:
        """Return the relative difference to other bones: 0.1 for a hand that is 10 % larger."""
        return float(np.sqrt(np.sum((bones - self.bones) ** 2) / np.sum(self.bones**2)))


def check_wearer(
    keypoints: npt.ArrayLike,
    *,
    side: Side,
    proportions: HumanProportions,
    fingerprint: Fingerprint,
    whose: str = "the person calibrated",
) -> None:
    """Refuse the hand of somebody else, and the other hand.

    Args:
        keypoints: A few frames; those in which the hand was lost are left out.
            Shape (frames, 21, 3).
        side: Of the calibrated hand.
        proportions: Of the person calibrated.
        fingerprint: Of the person calibrated.
        whose: Their name, for messages.

    Raises:
        RetargetError: The bones differ by more than the tolerance, the hand is plainly the
            other one or mirrored, or there are not enough frames to tell.
    """
    frames = tracked(keypoints, side)
    if len(frames) < MIN_SAMPLES:
        raise RetargetError(
            f"Cannot tell whether this is {whose}: {len(frames)} frames show a hand, at least "
            f"{MIN_SAMPLES} needed. Hold it where the glove sees it."
        )
    bones = median_bones(frames)
    difference = fingerprint.difference(bones)
    # Written so that NaN is too much.
    if not difference <= fingerprint.tolerance:
        size = bones.sum() / fingerprint.bones.sum()
        raise RetargetError(
            f"This is not the hand of {whose}: its bones differ by {difference:.1%}, at most "
            f"{fingerprint.tolerance:.1%} allowed; it is {size:.2f} times as large. Is it another "
            "person or another glove? Name the right user, or calibrate."
        )
    check_side(np.median(frames, axis=0), side, proportions.thumb_offset)


def check_side(hand: Matrix, side: Side, thumb_offset: Vector) -> None:
    """Refuse the keypoints of the other hand.

    Args:
        hand: In the palm frame of ``side`` [m]. Shape (21, 3).
        side: Which hand it should be.
        thumb_offset: What corrects its thumb [m]. Shape (3,).

    Raises:
        RetargetError: It is plainly the other one, or mirrored. A flat hand never is.
    """
    score = handedness(corrected(hand, thumb_offset))
    if score < MIN_HANDEDNESS:
        other = "left" if side == "right" else "right"
        raise RetargetError(
            f"This is no {side} hand: its fingers curl away from the palm (handedness "
            f"{score:.1f}, at least {MIN_HANDEDNESS:.1f} needed). Either it is a {other} one or "
            f"an axis is mirrored; the two look the same. Is the glove the {other} one, or worn "
            f"on the {other} hand?"
        )


def corrected(hand: Matrix, thumb_offset: Vector) -> Matrix:
    """Return the hand with its thumb moved to where it is [m]. Shape (21, 3)."""
    out = hand.copy()
    out[1:5] += thumb_offset
    return out


def tracked(keypoints: npt.ArrayLike, side: Side) -> Matrix:
    """Return, in the palm frame, the frames that show a hand. Shape (tracked, 21, 3)."""
    frames = np.asarray(keypoints, dtype=np.float64)
    if frames.ndim != 3 or frames.shape[1:] != (21, 3):
        raise RetargetError(f"Keypoints: shape {frames.shape}, expected (frames, 21, 3).")
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        palm = palm_points(frames, side)
    shown: Matrix = palm[np.isfinite(palm).all(axis=(1, 2))]
    return shown


def median_bones(frames: Matrix) -> Vector:
    """Return the median bone lengths of frames [m]. Shape (20,)."""
    bones: Vector = np.median([bone_lengths(frame) for frame in frames], axis=0)
    return bones
