"""What one exchange with a device of joints gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one exchange with a device gave, in the order of the spec's joints.

    Attributes:
        stamp_s: When the answer arrived, on the device's clock object [s].
        positions: [rad]. Shape (n,).
        velocities: [rad/s]. Shape (n,).
        efforts: [N·m]. Shape (n,). ``None`` if not measured.
        extras: Further fields of the observation, by name.
    """

    stamp_s: float
    positions: Vector
    velocities: Vector
    efforts: Vector | None = None
    extras: Mapping[str, npt.NDArray[Any] | None] = field(default_factory=dict)

    def same_values(self, other: "Sample") -> bool:
        """Whether every measured value is bit-identical to ``other``'s.

        Velocities do not count: a driver may have computed them, and smoothing never rests.
        """
        mine, theirs = self.measured(), other.measured()
        return all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))

    def measured(self) -> tuple[Any, ...]:
        """Return everything that surely was measured."""
        return (self.positions, self.efforts, *self.extras.values())


class Differentiator:
    """Velocities from positions, smoothed over ``smoothing_s``, for devices that give none."""

    def __init__(self, smoothing_s: float = 0.02) -> None:
        self._smoothing_s = smoothing_s
        self._last: tuple[float, Vector] | None = None
        self._velocities = np.zeros(0)

    def __call__(self, stamp_s: float, positions: Vector) -> Vector:
        """Return velocities [rad/s] given positions [rad] and when they were taken [s]."""
        if self._last is None:
            self._velocities = np.zeros(len(positions))
        elif (elapsed_s := stamp_s - self._last[0]) > 0:
            slope = (positions - self._last[1]) / elapsed_s
            share = elapsed_s / (elapsed_s + self._smoothing_s)
            self._velocities = self._velocities + share * (slope - self._velocities)
        self._last = (stamp_s, positions.copy())
        return self._velocities.copy()
