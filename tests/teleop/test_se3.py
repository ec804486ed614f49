import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dexhil.teleop import se3

vectors = arrays(np.float64, 3, elements=st.floats(-1.8, 1.8))
quaternions = arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(
    lambda q: np.linalg.norm(q) > 0.1
)


@st.composite
def poses(draw):
    return se3.from_quaternion(draw(vectors), draw(quaternions))


@given(poses())
def test_a_pose_times_its_inverse_is_no_motion(pose):
    np.testing.assert_allclose(pose @ se3.inverse(pose), np.eye(4), atol=1e-12)


@given(quaternions)
def test_quaternions_survive_the_matrix(quaternion):
    unit = quaternion / np.linalg.norm(quaternion)
    back = se3.to_quaternion(se3.from_quaternion(np.zeros(3), quaternion)[:3, :3])
    assert min(np.abs(back - unit).max(), np.abs(back + unit).max()) < 1e-12


@given(vectors)
def test_log_undoes_exp_below_half_a_turn(vector):
    length = np.linalg.norm(vector)
    vector = vector if length < 3.1 else vector / length * 3.1
    np.testing.assert_allclose(se3.log_rotation(se3.exp_rotation(vector)), vector, atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-8, 1e-7, 1e-4, np.pi - 1e-9, np.pi])
def test_log_has_the_right_length_at_the_awkward_angles(angle):
    turn = se3.log_rotation(se3.exp_rotation([0.0, angle, 0.0]))
    assert np.linalg.norm(turn) == pytest.approx(angle, abs=1e-12, rel=1e-9)


def test_exp_of_a_quarter_turn_about_z_takes_x_to_y():
    turned = se3.exp_rotation([0.0, 0.0, np.pi / 2]) @ [1.0, 0.0, 0.0]
    np.testing.assert_allclose(turned, [0.0, 1.0, 0.0], atol=1e-15)


def test_rpy_turns_about_fixed_axes_roll_first():
    rotation = se3.from_rpy([np.pi / 2, 0.0, np.pi / 2])
    # Roll takes y to z, which yaw leaves alone.
    np.testing.assert_allclose(rotation @ [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], atol=1e-15)


@given(poses(), poses(), st.floats(0.0, 1.0))
def test_interpolation_covers_its_share_of_the_way(start, end, fraction):
    way_m, way_rad = se3.distance(start, end)
    covered_m, covered_rad = se3.distance(start, se3.interpolate(start, end, fraction))
    assert covered_m == pytest.approx(fraction * way_m, abs=1e-9)
    assert covered_rad == pytest.approx(fraction * way_rad, abs=1e-6)


def test_interpolation_ends_exactly_at_its_ends():
    start, end = se3.make_pose([0.1, 0.2, 0.3]), se3.make_pose([1, 2, 3], se3.from_rpy([1, 2, 3]))
    assert se3.interpolate(start, end, 0.0) is start
    assert se3.interpolate(start, end, 1.0) is end


def test_a_quaternion_of_zeros_is_refused():
    with pytest.raises(ValueError, match="has length"):
        se3.from_quaternion(np.zeros(3), np.zeros(4))
