"""Intervals, against figures published for the papers' own tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.integration.statistics import Rate


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(19, 20, 0.76, 0.99), (15, 20, 0.53, 0.89), (13, 20, 0.43, 0.82), (7, 20, 0.18, 0.57)],
)
def test_wilson_intervals_are_those_of_the_paper_notes(
    successes: int, trials: int, low: float, high: float
) -> None:
    assert Rate(successes, trials).interval == pytest.approx((low, high), abs=0.005)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_rate_and_stays_a_share(rate: tuple[int, int]) -> None:
    low, high = Rate(*rate).interval
    assert 0.0 <= low <= Rate(*rate).value + 1e-12
    assert Rate(*rate).value - 1e-12 <= high <= 1.0


@pytest.mark.parametrize("wrong", [(1, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(wrong: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="no success rate"):
        Rate(*wrong)
