import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.teleop import se3
from dexhil.teleop.errors import KinematicsError
from dexhil.teleop.ik import ArmIK

MOUNT = {"position": [0.0, 0.02, 0.1], "rpy": [0.0, 0.0, 0.3]}
ARMS = {name: ArmIK(load_kinematics(name), MOUNT) for name in ("ur5e", "fr3")}
HOMES = {  # Far from every limit [rad].
    "ur5e": np.array([0.0, -1.57, 1.57, -1.57, -1.57, 0.0]),
    "fr3": np.array([0.0, -0.3, 0.0, -2.2, 0.0, 2.0, 0.8]),
}
LIMITS = {name: load_kinematics(name).position_limits for name in ARMS}
SPEEDS = {name: load_kinematics(name).velocity_limits for name in ARMS}
arms = pytest.mark.parametrize("arm", ARMS)


def follow(arm, pose, joints, ticks):
    for _ in range(ticks):
        joints = ARMS[arm].solve(pose, joints, 1 / 30)
    return joints


@arms
def test_the_mount_moves_the_palm_but_not_the_flange(arm):
    bare = ArmIK(load_kinematics(arm), {"position": [0, 0, 0], "rpy": [0, 0, 0]})
    flange, palm = bare.fk(HOMES[arm]), ARMS[arm].fk(HOMES[arm])
    mount = se3.make_pose(MOUNT["position"], se3.from_rpy(MOUNT["rpy"]))
    np.testing.assert_allclose(palm, flange @ mount, atol=1e-9)


@arms
def test_a_pose_that_is_reached_moves_nothing(arm):
    pose = ARMS[arm].fk(HOMES[arm])
    np.testing.assert_array_equal(ARMS[arm].solve(pose, HOMES[arm], 1 / 30), HOMES[arm])


@arms
@settings(deadline=None, max_examples=30)
@given(arrays(np.float64, 6, elements=st.floats(-1, 1)))
def test_a_pose_near_by_is_reached(arm, way):
    pose = ARMS[arm].fk(HOMES[arm])
    pose = se3.make_pose(
        pose[:3, 3] + 0.08 * way[:3], pose[:3, :3] @ se3.exp_rotation(0.3 * way[3:])
    )
    joints = follow(arm, pose, HOMES[arm], 60)
    metres, radians = se3.distance(ARMS[arm].fk(joints), pose)
    assert metres < 1e-4
    assert radians < 1e-3


@arms
def test_a_moving_pose_is_followed_closely(arm):
    joints, start, errors = HOMES[arm], ARMS[arm].fk(HOMES[arm]), []
    for k in range(90):
        pose = start.copy()
        pose[:3, 3] += 0.1 * np.sin(np.array([3.0, 2.0, 2.5]) * k / 30)
        joints = ARMS[arm].solve(pose, joints, 1 / 30)
        errors.append(se3.distance(ARMS[arm].fk(joints), pose)[0])
    assert max(errors) < 1e-3


@arms
@settings(deadline=None, max_examples=60)
@given(
    arrays(np.float64, 3, elements=st.floats(-30, 30)),
    arrays(np.float64, 3, elements=st.floats(-3, 3)),
    st.integers(0, 2**32 - 1),
)
def test_no_pose_and_no_start_breaks_limits(arm, position, turn, seed):
    low, high = LIMITS[arm].T
    start = np.random.default_rng(seed).uniform(low, high)
    joints = ARMS[arm].solve(se3.make_pose(position, se3.exp_rotation(turn)), start, 1 / 30)
    assert np.isfinite(joints).all()
    assert (joints >= low).all()
    assert (joints <= high).all()
    assert (np.abs(joints - start) <= SPEEDS[arm] / 30 * (1 + 1e-6) + 1e-6).all()


@arms
def test_a_pose_out_of_reach_is_waited_for_without_running_away(arm):
    pose = ARMS[arm].fk(HOMES[arm])
    pose[:3, 3] = [0.2, 0.1, 5.0]
    joints = follow(arm, pose, HOMES[arm], 300)
    later = follow(arm, pose, joints, 30)
    assert np.abs(later - joints).max() < 0.05


@arms
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_pose_that_is_not_finite_is_refused(arm, bad):
    pose = ARMS[arm].fk(HOMES[arm])
    pose[0, 3] = bad
    with pytest.raises(KinematicsError, match="finite pose"):
        ARMS[arm].solve(pose, HOMES[arm], 1 / 30)


def test_a_table_without_a_flange_is_refused():
    with pytest.raises(KinematicsError, match="no flange"):
        ArmIK(load_kinematics("leap"), MOUNT)
