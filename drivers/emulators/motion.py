"""How emulated joints move."""

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Vector


class FirstOrder:
    """Joints that approach their targets like a position servo: fast, then slower.

    Args:
        positions: At the start [rad]. Shape (n,).
        speeds: Largest speeds [rad/s]. Shape (n,) or one for all.
        time_constant_s: Of the approach [s].
    """

    def __init__(
        self, positions: npt.ArrayLike, speeds: npt.ArrayLike, time_constant_s: float = 0.03
    ) -> None:
        self.positions: Vector = np.array(positions, dtype=np.float64)
        self.velocities: Vector = np.zeros_like(self.positions)
        self._speeds = np.broadcast_to(np.asarray(speeds, dtype=np.float64), self.positions.shape)
        self._time_constant_s = time_constant_s

    def step(self, dt_s: float, targets: npt.ArrayLike | None) -> None:
        """Move for ``dt_s`` towards ``targets`` [rad]; stay when there is none."""
        if targets is None:
            self.velocities = np.zeros_like(self.positions)
            return
        gap = np.asarray(targets, dtype=np.float64) - self.positions
        # Exact over the step, so that a late step cannot overshoot.
        wanted = gap * (1.0 - np.exp(-dt_s / self._time_constant_s))
        step = np.clip(wanted, -self._speeds * dt_s, self._speeds * dt_s)
        self.velocities = step / dt_s if dt_s > 0 else np.zeros_like(step)
        self.positions = self.positions + step
