"""How sure a success rate is."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

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


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more often one succeeds than another, with the 95 % interval of a bootstrap."""

    value: float
    interval: tuple[float, float]


def paired_bootstrap(
    ours: npt.ArrayLike, theirs: npt.ArrayLike, *, draws: int = 10_000, seed: int = 0
) -> Difference:
    """Compare success on the same starts with the same seeds.

    Seeds and starts are drawn anew, with replacement, each among themselves, because both could
    have been others; what two arms did from one start with one seed stays together. With one
    seed only the starts are drawn: the interval then says nothing about other trainings.

    Args:
        ours: Success of one. Shape (seeds, starts).
        theirs: Success of the other. Same shape.
        draws: How many.
        seed: Of the draws.

    Raises:
        ValueError: The shapes differ, or are not those of seeds and starts.
    """
    first, second = np.asarray(ours, dtype=np.int64), np.asarray(theirs, dtype=np.int64)
    if first.shape != second.shape or first.ndim != 2 or first.size == 0:
        raise ValueError(f"Cannot pair success of shapes {first.shape} and {second.shape}.")
    difference = first - second
    rng = np.random.default_rng(seed)
    seeds, starts = (rng.multinomial(n, np.full(n, 1 / n), draws) for n in difference.shape)
    # In whole numbers, so that a bound at zero is zero.
    means = np.einsum("bn,bn->b", seeds @ difference, starts) / difference.size
    low, high = np.quantile(means, (0.025, 0.975))
    return Difference(float(difference.mean()), (float(low), float(high)))
