import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.models.kinematics import Kinematics, Side, load_kinematics
from dexhil.retarget import HumanHand, HumanProportions, RetargetError, to_palm
from dexhil.retarget.human import POSTURES
from dexhil.retarget.learned import LearnedMap, LearnedRetargeter
from dexhil.retarget.model import FingerModel
from dexhil.retarget.score import score
from dexhil.retarget.synthetic import make_clip

HANDS = ("leap", "allegro", "inspire", "shadow", "ability", "dexhand021")
HUMAN = HumanHand()
FLIP = np.array([1.0, -1.0, 1.0])
RETARGETERS: dict[tuple[str, Side], LearnedRetargeter] = {
    (hand, side): LearnedRetargeter(load_kinematics(hand, side))
    for hand in HANDS
    for side in ("right", "left")
}
WEIGHTS = Path(__file__).parents[2] / "retarget" / "weights"
Arrays = dict[str, npt.NDArray[Any]]


def shipped(hand: str) -> Arrays:
    with np.load(WEIGHTS / f"{hand}.npz") as file:
        return {name: file[name] for name in file.files}


def with_metadata(arrays: Arrays, **changes: object) -> Arrays:
    metadata = json.loads(str(arrays["metadata"])) | changes
    return arrays | {"metadata": np.array(json.dumps(metadata))}


@pytest.mark.parametrize(
    ("hand", "fist", "gap_mm"),
    [
        ("leap", 0.80, 6.0),
        ("allegro", 0.78, 6.0),
        ("inspire", 0.90, 25.0),
        ("shadow", 0.75, 7.0),
        ("ability", 0.85, 25.0),
        ("dexhand021", 0.75, 25.0),
    ],
)
def test_fists_close_and_pinches_touch(hand: str, fist: float, gap_mm: float) -> None:
    clip = make_clip(100, 1500)
    kinematics = load_kinematics(hand)
    human = HumanProportions.measure(clip)
    retargeter = LearnedRetargeter(kinematics, human=human)
    scores = score([retargeter.retarget(frame) for frame in clip], clip, kinematics, human=human)
    assert scores.fists > 100
    assert scores.fist > fist
    assert scores.pinches > 300
    assert 1e3 * scores.pinch_gap < gap_mm
    assert scores.false_pinch < 0.01


@given(
    noise=hnp.arrays(np.float64, (21, 3), elements=st.floats(-1.0, 1.0)),
    size=st.floats(0.0, 0.1),
    hand=st.sampled_from(HANDS),
    side=st.sampled_from(["left", "right"]),
)
@settings(max_examples=200, deadline=None)
def test_whatever_is_accepted_gives_finite_targets_within_limits(
    noise: Matrix, size: float, hand: str, side: Side
) -> None:
    retargeter = RETARGETERS[hand, side]
    keypoints = HUMAN.keypoints(POSTURES["grasp"]) * (FLIP if side == "left" else 1.0)
    keypoints = keypoints + size * noise
    try:
        q = retargeter.retarget(keypoints)
    except RetargetError:
        with pytest.raises(RetargetError):
            to_palm(keypoints, side)
        return
    low, high = retargeter.model.limits.T
    assert q.dtype == np.float64
    assert (q >= low).all()
    assert (q <= high).all()


@given(
    points=hnp.arrays(np.float64, (21, 3), elements=st.floats(-1e300, 1e300)),
    hand=st.sampled_from(HANDS),
)
@settings(max_examples=100, deadline=None)
def test_absurd_points_give_joints_within_limits_or_an_error(points: Matrix, hand: str) -> None:
    kinematics = load_kinematics(hand)
    try:
        q = MAPS[hand](points, HUMAN.proportions)
    except RetargetError:
        return
    low, high = kinematics.position_limits.T
    assert (q >= low).all()
    assert (q <= high).all()


MAPS = {hand: LearnedMap.load(load_kinematics(hand)) for hand in HANDS}


def test_points_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(RetargetError, match="no finite answer"):
        MAPS["leap"](np.full((21, 3), np.nan), HUMAN.proportions)
    with pytest.raises(RetargetError, match="not finite"):
        RETARGETERS["leap", "right"].retarget(np.full((21, 3), np.nan))


@pytest.mark.parametrize("hand", HANDS)
def test_a_left_hand_does_in_the_mirror_what_a_right_one_does(hand: str) -> None:
    right, left = RETARGETERS[hand, "right"], RETARGETERS[hand, "left"]
    for name in ("open", "grasp", "fist"):
        keypoints = HUMAN.keypoints(POSTURES[name])
        expected = right.model.tips(right.retarget(keypoints))
        tips = left.model.tips(left.retarget(keypoints * FLIP))
        np.testing.assert_allclose(tips, expected * FLIP, atol=1e-9)


@pytest.mark.parametrize("hand", HANDS)
def test_the_frame_of_the_glove_does_not_matter(hand: str) -> None:
    keypoints = HUMAN.keypoints(POSTURES["grasp"])
    turn = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    retargeter = RETARGETERS[hand, "right"]
    expected = retargeter.retarget(keypoints)
    np.testing.assert_allclose(retargeter.retarget(keypoints @ turn + 0.3), expected, atol=1e-5)


def test_a_bad_frame_leaves_no_trace_and_no_answer_is_shared() -> None:
    retargeter = RETARGETERS["leap", "right"]
    good = HUMAN.keypoints(POSTURES["grasp"])
    expected = retargeter.retarget(good)
    kept = expected.copy()
    with pytest.raises(RetargetError):
        retargeter.retarget(good * FLIP)
    retargeter.retarget(HUMAN.keypoints(POSTURES["fist"]))
    np.testing.assert_array_equal(expected, kept)
    np.testing.assert_array_equal(retargeter.retarget(good), kept)


@given(
    seed=st.integers(0, 10_000),
    closure=st.floats(0.0, 1.0),
    hand=st.sampled_from(HANDS),
)
@settings(max_examples=60, deadline=None)
def test_a_small_motion_of_the_person_is_a_small_motion_of_the_robot(
    seed: int, closure: float, hand: str
) -> None:
    retargeter = RETARGETERS[hand, "right"]
    keypoints = HUMAN.keypoints(POSTURES["open"] + closure * (POSTURES["fist"] - POSTURES["open"]))
    nudge = np.random.default_rng(seed).uniform(-1e-4, 1e-4, (21, 3))
    moved = retargeter.retarget(keypoints + nudge) - retargeter.retarget(keypoints)
    assert np.abs(moved).max() < 0.03


@pytest.mark.parametrize("size", [0.8, 1.2])
def test_a_person_of_any_size_drives_the_robot_alike_once_measured(size: float) -> None:
    person = HumanHand(size)
    for angles in (POSTURES["relaxed"], HUMAN.pinch("index")):
        q = MAPS["allegro"].of(person.proportions)(person.keypoints(angles))
        expected = MAPS["allegro"].of(HUMAN.proportions)(HUMAN.keypoints(angles))
        np.testing.assert_allclose(q, expected, atol=1e-5)


def test_a_gap_that_the_glove_shows_at_touch_is_taken_for_touch() -> None:
    angles = HUMAN.pinch("index")
    angles[1, 1] -= 0.35
    points = HUMAN.keypoints(angles)
    gap = float(np.linalg.norm(points[8] - points[4]))
    assert 0.02 < gap < 0.04
    plain = HUMAN.proportions
    told = HumanProportions(reaches=plain.reaches, touch_gaps=np.array([gap, 0.0, 0.0, 0.0]))
    model = FingerModel(load_kinematics("leap"))
    closed, apart = (model.tips(MAPS["leap"](points, human)) for human in (told, plain))
    robot = [np.linalg.norm(tips[1] - tips[0]) for tips in (closed, apart)]
    assert robot[0] < 0.7 * robot[1]


def test_the_thumbs_offset_is_added_once() -> None:
    keypoints = HUMAN.keypoints(POSTURES["relaxed"])
    offset = np.array([0.004, -0.006, 0.003])
    human = HumanProportions(reaches=HUMAN.proportions.reaches, thumb_offset=offset)
    moved = keypoints.copy()
    moved[1:5] += offset
    q = LearnedRetargeter(load_kinematics("leap"), human=human).retarget(keypoints)
    np.testing.assert_array_equal(q, MAPS["leap"].of(human)(moved))


def test_reset_checks_what_it_is_given() -> None:
    retargeter = RETARGETERS["leap", "right"]
    retargeter.reset(np.zeros(16))
    with pytest.raises(RetargetError, match="16 finite"):
        retargeter.reset(np.full(16, np.nan))


@pytest.mark.parametrize("hand", HANDS)
def test_weights_say_how_they_were_made_and_are_small(hand: str) -> None:
    metadata = MAPS[hand].metadata
    assert metadata["model"] == hand
    assert metadata["config"]["seed"] == 0
    assert metadata["config"]["steps"] > 0
    assert (WEIGHTS / f"{hand}.npz").stat().st_size < 120_000


def test_a_hand_without_weights_is_named_with_those_that_have_some() -> None:
    table = load_kinematics("leap")
    unknown = Kinematics(
        model="mitten",
        kind="hand",
        source="",
        root=table.root,
        joints=table.joints,
        joint_names=table.joint_names,
        tips=table.tips,
    )
    with pytest.raises(RetargetError, match=r"'mitten'.*'allegro'.*'leap'"):
        LearnedMap.load(unknown)


def test_weights_of_another_hand_are_refused() -> None:
    with pytest.raises(RetargetError, match="model is 'allegro', needed 'leap'"):
        LearnedMap(load_kinematics("leap"), shipped("allegro"), "x")


@pytest.mark.parametrize(
    ("key", "value"), [("format", 99), ("joint_names", ["a"]), ("kinematics", "0" * 64)]
)
def test_weights_for_another_table_of_the_hand_are_refused(key: str, value: object) -> None:
    arrays = with_metadata(shipped("leap"), **{key: value})
    with pytest.raises(RetargetError, match=f"its {key} is"):
        LearnedMap(load_kinematics("leap"), arrays, "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thumb.w1": np.zeros((3, 3), np.float32)}, r"thumb.w1 has shape \(3, 3\)"),
        ({"fingers.b2": np.full((3, 4), np.nan, np.float32)}, "fingers.b2 is not finite"),
        ({"metadata": np.array("{")}, "metadata are missing"),
    ],
)
def test_damaged_weights_are_refused(change: Arrays, message: str) -> None:
    with pytest.raises(RetargetError, match=message):
        LearnedMap(load_kinematics("leap"), shipped("leap") | change, "x")


def test_weights_that_lack_an_array_are_refused() -> None:
    arrays = shipped("leap")
    del arrays["residual.b1"]
    with pytest.raises(RetargetError, match=r"residual.b1 has shape missing"):
        LearnedMap(load_kinematics("leap"), arrays, "x")


def test_a_file_that_is_no_weights_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "leap.npz"
    path.write_bytes(b"not a zip")
    with pytest.raises(RetargetError, match="not a weights file"):
        LearnedMap.read(path, load_kinematics("leap"))


def test_importing_is_light_and_nothing_needs_torch() -> None:
    code = """
import sys
import dexhil.retarget.learned as learned
assert "numba" not in sys.modules, "importing loads the compiler"
from dexhil.drivers.models.kinematics import load_kinematics
learned.LearnedRetargeter(load_kinematics("inspire"))
assert "torch" not in sys.modules, "torch was imported"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
