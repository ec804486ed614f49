from itertools import pairwise

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
ARMS = {name: ArmIK(load_kinematics(name), MOUNT) for name in ("ur5e", "fr3", "xarm7")}
HOMES = {  # Far from every limit [rad].
    "ur5e": np.array([0.0, -1.57, 1.57, -1.57, -1.57, 0.0]),
    "fr3": np.array([0.0, -0.3, 0.0, -2.2, 0.0, 2.0, 0.8]),
    "xarm7": np.array([0.0, 0.2, 0.0, 1.2, 0.0, 1.0, 0.0]),
}
LIMITS = {name: load_kinematics(name).position_limits for name in ARMS}
SPEEDS = {name: load_kinematics(name).velocity_limits for name in ARMS}
arms = pytest.mark.parametrize("arm", ARMS)


def follow(arm, pose, joints, ticks):
    return follow_with(ARMS[arm], pose, joints, ticks)


def follow_with(ik, pose, joints, ticks):
    for _ in range(ticks):
        joints = ik.solve(pose, joints, 1 / 30)
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


# -- Singularities --------------------------------------------------------------------

BESIDE = {  # One joint beside where the palm loses a direction [rad].
    "ur5e wrist": ("ur5e", 4, -0.02),
    "ur5e elbow": ("ur5e", 2, 0.16),
    "fr3 elbow": ("fr3", 3, -0.62),
    "xarm7 elbow": ("xarm7", 3, 2.59),
}
ELBOWS = {"ur5e": 2, "fr3": 3, "xarm7": 3}


@pytest.mark.parametrize("case", BESIDE)
def test_tremble_beside_a_singularity_does_not_whip_the_joints(case):
    arm, joint, angle = BESIDE[case]
    start = HOMES[arm].copy()
    start[joint] = angle
    rng, pose, joints, steps = np.random.default_rng(0), ARMS[arm].fk(start), start, []
    for _ in range(90):
        tremble = se3.make_pose(
            rng.normal(0.0, 3e-4, 3), se3.exp_rotation(rng.normal(0.0, 2e-3, 3))
        )
        before, joints = joints, ARMS[arm].solve(pose @ tremble, joints, 1 / 30)
        steps.append(joints - before)
    assert np.abs(steps).max() < 0.03
    assert np.sqrt(np.square(steps).mean()) < 0.006
    assert se3.distance(ARMS[arm].fk(joints), pose)[0] < 2e-3


def test_a_palm_is_led_through_a_wrist_singularity_along_its_way():
    start, end = (np.array([0.0, -1.57, 1.57, -1.57, wrist, 0.0]) for wrist in (-0.7, 0.7))
    ik, joints, errors, steps = ARMS["ur5e"], start, [], []
    for share in [*np.linspace(0, 1, 91), *np.ones(30), *np.linspace(1, 0, 91), *np.zeros(30)]:
        pose = se3.interpolate(ik.fk(start), ik.fk(end), share).copy()
        pose[2, 3] += 0.03 * np.sin(np.pi * share)  # Not right through it, where nothing is lost.
        before, joints = joints, ik.solve(pose, joints, 1 / 30)
        steps.append(joints - before)
        errors.append(se3.distance(ik.fk(joints), pose)[0])
    assert max(errors) < 0.06  # While the wrist turns about, at all its speed.
    assert errors[-1] < 1e-3
    turns = np.diff(np.sign(np.where(np.abs(steps) > 3e-3, steps, 0.0)), axis=0)
    assert (np.abs(turns) == 2).sum(axis=0).max() <= 2  # Once a way: no joint swings to and fro.


OUT_OF_REACH = {"and up and down": [(0.9, 0, 0), (0.9, 0, 0.9), (0.9, 0, -0.9)]}
OUT_OF_REACH["and aside"] = [(0, 0.9, 0), (0, 0.9, -0.9), (0.9, -0.9, 0)]


@arms
@pytest.mark.parametrize("way", OUT_OF_REACH)
def test_an_arm_that_was_pulled_out_of_reach_comes_back_with_its_elbow_on_the_same_side(arm, way):
    joints, start = HOMES[arm], ARMS[arm].fk(HOMES[arm])
    corners = np.array([(0, 0, 0), *OUT_OF_REACH[way], (0, 0, 0)], dtype=float)
    for here, there in pairwise(corners):
        for share in np.linspace(0, 1, 60):
            pose = start.copy()
            pose[:3, 3] += here + share * (there - here)
            joints = ARMS[arm].solve(pose, joints, 1 / 30)
    joints = follow(arm, start, joints, 60)
    assert se3.distance(ARMS[arm].fk(joints), start)[0] < 1e-3
    assert abs(joints[ELBOWS[arm]] - HOMES[arm][ELBOWS[arm]]) < 0.05


def test_a_straight_elbow_bends_when_the_palm_is_pulled_along_the_arm():
    joints = HOMES["ur5e"].copy()
    joints[ELBOWS["ur5e"]] = 0.0  # Upright: no small motion brings the palm down.
    pose = ARMS["ur5e"].fk(joints)
    pose[2, 3] -= 0.1
    reached = follow("ur5e", pose, joints, 240)
    assert se3.distance(ARMS["ur5e"].fk(reached), pose)[0] < 1e-3


# -- Collisions and walls ---------------------------------------------------------------

LEAP = load_kinematics("leap")
WITH_HAND = {
    name: ArmIK(load_kinematics(name), LEAP.extra["mount"], hand=LEAP, table_height=0.0)
    for name in ARMS
}


@arms
@pytest.mark.parametrize("into", ["itself", "the table"])
def test_a_palm_that_is_driven_into_something_stops_in_front_of_it(arm, into):
    ik, joints = WITH_HAND[arm], np.array(load_kinematics(arm).extra["home"])
    start, closest = ik.fk(joints), []
    way = {"itself": [-1.0, 0.0, -0.3], "the table": [0.0, 0.0, -1.0]}[into]
    for k in range(150):
        pose = start.copy()
        pose[:3, 3] += 0.3 * k / 30 * np.array(way)
        joints = ik.solve(pose, joints, 1 / 30)
        closest.append(ik.collision.distance(joints))
    assert min(closest) >= ik.collision.margin
    assert min(closest) < ik.collision.keep + 0.01
    still = follow_with(ik, pose, joints, 30)
    assert np.abs(ik.solve(pose, still, 1 / 30) - still).max() < 5e-3  # Nor does it rock there.


def test_a_palm_slides_along_the_walls_of_its_box():
    ik, joints = ARMS["ur5e"], HOMES["ur5e"]
    start = ik.fk(joints)
    low, high = start[:3, 3] - 0.05, start[:3, 3] + 0.05
    pose = start.copy()
    for k in range(90):
        pose[:3, 3] = start[:3, 3] + np.array([0.2, 0.1 * k / 90, 0.0])
        joints = ik.solve(pose, joints, 1 / 30, box=(low, high))
        palm = ik.fk(joints)[:3, 3]
        assert (palm >= low - 1e-3).all()
        assert (palm <= high + 1e-3).all()
    np.testing.assert_allclose(palm - start[:3, 3], [0.05, 0.05, 0.0], atol=1e-3)


def test_an_acceleration_that_is_none_is_refused():
    with pytest.raises(KinematicsError, match="must be above 0"):
        ArmIK(load_kinematics("ur5e"), MOUNT, acceleration=0.0)


def test_a_table_without_a_flange_is_refused():
    with pytest.raises(KinematicsError, match="no flange"):
        ArmIK(load_kinematics("leap"), MOUNT)
