"""Smoothing of joint targets: the user trades lag for smoothness.

A One-Euro filter (Casiez, Roussel and Vogel 2012) and then a rate limit, in this
order, so that the limit holds for what is sent:

    speed    = low pass of the input's slope, at ``derivative_cutoff_hz``
    cutoff   = min_cutoff_hz + beta |speed|
    smoothed = low pass of the input at the cutoff, ``passes`` times in a row
    output   = smoothed, no more than max_rate dt from the last output

Each line moves towards the input and never beyond it. Hence outputs stay within the
limits of inputs, a constant stays what it is, and a step is answered without
overshoot. With ``beta`` 0 and one pass it is the exponential moving average that
other retargeters use (share a of the new frame: cutoff a / (1 - a) / (2 pi dt)).
Several passes at a higher cutoff are the better bargain: at the jerk of the moving
average 0.2, three passes have a frame less of lag.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Vector
from dexhil.retarget.errors import RetargetError

FilterName = Literal["off", "fast", "balanced", "smooth"]
MAX_PASSES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterConfig:
    """How much to smooth. The default does nothing.

    Attributes:
        min_cutoff_hz: Cutoff of each pass while the hand is still [Hz]; infinite for none.
        beta: How fast the cutoff rises with a joint's speed [Hz/(rad/s)].
        derivative_cutoff_hz: Cutoff of the speed's own low pass [Hz].
        passes: How many low passes follow each other, 1 to 8.
        max_rate: Fastest a joint may move [rad/s]; infinite for no limit.
    """

    min_cutoff_hz: float = math.inf
    beta: float = 0.0
    derivative_cutoff_hz: float = 1.0
    passes: int = 1
    max_rate: float = math.inf

    def __post_init__(self) -> None:
        for name in ("min_cutoff_hz", "derivative_cutoff_hz", "max_rate"):
            value = getattr(self, name)
            if not value > 0.0:
                raise RetargetError(f"Filter: {name} is {value}, must be above 0.")
        if not 0.0 <= self.beta < math.inf:
            raise RetargetError(f"Filter: beta is {self.beta}, must be 0 or more and finite.")
        if not 1 <= self.passes <= MAX_PASSES:
            raise RetargetError(f"Filter: {self.passes} passes, allowed 1 to {MAX_PASSES}.")


FILTERS: Final[Mapping[FilterName, FilterConfig]] = MappingProxyType(
    {
        "off": FilterConfig(),
        "fast": FilterConfig(min_cutoff_hz=30.0, beta=4.0, passes=3, max_rate=20.0),
        "balanced": FilterConfig(min_cutoff_hz=17.0, beta=0.5, passes=3, max_rate=14.0),
        "smooth": FilterConfig(min_cutoff_hz=13.0, passes=3, max_rate=12.5),
    }
)
"""By name, from least lag to most smoothness, for targets at 90 Hz.

``off`` adds nothing to what a retargeter does by itself; the solver follows most of the way per
frame (`RetargetConfig.follow`). Against that the others come about 1, 3 and 3 frames late (11, 33
and 33 ms) and have 45, 21 and 15 % of its jerk (LEAP, synthetic glove; ``benchmarks/filters.py``
measures more). ``smooth`` is about as smooth as dex-retargeting's vector optimiser behind its own
filter, ``balanced`` as its DexPilot. No hand here moves faster than 8.6 rad/s, so on a robot the
rates of the slower two cost nothing. Cutoffs are in Hz: tell the filter the true ``dt_s``.
"""
DEFAULT_FILTER: Final[FilterName] = "balanced"


class JointFilter:
    """Smooths one hand's joint targets, one frame after the other.

    The first frame after construction passes unchanged; ``reset`` makes the next one
    start from where the hand is. Construction loads the compiled step.

    Args:
        config: How much.
    """

    def __init__(self, config: FilterConfig) -> None:
        from dexhil.retarget.kernels import filter as kernel  # noqa: PLC0415 - loads the compiler

        self.config = config
        self._kernel = kernel
        self._settings = np.array(
            (config.min_cutoff_hz, config.beta, config.derivative_cutoff_hz, config.max_rate)
        )
        self.reset(np.zeros(1))
        self.step(np.zeros(1), 1.0)  # Compile here, not in the first frame of a session.
        self._started = False

    def reset(self, joint_positions: npt.ArrayLike) -> None:
        """Start from here, at rest [rad]. Shape (n,).

        Raises:
            RetargetError: Not a vector of finite numbers.
        """
        q = _finite(joint_positions)
        stages = np.tile(q, (self.config.passes, 1))
        self._memory = self._kernel.Memory(q.copy(), np.zeros(len(q)), stages)
        self._started = True

    def step(self, joint_positions: npt.ArrayLike, dt_s: float) -> Vector:
        """Return the smoothed targets [rad]. Shape (n,).

        After an error the state is as before.

        Args:
            joint_positions: Newest targets [rad]. Shape (n,).
            dt_s: Since the targets before [s].

        Raises:
            RetargetError: Targets are not finite or their number changed, or ``dt_s`` is
                not positive and finite.
        """
        q = _finite(joint_positions)
        if not 0.0 < dt_s < math.inf:
            raise RetargetError(f"Filter: {dt_s} s since the last frame, must be above 0.")
        if not self._started:
            self.reset(q)
        given, _, stages = self._memory
        if len(q) != len(given):
            raise RetargetError(
                f"Filter: {len(q)} joints after {len(given)}. Call reset() for another hand."
            )
        self._kernel.step(self._settings, self._memory, q, float(dt_s))
        answer: Vector = stages[-1].copy()
        return answer


def _finite(joint_positions: npt.ArrayLike) -> Vector:
    q = np.ascontiguousarray(joint_positions, dtype=np.float64)
    if q.ndim != 1 or not np.isfinite(q).all():
        raise RetargetError(f"Filter: {q.tolist()} is not a vector of finite joint positions.")
    return q
