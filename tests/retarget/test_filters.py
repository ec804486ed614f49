import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dexhil.drivers.arrays import Matrix
from dexhil.retarget import RetargetError
from dexhil.retarget.filters import DEFAULT_FILTER, FILTERS, FilterConfig, JointFilter

DT = 1 / 90
joints = arrays(np.float64, 3, elements=st.floats(-3.0, 3.0))
targets = st.lists(joints, min_size=1, max_size=40)
waits = st.floats(0.0, 1e300, exclude_min=True)
configs = st.one_of(
    st.sampled_from(list(FILTERS.values())),
    st.builds(
        FilterConfig,
        min_cutoff_hz=st.floats(1e-3, 1e3),
        beta=st.floats(0.0, 100.0),
        derivative_cutoff_hz=st.floats(0.01, 100.0),
        passes=st.integers(1, 8),
        max_rate=st.floats(0.01, 1e3),
    ),
)


def filtered(config: FilterConfig, clip: list | Matrix, dt_s: float = DT, start=None) -> Matrix:
    smoother = JointFilter(config)
    if start is not None:
        smoother.reset(start)
    return np.array([smoother.step(q, dt_s) for q in clip])


def moving_average(clip: Matrix, share: float, times: int) -> Matrix:
    for _ in range(times):
        out = [clip[0]]
        for q in clip[1:]:
            out.append(out[-1] + share * (q - out[-1]))
        clip = np.array(out)
    return clip


def test_the_presets_are_ordered_and_the_default_is_one_of_them() -> None:
    assert list(FILTERS) == ["off", "fast", "balanced", "smooth"]
    assert DEFAULT_FILTER in FILTERS


@given(targets, waits)
def test_off_changes_nothing(clip, dt_s) -> None:
    np.testing.assert_array_equal(filtered(FILTERS["off"], clip, dt_s), clip)


@given(configs, joints, targets, st.lists(waits, min_size=40, max_size=40))
def test_outputs_stay_within_what_came_in(config, start, clip, dts) -> None:
    smoother = JointFilter(config)
    smoother.reset(start)
    low, high = np.min([start, *clip], axis=0), np.max([start, *clip], axis=0)
    for q, dt_s in zip(clip, dts, strict=False):
        out = smoother.step(q, dt_s)
        assert (low <= out).all()
        assert (out <= high).all()


@given(configs, joints, waits)
def test_a_constant_stays_what_it_is(config, q, dt_s) -> None:
    np.testing.assert_array_equal(filtered(config, [q] * 20, dt_s), [q] * 20)


@given(configs, joints, joints, st.floats(1e-4, 1.0))
def test_a_step_is_approached_without_turning_back_or_overshoot(config, start, end, dt_s) -> None:
    path = filtered(config, [end] * 60, dt_s, start=start)
    distances = np.abs(np.vstack([start, path]) - end)
    assert (np.diff(distances, axis=0) <= 0.0).all()
    assert (np.sign(end - path) * np.sign(end - start) >= 0.0).all()


@pytest.mark.parametrize("name", FILTERS)
def test_a_step_arrives(name) -> None:
    path = filtered(FILTERS[name], np.ones((45, 1)), start=np.zeros(1))
    assert path[-1] > 0.95


@given(configs, joints, targets, st.floats(1e-6, 10.0))
def test_no_joint_moves_faster_than_the_rate(config, start, clip, dt_s) -> None:
    path = np.vstack([start, filtered(config, clip, dt_s, start=start)])
    assert (np.abs(np.diff(path, axis=0)) <= config.max_rate * dt_s * (1.0 + 1e-9) + 1e-15).all()


@given(configs, joints, targets)
def test_opening_is_filtered_like_closing(config, start, clip) -> None:
    closing = filtered(config, clip, start=start)
    opening = filtered(config, [-q for q in clip], start=-start)
    np.testing.assert_array_equal(opening, -closing)


@given(configs, joints, targets)
def test_each_joint_is_filtered_alone(config, start, clip) -> None:
    together = filtered(config, clip, start=start)
    alone = [filtered(config, np.array(clip)[:, [j]], start=start[[j]]) for j in range(3)]
    np.testing.assert_array_equal(together, np.hstack(alone))


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_without_beta_it_is_a_moving_average(passes) -> None:
    share, rng = 0.25, np.random.default_rng(0)
    cutoff_hz = share / (1.0 - share) * 90.0 / (2.0 * np.pi)
    clip = rng.uniform(-1.0, 1.0, (50, 4))
    config = FilterConfig(min_cutoff_hz=cutoff_hz, passes=passes)
    np.testing.assert_allclose(filtered(config, clip), moving_average(clip, share, passes))


def test_it_agrees_with_one_euro_worked_by_hand() -> None:
    config = FilterConfig(min_cutoff_hz=1.0, beta=2.0, derivative_cutoff_hz=0.5)
    smoother = JointFilter(config)
    smoother.reset(np.zeros(1))
    first = smoother.step(np.ones(1), 0.1)
    speed = (0.1 / (0.1 + 1.0 / np.pi)) * 10.0
    share = 0.1 / (0.1 + 1.0 / (2.0 * np.pi * (1.0 + 2.0 * speed)))
    np.testing.assert_allclose(first, share)
    speed += (0.1 / (0.1 + 1.0 / np.pi)) * (0.0 - speed)
    second = share + 0.1 / (0.1 + 1.0 / (2.0 * np.pi * (1.0 + 2.0 * speed))) * (1.0 - share)
    np.testing.assert_allclose(smoother.step(np.ones(1), 0.1), second)


def test_a_fast_finger_is_followed_with_less_lag_than_a_slow_one() -> None:
    config = FilterConfig(min_cutoff_hz=1.0, beta=5.0)
    lags = []
    for speed in (0.1, 5.0):
        ramp = speed * DT * np.arange(60)[:, None]
        lags.append((ramp - filtered(config, ramp))[-1, 0] / speed)
    assert lags[1] < 0.3 * lags[0]


def test_smoother_presets_leave_less_tremble_and_lag_more() -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.02, (500, 4))
    ramp = 1.0 * DT * np.arange(200)[:, None]
    names = ("off", "fast", "balanced", "smooth")
    trembles = [filtered(FILTERS[name], noise).std() for name in names]
    lags = [(ramp - filtered(FILTERS[name], ramp))[-1, 0] for name in names]
    assert trembles == sorted(trembles, reverse=True)
    assert lags == sorted(lags)
    assert lags[-1] < 4 * DT  # A pure rate of 1 rad/s: radians of lag are seconds.


def test_the_first_frame_passes_and_a_reset_starts_from_where_the_hand_is() -> None:
    smoother = JointFilter(FILTERS["smooth"])
    np.testing.assert_array_equal(smoother.step(np.full(2, 0.7), DT), 0.7)
    smoother.reset(np.zeros(3))
    first = smoother.step(np.full(3, 0.7), DT)
    assert (first > 0.0).all()
    assert (first <= FILTERS["smooth"].max_rate * DT).all()


def test_answers_are_not_shared() -> None:
    smoother = JointFilter(FILTERS["balanced"])
    smoother.step(np.zeros(2), DT)[:] = 99.0
    np.testing.assert_array_equal(smoother.step(np.zeros(2), DT), 0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_and_forgotten(bad) -> None:
    smoother = JointFilter(FILTERS["balanced"])
    smoother.reset(np.zeros(2))
    twin = JointFilter(FILTERS["balanced"])
    twin.reset(np.zeros(2))
    for wrong in (lambda: smoother.step([0.1, bad], DT), lambda: smoother.reset([bad, 0.0])):
        with pytest.raises(RetargetError, match="finite"):
            wrong()
    np.testing.assert_array_equal(smoother.step(np.ones(2), DT), twin.step(np.ones(2), DT))


@pytest.mark.parametrize("dt_s", [0.0, -0.01, math.nan, math.inf])
def test_time_must_pass(dt_s) -> None:
    with pytest.raises(RetargetError, match="must be above 0"):
        JointFilter(FILTERS["fast"]).step(np.zeros(2), dt_s)


def test_another_number_of_joints_needs_a_reset() -> None:
    smoother = JointFilter(FILTERS["fast"])
    smoother.step(np.zeros(16), DT)
    with pytest.raises(RetargetError, match="6 joints after 16"):
        smoother.step(np.zeros(6), DT)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_cutoff_hz": 0.0},
        {"min_cutoff_hz": math.nan},
        {"derivative_cutoff_hz": -1.0},
        {"max_rate": 0.0},
        {"beta": -0.1},
        {"beta": math.inf},
        {"passes": 0},
        {"passes": 9},
    ],
)
def test_a_config_that_makes_no_sense_is_refused(wrong) -> None:
    with pytest.raises(RetargetError, match=r"Filter: .*(must be|allowed)"):
        replace(FILTERS["fast"], **wrong)
