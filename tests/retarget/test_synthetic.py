import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dexhil.drivers.arrays import Matrix
from dexhil.retarget import HumanProportions, RetargetError, to_palm
from dexhil.retarget.keypoints import PARENTS, TIPS, handedness
from dexhil.retarget.synthetic import Profile, make_clip, sample_postures

GLOVE = make_clip(0)


def bones(clip: Matrix) -> Matrix:
    return np.asarray(np.linalg.norm(clip[:, 1:] - clip[:, PARENTS], axis=2))


def gaps(points: Matrix) -> Matrix:
    """From the thumb's tip to those of index to little finger [m]."""
    tips = points[:, TIPS]
    return np.asarray(np.linalg.norm(tips[:, 1:] - tips[:, :1], axis=2))


def bends(clip: Matrix) -> Matrix:
    """Angle between the bones at knuckle, middle and end joint of four fingers [rad]."""
    along = np.diff(clip[:, 5:].reshape(-1, 4, 4, 3), axis=2)
    first = np.zeros_like(along[:, :, :1])
    first[..., 2] = 1.0
    along = np.concatenate((first, along), axis=2)
    turned = np.arctan2(along[..., 0], along[..., 2])
    return np.asarray((np.diff(turned, axis=2) + np.pi) % (2 * np.pi) - np.pi)


@given(seed=st.integers(0, 1000), profile=st.sampled_from(["glove", "clean"]))
@settings(max_examples=10, deadline=None)
def test_bones_keep_their_length(seed: int, profile: Profile) -> None:
    lengths = bones(make_clip(seed, 60, profile=profile))
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), rtol=1e-9)


def test_a_camera_sees_bones_of_changing_length() -> None:
    spread = bones(make_clip(0, 300, profile="camera")).std(axis=0)
    assert 1e-3 < spread.mean() < 4e-3


@given(
    seed=st.integers(0, 1000),
    profile=st.sampled_from(["glove", "clean", "camera"]),
    size=st.floats(0.75, 1.25),
)
@settings(max_examples=20, deadline=None)
def test_every_frame_is_a_right_hand_in_its_palm_frame(
    seed: int, profile: Profile, size: float
) -> None:
    clip = make_clip(seed, 100, profile=profile, size=size)
    shaking = profile == "camera"
    for frame in clip:
        np.testing.assert_allclose(to_palm(frame), frame, atol=0.02 if shaking else 1e-12)
        assert shaking or handedness(frame) > 0.0
        mirrored = frame * np.array([1.0, -1.0, 1.0])
        if handedness(frame) > 1.5:
            with pytest.raises(RetargetError, match="curl away"):
                to_palm(mirrored)


def test_a_glove_pinches_with_three_fingers_and_makes_fists() -> None:
    touching = (gaps(GLOVE) < 0.015).sum(axis=0)
    assert (touching[:3] > 250).all()
    assert 900 < touching[:3].sum() < 1600
    flexion = bends(GLOVE)[:, :3].sum(axis=2)
    fists = (flexion > np.pi).all(axis=1)
    assert 250 < fists.sum() < 700
    assert 0.78 < flexion[fists].min(axis=1).mean() / np.deg2rad(270.0) < 0.90


def test_the_named_fingers_pinch_and_no_other() -> None:
    clip = make_clip(1, 2000, fingers=("little",))
    touching = (gaps(clip) < 0.012).mean(axis=0)
    assert touching[3] > 0.06
    assert touching[:3].max() < 0.5 * touching[3]


def test_a_glove_ends_at_ninety_degrees_and_a_bare_hand_does_not() -> None:
    assert bends(GLOVE).max() < np.deg2rad(90.0) + 1e-6
    assert (bends(GLOVE) > np.deg2rad(89.9)).mean() > 0.03
    assert bends(make_clip(0, profile="clean")).max() > np.deg2rad(95.0)


def test_a_glove_sends_some_frames_twice_to_the_bit() -> None:
    again = (np.diff(GLOVE, axis=0) == 0.0).all(axis=(1, 2)).mean()
    assert 0.02 < again < 0.06
    assert not (np.diff(make_clip(0, 500, profile="clean"), axis=0) == 0.0).all(axis=(1, 2)).any()


def test_a_hand_moves_smoothly_and_no_faster_than_people_do() -> None:
    clip = make_clip(0, profile="clean", size=1.0)
    speed = np.linalg.norm(np.diff(clip[:, TIPS], axis=0), axis=2) * 90.0
    jerk = np.linalg.norm(np.diff(clip[:, TIPS], 3, axis=0), axis=2)
    assert 0.1 < np.percentile(speed, 95) < 2.0
    # Its third differences are small against its steps: there is no jump and no noise.
    assert np.sqrt((jerk**2).mean()) < 0.05 * np.percentile(speed, 95) / 90.0


def test_a_seed_gives_the_same_clip_and_another_seed_another_person() -> None:
    np.testing.assert_array_equal(make_clip(3, 200), make_clip(3, 200))
    assert np.abs(bones(make_clip(3, 5))[0] - bones(make_clip(4, 5))[0]).max() > 1e-4
    first, second = (sample_postures(np.random.default_rng(5), 150) for _ in range(2))
    np.testing.assert_array_equal(first.points, second.points)


@pytest.mark.parametrize(("frames", "profile"), [(0, "glove"), (5, "mitten")])
def test_a_clip_that_cannot_be_made_is_refused(frames: int, profile: Profile) -> None:
    with pytest.raises(RetargetError, match="cannot be made"):
        make_clip(0, frames, profile=profile)


def test_postures_are_of_many_people_and_each_knows_its_own_reaches() -> None:
    sample = sample_postures(np.random.default_rng(0), 600, frames_per_person=50)
    assert sample.points.shape == (600, 21, 3)
    assert len(np.unique(sample.reaches[:, 2])) == 12
    assert sample.reaches[:, 2].min() < 0.16
    assert sample.reaches[:, 2].max() > 0.22
    for points, reaches in zip(sample.points[::25], sample.reaches[::25], strict=True):
        np.testing.assert_allclose(HumanProportions.measure(points[None]).reaches, reaches)
        np.testing.assert_allclose(to_palm(points), points, atol=1e-12)


def test_postures_to_train_on_touch_with_every_finger_and_close_to_fists() -> None:
    sample = sample_postures(np.random.default_rng(1), 3000)
    assert ((gaps(sample.points) < 0.015).mean(axis=0) > 0.03).all()
    fists = (bends(sample.points).sum(axis=2) > np.pi).all(axis=1)
    assert fists.mean() > 0.05
