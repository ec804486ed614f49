import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.retarget import (
    HumanHand,
    HumanProportions,
    RetargetConfig,
    Retargeter,
    RetargetError,
    to_palm,
)
from dexhil.retarget.human import POSTURES
from dexhil.retarget.keypoints import FINGERS

HANDS = ("leap", "allegro", "inspire", "dexhand021")
HUMAN = HumanHand()
RETARGETERS = {hand: Retargeter(load_kinematics(hand)) for hand in HANDS}


def settled(retargeter: Retargeter, joint_angles: Matrix, frames: int = 60) -> Vector:
    keypoints = HUMAN.keypoints(joint_angles)
    retargeter.reset(np.zeros(len(retargeter.joint_names)))
    for _ in range(frames - 1):
        retargeter.retarget(keypoints)
    return retargeter.retarget(keypoints)


def closures(retargeter: Retargeter, q: Vector) -> Vector:
    """How far each finger but the thumb is closed, of what its limits or 270 degrees allow."""
    model = retargeter.model
    most = np.minimum(model.flexion_gains @ model.limits[:, 1], np.deg2rad(270.0))
    share: Vector = (model.flexion_gains @ q)[1:] / most[1:]
    return share


@pytest.mark.parametrize("hand", HANDS)
def test_targets_are_float64_in_joint_order_and_not_shared(hand: str) -> None:
    retargeter = RETARGETERS[hand]
    q = settled(retargeter, POSTURES["relaxed"])
    assert q.dtype == np.float64
    assert q.shape == (len(load_kinematics(hand).joint_names),)
    kept = q.copy()
    q[:] = 99.0
    again = retargeter.retarget(HUMAN.keypoints(POSTURES["relaxed"]))
    assert np.abs(again - kept).max() < 0.01


@pytest.mark.parametrize("hand", HANDS)
def test_an_open_hand_opens_and_a_fist_closes(hand: str) -> None:
    retargeter = RETARGETERS[hand]
    assert closures(retargeter, settled(retargeter, POSTURES["open"])).max() < 0.15
    assert closures(retargeter, settled(retargeter, POSTURES["fist"])).min() > 0.8


@pytest.mark.parametrize(
    ("hand", "finger", "allowed_mm"),
    [
        *((hand, finger, 5.0) for hand in ("leap", "allegro") for finger in FINGERS[1:4]),
        # Six drives: the thumb's yaw ends before it faces the outer fingers.
        ("inspire", "index", 6.0),
        ("inspire", "middle", 16.0),
    ],
)
def test_a_pinch_touches(hand: str, finger: str, allowed_mm: float) -> None:
    retargeter = RETARGETERS[hand]
    tips = retargeter.model.tips(settled(retargeter, HUMAN.pinch(finger)))
    row = retargeter.fingers.tolist().index(FINGERS.index(finger))
    assert 1e3 * np.linalg.norm(tips[row] - tips[0]) < allowed_mm


@pytest.mark.parametrize("hand", HANDS)
def test_a_wide_human_gap_makes_no_false_pinch(hand: str) -> None:
    retargeter = RETARGETERS[hand]
    angles = POSTURES["relaxed"]
    points = HUMAN.keypoints(angles)
    human = np.linalg.norm(points[[8, 12, 16]] - points[4], axis=1)
    assert human.min() > 0.04
    tips = retargeter.model.tips(settled(retargeter, angles))
    assert np.linalg.norm(tips[1:] - tips[0], axis=1).min() > 0.02


@pytest.mark.parametrize("hand", HANDS)
def test_closing_a_pinch_closes_the_robot_without_a_jump(hand: str) -> None:
    retargeter = RETARGETERS[hand]
    start, end = POSTURES["relaxed"], HUMAN.pinch("index")
    settled(retargeter, start)
    path = [
        retargeter.retarget(HUMAN.keypoints(start + share * (end - start)))
        for share in np.linspace(0.0, 1.0, 91)
    ]
    steps = np.abs(np.diff(path, axis=0)).max(axis=1)
    assert steps.max() < 0.1
    gaps = [np.linalg.norm(tips[1] - tips[0]) for tips in map(retargeter.model.tips, path)]
    assert gaps[-1] < 0.2 * gaps[0]


@given(
    noise=hnp.arrays(np.float64, (21, 3), elements=st.floats(-1.0, 1.0)),
    size=st.floats(0.0, 0.1),
    hand=st.sampled_from(HANDS),
)
@settings(max_examples=200, deadline=None)
def test_whatever_is_accepted_gives_finite_targets_within_limits_and_step(
    noise: Matrix, size: float, hand: str
) -> None:
    retargeter = RETARGETERS[hand]
    start = retargeter.model.limits.mean(axis=1)
    retargeter.reset(start)
    keypoints = HUMAN.keypoints(POSTURES["grasp"]) + size * noise
    try:
        q = retargeter.retarget(keypoints)
    except RetargetError:
        with pytest.raises(RetargetError):
            to_palm(keypoints)
        return
    low, high = retargeter.model.limits.T
    assert np.isfinite(q).all()
    assert (q >= low).all()
    assert (q <= high).all()
    assert np.abs(q - start).max() <= RetargetConfig().max_step_rad + 1e-12


@given(
    seed=st.integers(0, 10_000),
    closure=st.floats(0.0, 1.0),
    hand=st.sampled_from(HANDS),
)
@settings(max_examples=60, deadline=None)
def test_a_small_motion_of_the_person_is_a_small_motion_of_the_robot(
    seed: int, closure: float, hand: str
) -> None:
    retargeter = RETARGETERS[hand]
    angles = POSTURES["open"] + closure * (POSTURES["fist"] - POSTURES["open"])
    before = settled(retargeter, angles, frames=100)
    nudge = np.random.default_rng(seed).uniform(-1e-4, 1e-4, (21, 3))
    after = retargeter.retarget(HUMAN.keypoints(angles) + nudge)
    assert np.abs(after - before).max() < 0.03


@pytest.mark.parametrize("hand", HANDS)
def test_the_frame_of_the_glove_does_not_matter(hand: str) -> None:
    retargeter = RETARGETERS[hand]
    keypoints = HUMAN.keypoints(POSTURES["grasp"])
    turn = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    retargeter.reset(np.zeros(len(retargeter.joint_names)))
    expected = retargeter.retarget(keypoints)
    retargeter.reset(np.zeros(len(retargeter.joint_names)))
    np.testing.assert_allclose(retargeter.retarget(keypoints @ turn + 0.3), expected, atol=1e-9)


@pytest.mark.parametrize("hand", HANDS)
def test_equal_input_from_an_equal_start_gives_equal_output(hand: str) -> None:
    first = settled(RETARGETERS[hand], POSTURES["grasp"], frames=7)
    second = settled(Retargeter(load_kinematics(hand)), POSTURES["grasp"], frames=7)
    np.testing.assert_array_equal(first, second)


def test_a_bad_frame_raises_and_leaves_no_trace() -> None:
    retargeter = RETARGETERS["allegro"]
    good = HUMAN.keypoints(POSTURES["grasp"])
    expected = settled(retargeter, POSTURES["grasp"], frames=5)
    settled(retargeter, POSTURES["grasp"], frames=4)
    for bad in (np.full((21, 3), np.nan), good * np.array([1.0, -1.0, 1.0]), np.zeros((21, 3))):
        with pytest.raises(RetargetError):
            retargeter.retarget(bad)
    np.testing.assert_array_equal(retargeter.retarget(good), expected)


def test_a_solver_that_fails_says_so() -> None:
    config = RetargetConfig(damping=-1.0)
    with pytest.raises(RetargetError, match="solver failed"):
        Retargeter(load_kinematics("leap"), config=config)


def test_reset_continues_from_where_the_hand_is() -> None:
    retargeter = RETARGETERS["leap"]
    here = retargeter.model.limits.mean(axis=1)
    retargeter.reset(here)
    q = retargeter.retarget(HUMAN.keypoints(POSTURES["open"]))
    assert np.abs(q - here).max() <= RetargetConfig().max_step_rad + 1e-12
    with pytest.raises(RetargetError, match="16 finite"):
        retargeter.reset(np.full(16, np.nan))


def test_a_larger_person_drives_the_robot_alike_once_measured() -> None:
    large = HumanHand(1.2)
    kinematics = load_kinematics("allegro")
    measured = Retargeter(kinematics, human=HumanProportions(reaches=large.proportions.reaches))
    average = RETARGETERS["allegro"]
    average.reset(np.zeros(16))
    measured.reset(np.zeros(16))
    for _ in range(30):
        expected = average.retarget(HUMAN.keypoints(POSTURES["relaxed"]))
        q = measured.retarget(large.keypoints(POSTURES["relaxed"]))
    np.testing.assert_allclose(q, expected, atol=0.01)


def test_importing_is_light_and_nothing_needs_torch() -> None:
    code = """
import sys
import dexhil.retarget as r
assert "numba" not in sys.modules, "importing loads the compiler"
from dexhil.drivers.models.kinematics import load_kinematics
r.Retargeter(load_kinematics("inspire"))
assert "numba" in sys.modules
assert "torch" not in sys.modules, "torch was imported"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_works_where_no_compiler_cache_can_be_written(tmp_path: Path) -> None:
    # `numba` looks for a folder when it decorates; no folder is told by a RuntimeError.
    code = """
import numba.core.caching
numba.core.caching.CacheImpl._locator_classes = []
numba.core.caching.CompileResultCacheImpl._locator_classes = []
from dexhil.retarget import HumanHand
import numpy as np
from dexhil.retarget import kernels
assert HumanHand().keypoints(np.zeros((5, 4))).shape == (21, 3)
assert type(kernels.forward._cache).__name__ == "NullCache", "the cache was found after all"
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
