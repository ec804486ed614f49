import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dexhil.retarget import HumanHand, HumanProportions, RetargetError, palm_frame
from dexhil.retarget.human import POSTURES
from dexhil.retarget.keypoints import FINGERS, bone_lengths

HUMAN = HumanHand()


@given(angles=st.lists(st.floats(-1.0, 1.8), min_size=20, max_size=20))
@settings(max_examples=50, deadline=None)
def test_keypoints_are_in_the_palm_frame_and_bones_keep_their_length(angles: list[float]) -> None:
    points = HUMAN.keypoints(np.reshape(angles, (5, 4)))
    np.testing.assert_allclose(palm_frame(points), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(points[0], 0.0, atol=1e-15)
    straight = bone_lengths(HUMAN.keypoints(np.zeros((5, 4))))
    np.testing.assert_allclose(bone_lengths(points), straight, atol=1e-12)


def test_fingers_flex_out_of_the_palm_and_spread_to_the_thumb_side() -> None:
    straight = HUMAN.keypoints(np.zeros((5, 4)))
    for finger in range(1, 5):
        tip, knuckle = 4 + 4 * finger, 1 + 4 * finger
        for joint in (1, 2, 3):
            angles = np.zeros((5, 4))
            angles[finger, joint] = 0.5
            assert HUMAN.keypoints(angles)[tip, 0] > straight[tip, 0] + 0.005
        angles = np.zeros((5, 4))
        angles[finger, 0] = 0.3
        spread = HUMAN.keypoints(angles)
        assert spread[tip, 1] - spread[knuckle, 1] == pytest.approx(
            np.sin(0.3) * np.linalg.norm(straight[tip] - straight[knuckle])
        )


def test_a_flexed_finger_is_a_planar_chain() -> None:
    angles = np.zeros((5, 4))
    angles[2, 1:] = (0.4, 0.7, 0.2)
    points = HUMAN.keypoints(angles)[9:13]
    lengths = np.linalg.norm(np.diff(points, axis=0), axis=1)
    turned = np.cumsum(angles[2, 1:])
    expected = np.stack((np.sin(turned), np.zeros(3), np.cos(turned)), axis=1) * lengths[:, None]
    np.testing.assert_allclose(np.diff(points, axis=0), expected, atol=1e-12)


def test_opposition_brings_the_thumb_in_front_of_the_palm() -> None:
    angles = np.zeros((5, 4))
    beside = HUMAN.keypoints(angles)
    angles[0, 0] = np.pi / 2
    front = HUMAN.keypoints(angles)
    assert beside[4, 0] == pytest.approx(beside[1, 0])
    assert front[4, 1] == pytest.approx(front[1, 1])
    assert front[4, 0] > front[1, 0] + 0.1


@pytest.mark.parametrize("finger", FINGERS[1:])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_person_can_pinch_with_every_finger(finger: str, seed: int) -> None:
    hand = HumanHand(0.95, rng=np.random.default_rng(seed), jitter=0.1)
    points = hand.keypoints(hand.pinch(finger))
    gap = np.linalg.norm(points[4] - points[4 + 4 * FINGERS.index(finger)])
    assert gap < 0.003


def test_a_pinch_of_two_fingers_holds_something_thin() -> None:
    points = HUMAN.keypoints(HUMAN.pinch("index", "middle"))
    assert np.linalg.norm(points[4] - points[[8, 12]], axis=1).max() < 0.012


def test_a_fist_brings_the_tips_to_the_palm_and_open_takes_them_away() -> None:
    fist, open_hand = HUMAN.keypoints(POSTURES["fist"]), HUMAN.keypoints(POSTURES["open"])
    for finger in range(1, 5):
        tip, knuckle = 4 + 4 * finger, 1 + 4 * finger
        assert np.linalg.norm(fist[tip] - fist[knuckle]) < 0.05
        assert fist[tip, 0] > 0.01
        assert open_hand[tip, 2] - open_hand[knuckle, 2] > 0.06


def test_scale_scales_and_jitter_makes_persons_that_a_seed_brings_back() -> None:
    big = HumanHand(1.2).proportions.reaches
    np.testing.assert_allclose(big, 1.2 * HUMAN.proportions.reaches)

    def person(seed: int) -> HumanHand:
        return HumanHand(rng=np.random.default_rng(seed), jitter=0.1)

    one, again, other = (person(seed).proportions.reaches for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3


def test_jitter_without_a_generator_is_refused() -> None:
    with pytest.raises(RetargetError, match="needs an rng"):
        HumanHand(jitter=0.1)


def test_an_unknown_finger_cannot_pinch() -> None:
    with pytest.raises(RetargetError, match="cannot pinch"):
        HUMAN.pinch("pinky")


def test_proportions_are_the_median_over_frames() -> None:
    frames = np.stack([HUMAN.keypoints(POSTURES[name]) for name in ("open", "relaxed", "fist")])
    frames[1] *= 1.5  # One glitch.
    np.testing.assert_allclose(
        HumanProportions.measure(frames).reaches, HUMAN.proportions.reaches, atol=1e-12
    )


def test_proportions_of_anything_else_are_refused() -> None:
    with pytest.raises(RetargetError, match="frames, 21, 3"):
        HumanProportions.measure(np.zeros((21, 3)))
    with pytest.raises(RetargetError, match="five lengths"):
        HumanProportions(reaches=np.zeros(5))
