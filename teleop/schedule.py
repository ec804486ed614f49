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

from dexhil.drivers.clock import Clock, MonotonicClock, SimClock
from dexhil.teleop import realtime
from dexhil.teleop.errors import ScheduleError
from dexhil.teleop.timing import LoopStats, Timing

_LONGEST_SLEEP_S = 0.05  # So that slow loops, too, hear soon that the run is over.
_TIDY_S = 1.0


@dataclass(slots=True)
class Loop:
    """Something to do at a fixed rate.

    Attributes:
        name: For messages and thread names.
        rate_hz: How often [1/s]. A ``Fraction`` keeps rates like 30000/1001 exact.
        tick: What to do.
        background: Nobody is hurt if it is late: it gets no real-time priority.
    """

    name: str
    rate_hz: int | float | Fraction
    tick: Callable[[], None]
    background: bool = False
    _timing: Timing = field(default_factory=Timing, repr=False)

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

    def run_once(self, clock: Clock, deadline_s: float) -> None:
        """Run one tick that was due at ``deadline_s``."""
        self._timing.start(clock.now_s(), deadline_s)
        self.tick()
        self._timing.end(clock.now_s())

    def rest(self) -> None:
        """Note that no tick is due for a while."""
        self._timing.rest()

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
                loop.run_once(clock, now_s)
        if until is not None and until():
            return
    clock.advance_to(max(clock.now_s(), start_s + duration_s))


def run_threads(
    loops: Sequence[Loop], stop: threading.Event, *, clock: Clock | None = None
) -> None:
    """Run loops on the host's clock, one thread each, until ``stop`` is set.

    Deadlines are absolute, so lateness never adds up. Overruns: a loop that is busy or
    asleep when its next tick falls due as well leaves the older one out and counts it; it
    runs the newest one at once and never two to catch up. So ticks and misses together are
    the deadlines that passed, and no tick starts a period late.

    The faster a loop, the higher its real-time priority, where the system allows any; see
    `dexhil.teleop.realtime`. An exception in one loop stops them all. Returns when every
    thread has ended, at the latest 50 ms and one tick after ``stop``.

    Args:
        loops: What to run.
        stop: Ends the run; set on the way out in any case.
        clock: Must run at the speed of the host's; its monotonic clock when ``None``.

    Raises:
        ScheduleError: No loops.
        ExceptionGroup: More than one loop failed. One alone raises as it is.
    """
    if not loops:
        raise ScheduleError("There are no loops to run.")
    clock = clock or MonotonicClock()
    urgent = sorted((loop for loop in loops if not loop.background), key=lambda e: e.rate_hz)
    ranks = {id(loop): rank for rank, loop in enumerate(urgent)}
    with (
        realtime.undisturbed(),
        ThreadPoolExecutor(len(loops), thread_name_prefix="dexhil-loop") as pool,
    ):
        try:
            start_s = clock.now_s()
            futures = [
                pool.submit(_run, loop, stop, clock, start_s, ranks.get(id(loop))) for loop in loops
            ]
            while wait(futures, timeout=_TIDY_S).not_done:
                realtime.tidy()
        finally:
            stop.set()
    errors = [error for future in futures if (error := future.exception()) is not None]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise BaseExceptionGroup(f"{len(errors)} loops failed", errors)


def _run(loop: Loop, stop: threading.Event, clock: Clock, start_s: float, rank: int | None) -> None:
    try:
        if not realtime.claim_priority(rank):
            realtime.warn()
        _keep_time(loop, stop, clock, start_s)
    finally:
        loop.rest()
        stop.set()


def _keep_time(loop: Loop, stop: threading.Event, clock: Clock, start_s: float) -> None:
    period = loop.period
    n = 0  # The next tick.
    while not stop.is_set():
        deadline_s, now_s = _deadline_s(period, start_s, n), clock.now_s()
        if now_s < deadline_s:
            # Not ``stop.wait``, which wakes up later than this and after every lock.
            clock.sleep(min(deadline_s - now_s, _LONGEST_SLEEP_S))
            continue
        newest = _newest(period, start_s, now_s)
        loop.skip(newest - n)
        loop.run_once(clock, _deadline_s(period, start_s, newest))
        n = newest + 1
    loop.skip(max(0, _newest(period, start_s, clock.now_s()) - n))


def _deadline_s(period: Fraction, start_s: float, n: int) -> float:
    return start_s + float(n * period)


def _newest(period: Fraction, start_s: float, now_s: float) -> int:
    """Return the number of the last deadline that has passed."""
    n = math.floor((now_s - start_s) / float(period))
    # Division rounds: ask the deadlines themselves.
    if _deadline_s(period, start_s, n) > now_s:
        return n - 1
    return n + 1 if _deadline_s(period, start_s, n + 1) <= now_s else n
