"""Statistics merge to what all data together would give."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dexhil.policy.episodes import stats

finite = st.floats(-1e3, 1e3)
columns = hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.just(3)), elements=finite)


@given(columns, columns)
def test_merged_statistics_are_those_of_all_rows(one: np.ndarray, other: np.ndarray) -> None:
    merged = stats.merge({"x": stats.column_stats(one)}, {"x": stats.column_stats(other)})["x"]
    whole = stats.column_stats(np.concatenate([one, other]))
    for key in ("min", "max", "count"):
        np.testing.assert_array_equal(merged[key], whole[key])
    for key in ("mean", "std"):
        np.testing.assert_allclose(merged[key], whole[key], rtol=1e-9, atol=1e-5)


@given(columns)
def test_merged_quantiles_stay_between_the_episodes(one: np.ndarray) -> None:
    other = one + 1.0
    merged = stats.merge({"x": stats.column_stats(one)}, {"x": stats.column_stats(other)})["x"]
    for key in stats.QUANTILES:
        low, high = stats.column_stats(one)[key], stats.column_stats(other)[key]
        assert np.all((low - 1e-9 <= merged[key]) & (merged[key] <= high + 1e-9))


@given(columns, st.integers(0, 5))
def test_absent_rows_do_not_count(rows: np.ndarray, n_absent: int) -> None:
    with_absent = np.concatenate([rows, np.full((n_absent, 3), np.nan)])
    for key, value in stats.column_stats(rows).items():
        np.testing.assert_array_equal(stats.column_stats(with_absent)[key], value)


def test_a_column_that_was_never_there_counts_zero_and_changes_nothing() -> None:
    nothing = stats.column_stats(np.full((4, 2), np.nan))
    something = stats.column_stats(np.ones((3, 2)))
    assert nothing["count"] == [0]
    assert all(np.isfinite(value).all() for value in nothing.values())
    for merged in (
        stats.merge({"x": nothing}, {"x": something}),
        stats.merge({"x": something}, {"x": nothing}),
    ):
        assert merged["x"] is something


def test_images_are_counted_and_lie_between_zero_and_one() -> None:
    images = [np.full((4, 4, 3), value, dtype=np.uint8) for value in (0, 255)]
    found = stats.image_stats(images)
    assert found["count"] == [2]
    np.testing.assert_allclose(found["mean"], np.full((3, 1, 1), 0.5))
    np.testing.assert_allclose(found["max"], np.ones((3, 1, 1)))


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 4), st.just(3), st.just(5), st.just(3))))
def test_images_have_the_statistics_of_their_pixels(images: np.ndarray) -> None:
    found = stats.image_stats(list(images))
    pixels = images.reshape(-1, 3) / 255.0
    for key in ("min", "max", "mean", "std"):
        expected = getattr(pixels, key)(axis=0)
        np.testing.assert_allclose(found[key].ravel(), expected, atol=1e-12)
    for key, share in stats.QUANTILES.items():
        expected = np.quantile(pixels, share, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(found[key].ravel(), expected, atol=1e-12)
