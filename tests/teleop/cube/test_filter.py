"""The cube's filter: smooth, ahead of its time, hard to fool, and plain about what it lost."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dexhil.teleop.cube.filter import FOUND_AGAIN, JUMPED, CubeFilter, FilterConfig
from dexhil.teleop.errors import CubeError
from dexhil.teleop.se3 import Pose, distance, exp_rotation, make_pose

DT = 1.0 / 30.0
NOISE = np.array([2e-4, 2e-4, 8e-4, 4e-3, 4e-3, 4e-3])  # As seen at 0.6 m [m], [rad].
COVARIANCE = np.diag(NOISE**2)
START = make_pose((0.1, -0.05, 0.6), exp_rotation((0.4, -2.0, 0.7)))


def steady(velocity: np.ndarray) -> Callable[[float], Pose]:
    return lambda t: make_pose(
        START[:3, 3] + t * velocity[:3], START[:3, :3] @ exp_rotation(t * velocity[3:])
    )


def seen(pose: Pose, rng: np.random.Generator) -> Pose:
    noise = rng.normal(size=6) * NOISE
    return make_pose(pose[:3, 3] + noise[:3], pose[:3, :3] @ exp_rotation(noise[3:]))


def followed(motion: Callable[[float], Pose], frames: int, seed: int = 0) -> CubeFilter:
    rng, cube = np.random.default_rng(seed), CubeFilter()
    for i in range(frames):
        assert cube.update(seen(motion(i * DT), rng), COVARIANCE, i * DT)
    return cube


def errors(motion: Callable[[float], Pose], ahead_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Of the filter and of the measurements alone, position and angle. Shape (n, 2) each."""
    rng, cube, filtered, raw = np.random.default_rng(1), CubeFilter(), [], []
    for i in range(150):
        measured = seen(motion(i * DT), rng)
        cube.update(measured, COVARIANCE, i * DT)
        guess = cube.predict(i * DT + ahead_s)
        assert guess is not None
        if i > 10:
            filtered.append(distance(guess, motion(i * DT + ahead_s)))
            raw.append(distance(measured, motion(i * DT + ahead_s)))
    return np.array(filtered), np.array(raw)


def rms(values: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(values**2, axis=0))


def test_a_cube_at_rest_trembles_less_than_its_measurements() -> None:
    filtered, raw = errors(steady(np.zeros(6)), 0.0)
    assert (rms(filtered) < 0.9 * rms(raw)).all()


def test_a_steady_motion_is_followed_without_lag() -> None:
    filtered, raw = errors(steady(np.array([0.3, -0.2, 0.1, 0.5, 1.0, -0.8])), 0.0)
    assert (rms(filtered) < rms(raw)).all()


def test_prediction_makes_up_for_the_camera_s_latency() -> None:
    filtered, raw = errors(steady(np.array([0.3, -0.2, 0.1, 0.5, 1.0, -0.8])), 0.05)
    assert (rms(filtered) < 0.2 * rms(raw)).all()


def test_a_start_from_rest_is_followed_at_once() -> None:
    rng, cube = np.random.default_rng(0), CubeFilter()
    for i in range(60):
        t = max(0.0, i - 40) * DT  # 6 m/s^2 and 40 rad/s^2 from rest.
        truth = make_pose(
            START[:3, 3] + [3.0 * t**2, 0, 0], START[:3, :3] @ exp_rotation([0, 20 * t**2, 0])
        )
        if t < 0.3:
            assert cube.update(seen(truth, rng), COVARIANCE, i * DT)
            guess = cube.predict(i * DT)
            assert guess is not None
            length, angle = distance(guess, truth)
            assert length < 0.004
            assert angle < 0.03


@settings(max_examples=40, deadline=None)
@given(
    st.floats(np.radians(23), np.pi),
    st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda axis: np.linalg.norm(axis) > 0.1),
    st.integers(0, 1000),
    st.integers(0, 2),
)
def test_a_flip_is_never_followed_nor_after_pictures_that_were_dropped(
    angle: float, axis: tuple[float, float, float], seed: int, dropped: int
) -> None:
    motion = steady(np.array([0.2, 0.1, -0.1, 1.0, -2.0, 0.5]))
    cube = followed(motion, 10, seed)
    at_s = (10 + dropped) * DT
    truth = motion(at_s)
    turn = angle * np.array(axis) / np.linalg.norm(axis)
    flipped = make_pose(truth[:3, 3], truth[:3, :3] @ exp_rotation(turn))
    assert not cube.explains(flipped, COVARIANCE, at_s)
    assert not cube.update(flipped, COVARIANCE, at_s)
    guess = cube.predict(at_s)
    assert guess is not None
    assert distance(guess, truth)[1] < np.radians(3)
    assert cube.update(motion(at_s + DT), COVARIANCE, at_s + DT)
    assert (cube.lost_reason is None) is (dropped < 2)  # After 0.1 s it begins anew, in doubt.


def test_a_cube_that_stays_elsewhere_is_lost_and_then_found_anew() -> None:
    cube = followed(steady(np.zeros(6)), 10)
    elsewhere = make_pose(START[:3, 3] + [0.3, 0.0, 0.0], START[:3, :3])
    assert not cube.update(elsewhere, COVARIANCE, 10 * DT)
    assert cube.lost_reason is None
    assert not cube.update(elsewhere, COVARIANCE, 11 * DT)
    assert cube.lost_reason == JUMPED
    assert cube.predict(11 * DT) is None
    assert cube.update(elsewhere, COVARIANCE, 12 * DT)
    np.testing.assert_allclose(cube.predict(12 * DT), elsewhere)


def doubted(cube: CubeFilter, begun: float) -> list[str | None]:
    """Return what is said at the frame ``begun``, and while the cube is seen from then on."""
    flipped = make_pose(START[:3, 3], START[:3, :3] @ exp_rotation((0.0, 0.7, 0.0)))
    said = []
    for i in range(8):
        assert cube.update(flipped, COVARIANCE, (begun + i) * DT)
        assert cube.predict((begun + i) * DT) is not None  # It is followed all the same.
        said.append(cube.lost_reason)
    return said


def test_a_cube_that_is_found_again_is_doubted_until_every_loop_has_looked() -> None:
    cube = followed(steady(np.zeros(6)), 10)
    cube.miss(10 * DT, "covered")
    cube.miss(11 * DT, "covered")
    assert doubted(cube, 12) == [FOUND_AGAIN] * 5 + [None] * 3  # 0.15 s from the first one.


@pytest.mark.parametrize("dropped", [3, 4, 5])
def test_a_gap_in_the_pictures_is_doubted_like_a_loss(dropped: int) -> None:
    cube = followed(steady(np.zeros(6)), 10)
    assert doubted(cube, 10 + dropped)[:5] == [FOUND_AGAIN] * 5


def test_a_cube_that_comes_into_sight_for_the_first_time_is_not_doubted() -> None:
    cube = CubeFilter()
    cube.miss(0.0, "nobody there")
    assert cube.update(START, COVARIANCE, DT)
    assert cube.lost_reason is None


def test_a_cube_that_is_missed_again_while_it_is_doubted_is_doubted_anew() -> None:
    cube = followed(steady(np.zeros(6)), 10)
    cube.update(START, COVARIANCE, 14 * DT)
    for i in (15, 16):
        cube.miss(i * DT, "covered")
    assert cube.lost_reason == "covered"
    assert doubted(cube, 17)[:5] == [FOUND_AGAIN] * 5


def test_two_frames_without_the_cube_are_a_loss() -> None:
    cube = followed(steady(np.zeros(6)), 10)
    cube.miss(10 * DT, "covered")
    assert cube.lost_reason is None
    assert cube.predict(10 * DT) is not None
    cube.miss(11 * DT, "covered")
    assert cube.lost_reason == "covered"
    assert cube.predict(11 * DT) is None


def test_a_found_cube_forgives_the_frame_without_it() -> None:
    cube = followed(steady(np.zeros(6)), 10)
    cube.miss(10 * DT, "covered")
    assert cube.update(START, COVARIANCE, 11 * DT)
    cube.miss(12 * DT, "covered")
    assert cube.lost_reason is None


def test_it_predicts_no_farther_than_its_horizon_and_never_back() -> None:
    cube = followed(steady(np.zeros(6)), 10)
    last_s = 9 * DT
    assert cube.predict(last_s + 0.099) is not None
    assert cube.predict(last_s + 0.101) is None
    assert cube.predict(last_s - 1e-6) is None


def test_exactly_as_far_as_its_horizon_is_predicted_whatever_the_rounding() -> None:
    cube = CubeFilter()
    for i in range(300):
        cube.update(START, COVARIANCE, 1000.0 + i * DT)
        assert cube.predict(1000.0 + i * DT + cube.config.horizon_s) is not None


def test_after_a_gap_it_begins_anew() -> None:
    cube = followed(steady(np.array([0.5, 0, 0, 0, 0, 0])), 10)
    assert cube.update(START, COVARIANCE, 10.0)
    np.testing.assert_array_equal(cube.predict(10.05), START)  # At rest, for all it knows.


@pytest.mark.parametrize("late_s", [9 * DT, 8 * DT, np.nan])
def test_frames_out_of_order_are_refused(late_s: float) -> None:
    cube = followed(steady(np.zeros(6)), 10)
    for call in (
        lambda: cube.update(START, COVARIANCE, late_s),
        lambda: cube.miss(late_s, "covered"),
    ):
        with pytest.raises(CubeError, match="in the order they were taken"):
            call()
    assert cube.predict(9 * DT) is not None


def test_what_is_not_finite_is_refused() -> None:
    cube = CubeFilter()
    with pytest.raises(CubeError, match="not finite"):
        cube.update(np.full((4, 4), np.nan), COVARIANCE, 0.0)
    with pytest.raises(CubeError, match="not finite"):
        cube.update(START, np.full((6, 6), np.inf), 0.0)
    assert cube.lost_reason is not None


def test_its_spread_grows_with_the_time_since_the_last_frame() -> None:
    cube = CubeFilter()
    assert cube.spread(0.0) == np.inf
    cube = followed(steady(np.zeros(6)), 10)
    spreads = [cube.spread(9 * DT + ahead_s) for ahead_s in (0.0, 0.03, 0.09)]
    assert 0.0 < spreads[0] < spreads[1] < spreads[2] < 0.2


@pytest.mark.parametrize(
    "wrong", [{"patience": 0}, {"horizon_s": 0.0}, {"calm": (np.nan, 1.0)}, {"start": (1.0, -1.0)}]
)
def test_a_config_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(CubeError, match="must be"):
        FilterConfig(**wrong)  # type: ignore[arg-type]
