"""How sure a success rate is."""

from dataclasses import dataclass
from math import sqrt

Z_95 = 1.959963984540054  # Two-sided 95 % quantile of the normal distribution.


@dataclass(frozen=True, slots=True)
class Rate:
    """Successes out of trials, with the 95 % interval of Wilson (1927)."""

    successes: int
    trials: int

    def __post_init__(self) -> None:
        if not 0 <= self.successes <= self.trials or self.trials == 0:
            raise ValueError(f"{self.successes} of {self.trials} is no success rate.")

    @property
    def value(self) -> float:
        return self.successes / self.trials

    @property
    def interval(self) -> tuple[float, float]:
        n, p = self.trials, self.value
        scale = 1.0 + Z_95**2 / n
        middle = (p + Z_95**2 / (2 * n)) / scale
        half = Z_95 / scale * sqrt(p * (1 - p) / n + Z_95**2 / (4 * n**2))
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.successes}/{self.trials} = {self.value:.0%} [{low:.0%}, {high:.0%}]"
