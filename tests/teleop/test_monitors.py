"""Samples that are fresh and finite, and still not to be believed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.teleop.config import TeleopConfig
from dexhil.teleop.monitors import (
    FrozenMonitor,
    JumpMonitor,
    PressMonitor,
    keypoint_motions,
    pose_motions,
)
from dexhil.teleop.se3 import exp_rotation, to_quaternion

SPEED, TURN_RATE = TeleopConfig().tracker_speed, TeleopConfig().tracker_turn_rate
numbers = st.floats(-1.0, 1.0)
vectors = st.tuples(numbers, numbers, numbers).map(np.array)
directions = vectors.filter(lambda v: np.linalg.norm(v) > 1e-3).map(lambda v: v / np.linalg.norm(v))
poses = st.tuples(vectors, vectors)
periods = st.floats(1e-3, 0.2)


def pose(position, turn, sign=1.0):
    return np.concatenate([position, sign * to_quaternion(exp_rotation(turn))])


def test_equal_samples_under_fresh_stamps_are_frozen_after_the_allowed_run():
    monitor = FrozenMonitor(max_samples=5, max_duration_s=10.0)
    assert [monitor.update(float(k), b"same") for k in range(7)] == [False] * 5 + [True] * 2
    assert not monitor.update(8.0, b"other")


def test_equal_samples_are_frozen_after_the_allowed_time():
    monitor = FrozenMonitor(max_samples=100, max_duration_s=0.5)
    assert not monitor.update(0.0, b"same")
    assert not monitor.update(0.5, b"same")
    assert monitor.update(0.6, b"same")


def test_reading_one_sample_often_does_not_make_it_frozen():
    monitor = FrozenMonitor(max_samples=2, max_duration_s=0.5)
    assert not any(monitor.update(1.0, b"same") for _ in range(100))


# -- Jumps ---------------------------------------------------------------------------


@given(poses, st.tuples(directions, directions), periods, st.floats(-1.0, 1.0))
def test_what_a_person_can_do_is_no_jump_and_a_quaternion_has_two_signs(start, motion, dt_s, share):
    monitor = JumpMonitor(pose_motions(SPEED, TURN_RATE))
    (position, turn), (along, about) = start, motion
    monitor.update(1.0, pose(position, turn))
    moved = position + share * SPEED * dt_s * along
    turned = exp_rotation(turn) @ exp_rotation(share * TURN_RATE * dt_s * about)
    after = np.concatenate([moved, np.copysign(1.0, share) * to_quaternion(turned)])
    assert monitor.update(1.0 + dt_s, after) is None


@given(poses, directions, periods)
def test_a_cube_that_teleports_has_jumped(start, along, dt_s):
    monitor = JumpMonitor(pose_motions(SPEED, TURN_RATE))
    monitor.update(1.0, pose(*start))
    jump = monitor.update(
        1.0 + dt_s, pose(start[0] + (SPEED * (dt_s + 0.02) + 0.03) * along, start[1])
    )
    assert jump.startswith("moved")
    assert " m in " in jump


@pytest.mark.parametrize("degrees", [35, 60, 90, 180])
def test_a_cube_that_flips_between_two_pictures_has_jumped(degrees):
    monitor = JumpMonitor(pose_motions(SPEED, TURN_RATE))
    monitor.update(1.0, pose(np.zeros(3), np.zeros(3)))
    turn = np.deg2rad(degrees) * np.array([0.0, 1.0, 0.0])
    jump = monitor.update(1.0 + 1 / 90, pose(np.zeros(3), turn))
    assert jump == f"moved {np.deg2rad(degrees):.2f} rad in 11 ms, allowed 0.57 rad"


def test_a_turn_of_50_degrees_between_two_pictures_of_a_camera_is_no_motion():
    monitor = JumpMonitor(pose_motions(SPEED, TURN_RATE))
    monitor.update(1.0, pose(np.zeros(3), np.zeros(3)))
    turned = pose(np.zeros(3), np.array([0.0, np.deg2rad(50), 0.0]))
    assert monitor.update(1.0 + 1 / 30, turned) == "moved 0.87 rad in 33 ms, allowed 0.84 rad"


def test_a_quaternion_of_zeros_is_no_turn():
    monitor = JumpMonitor(pose_motions(SPEED, TURN_RATE))
    monitor.update(1.0, np.zeros(7))
    assert monitor.update(1.1, np.zeros(7)) is not None


@given(vectors)
def test_a_hand_that_is_carried_about_has_not_jumped_but_a_finger_may(carried):
    keypoints = np.random.default_rng(0).normal(0.0, 0.1, (21, 3))
    monitor = JumpMonitor(keypoint_motions(speed=7.0))
    monitor.update(1.0, keypoints)
    assert monitor.update(1.0 + 1 / 90, keypoints + carried) is None
    torn = keypoints + carried
    torn[8] += [0.0, 0.3, 0.0]
    assert "moved 0.30 m in 11 ms, allowed 0.24 m" in monitor.update(1.0 + 2 / 90, torn)


def test_a_jump_is_told_as_long_as_its_sample_is_the_newest_and_not_again():
    monitor = JumpMonitor(pose_motions(SPEED, TURN_RATE))
    here, there = pose(np.zeros(3), np.zeros(3)), pose(np.ones(3), np.zeros(3))
    monitor.update(1.0, here)
    assert monitor.update(1.1, there)
    assert monitor.update(1.1, there)
    assert monitor.update(1.2, there) is None


def test_nothing_has_jumped_after_everything_was_forgotten():
    monitor = JumpMonitor(pose_motions(SPEED, TURN_RATE))
    monitor.update(1.0, pose(np.zeros(3), np.zeros(3)))
    monitor.clear()
    assert monitor.update(1.1, pose(np.ones(3), np.zeros(3))) is None


# -- Presses ---------------------------------------------------------------------------


def test_a_person_who_hammers_on_a_pedal_is_believed():
    monitor = PressMonitor(max_presses=8)
    assert not any(monitor.update(k / 7, {"takeover": 1}) for k in range(70))


def test_a_loose_contact_is_not_believed_until_it_was_quiet_for_a_second():
    monitor = PressMonitor(max_presses=8)
    told = [monitor.update(k / 30, {"takeover": 1}) for k in range(30)]
    assert told[:8] == [None] * 8
    assert "takeover was pressed 9 times in 1 s, allowed 8" in told[8]
    assert all(told[8:])
    assert monitor.update(1.5, {}) is not None
    assert monitor.update(2.0, {}) is None


def test_presses_of_different_buttons_are_different_presses():
    monitor = PressMonitor(max_presses=8)
    assert monitor.update(0.0, {"takeover": 5, "stop": 5}) is None
    assert monitor.update(0.1, {"takeover": 5}) is not None
