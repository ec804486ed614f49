"""The inner loop of `dexhil.retarget.filters`, compiled. Importing it loads the compiler."""

from typing import NamedTuple

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.retarget.kernels.jit import compiled


class Memory(NamedTuple):
    """What a filter remembers of the frames before.

    Attributes:
        given: The last targets [rad]. Shape (n,).
        speeds: Smoothed speed of the targets [rad/s]. Shape (n,).
        stages: Output of every pass, the last one rate limited [rad]. Shape (passes, n).
    """

    given: Vector
    speeds: Vector
    stages: Matrix


@compiled
def step(settings: Vector, memory: Memory, q: Vector, dt_s: float) -> None:
    """Take one frame; the answer is the last row of ``memory.stages``.

    Args:
        settings: min_cutoff_hz, beta, derivative_cutoff_hz, max_rate.
        memory: Is changed.
        q: Newest targets [rad]. Shape (n,).
        dt_s: Since the targets before [s].
    """
    given, speeds, stages = memory
    min_cutoff, beta, derivative_cutoff, max_rate = settings
    speed_lag = 1.0 / (2.0 * np.pi * derivative_cutoff)
    reach = max_rate * dt_s
    last = len(stages) - 1
    for joint in range(len(q)):
        # Not by way of slope = change / dt, which overflows for tiny dt.
        change = q[joint] - given[joint]
        speeds[joint] = (speed_lag * speeds[joint] + change) / (dt_s + speed_lag)
        given[joint] = q[joint]
        lag = 1.0 / (2.0 * np.pi * (min_cutoff + beta * abs(speeds[joint])))
        share = dt_s / (dt_s + lag)
        value = q[joint]
        for number in range(last + 1):
            before = stages[number, joint]
            moved = value if lag == 0.0 else before + share * (value - before)
            # Rounding must not carry it beyond what it moves to.
            value = min(max(moved, min(before, value)), max(before, value))
            if number == last:
                value = min(max(value, before - reach), before + reach)
            stages[number, joint] = value
