import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dexhil.teleop import se3
from dexhil.teleop.errors import KinematicsError, TeleopError
from dexhil.teleop.mapping import ArmMapping, HandMapping

vectors = arrays(np.float64, 3, elements=st.floats(-1, 1))
quaternions = arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(
    lambda q: np.linalg.norm(q) > 0.1
)
poses = st.builds(se3.from_quaternion, vectors, quaternions)
LIMITS = np.tile([0.0, 1.5], (4, 1))
joints = arrays(np.float64, 4, elements=st.floats(0.0, 1.5))
strides = st.lists(arrays(np.float64, 4, elements=st.floats(-0.3, 0.3)), max_size=30)


def anchored(x, pose_ee, pose_cube):
    mapping = ArmMapping(x)
    mapping.anchor(pose_ee, pose_cube)
    return mapping


def test_equation_3_agrees_with_the_vector_worked_by_hand():
    mapping = anchored(se3.make_pose([0.1, 0.0, 0.0]), np.eye(4), np.eye(4))
    quarter = se3.exp_rotation([0.0, 0.0, np.pi / 2])
    target = mapping.target(se3.make_pose(rotation=quarter))
    np.testing.assert_allclose(target, se3.make_pose([-0.1, 0.1, 0.0], quarter), atol=1e-15)


@given(poses, poses, poses)
def test_the_anchor_itself_maps_to_no_motion(x, pose_ee, pose_cube):
    target = anchored(x, pose_ee, pose_cube).target(pose_cube)
    np.testing.assert_allclose(target, pose_ee, atol=1e-12)


@given(poses, poses, poses, poses, poses)
def test_it_does_not_matter_where_the_camera_stands(x, pose_ee, cube, moved, camera):
    here = anchored(x, pose_ee, cube).target(moved)
    there = anchored(x, pose_ee, camera @ cube).target(camera @ moved)
    np.testing.assert_allclose(here, there, atol=1e-11)


@given(poses, poses, vectors)
def test_the_cubes_axes_move_the_end_effectors_axes(pose_ee, cube, motion):
    mapping = anchored(np.eye(4), pose_ee, cube)
    target = mapping.target(cube @ se3.make_pose(motion))
    np.testing.assert_allclose(se3.inverse(pose_ee) @ target, se3.make_pose(motion), atol=1e-12)


@given(poses, poses, poses, poses)
def test_anchoring_again_continues_from_there(x, pose_ee, cube, moved):
    mapping = anchored(x, pose_ee, cube)
    reached = mapping.target(moved)
    mapping.anchor(reached, cube)
    np.testing.assert_allclose(mapping.target(cube), reached, atol=1e-11)


scales = st.floats(0.1, 3.0)
few = settings(max_examples=30)


def scaled(scale, x, pose_ee, pose_cube):
    mapping = ArmMapping(x, scale)
    mapping.anchor(pose_ee, pose_cube)
    return mapping


@few
@given(poses, poses, poses, poses)
def test_a_scale_of_1_is_equation_3_as_published(x, pose_ee, cube, moved):
    target = scaled(1.0, x, pose_ee, cube).target(moved)
    published = pose_ee @ se3.inverse(x) @ se3.inverse(cube) @ moved @ x
    np.testing.assert_allclose(target, published, atol=1e-13)


@few
@given(scales, poses, poses, poses, poses)
def test_a_scale_stretches_the_way_from_the_anchor_and_turns_nothing(
    scale, x, pose_ee, cube, moved
):
    plain = anchored(x, pose_ee, cube).target(moved)
    target = scaled(scale, x, pose_ee, cube).target(moved)
    way, plain_way = (pose[:3, 3] - pose_ee[:3, 3] for pose in (target, plain))
    np.testing.assert_allclose(way, scale * plain_way, atol=1e-12)
    np.testing.assert_array_equal(target[:3, :3], plain[:3, :3])


@few
@given(scales, poses, poses, poses, vectors)
def test_a_scaled_motion_moves_scale_times_as_far_at_every_moment(scale, x, pose_ee, moved, motion):
    mapping = scaled(scale, x, pose_ee, np.eye(4))
    before, after = (mapping.target(moved @ se3.make_pose(k * motion)) for k in (1.0, 1.001))
    length = np.linalg.norm(after[:3, 3] - before[:3, 3])
    assert length == pytest.approx(scale * 0.001 * np.linalg.norm(motion), abs=1e-12)


@few
@given(scales, poses, poses, poses, poses)
def test_clutched_out_the_cube_may_go_anywhere_and_pressing_again_jumps_nowhere(
    scale, x, pose_ee, released, again
):
    mapping = scaled(scale, x, pose_ee, np.eye(4))
    reached = mapping.target(released)
    mapping.anchor(reached, again)  # The cube went there while nobody followed it.
    np.testing.assert_allclose(mapping.target(again), reached, atol=1e-11)


@pytest.mark.parametrize("scale", [0.0, 0.09, 3.1, -1.0, np.nan, np.inf])
def test_a_scale_nobody_can_mean_is_refused(scale):
    with pytest.raises(KinematicsError, match=r"allowed 0\.1 to 3"):
        ArmMapping(np.eye(4), scale)


def test_a_mapping_without_an_anchor_maps_nothing():
    with pytest.raises(TeleopError, match="no anchor"):
        ArmMapping(np.eye(4)).target(np.eye(4))
    with pytest.raises(TeleopError, match="no anchor"):
        HandMapping(LIMITS, 0.5).target(np.zeros(4), 0.01)


def walk(executed, retargeted, steps, rate=0.5, dt_s=1 / 90):
    """Yield (glove joints, hand joints, offset) along a walk of the glove."""
    mapping = HandMapping(LIMITS, rate)
    mapping.anchor(executed, retargeted)
    for step in [np.zeros(4), *steps]:
        retargeted = np.clip(retargeted + step, *LIMITS.T)
        yield retargeted, mapping.target(retargeted, dt_s), mapping.offset


@given(joints, joints)
def test_the_first_hand_command_is_the_last_executed(executed, retargeted):
    _, first, _ = next(walk(executed, retargeted, []))
    np.testing.assert_allclose(first, executed, atol=1e-15)


@given(joints, joints, strides)
def test_hand_commands_stay_in_range_and_the_offset_only_shrinks(executed, retargeted, steps):
    before = np.abs(executed - retargeted)
    for _, command, offset in walk(executed, retargeted, steps):
        assert (command >= 0.0).all()
        assert (command <= 1.5).all()
        assert (np.abs(offset) <= before + 1e-12).all()
        before = np.abs(offset)


@given(joints, joints, strides)
def test_a_robot_finger_never_moves_against_the_persons(executed, retargeted, steps):
    glove, command = retargeted, executed
    for new_glove, new_command, _ in walk(executed, retargeted, steps):
        assert ((new_command - command) * (new_glove - glove) >= -1e-12).all()
        glove, command = new_glove, new_command


@given(joints, joints, strides, st.floats(1e-3, 0.1), st.floats(0.0, 2.0))
def test_the_robot_follows_the_fingers_and_a_bounded_rate_no_faster(
    executed, retargeted, steps, dt_s, rate
):
    glove, command = retargeted, executed
    for new_glove, new_command, _ in walk(executed, retargeted, steps, rate, dt_s):
        moved = np.abs(new_glove - glove)
        assert (np.abs(new_command - command) <= moved + rate * dt_s + 1e-12).all()
        assert (np.abs(new_command - command) <= 1.5 * moved + 1e-12).all()
        glove, command = new_glove, new_command


@given(joints, joints, strides, arrays(np.float64, 4, elements=st.floats(-0.01, 0.01)))
def test_fingers_at_rest_pay_nothing_off_whatever_they_did_before(
    executed, retargeted, steps, tremble
):
    mapping = HandMapping(LIMITS, 0.5)
    mapping.anchor(executed, retargeted)
    for step in [*steps, np.zeros(4)]:
        retargeted = np.clip(retargeted + step, *LIMITS.T)
        command = mapping.target(retargeted, 1 / 90)
    for _ in range(5):
        np.testing.assert_allclose(mapping.target(retargeted, 1 / 90), command, atol=1e-12)
    # Nor does tremble about the place where they came to rest.
    mapping.anchor(command, retargeted)
    before = mapping.offset
    for sign in (1.0, -1.0) * 5:
        mapping.target(np.clip(retargeted + sign * tremble, *LIMITS.T), 1 / 90)
    cut_off = np.minimum(command, 1.5 - command) < 0.01  # There, the limits shrink it.
    np.testing.assert_allclose(mapping.offset[~cut_off], before[~cut_off], atol=1e-12)


@given(joints, joints, strides)
def test_one_fingers_motion_pays_for_no_other_finger(executed, retargeted, steps):
    mapping = HandMapping(LIMITS, 0.5)
    mapping.anchor(executed, retargeted)
    still = np.array([False, True, True, False])
    before = mapping.offset[still]
    for step in steps:
        retargeted = np.clip(retargeted + np.where(still, 0.0, step), *LIMITS.T)
        mapping.target(retargeted, 1 / 90)
    np.testing.assert_allclose(mapping.offset[still], before, atol=1e-12)


@given(joints, joints, strides, strides)
def test_taking_over_again_jumps_nowhere(executed, retargeted, steps, more):
    mapping = HandMapping(LIMITS, 0.5)
    mapping.anchor(executed, retargeted)
    command = executed
    for step in steps:
        retargeted = np.clip(retargeted + step, *LIMITS.T)
        command = mapping.target(retargeted, 1 / 90)
    for step in more[:1]:  # Meanwhile the policy drove elsewhere, and the person moved.
        command = np.clip(command + step, *LIMITS.T)
        retargeted = np.clip(retargeted - step, *LIMITS.T)
    mapping.anchor(command, retargeted)
    np.testing.assert_allclose(mapping.target(retargeted, 1 / 90), command, atol=1e-15)


def test_a_still_trembling_hand_pays_nothing_off():
    rng = np.random.default_rng(0)
    mapping = HandMapping(LIMITS, 0.5)
    mapping.anchor(np.full(4, 1.0), np.full(4, 0.5))
    for _ in range(900):
        mapping.target(0.5 + rng.normal(0.0, 0.003, 4), 1 / 90)
    np.testing.assert_allclose(mapping.offset, 0.5)


def test_moving_fingers_reach_the_absolute_mapping_at_a_bounded_rate():
    mapping = HandMapping(LIMITS, 0.2)
    mapping.anchor(np.full(4, 0.8), np.full(4, 0.5))
    offsets = []
    for k in range(900):
        mapping.target(0.5 + 0.3 * np.sin(3.0 * k / 90) * np.ones(4), 1 / 90)
        offsets.append(mapping.offset[0])
    assert offsets[-1] == 0.0
    assert np.abs(np.diff(offsets)).max() <= 0.2 / 90 + 1e-12


def test_a_finger_that_turns_back_at_the_limit_is_followed_at_once():
    mapping = HandMapping(LIMITS, 0.5)
    mapping.anchor(np.full(4, 1.2), np.full(4, 0.2))
    for glove in np.linspace(0.2, 1.0, 20):  # Asks for 2.0 in the end, allowed 1.5.
        at_limit = mapping.target(np.full(4, glove), 1 / 90)
    np.testing.assert_array_equal(at_limit, 1.5)
    assert (mapping.target(np.full(4, 0.95), 1 / 90) <= 1.451).all()
