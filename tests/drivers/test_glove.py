"""A glove's sample refuses what has another shape, and nothing else."""

import numpy as np
import pytest

from dexhil.drivers.glove import GloveObservation
from dexhil.drivers.glove.listening import HandSample

KEYPOINTS = np.zeros((21, 3))


def test_a_glove_without_a_tracker_has_no_wrist() -> None:
    sample = GloveObservation(stamp_s=0.0, keypoints=KEYPOINTS)
    assert sample.wrist_position is None
    assert sample.wrist_orientation is None


def test_the_wrist_is_copied_and_read_only() -> None:
    position = np.ones(3)
    sample = GloveObservation(stamp_s=0.0, keypoints=KEYPOINTS, wrist_position=position)
    position[0] = 5.0
    assert sample.wrist_position is not None
    assert sample.wrist_position[0] == 1.0
    assert not sample.wrist_position.flags.writeable


@pytest.mark.parametrize(
    ("field", "shape"),
    [("keypoints", (20, 3)), ("wrist_position", (4,)), ("wrist_orientation", (3,))],
)
def test_another_shape_is_refused(field: str, shape: tuple[int, ...]) -> None:
    fields = {"keypoints": KEYPOINTS, field: np.zeros(shape)}
    expected = {"keypoints": "21, 3", "wrist_position": "3,", "wrist_orientation": "4,"}[field]
    with pytest.raises(ValueError, match=rf"expected \({expected}\)"):
        GloveObservation(stamp_s=0.0, **fields)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, 10.1])
def test_a_keypoint_out_of_reach_is_lost_and_the_others_are_not(value: float) -> None:
    keypoints = KEYPOINTS.copy()
    keypoints[7, 1] = value
    sample = HandSample(keypoints=keypoints).observation(0.0)
    assert np.isnan(sample.keypoints[7]).all()
    assert np.isfinite(np.delete(sample.keypoints, 7, axis=0)).all()


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0, np.nan, np.inf, 1e300])
def test_what_is_no_unit_quaternion_is_lost(scale: float) -> None:
    for length, lost in ((scale, True), (0.998, False)):
        wxyz = np.array([0.0, 0.6, 0.0, 0.8]) * (length if np.isfinite(length) else 1.0)
        if not np.isfinite(length):
            wxyz[1] = length
        sample = HandSample(keypoints=KEYPOINTS, wrist_orientation=wxyz).observation(0.0)
        assert sample.wrist_orientation is not None
        assert np.isnan(sample.wrist_orientation).all() == lost
        assert lost or np.linalg.norm(sample.wrist_orientation) == pytest.approx(1.0)
