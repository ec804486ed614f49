import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import Side, load_kinematics
from dexhil.retarget import (
    HumanHand,
    HumanProportions,
    RetargetConfig,
    Retargeter,
    RetargetError,
    to_palm,
)
from dexhil.retarget.build import Method, Retargets, make_retargeter
from dexhil.retarget.human import POSTURES
from dexhil.retarget.keypoints import FINGERS
from dexhil.retarget.synthetic import make_clip

HANDS = ("leap", "allegro", "inspire", "shadow", "ability", "dexhand021")
HUMAN = HumanHand()
CLIP = make_clip(2, 150)
RETARGETERS = {hand: Retargeter(load_kinematics(hand)) for hand in HANDS}
FLIP = np.array([1.0, -1.0, 1.0])


def settled(retargeter: Retargeter, joint_angles: Matrix, frames: int = 60) -> Vector:
    keypoints = HUMAN.keypoints(joint_angles)
    retargeter.reset(np.zeros(len(retargeter.joint_names)))
    for _ in range(frames - 1):
        retargeter.retarget(keypoints)
    return retargeter.retarget(keypoints)


def settled_on(retargeter: Retargets, keypoints: Matrix) -> Vector:
    for _ in range(40):
        q = retargeter.retarget(keypoints)
    return q


def pinch_gap(retargeter: Retargeter, q: Vector) -> float:
    """How far the tips of thumb and index finger are apart."""
    tips = retargeter.model.tips(q)
    return float(np.linalg.norm(tips[1] - tips[0]))


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
    assert closures(retargeter, settled(retargeter, POSTURES["open"])).max() < 0.2
    assert closures(retargeter, settled(retargeter, POSTURES["fist"])).min() > 0.8


@pytest.mark.parametrize(
    ("hand", "finger", "allowed_mm"),
    [
        *((hand, finger, 5.0) for hand in ("leap", "allegro") for finger in FINGERS[1:4]),
        # Six drives: the thumb's yaw ends before it faces the outer fingers.
        ("inspire", "index", 7.0),
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
    from dexhil.retarget.kernels.held import hold

    retargeter = Retargeter(load_kinematics("leap"))
    before = retargeter.retarget(HUMAN.keypoints(POSTURES["open"]))
    task = retargeter._setup.task._replace(damping=-1.0)  # Nothing to solve.
    retargeter._held = hold(retargeter._setup._replace(task=task))
    with pytest.raises(RetargetError, match="solver failed"):
        retargeter.retarget(HUMAN.keypoints(POSTURES["fist"]))
    np.testing.assert_array_equal(retargeter._q, before)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("follow", 2.0),
        ("follow", 0.0),
        ("max_step_rad", -1.0),
        ("max_step_rad", 0.0),
        ("contact_width_m", 0.0),
        ("damping", -1.0),
        ("overlap_weight", float("nan")),
        ("pair_weight", float("inf")),
        ("steps", 0),
    ],
)
def test_a_setting_that_could_break_the_limits_or_the_solver_is_refused(
    option: str, value: float
) -> None:
    with pytest.raises(RetargetError, match=option):
        RetargetConfig(**{option: value})


def test_reset_continues_from_where_the_hand_is() -> None:
    retargeter = RETARGETERS["leap"]
    here = retargeter.model.limits.mean(axis=1)
    retargeter.reset(here)
    q = retargeter.retarget(HUMAN.keypoints(POSTURES["open"]))
    assert np.abs(q - here).max() <= RetargetConfig().max_step_rad + 1e-12
    with pytest.raises(RetargetError, match="16 finite"):
        retargeter.reset(np.full(16, np.nan))


@pytest.mark.parametrize("method", ["solver", "two-stage", "both"])
@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize("size", [0.8, 1.2])
def test_a_person_of_any_size_drives_the_robot_alike_once_measured(
    hand: str, method: Method, size: float
) -> None:
    kinematics = load_kinematics(hand)
    average = HumanProportions.measure(CLIP)
    measured = HumanProportions.measure(size * CLIP)
    ones, others = (
        make_retargeter(kinematics, method=method, human=human) for human in (average, measured)
    )
    for frame in CLIP:
        np.testing.assert_allclose(
            others.retarget(size * frame), ones.retarget(frame), rtol=0.0, atol=1e-6
        )


@pytest.mark.parametrize("method", ["solver", "both"])
@pytest.mark.parametrize("hand", HANDS)
def test_a_left_hand_does_in_the_mirror_what_a_right_one_does(hand: str, method: Method) -> None:
    right, left = (
        make_retargeter(load_kinematics(hand, side), method=method) for side in ("right", "left")
    )
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turn *= np.linalg.det(turn)
    for angles in (*POSTURES.values(), HUMAN.pinch("index")):
        keypoints = HUMAN.keypoints(angles)
        for _ in range(30):
            q = right.retarget(keypoints)
            mirrored = left.retarget(keypoints * FLIP @ turn + 0.2)
        # Reaches are sampled, and not quite alike where joints count the other way on the left.
        tips = left.model.tips(mirrored)
        np.testing.assert_allclose(tips, right.model.tips(q) * FLIP, atol=5e-4)


@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_the_other_hand_is_refused(hand: str, side: Side) -> None:
    keypoints = HUMAN.keypoints(POSTURES["grasp"])
    own, other = (keypoints, keypoints * FLIP)[:: 1 if side == "right" else -1]
    retargeter = Retargeter(load_kinematics(hand, side))
    retargeter.retarget(own)
    with pytest.raises(RetargetError, match=f"should be a {side} hand: is it the other one"):
        retargeter.retarget(other)


@pytest.mark.parametrize("hand", ["leap", "allegro", "shadow"])
@pytest.mark.parametrize("method", ["solver", "both"])
def test_a_glove_whose_thumb_is_beside_itself_pinches_once_that_is_known(
    hand: str, method: Method
) -> None:
    offset = 0.012 * np.array([0.6, -0.6, np.sqrt(0.28)])
    touching = HUMAN.keypoints(HUMAN.pinch("index"))
    shown = touching.copy()
    shown[1:5] -= offset
    human = HumanProportions(reaches=HUMAN.proportions.reaches, thumb_offset=offset)
    kinematics = load_kinematics(hand)
    plain, told, true = (
        settled_on(make_retargeter(kinematics, method=method, human=person), keypoints)
        for person, keypoints in ((None, shown), (human, shown), (None, touching))
    )
    np.testing.assert_allclose(told, true, atol=1e-9)
    gaps = [pinch_gap(RETARGETERS[hand], q) for q in (plain, told)]
    assert gaps[1] < min(0.003, gaps[0])


@pytest.mark.parametrize("hand", ["leap", "allegro", "shadow"])
@pytest.mark.parametrize("method", ["solver", "both"])
def test_a_gap_that_the_glove_shows_at_touch_is_taken_for_touch(hand: str, method: Method) -> None:
    shown = HUMAN.keypoints(HUMAN.pinch("index"))
    shown[1:5] += shown[8] - shown[4] + (0.0, 0.0, -0.018)
    gaps = np.array([0.018, 0.0, 0.0, 0.0])
    human = HumanProportions(reaches=HUMAN.proportions.reaches, touch_gaps=gaps)
    kinematics = load_kinematics(hand)
    plain, told = (
        pinch_gap(
            RETARGETERS[hand],
            settled_on(make_retargeter(kinematics, method=method, human=who), shown),
        )
        for who in (None, human)
    )
    assert told < 0.003
    assert plain > 0.005


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
from dexhil.retarget.kernels import links
assert HumanHand().keypoints(np.zeros((5, 4))).shape == (21, 3)
assert type(links.forward._cache).__name__ == "NullCache", "the cache was found after all"
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
