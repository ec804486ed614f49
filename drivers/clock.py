"""Time as an argument, so that the same code runs on robots and far faster than real time."""

import time
from typing import Protocol

_TICKS_PER_S = 2**30


class Clock(Protocol):
    """Monotonic seconds. Never wall time: NTP moves wall time backwards."""

    def now_s(self) -> float: ...
    def sleep(self, duration_s: float) -> None: ...


class MonotonicClock:
    """The host's monotonic clock."""

    def now_s(self) -> float:
        return time.monotonic()

    def sleep(self, duration_s: float) -> None:
        time.sleep(max(0.0, duration_s))


class SimClock:
    """A clock that moves only when told to. It does not start at zero: zero hides bugs.

    Its time is a whole number of 2^-30 s, about a nanosecond. Differences of such times
    are exact, so what happens after a moment does not depend on when that moment was.
    """

    def __init__(self, start_s: float = 1000.0) -> None:
        self._now_s = _whole_ticks(start_s)

    def now_s(self) -> float:
        return self._now_s

    def sleep(self, duration_s: float) -> None:
        self.advance_to(self._now_s + duration_s)

    def advance_to(self, now_s: float) -> None:
        """Move to ``now_s``.

        Raises:
            ValueError: That would be backwards.
        """
        if now_s < self._now_s:
            raise ValueError(f"time cannot go from {self._now_s} s back to {now_s} s")
        self._now_s = max(self._now_s, _whole_ticks(now_s))


def _whole_ticks(time_s: float) -> float:
    return round(time_s * _TICKS_PER_S) / _TICKS_PER_S
