import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dexhil.drivers.arrays import Matrix
from dexhil.retarget import HumanHand, RetargetError, palm_frame, to_palm
from dexhil.retarget.human import POSTURES
from dexhil.retarget.keypoints import handedness

HUMAN = HumanHand()


def some_rotation(seed: int) -> Matrix:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    rotation: Matrix = q * np.sign(np.linalg.det(q))
    return rotation


@given(seed=st.integers(0, 10_000), name=st.sampled_from(sorted(POSTURES)))
@settings(max_examples=50, deadline=None)
def test_any_rigid_frame_gives_the_same_points_in_the_palm(seed: int, name: str) -> None:
    points = HUMAN.keypoints(POSTURES[name])
    rotation = some_rotation(seed)
    moved = points @ rotation.T + np.array([1.0, -2.0, 0.5])
    np.testing.assert_allclose(to_palm(moved), points, atol=1e-12)
    np.testing.assert_allclose(palm_frame(moved), rotation, atol=1e-12)


def test_axes_point_where_the_docstring_says() -> None:
    points = to_palm(HUMAN.keypoints(POSTURES["grasp"]))
    np.testing.assert_allclose(points[9, :2], 0.0, atol=1e-12)
    assert points[9, 2] > 0.08
    assert points[5, 1] > 0.0 > points[13, 1] > points[17, 1]
    assert (points[[4, 8, 12, 16, 20], 0] > 0.04).all()


@pytest.mark.parametrize("name", ["relaxed", "grasp", "fist"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_hand_is_refused_whichever_axis_was_flipped(name: str, axis: int) -> None:
    points = HUMAN.keypoints(POSTURES[name])
    points[:, axis] *= -1.0
    with pytest.raises(RetargetError, match="right hand: is it the other one"):
        to_palm(points)


@pytest.mark.parametrize("name", sorted(POSTURES))
def test_a_right_hand_is_accepted_in_every_posture(name: str) -> None:
    assert handedness(to_palm(HUMAN.keypoints(POSTURES[name]))) > 0.5


def test_a_mirror_turns_handedness_around_and_a_plane_hand_has_none() -> None:
    points = HUMAN.keypoints(POSTURES["relaxed"])
    mirrored = points * np.array([-1.0, 1.0, 1.0])
    assert handedness(mirrored) == pytest.approx(-handedness(points))
    assert handedness(points * np.array([0.0, 1.0, 1.0])) == pytest.approx(0.0, abs=1e-9)


def test_slightly_overextended_fingers_are_still_a_right_hand() -> None:
    angles = POSTURES["open"].copy()
    angles[1:, 1:] = (-0.3, -0.05, -0.1)
    to_palm(HUMAN.keypoints(angles))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("row", [0, 9, 20])
def test_a_keypoint_that_is_not_finite_is_named(value: float, row: int) -> None:
    points = HUMAN.keypoints(POSTURES["open"])
    points[row, 1] = value
    with pytest.raises(RetargetError, match=rf"not finite at \[{row}\]"):
        to_palm(points)


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(RetargetError, match=r"expected \(21, 3\)"):
        to_palm(np.zeros((20, 3)))


def test_all_points_at_one_place_are_refused() -> None:
    with pytest.raises(RetargetError, match="middle knuckle"):
        to_palm(np.ones((21, 3)))


def test_knuckles_in_one_line_span_no_palm() -> None:
    points = HUMAN.keypoints(POSTURES["open"])
    points[[5, 13]] = 0.5 * points[9]
    with pytest.raises(RetargetError, match="across the palm"):
        to_palm(points)


def test_a_bone_without_length_is_named() -> None:
    points = HUMAN.keypoints(POSTURES["open"])
    points[8] = points[7]
    with pytest.raises(RetargetError, match=r"from 7 to 8 is 0\.0 mm"):
        to_palm(points)


def test_millimetres_are_refused() -> None:
    with pytest.raises(RetargetError, match="in metres"):
        to_palm(1000.0 * HUMAN.keypoints(POSTURES["open"]))
