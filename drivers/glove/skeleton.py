"""A hand of average size, for gloves that measure angles only.

Its proportions are those of ``relaxed_hand``: a drawing of an adult hand, not its wearer's.
Retargeting goes by proportions, so the wearer's real size matters little.
"""

import math
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix, Vector, frozen
from dexhil.drivers.glove.sim import relaxed_hand

_RELAXED = relaxed_hand("right")[1:].reshape(5, 4, 3)
_KNUCKLES = _RELAXED[:, 0]
_PHALANGES: Matrix = np.linalg.norm(np.diff(_RELAXED, axis=1), axis=2)
# Which way the straight fingers point, from straight ahead to the thumb side [rad].
_REST: Vector = np.arctan2(*(_RELAXED[:, 3] - _KNUCKLES)[:, 1:].T)
# The thumb bends across the palm: its plane is turned by this much from the others' [rad].
_THUMB_ROLL: Final = 0.6

SPREAD: Final = 0.35
"""A finger swings about this far to either side [rad]."""

CLOSED: Final = frozen([(0.5, 0.8, 1.0), *[(1.4, 1.6, 0.9)] * 4])
"""Bends of the joints in a fist, thumb first [rad]. Shape (5, 3). Typical ranges of motion."""


def hand_keypoints(angles: npt.ArrayLike, side: Literal["left", "right"]) -> Matrix:
    """Return the keypoints of a hand in its palm frame [m]. Shape (21, 3).

    The palm frame of a right hand: wrist at the origin, x out of the palm, y to the thumb
    side, z along the fingers. A left hand is its mirror image in y.

    Args:
        angles: Per finger, thumb first: spread from where it points at rest, to the thumb
            side; bend of the first, the second and the third joint [rad]. NaN where unknown.
            Shape (5, 4).
        side: Which hand.
    """
    values = np.asarray(angles, dtype=np.float64)
    points = np.zeros((21, 3))
    for finger in range(5):
        points[1 + 4 * finger : 5 + 4 * finger] = _finger(finger, values[finger])
    return points * (1.0, 1.0 if side == "right" else -1.0, 1.0)


def _finger(finger: int, angles: Vector) -> Matrix:
    spread = _REST[finger] + float(angles[0])
    along = np.array([0.0, math.sin(spread), math.cos(spread)])
    across = np.array([0.0, -math.cos(spread), math.sin(spread)])
    roll = _THUMB_ROLL if finger == 0 else 0.0
    inwards = math.cos(roll) * np.array([1.0, 0.0, 0.0]) + math.sin(roll) * across
    bends = np.cumsum(angles[1:])[:, None]  # Each bone bends further than the one before.
    bones = _PHALANGES[finger][:, None] * (np.cos(bends) * along + np.sin(bends) * inwards)
    return np.vstack([_KNUCKLES[finger], _KNUCKLES[finger] + np.cumsum(bones, axis=0)])
