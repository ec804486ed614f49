"""How well loops keep time and how old samples are, over hours, in bounded memory."""

import math
from dataclasses import dataclass
from typing import NamedTuple

_SMALLEST_S = 1e-6
_BINS_PER_DECADE = 128  # Edges 1.8 % apart.
_N_BINS = 8 * _BINS_PER_DECADE  # Up to 100 s.
_PER_NEPER = _BINS_PER_DECADE / math.log(10.0)


class Spread(NamedTuple):
    """Median, 99th percentile and largest of some durations [s]. NaN if there were none."""

    median: float
    p99: float
    max: float


class Histogram:
    """Durations, counted in bins that are 1.8 % apart.

    A window of the last few thousand would forget the one second that mattered. Quantiles are
    upper edges of bins, so they err by at most 1.8 % and never to the flattering side;
    extremes are exact. One thread adds; any may read.
    """

    def __init__(self) -> None:
        self._bins = [0] * _N_BINS
        self._low, self._high = math.inf, -math.inf
        self.n = 0

    def add(self, value_s: float) -> None:
        """Count one duration [s]. One that is not finite is the longest of all."""
        if not math.isfinite(value_s):
            value_s = math.inf
        self._low, self._high = min(self._low, value_s), max(self._high, value_s)
        self._bins[_bin(value_s)] += 1
        self.n += 1

    def quantile(self, share: float) -> float:
        """Return the duration that a share of all, 0 to 1, does not exceed [s]."""
        if not self.n:
            return math.nan
        rest = math.ceil(share * self.n)
        for i, count in enumerate(self._bins):
            rest -= count
            if rest <= 0:
                edge_s = _SMALLEST_S * math.exp((i + 1) / _PER_NEPER)
                return min(max(edge_s, self._low), self._high)
        return self._high

    def spread(self) -> Spread:
        """Return median, 99th percentile and largest [s]."""
        high = self._high if self.n else math.nan
        return Spread(self.quantile(0.5), self.quantile(0.99), high)


def _bin(value_s: float) -> int:
    if value_s <= _SMALLEST_S:
        return 0
    if value_s == math.inf:
        return _N_BINS - 1
    return min(int(_PER_NEPER * math.log(value_s / _SMALLEST_S)), _N_BINS - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopStats:
    """How well a loop kept time, over its whole life.

    Attributes:
        ticks: How often it ran.
        misses: Ticks left out because the loop was still busy, or woke up too late.
        period_s: Between starts of ticks [s].
        lateness_s: From a deadline to the start of its tick [s].
        busy_s: From the start of a tick to its end [s].
    """

    ticks: int
    misses: int
    period_s: Spread
    lateness_s: Spread
    busy_s: Spread


class Timing:
    """Starts, ends and deadlines of the ticks of one loop."""

    def __init__(self) -> None:
        self._periods, self._lateness, self._busy = Histogram(), Histogram(), Histogram()
        self._started_s: float | None = None
        self.ticks = self.misses = 0

    def rest(self) -> None:
        """Note that the run is over: until the next start is no period."""
        self._started_s = None

    def start(self, now_s: float, deadline_s: float) -> None:
        """Note that a tick that was due at ``deadline_s`` starts."""
        if self._started_s is not None:
            self._periods.add(now_s - self._started_s)
        self._lateness.add(now_s - deadline_s)
        self._started_s = now_s
        self.ticks += 1

    def end(self, now_s: float) -> None:
        """Note that the tick ended."""
        if self._started_s is not None:
            self._busy.add(now_s - self._started_s)

    def stats(self) -> LoopStats:
        """Return what was noted so far."""
        return LoopStats(
            ticks=self.ticks,
            misses=self.misses,
            period_s=self._periods.spread(),
            lateness_s=self._lateness.spread(),
            busy_s=self._busy.spread(),
        )
