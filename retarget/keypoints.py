"""The 21 keypoints of a human hand and the frame of its palm.

Row 0 is the wrist; then four rows each for thumb, index, middle, ring and little
finger, from the palm outwards (MediaPipe's order). A glove may report them in
any rigid frame: everything here starts by finding the palm in the points.

Palm frame: origin at the wrist, z towards the knuckle of the middle finger, x out of
the palm (fingers curl towards +x). It is right-handed for both hands, so y points to
the thumb side of a right hand and away from the thumb of a left one: seen in their
palm frames, the two are mirror images in y.
"""

from types import ModuleType
from typing import Final

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import Side
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.kernels.bounds import MAX_BONE_M, MIN_BONE_M, MIN_HANDEDNESS, MIN_PALM_M

FINGERS: Final = ("thumb", "index", "middle", "ring", "little")
WRIST: Final = 0
TIPS: Final = np.array([4, 8, 12, 16, 20])
PARENTS: Final = np.array([0, 1, 2, 3, 0, 5, 6, 7, 0, 9, 10, 11, 0, 13, 14, 15, 0, 17, 18, 19])
"""The keypoint each of the keypoints 1 to 20 hangs on."""

_NO_OFFSET: Final = np.zeros(3)
_NO_OFFSET.setflags(write=False)  # As are those of people: all are one type to the compiler.


def palm_frame(keypoints: npt.ArrayLike, side: Side = "right") -> Matrix:
    """Return the rotation of the palm in the frame of ``keypoints``. Shape (3, 3).

    Its columns are the palm's x, y and z, as the module describes them.

    Raises:
        RetargetError: A keypoint is not finite, or the knuckles do not span a palm.
    """
    return _palm_frame(_finite(shaped(keypoints)), side)


def to_palm(
    keypoints: npt.ArrayLike, side: Side = "right", *, thumb_offset: Vector | None = None
) -> Matrix:
    """Return ``keypoints`` in the palm frame, wrist at the origin [m]. Shape (21, 3).

    Args:
        keypoints: In any rigid frame [m]. Shape (21, 3).
        side: Which hand they should be.
        thumb_offset: Added to the thumb, in the palm frame, before the hand is judged [m].

    Raises:
        RetargetError: They are not 21 finite points, a bone has no plausible length,
            or the hand is plainly the other one (or mirrored).
    """
    given = shaped(keypoints)
    offset = _NO_OFFSET if thumb_offset is None else thumb_offset
    points: Matrix
    points, fine = _compiled().look(given, side == "left", offset)
    if not fine:
        _palm_frame(_finite(given), side)  # Both raise if there is no palm to judge.
        raise RetargetError(_implausible(points, side))
    return points


def handedness(points: Matrix) -> float:
    """Tell a hand from its mirror image: positive, negative, or near zero.

    A hand taken for the other one has the same bone lengths and the same palm frame, except that
    the palm faces the other way. Two things then turn negative: the bend of the
    middle and end joints of the four fingers, which hardly overextend, and how far
    the thumb's knuckle stands in front of the palm. Both are scaled to about one
    and added. **A flat hand with the thumb beside it is its own mirror image**: no
    rule can tell its side from one frame, it scores near zero and must be accepted.

    Args:
        points: In the palm frame of the side it is taken for [m]. Shape (21, 3).
    """
    return float(_compiled().handedness(points))


def bone_lengths(points: Matrix) -> Vector:
    """Return the length of the bone that ends at each of the keypoints 1 to 20 [m]. Shape (20,)."""
    lengths: Vector = _compiled().bone_lengths(points)
    return lengths


def _palm_frame(points: Matrix, side: Side) -> Matrix:
    frame: Matrix
    frame, length, width = _compiled().palm_frame(points, side == "left")
    if length < MIN_PALM_M:
        raise RetargetError(
            f"Keypoints: wrist and middle knuckle are {1e3 * length:.1f} mm apart, "
            f"at least {1e3 * MIN_PALM_M:.0f} mm needed. Are the keypoints in metres?"
        )
    if width < MIN_PALM_M:
        raise RetargetError(
            f"Keypoints: index and ring knuckle are {1e3 * width:.1f} mm apart across the palm, "
            f"at least {1e3 * MIN_PALM_M:.0f} mm needed. Is the hand tracked?"
        )
    return frame


def _implausible(points: Matrix, side: Side) -> str:
    lengths = bone_lengths(points)
    if lengths.min() < MIN_BONE_M or not lengths.max() <= MAX_BONE_M:  # Also where one is NaN.
        worst = int(np.argmin(lengths) if lengths.min() < MIN_BONE_M else np.argmax(lengths))
        return (
            f"Keypoints: the bone from {PARENTS[worst]} to {worst + 1} is "
            f"{1e3 * lengths[worst]:.1f} mm long, allowed {1e3 * MIN_BONE_M:.0f} to "
            f"{1e3 * MAX_BONE_M:.0f} mm. Is the hand tracked, in metres?"
        )
    return (
        f"Keypoints: the fingers curl away from the palm (handedness {handedness(points):.1f}, at "
        f"least {MIN_HANDEDNESS:.1f} needed). This should be a {side} hand: is it the other one, "
        f"or an axis flipped?"
    )


def shaped(keypoints: npt.ArrayLike) -> Matrix:
    """Return a copy of 21 points, whatever they are, for compiled code. Shape (21, 3).

    Raises:
        RetargetError: They have another shape.
    """
    # A copy in any case: other strides or a read-only array are other types, compiled anew.
    points = np.array(keypoints, dtype=np.float64, order="C")
    if points.shape != (21, 3):
        raise RetargetError(f"Keypoints: shape {points.shape}, expected (21, 3).")
    return points


def _finite(points: Matrix) -> Matrix:
    if not np.isfinite(points).all():
        bad = np.flatnonzero(~np.isfinite(points).all(axis=1)).tolist()
        raise RetargetError(f"Keypoints: not finite at {bad}. Did the glove lose track?")
    return points


def _compiled() -> ModuleType:
    # Here and not above: it loads numba, which takes 0.4 s that a mere import should not cost.
    from dexhil.retarget.kernels import palm  # noqa: PLC0415

    return palm
