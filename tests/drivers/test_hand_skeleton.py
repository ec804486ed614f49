"""The hand of average size that angle gloves are put on bends like a hand."""

from itertools import pairwise

import numpy as np
import pytest

from dexhil.drivers.emulators.wearer import Wearer
from dexhil.drivers.glove.sim import relaxed_hand
from dexhil.drivers.glove.skeleton import CLOSED, SPREAD, hand_keypoints

FIST = np.column_stack([np.zeros(5), CLOSED])


def bones(keypoints: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(keypoints[1:].reshape(5, 4, 3), axis=1), axis=2)


def test_a_slightly_bent_hand_is_the_relaxed_hand_but_for_its_thumb() -> None:
    angles = np.column_stack([np.zeros(5), np.full((5, 3), 0.15)])
    hand = hand_keypoints(angles, "right")
    assert np.allclose(hand[5:], relaxed_hand("right")[5:], atol=1e-9)
    assert np.allclose(hand[1:5], relaxed_hand("right")[1:5], atol=0.02)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_bones_keep_their_lengths_however_it_bends(share: float) -> None:
    assert np.allclose(bones(hand_keypoints(share * FIST, "right")), bones(relaxed_hand("right")))


def test_a_fist_brings_the_tips_to_the_palm() -> None:
    tips = hand_keypoints(FIST, "right")[[8, 12, 16, 20]]
    straight = hand_keypoints(np.zeros((5, 4)), "right")[[8, 12, 16, 20]]
    assert (tips[:, 2] < straight[:, 2] - 0.08).all()
    assert (tips[:, 0] > 0.0).all()  # On the side of the palm.


def test_the_thumb_bends_across_the_palm() -> None:
    straight, bent = (hand_keypoints(angles, "right")[4] for angles in (0 * FIST, FIST))
    assert bent[0] > straight[0]
    assert bent[1] < straight[1]


def test_spread_swings_to_the_thumb_side() -> None:
    angles = np.zeros((5, 4))
    angles[1, 0] = SPREAD
    plain = hand_keypoints(np.zeros((5, 4)), "right")
    assert hand_keypoints(angles, "right")[8, 1] > plain[8, 1] + 0.02


def test_a_left_hand_is_the_mirror_image() -> None:
    left, right = hand_keypoints(FIST, "left"), hand_keypoints(FIST, "right")
    assert np.array_equal(left * [1.0, -1.0, 1.0], right)


def test_an_unknown_angle_loses_what_hangs_on_it_and_nothing_else() -> None:
    angles = FIST.copy()
    angles[2, 2] = np.nan
    hand = hand_keypoints(angles, "right")
    assert np.isnan(hand[[11, 12]]).all()
    assert np.isfinite(np.delete(hand, [11, 12], axis=0)).all()


def test_the_wearer_opens_and_closes_and_never_holds_still() -> None:
    wearer = Wearer(np.random.default_rng(0))
    hands = []
    for _ in range(400):
        wearer.step(0.01)
        hands.append(wearer.keypoints())
    assert np.ptp([hand[8, 2] for hand in hands]) > 0.02
    assert all((a != b).any() for a, b in pairwise(hands))
    assert np.isfinite(hands).all()
