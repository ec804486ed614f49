"""Smooth motion without rest or repetition."""

from math import pi

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Vector


class Wander:
    """Three sines for each coordinate.

    Args:
        rng: Draws frequencies and phases.
        reach: Largest value of each coordinate. Shape (n,).
        slowest: Of the sines [Hz].
        fastest: Of the sines [Hz].
    """

    def __init__(
        self, rng: np.random.Generator, reach: npt.ArrayLike, slowest: float, fastest: float
    ) -> None:
        self._reach = np.asarray(reach, dtype=np.float64)
        self._rates = 2.0 * pi * rng.uniform(slowest, fastest, (3, self._reach.size))
        self._phases = rng.uniform(-pi, pi, (3, self._reach.size))

    def at(self, time_s: float) -> Vector:
        """Return where it is. Shape (n,)."""
        wave: Vector = np.sin(self._rates * time_s + self._phases).mean(axis=0)
        return self._reach * wave
