"""What a retargeter may never do, whatever it is shown, and how well it follows a glove."""

import warnings
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.retarget import HumanHand, HumanProportions, RetargetError
from dexhil.retarget.build import AnyRetargeter, Method, make_retargeter
from dexhil.retarget.human import POSTURES
from dexhil.retarget.score import Scores, score
from dexhil.retarget.synthetic import make_clip

HANDS = ("leap", "allegro", "inspire", "shadow", "ability", "dexhand021")
METHODS: tuple[Method, ...] = ("solver", "two-stage", "both")
HUMAN = HumanHand()
GOOD = HUMAN.keypoints(POSTURES["grasp"])
FRAMES = 1200


@cache
def retargeter_of(hand: str, method: Method) -> AnyRetargeter:
    return make_retargeter(load_kinematics(hand), method=method)


@cache
def clip_of(person: int) -> tuple[Matrix, HumanProportions]:
    clip = make_clip(person, FRAMES)
    return clip, HumanProportions.measure(clip)


def followed(hand: str, clip: Matrix, human: HumanProportions) -> Matrix:
    """Targets of a fresh retargeter that has settled on the first frame. Errors hold the pose."""
    retargeter = make_retargeter(load_kinematics(hand), method="both", human=human)
    for _ in range(8):
        q = retargeter.retarget(clip[0])
    out = np.empty((len(clip), len(q)))
    for row, frame in enumerate(clip):
        try:
            out[row] = retargeter.retarget(frame)
        except RetargetError:
            out[row] = out[row - 1]
    return out


@cache
def undisturbed(hand: str, person: int) -> Matrix:
    return followed(hand, *clip_of(person))


# -- Any input -------------------------------------------------------------------

ODD = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e308, -1e308, 1e154, 5e-324, 2.3e-308, 1e-160]
ANYTHING = hnp.arrays(
    np.float64, (21, 3), elements=st.sampled_from(ODD) | st.floats() | st.floats(-0.1, 0.1)
)


@st.composite
def spoilt_hands(draw: st.DrawFn) -> Matrix:
    """A hand of any size and place of which some coordinates are anything."""
    points = GOOD * draw(st.sampled_from([1.0, 0.8, 1.2, 0.05, 1000.0]))
    points += draw(st.sampled_from([0.0, 0.5, 1e6, 1e12, 1e300]))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, 20)), draw(st.integers(0, 2))
        points[place] = draw(st.sampled_from(ODD) | st.floats() | st.floats(-0.2, 0.2))
    return points


@given(
    keypoints=ANYTHING | spoilt_hands(),
    hand=st.sampled_from(HANDS),
    method=st.sampled_from(METHODS),
)
@settings(max_examples=600, deadline=None)
def test_whatever_is_shown_gives_targets_within_limits_or_an_error_without_a_trace(
    keypoints: Matrix, hand: str, method: Method
) -> None:
    retargeter = retargeter_of(hand, method)
    low, high = retargeter.model.limits.T
    start = 0.7 * low + 0.3 * high
    retargeter.reset(start)
    expected = retargeter.retarget(GOOD)
    retargeter.reset(start)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            q = retargeter.retarget(keypoints)
        except RetargetError:
            np.testing.assert_array_equal(retargeter.retarget(GOOD), expected)
            return
    assert np.isfinite(q).all()
    assert (q >= low).all()
    assert (q <= high).all()


# -- One wrong frame -------------------------------------------------------------


def spoilt(clip: Matrix, how: str) -> tuple[Matrix, list[int]]:
    """A clip with twelve single wrong frames, and which they are."""
    rng = np.random.default_rng(0)
    out, rows = clip.copy(), list(range(50, FRAMES, 100))
    for row in rows:
        if how == "another posture":
            out[row] = clip[(row + FRAMES // 2) % FRAMES]
        elif how == "noise":
            out[row] += rng.normal(scale=0.01, size=(21, 3))
        elif how == "another size":
            out[row] *= 1.3
        else:
            out[row] = clip[int(np.linalg.norm(clip - clip[row], axis=2).mean(axis=1).argmax())]
    return out, rows


@pytest.mark.parametrize("how", ["another posture", "noise", "another size", "the farthest"])
@pytest.mark.parametrize(
    ("hand", "person"),
    [
        ("leap", 0),
        ("allegro", 1),
        ("inspire", 1),
        ("shadow", 1),
        ("ability", 1),
        ("dexhand021", 1),
    ],
)
def test_a_wrong_frame_is_forgotten_within_three(hand: str, person: int, how: str) -> None:
    forgets(hand, person, how)


def test_a_wrong_frame_is_forgotten_within_three_even_where_joints_are_at_their_fastest() -> None:
    forgets("leap", 1, "the farthest")


def forgets(hand: str, person: int, how: str) -> None:
    clip, human = clip_of(person)
    wrong, rows = spoilt(clip, how)
    off = np.abs(followed(hand, wrong, human) - undisturbed(hand, person)).max(axis=1) > 0.05
    assert off.mean() <= 0.05
    assert off.any(), "the glitches had no effect"
    for row in rows:
        assert not off[row + 4 : row + 100].any()


# -- Continuity ------------------------------------------------------------------


@given(
    hand=st.sampled_from(HANDS),
    frame=st.integers(0, FRAMES - 1),
    seed=st.integers(0, 2**32 - 1),
    nudge_m=st.floats(1e-6, 2e-3),
)
@settings(max_examples=200, deadline=None)
def test_the_learned_map_turns_no_joint_by_more_than_500_rad_per_metre(
    hand: str, frame: int, seed: int, nudge_m: float
) -> None:
    retargeter, keypoints = retargeter_of(hand, "two-stage"), clip_of(0)[0][frame]
    nudge = np.random.default_rng(seed).uniform(-nudge_m, nudge_m, (21, 3))
    moved = retargeter.retarget(keypoints + nudge) - retargeter.retarget(keypoints)
    assert np.abs(moved).max() <= 500.0 * nudge_m + 1e-5  # The networks count in single precision.


@cache
def jumps(hand: str) -> Vector:
    """How far the targets move when a tenth of a millimetre is added, along a clip [rad]."""
    rng = np.random.default_rng(0)
    clip = make_clip(1, 700, profile="clean")
    retargeter = make_retargeter(
        load_kinematics(hand), method="both", human=HumanProportions.measure(clip)
    )
    out, q = np.empty(len(clip)), retargeter.retarget(clip[0])
    for row, frame in enumerate(clip):
        nudged = retargeter.retarget(frame + rng.uniform(-1e-4, 1e-4, (21, 3)))
        retargeter.reset(q)
        q = retargeter.retarget(frame)
        out[row] = np.abs(nudged - q).max()
    return out


@pytest.mark.parametrize("hand", HANDS)
def test_a_tenth_of_a_millimetre_hardly_moves_a_joint_in_most_frames(hand: str) -> None:
    assert np.median(jumps(hand)) < 0.01
    assert np.percentile(jumps(hand), 95) < 0.03


BASINS = pytest.mark.xfail(
    reason="One frame: the axes of two links cross, and to which side they part hangs on a hair.",
    strict=True,
)


@pytest.mark.parametrize(
    "hand",
    [
        "leap",
        "allegro",
        "inspire",
        pytest.param("shadow", marks=BASINS),
        "ability",
        "dexhand021",
    ],
)
def test_a_tenth_of_a_millimetre_hardly_moves_a_joint_in_any_frame(hand: str) -> None:
    assert jumps(hand).max() < 0.05


# -- A glove's clip --------------------------------------------------------------


@cache
def scores_of(hand: str) -> list[Scores]:
    """Three people in gloves."""
    return [
        score(undisturbed(hand, person), *clip_of(person)[:1], load_kinematics(hand))
        for person in range(3)
    ]


def mean(hand: str, figure: str) -> float:
    return float(np.mean([getattr(scores, figure) for scores in scores_of(hand)]))


@pytest.mark.parametrize(
    ("hand", "fist", "wrist_mm"),
    [("leap", 0.80, 9.2), ("allegro", 0.77, 9.7), ("shadow", 0.77, 7.1)],
)
def test_fists_close_while_fingertips_stay_on_their_way(
    hand: str, fist: float, wrist_mm: float
) -> None:
    assert min(scores.fists for scores in scores_of(hand)) > 50
    assert mean(hand, "fist") >= fist
    assert 1e3 * mean(hand, "wrist") <= wrist_mm


@pytest.mark.parametrize(("hand", "gap_mm"), [("leap", 5.0), ("allegro", 5.0), ("shadow", 6.0)])
def test_pinches_close_and_nothing_else_does(hand: str, gap_mm: float) -> None:
    assert min(scores.pinches for scores in scores_of(hand)) > 100
    assert 1e3 * mean(hand, "pinch_gap") <= gap_mm
    assert mean(hand, "pinch_ok") >= 0.99
    assert mean(hand, "false_pinch") <= 0.001


@pytest.mark.parametrize("hand", ["leap", "allegro", "shadow"])
def test_fingers_overlap_in_few_frames(hand: str) -> None:
    assert mean(hand, "overlap_fingers") <= 0.05
