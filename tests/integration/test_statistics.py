"""Intervals, against figures published for the papers' own tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.integration.statistics import Rate, paired_bootstrap


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


def test_one_seed_and_two_starts_give_the_distribution_that_a_hand_can_draw() -> None:
    # The mean of two draws from the differences {1, 0} is 0, 1/2, 1 with odds 1 : 2 : 1.
    difference = paired_bootstrap([[1, 1]], [[0, 1]])
    assert difference.value == 0.5
    assert difference.interval == (0.0, 1.0)


def test_a_bound_at_zero_is_zero_and_not_a_rounding_error_beside_it() -> None:
    # 22 starts for one, 11 for the other, in an order in which floating point misses zero.
    won = np.random.default_rng(0).permutation(np.repeat([1, -1, 0], [22, 11, 67]))[None]
    assert paired_bootstrap(won == 1, won == -1).interval[0] == 0.0


def test_the_same_difference_everywhere_is_certain() -> None:
    difference = paired_bootstrap(np.ones((3, 10)), np.zeros((3, 10)))
    assert difference.value == 1.0
    assert difference.interval == pytest.approx((1.0, 1.0))


def test_pairing_takes_out_what_makes_starts_hard_for_both() -> None:
    hard = np.arange(100) % 2
    ours, theirs = np.tile(hard, (2, 1)), np.tile(hard, (2, 1))
    ours[:, :10] = 1
    low, high = paired_bootstrap(ours, theirs).interval
    assert paired_bootstrap(ours, theirs).value == 0.05
    assert 0.0 < low < 0.02
    assert 0.08 < high < 0.12
    shuffled = np.random.default_rng(0).permuted(theirs, axis=1)
    wide = paired_bootstrap(ours, shuffled).interval
    assert wide[1] - wide[0] > 2 * (high - low), "unpaired starts say much less"


def test_seeds_that_differ_widen_the_interval_as_drawing_two_of_two_seeds_must() -> None:
    # One seed won every start, one won none: the mean of two draws is 0, 1/2 or 1.
    difference = paired_bootstrap([[1] * 50, [0] * 50], [[0] * 50, [0] * 50])
    assert difference.value == 0.5
    assert difference.interval == pytest.approx((0.0, 1.0))


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(
            st.lists(st.tuples(st.booleans(), st.booleans()), min_size=n, max_size=n),
            min_size=1,
            max_size=4,
        )
    )
)
def test_swapping_the_two_turns_the_sign_and_the_interval_holds_the_mean(
    pairs: list[list[tuple[bool, bool]]],
) -> None:
    ours, theirs = np.moveaxis(np.array(pairs), 2, 0)
    there = paired_bootstrap(ours, theirs, draws=500)
    back = paired_bootstrap(theirs, ours, draws=500)
    assert there.value == pytest.approx(-back.value)
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    assert there.interval[0] - 1e-9 <= there.value <= there.interval[1] + 1e-9


def test_success_on_different_starts_is_not_paired() -> None:
    with pytest.raises(ValueError, match="Cannot pair"):
        paired_bootstrap([[1, 0]], [[1, 0, 1]])
