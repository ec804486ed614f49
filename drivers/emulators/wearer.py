"""A person who wears an emulated glove: a relaxed hand that slowly opens and closes."""

import math
from typing import Final, Literal

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.glove.skeleton import CLOSED, hand_keypoints

_PERIOD_S: Final = 4.0
_OPENEST, _MOST_CLOSED = 0.10, 0.45  # Share of a fist: relaxed, never straight, never closed.
_LAG: Final = 0.3  # Each finger follows the one before it a little [rad of phase].
_TREMBLE: Final = 2e-3  # Of each joint; a tip trembles by about 0.2 mm [rad].
_SWAY: Final = 0.05  # How far the wrist moves about [m].


class Wearer:
    """The truth behind an emulated glove.

    Args:
        rng: Of the tremble.

    Attributes:
        leap_m: How far the fingers are seen from where they are, as by a glove near iron [m].
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.reset()

    def reset(self) -> None:
        """Relax."""
        self._phase = self.leap_m = 0.0

    def step(self, dt_s: float) -> None:
        """Let ``dt_s`` pass."""
        self._phase += 2.0 * math.pi * dt_s / _PERIOD_S

    def bends(self) -> Vector:
        """Return how far each finger is on its way to a fist, thumb first. Shape (5,)."""
        phases = self._phase - _LAG * np.arange(5)
        middle, swing = (_MOST_CLOSED + _OPENEST) / 2, (_MOST_CLOSED - _OPENEST) / 2
        bends: Vector = middle - swing * np.cos(phases) + self._rng.normal(0.0, _TREMBLE, 5)
        return bends

    def angles(self) -> Matrix:
        """Return spread and three bends of each finger, as ``hand_keypoints`` takes them [rad]."""
        angles = np.column_stack([np.zeros(5), self.bends()[:, None] * CLOSED])
        return angles + self._rng.normal(0.0, _TREMBLE, angles.shape)

    def keypoints(self, side: Literal["left", "right"] = "right") -> Matrix:
        """Return the hand in its palm frame [m]. Shape (21, 3)."""
        points = hand_keypoints(self.angles(), side)
        points[1:, 0] += self.leap_m  # All but the wrist.
        return points

    def wrist(self) -> tuple[Vector, Vector]:
        """Return where the wrist is, x forward, y left, z up [m], and its orientation, wxyz."""
        position = np.array([0.3, -0.2, 1.1])
        position += _SWAY * np.array([math.sin(self._phase), math.cos(0.7 * self._phase), 0.0])
        half = 0.2 * math.sin(0.5 * self._phase)
        return position + self._rng.normal(0.0, 1e-4, 3), np.array(
            [math.cos(half), 0.0, 0.0, math.sin(half)]
        )


def rotated(points: Matrix, wxyz: Vector) -> Matrix:
    """Return points turned by a unit quaternion. Shape (n, 3)."""
    w, axis = wxyz[0], wxyz[1:]
    twice = 2.0 * np.cross(axis, points)
    turned: Matrix = points + w * twice + np.cross(axis, twice)
    return turned
