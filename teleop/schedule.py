"""One loop code on two clocks.

``run_threads`` runs loops on the host's clock, one thread each, against absolute
deadlines. ``run_events`` runs the same loops in one thread on a simulated clock, in
exact rational time and a fixed order, as fast as the machine can.
"""

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from dexhil.drivers.clock import Clock, MonotonicClock, SimClock
from dexhil.teleop.errors import ScheduleError

_WINDOW = 4096  # Ticks that percentiles look back on; maxima look back on all.


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopStats:
    """How well a loop kept time.

    Attributes:
        ticks: How often it ran.
        misses: Ticks left out because the loop was still busy.
        period_s: Between starts of ticks: median, 99th percentile, largest [s].
        lateness_s: From a deadline to the start of its tick: the same three [s].
    """

    ticks: int
    misses: int
    period_s: tuple[float, float, float]
    lateness_s: tuple[float, float, float]


class _Timing:
    """Starts and deadlines of ticks, in bounded memory."""

    def __init__(self) -> None:
        self._periods = np.zeros(_WINDOW)
        self._lateness = np.zeros(_WINDOW)
        self._last_s: float | None = None
        self._max_period_s = self._max_lateness_s = 0.0
        self.ticks = self.misses = 0

    def record(self, now_s: float, deadline_s: float) -> None:
        i = self.ticks % _WINDOW
        period_s = 0.0 if self._last_s is None else now_s - self._last_s
        lateness_s = now_s - deadline_s
        self._periods[i], self._lateness[i] = period_s, lateness_s
        self._max_period_s = max(self._max_period_s, period_s)
        self._max_lateness_s = max(self._max_lateness_s, lateness_s)
        self._last_s = now_s
        self.ticks += 1

    def stats(self) -> LoopStats:
        n = min(self.ticks, _WINDOW)
        # The first tick has no period.
        periods = self._periods[1 if self.ticks <= _WINDOW else 0 : n]
        return LoopStats(
            ticks=self.ticks,
            misses=self.misses,
            period_s=(*_percentiles(periods), self._max_period_s),
            lateness_s=(*_percentiles(self._lateness[:n]), self._max_lateness_s),
        )


def _percentiles(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> tuple[float, float]:
    if len(values) == 0:
        return math.nan, math.nan
    middle, high = np.percentile(values, [50, 99])
    return float(middle), float(high)


@dataclass(slots=True)
class Loop:
    """Something to do at a fixed rate.

    Attributes:
        name: For messages and thread names.
        rate_hz: How often [1/s]. A ``Fraction`` keeps rates like 30000/1001 exact.
        tick: What to do.
    """

    name: str
    rate_hz: int | float | Fraction
    tick: Callable[[], None]
    _timing: _Timing = field(default_factory=_Timing, repr=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise ScheduleError(f"Loop {self.name!r}: the rate is {self.rate_hz} Hz, needs > 0.")

    @property
    def period(self) -> Fraction:
        """Between two ticks [s], exact."""
        # A decimal typed in a rig file means that decimal, not its nearest binary.
        return 1 / Fraction(str(self.rate_hz))

    @property
    def stats(self) -> LoopStats:
        return self._timing.stats()

    def run_once(self, now_s: float, deadline_s: float) -> None:
        """Run one tick that was due at ``deadline_s``."""
        self._timing.record(now_s, deadline_s)
        self.tick()

    def skip(self, n_ticks: int) -> None:
        """Note ticks that were left out."""
        self._timing.misses += n_ticks


def run_events(
    loops: Sequence[Loop],
    clock: SimClock,
    *,
    until: Callable[[], bool] | None = None,
    duration_s: float = math.inf,
) -> None:
    """Run loops on a simulated clock. The same loops and inputs give the same run.

    Every loop ticks at the present instant and at each whole number of its periods
    after it. Loops due at the same instant run in the order given. The end of the
    duration is not run, so that back-to-back calls keep every rate.

    Args:
        loops: What to run.
        clock: Moved to each instant before its ticks.
        until: Asked after each instant; ends the run when true.
        duration_s: Longest run [s].

    Raises:
        ScheduleError: No loops, or no end.
    """
    if not loops:
        raise ScheduleError("There are no loops to run.")
    if until is None and not math.isfinite(duration_s):
        raise ScheduleError("The run has no end. Pass until or duration_s.")
    periods = [loop.period for loop in loops]
    unit = math.lcm(*(period.denominator for period in periods))
    steps = [int(period * unit) for period in periods]
    due = [0] * len(loops)
    start_s = clock.now_s()
    while True:
        instant = min(due)
        if instant / unit >= duration_s:
            break
        clock.advance_to(max(clock.now_s(), start_s + instant / unit))
        now_s = clock.now_s()
        for i, loop in enumerate(loops):
            if due[i] == instant:
                due[i] += steps[i]
                loop.run_once(now_s, now_s)
        if until is not None and until():
            return
    clock.advance_to(max(clock.now_s(), start_s + duration_s))


def run_threads(
    loops: Sequence[Loop],
    stop: threading.Event,
    *,
    clock: Clock | None = None,
    spin_s: float = 0.0,
) -> None:
    """Run loops on the host's clock, one thread each, until ``stop`` is set.

    Deadlines are absolute, so lateness never adds up. A loop that is still busy when
    ticks fall due leaves them out and counts them; it never runs two to catch up.
    An exception in one loop stops them all. Returns when every thread has ended.

    Args:
        loops: What to run.
        stop: Ends the run; set on the way out in any case.
        clock: Must run at the speed of the host's; its monotonic clock when ``None``.
        spin_s: Busy wait at the end of each sleep, for microseconds instead of a
            tenth of a millisecond, at the cost of a core [s].

    Raises:
        ScheduleError: No loops.
        ExceptionGroup: More than one loop failed. One alone raises as it is.
    """
    if not loops:
        raise ScheduleError("There are no loops to run.")
    clock = clock or MonotonicClock()
    start_s = clock.now_s()
    with ThreadPoolExecutor(len(loops), thread_name_prefix="dexhil-loop") as pool:
        try:
            futures = [pool.submit(_run, loop, stop, clock, start_s, spin_s) for loop in loops]
            wait(futures)
        finally:
            stop.set()
    errors = [error for future in futures if (error := future.exception()) is not None]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise BaseExceptionGroup(f"{len(errors)} loops failed", errors)


def _run(loop: Loop, stop: threading.Event, clock: Clock, start_s: float, spin_s: float) -> None:
    period, n = loop.period, 0
    try:
        while not stop.is_set():
            deadline_s = start_s + float(n * period)
            if stop.wait(max(0.0, deadline_s - clock.now_s() - spin_s)):
                break
            while clock.now_s() < deadline_s:
                pass
            loop.run_once(clock.now_s(), deadline_s)
            n += 1
            overdue = math.floor((clock.now_s() - start_s) / float(period)) - n
            if overdue > 0:
                loop.skip(overdue)
                n += overdue
    finally:
        stop.set()
