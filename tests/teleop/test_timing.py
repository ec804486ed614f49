import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.teleop.timing import Histogram, Timing

durations = st.floats(1e-6, 99.0)


@given(st.lists(durations, min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.99, 1.0]))
def test_a_quantile_is_never_flattering_and_at_most_two_percent_too_large(values, share):
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    true = np.quantile(values, share, method="inverted_cdf")
    assert true * (1 - 1e-9) <= histogram.quantile(share) <= true * 1.02


def test_one_bad_tick_among_a_million_is_not_forgotten():
    histogram = Histogram()
    histogram.add(0.5)
    for _ in range(10_000):
        histogram.add(1e-4)
    median, p99, largest = histogram.spread()
    assert median == pytest.approx(1e-4, rel=0.02)
    assert p99 == pytest.approx(1e-4, rel=0.02)
    assert largest == 0.5


def test_equal_durations_are_told_exactly():
    histogram = Histogram()
    for _ in range(3):
        histogram.add(1 / 30)
    assert histogram.spread() == (1 / 30, 1 / 30, 1 / 30)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_duration_counts_as_the_worst(value):
    histogram = Histogram()
    histogram.add(0.001)
    histogram.add(value)
    assert histogram.spread().max == float("inf")
    assert histogram.n == 2


def test_a_sample_from_the_future_has_a_negative_age():
    histogram = Histogram()
    histogram.add(-0.003)
    assert histogram.spread() == (-0.003, -0.003, -0.003)


def test_nothing_counted_is_not_zero():
    assert np.isnan(Histogram().spread()).all()


def test_a_loop_has_one_period_less_than_starts():
    timing = Timing()
    for now_s in (1.0, 1.1, 1.25):
        timing.start(now_s, deadline_s=now_s - 0.002)
        timing.end(now_s + 0.01)
    stats = timing.stats()
    assert stats.ticks == 3
    assert stats.period_s == pytest.approx((0.1, 0.15, 0.15), rel=0.02)
    assert stats.lateness_s == pytest.approx((0.002, 0.002, 0.002), rel=0.02)
    assert stats.busy_s == pytest.approx((0.01, 0.01, 0.01), rel=0.02)
