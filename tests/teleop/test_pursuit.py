"""Joints that pursue goals: as close as limits allow, and never past them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dexhil.teleop.pursuit import Pursuit, stoppable

PERIOD_S, ACCELERATION = 1 / 30, 10.0
CHANGE = ACCELERATION * PERIOD_S**2
LIMITS = np.tile([-1.0, 1.5], (3, 1))
SPEEDS = np.array([1.0, 2.0, 3.0])
starts = arrays(np.float64, 3, elements=st.floats(-1.0, 1.5))
goals = st.lists(arrays(np.float64, 3, elements=st.floats(-3.0, 3.0)), min_size=1, max_size=40)


def pursue(start, goals, led=True):
    """Yield the joints after each goal, as a robot that goes where it is told."""
    pursuit = Pursuit(LIMITS, SPEEDS, ACCELERATION, PERIOD_S)
    pursuit.begin(start)
    joints = start
    for goal in goals:
        joints = joints + pursuit.step(goal, joints, led=led).wanted
        yield joints


def stopping_distance(step, change):
    distance = 0.0
    while step > 0.0:
        distance += step
        step -= change
    return distance


@given(st.floats(0.0, 2.0), st.floats(1e-3, 0.1))
def test_a_stoppable_step_stops_within_the_distance_and_a_longer_one_does_not(distance, change):
    step = float(stoppable(np.array(distance), change))
    assert stopping_distance(step, change) <= distance + 1e-9
    assert stopping_distance(step + 1e-3, change) > distance


@settings(deadline=None, max_examples=50)
@given(starts, goals, st.booleans())
def test_no_goal_breaks_a_limit(start, goals, led):
    path = np.array([start, start, *pursue(start, goals, led)])
    steps = np.diff(path, axis=0)
    assert (path >= LIMITS[:, 0] - 1e-12).all()
    assert (path <= LIMITS[:, 1] + 1e-12).all()
    assert (np.abs(steps) <= SPEEDS * PERIOD_S).all()
    assert (np.abs(np.diff(steps, axis=0)) <= CHANGE + 1e-9).all()


@settings(deadline=None, max_examples=30)
@given(starts, starts)
def test_a_goal_that_stands_still_is_reached_without_overshoot(start, goal):
    path = np.array([start, *pursue(start, [goal] * 120, led=False)])
    np.testing.assert_allclose(path[-1], goal, atol=1e-9)
    left = (goal - path) * np.sign(goal - start)
    assert (left >= -1e-9).all()
    assert (np.diff(left, axis=0) <= 1e-9).all()


def test_a_goal_that_moves_within_the_limits_is_met_at_every_tick():
    times_s = np.arange(1, 120) * PERIOD_S
    goals = np.outer(1.0 - np.cos(2.0 * times_s), [0.1, 0.2, 0.3])
    path = np.array(list(pursue(np.zeros(3), goals)))
    np.testing.assert_allclose(path, goals, atol=1e-12)


@pytest.mark.parametrize("led", [True, False])
def test_a_goal_that_is_not_led_is_expected_to_stop(led):
    goals = np.outer(np.append(np.arange(20.0), np.full(60, 19.0)), 0.03 * np.ones(3))
    path = np.array(list(pursue(np.zeros(3), goals, led)))
    np.testing.assert_allclose(path[-1], goals[-1], atol=1e-9)
    assert bool(path.max() > goals.max() + 1e-3) is led


@pytest.mark.parametrize(("goal", "limit"), [(3.0, 1.5), (-3.0, -1.0)])
@pytest.mark.parametrize("led", [True, False])
def test_a_goal_beyond_a_limit_is_braked_for_in_time(goal, limit, led):
    path = np.array([np.zeros(3), *pursue(np.zeros(3), [np.full(3, goal)] * 120, led)])
    assert (np.abs(path) <= np.abs(limit) + 1e-12).all()
    np.testing.assert_allclose(path[-1], limit, atol=1e-9)
    assert np.abs(np.diff(path, n=2, axis=0)).max() <= CHANGE + 1e-9


def test_a_moving_goal_that_was_far_ahead_is_caught_and_then_followed_without_lag():
    goals = 0.5 + np.outer(np.arange(60) * PERIOD_S, [0.3, 0.3, 0.3])
    path = np.array(list(pursue(np.zeros(3), goals)))
    assert (path <= goals + 1e-9).all()
    np.testing.assert_allclose(path[-5:], goals[-5:], atol=1e-9)


def test_what_held_the_arm_back_leaves_it_no_speed_to_go_on_with():
    pursuit = Pursuit(LIMITS, SPEEDS, ACCELERATION, PERIOD_S)
    joints = np.zeros(3)
    pursuit.begin(joints)
    for _ in range(10):
        joints = joints + pursuit.step(np.ones(3), joints, led=False).wanted
    pursuit.step(np.ones(3), joints, led=False)  # And the limiter lets nothing of it through.
    assert np.abs(pursuit.step(np.ones(3), joints, led=False).wanted).max() <= CHANGE + 1e-12


def test_an_arm_that_was_led_to_its_limit_too_fast_stops_there_all_the_same():
    pursuit = Pursuit(LIMITS, SPEEDS, ACCELERATION, PERIOD_S)
    pursuit.begin(np.full(3, 1.4))
    joints = np.full(3, 1.45)  # Five times as fast as lets it stop at 1.5.
    step = pursuit.step(np.full(3, 3.0), joints, led=False)
    assert (joints + step.wanted <= 1.5).all()
    assert (step.least <= step.wanted).all()


@pytest.mark.parametrize("distance", [0.0, 1e-12])
def test_at_the_end_of_the_way_there_is_no_step(distance):
    assert stoppable(np.array(distance), CHANGE) == pytest.approx(distance)
