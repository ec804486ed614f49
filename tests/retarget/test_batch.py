"""Whole clips at once: the same as frame by frame, in the mirror, and in the solver."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.models.kinematics import Kinematics, load_kinematics
from dexhil.retarget import HumanHand, batch, to_palm
from dexhil.retarget.human import POSTURES
from dexhil.retarget.model import FingerModel
from dexhil.retarget.score import palm_points, score

HANDS = ("leap", "allegro", "inspire", "shadow", "ability", "dexhand021")


@pytest.mark.parametrize("side", ["right", "left"])
def test_all_frames_at_once_are_in_the_palm_frame_of_one(side: str) -> None:
    clip = np.array([HumanHand().keypoints(posture) for posture in POSTURES.values()])
    if side == "left":
        clip = clip * (1.0, -1.0, 1.0)
    turn, _ = np.linalg.qr(np.random.default_rng(6).normal(size=(3, 3)))
    clip = clip @ (turn * np.sign(np.linalg.det(turn))) + 0.3
    expected = [to_palm(frame, side) for frame in clip]  # type: ignore[arg-type]
    assert palm_points(clip, side) == pytest.approx(np.array(expected), abs=1e-12)  # type: ignore[arg-type]


def test_a_left_hand_scores_as_its_mirror_image() -> None:
    right, left = load_kinematics("allegro"), load_kinematics("allegro", "left")
    low, high = right.position_limits.T
    q = np.random.default_rng(7).uniform(low, high, (10, len(low)))
    clip = np.array([HumanHand().keypoints(POSTURES["grasp"])] * 10)
    mirrored = batch.tips(right, batch.link_poses(right, q)) * (1.0, -1.0, 1.0)
    theirs = batch.link_poses(left, _mirrored_targets(right, left, q))
    assert batch.tips(left, theirs) == pytest.approx(mirrored, abs=1e-9)
    here = score(q, clip, right)
    there = score(_mirrored_targets(right, left, q), clip * (1.0, -1.0, 1.0), left)
    assert there.wrist == pytest.approx(here.wrist, rel=1e-4)  # Its reach is sampled.
    assert there.fists == here.fists


def _mirrored_targets(right: Kinematics, left: Kinematics, q: Matrix) -> Matrix:
    """Return the left hand's joints in the mirror image; its table may turn an axis round."""
    out = np.zeros_like(q)
    for finger, chain in right.chains.items():
        for one, other in zip(chain, left.chains[finger], strict=True):
            # An axis is a pseudovector: what stays in the mirror is its component along y.
            mirrored = np.array(right.joint(one).axis) * (-1.0, 1.0, -1.0)
            sense = float(np.sign(mirrored @ left.joint(other).axis))
            out[:, left.joint_names.index(other)] = sense * q[:, right.joint_names.index(one)]
    return out


@pytest.mark.parametrize("hand", HANDS)
def test_kinematics_in_numpy_agree_with_those_of_the_solver(hand: str) -> None:
    kinematics = load_kinematics(hand)
    model, wrist = FingerModel(kinematics), batch.wrist(kinematics)
    low, high = kinematics.position_limits.T
    q = np.random.default_rng(8).uniform(low, high, (20, len(low)))
    tips = batch.tips(kinematics, batch.link_poses(kinematics, q))
    assert tips == pytest.approx(np.array([model.tips(row) - wrist for row in q]), abs=1e-9)
    assert batch.reach(kinematics) == pytest.approx(model.reach(wrist), rel=0.005)
    assert batch.flexion_gains(kinematics) == pytest.approx(model.flexion_gains)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_segments_are_as_far_apart_as_their_nearest_points(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.normal(size=(2, 1, 2, 3))
    if seed % 5 == 0:
        other[:, 1] = other[:, 0]  # A sphere.
    if seed % 7 == 0:
        other[:, 1] = other[:, 0] + one[:, 1] - one[:, 0]  # Parallel.
    shares = np.linspace(0.0, 1.0, 201)[:, None]
    first = one[0, 0] + shares * (one[0, 1] - one[0, 0])
    second = other[0, 0] + shares * (other[0, 1] - other[0, 0])
    nearest = np.linalg.norm(first[:, None] - second[None], axis=2).min()
    found = batch.segment_distance(one, other)[0]
    assert found <= nearest + 1e-9
    assert found == pytest.approx(nearest, abs=0.02)
