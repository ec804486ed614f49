import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dexhil.drivers.arrays import Matrix
from dexhil.retarget import HumanHand
from dexhil.retarget.human import POSTURES
from dexhil.retarget.kernels import palm
from dexhil.retarget.kernels.goals import human_flexion
from dexhil.retarget.keypoints import PARENTS

HUMAN = HumanHand()
POINTS = hnp.arrays(np.float64, (21, 3), elements=st.floats(-1.0, 1.0))


@given(bends=hnp.arrays(np.float64, (4, 3), elements=st.floats(-0.4, 1.9)))
@settings(deadline=None)
def test_flexion_is_the_angle_of_each_finger_joint(bends: Matrix) -> None:
    angles = np.zeros((5, 4))
    angles[1:, 1:] = bends
    flexion = human_flexion(HUMAN.keypoints(angles)).reshape(5, 3)
    np.testing.assert_allclose(flexion[1:], bends, atol=1e-9)


def test_flexion_is_seen_from_the_side_so_that_spreading_is_none() -> None:
    angles = np.zeros((5, 4))
    angles[1:, 0] = (0.3, 0.1, -0.2, -0.4)
    flexion = human_flexion(HUMAN.keypoints(angles)).reshape(5, 3)
    np.testing.assert_allclose(flexion[1:], 0.0, atol=1e-12)


@given(points=POINTS, mirror=st.booleans())
@settings(deadline=None)
def test_the_palms_axes_are_right_handed_and_lie_in_the_palm(points: Matrix, mirror: bool) -> None:
    frame, length, width = palm.palm_frame(points, mirror)
    if length < 1e-3 or width < 1e-3:
        return
    np.testing.assert_allclose(frame.T @ frame, np.eye(3), atol=1e-9)
    assert np.linalg.det(frame) == pytest.approx(1.0)
    assert length == pytest.approx(np.linalg.norm(points[9] - points[0]))
    np.testing.assert_allclose(frame[:, 2] * length, points[9] - points[0], atol=1e-12)
    across = (points[5] - points[13]) @ frame
    assert across[0] == pytest.approx(0.0, abs=1e-9)
    assert across[1] == pytest.approx(-width if mirror else width)


@pytest.mark.parametrize("row", [9, 13])
def test_no_palm_has_no_axes_and_no_size(row: int) -> None:
    points = HUMAN.keypoints(POSTURES["open"])
    points[row] = points[0] if row == 9 else points[5]
    frame, length, width = palm.palm_frame(points, False)
    assert width == 0.0
    assert (length == 0.0) == (row == 9)
    assert not frame.any()


@given(points=POINTS)
@settings(deadline=None)
def test_points_and_bones_are_those_of_plain_numpy(points: Matrix) -> None:
    turn, _ = np.linalg.qr(np.arange(9.0).reshape(3, 3) ** 2 + np.eye(3))
    np.testing.assert_allclose(palm.in_frame(points, turn), (points - points[0]) @ turn, atol=1e-12)
    bones = np.linalg.norm(points[1:] - points[PARENTS], axis=1)
    np.testing.assert_allclose(palm.bone_lengths(points), bones, atol=1e-12)
