"""Each figure against a case small enough to know the answer beforehand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.models.kinematics import Joint, Kinematics
from dexhil.retarget import HumanProportions, RetargetError, batch
from dexhil.retarget.score import (
    FULL_RAD,
    human_flexion,
    human_row,
    score,
)

# Every finger has the bones 80, 40, 30 and 30 mm, the thumb 40, 40, 30 and 30 mm.
PERSON = HumanProportions(reaches=np.array([0.14, 0.18, 0.18, 0.18, 0.18]))


def toy(*, capsules: bool = False) -> Kinematics:
    """Return a robot with thumb, index and middle finger, each of one 100 mm link.

    Fingers bend about y by up to 90 degrees, the thumb swings about x by up to 90 degrees.
    All reach 180 mm, so the scale to `PERSON` is 1 for the fingers and 180/140 for the thumb.
    """
    places = {"thumb": (0.0, 0.03, 0.08), "index": (0.0, 0.02, 0.08), "middle": (0.0, 0.0, 0.08)}
    joints: list[Joint] = []
    for finger, place in places.items():
        axis = (1.0, 0.0, 0.0) if finger == "thumb" else (0.0, 1.0, 0.0)
        joints += [
            Joint(
                name=finger,
                urdf_name=finger,
                type="revolute",
                parent="palm",
                child=f"{finger}_link",
                position=place,
                axis=axis,
                limits=(0.0, np.pi / 2.0),
            ),
            Joint(
                name=f"{finger}_tip",
                urdf_name=f"{finger}_tip",
                type="fixed",
                parent=f"{finger}_link",
                child=f"{finger}_tip",
                position=(0.0, 0.0, 0.1),
            ),
        ]
    rod = {"type": "capsule", "from": (0.0, 0.0, 0.0), "to": (0.0, 0.0, 0.1), "radius": 0.008}
    ball = {"type": "sphere", "position": (0.0, 0.0, 0.0), "radius": 0.008}
    geoms = {f"{finger}_link": (rod,) for finger in places}
    geoms |= {f"{finger}_tip": (ball,) for finger in places}
    return Kinematics(
        model="toy",
        kind="hand",
        source="this test",
        root="palm",
        joints=tuple(joints),
        joint_names=tuple(places),
        tips={finger: f"{finger}_tip" for finger in places},
        chains={finger: (finger,) for finger in places},
        geoms=geoms if capsules else {},
    )


def robot_tips(q: Matrix) -> Matrix:
    """Return the toy's fingertips [m]. Shape (frames, 3 fingers, 3)."""
    model = toy()
    return batch.tips(model, batch.link_poses(model, np.asarray(q, dtype=np.float64)))


def person_with(tips: Matrix) -> Matrix:
    """Return keypoints, in the palm frame, with these tips of thumb, index and middle finger.

    Knuckles stay where they are, so the palm frame does too. Shape (frames, 21, 3).
    """
    points = np.zeros((len(tips), 21, 3))
    for finger, y in zip(range(1, 5), (0.02, 0.0, -0.02, -0.04), strict=True):
        for joint, z in enumerate((0.08, 0.12, 0.15, 0.18)):
            points[:, 1 + 4 * finger + joint] = (0.0, y, z)
    for joint, y in enumerate((0.02, 0.05, 0.08, 0.11)):
        points[:, 1 + joint] = (0.01, y, 0.03)
    points[:, (4, 8, 12)] = tips
    return points


def scales() -> Matrix:
    return batch.reach(toy())[:, None] / PERSON.reaches[:3, None]


def following(q: Matrix) -> Matrix:
    """Return a person whose scaled wrist vectors are exactly what the toy shows."""
    return person_with(robot_tips(q) / scales())


def steady(frames: int, *angles: float) -> Matrix:
    return np.tile(angles, (frames, 1))


def bent(frames: int, *flexions: float) -> Matrix:
    """Return a person whose four fingers bend by so much in all, evenly in three joints."""
    points = person_with(np.zeros((frames, 3, 3)))
    for finger, flexion in enumerate(flexions):
        place = points[:, 5 + 4 * finger]
        for joint in range(1, 4):
            angle = joint * flexion / 3.0
            place = place + 0.03 * np.array((np.sin(angle), 0.0, np.cos(angle)))
            points[:, 5 + 4 * finger + joint] = place
    return points


def test_a_perfect_copy_has_no_error() -> None:
    q = np.random.default_rng(0).uniform(0.1, 1.4, (40, 3))
    scores = score(q, following(q), toy(), human=PERSON)
    assert scores.wrist == pytest.approx(0.0, abs=1e-9)
    assert scores.jerk == pytest.approx(1.0)
    assert (scores.lag, scores.beyond_limits, scores.frames) == (0, 0.0, 40)
    assert scores.lag_free == pytest.approx(0.0, abs=1e-9)


def test_the_wrist_error_is_the_mean_distance_of_tips_from_the_scaled_persons() -> None:
    q = steady(5, 0.5, 0.5, 0.5)
    tips = robot_tips(q)
    tips[:, 1, 0] += 0.003
    tips[:, 2, 1] -= 0.006
    assert score(q, person_with(tips / scales()), toy(), human=PERSON).wrist == pytest.approx(0.003)


def test_the_scale_of_a_finger_is_robot_reach_by_the_clips_median_bones() -> None:
    points = bent(9, 0.0, 0.0, 0.0, 0.0)
    points[:, 1:5] = ((0.0, 0.04, 0.0), (0.0, 0.08, 0.0), (0.0, 0.11, 0.0), (0.0, 0.14, 0.0))
    longer = points.copy()
    longer[:4] *= 1.5  # Four wrong frames of nine do not move a median.
    straight = np.sqrt(0.02**2 + 0.08**2) + 0.09  # The index finger's knuckle stands aside.
    human = HumanProportions(reaches=np.array((0.14, straight, 0.17, straight, 1.0)))
    q = steady(9, 0.3, 0.3, 0.3)
    measured = score(q, longer, toy())
    given = score(q, longer, toy(), human=human)
    assert measured.wrist == pytest.approx(given.wrist)


def test_the_robots_wrist_is_where_its_table_says() -> None:
    moved = replace(toy(), extra={"wrist": (0.0, 0.0, -0.02)})
    q = steady(3, 0.5, 0.5, 0.5)
    reach = batch.reach(moved) / PERSON.reaches[:3]
    tips = (robot_tips(q) - batch.wrist(moved)) / reach[:, None]
    assert score(q, person_with(tips), moved, human=PERSON).wrist == pytest.approx(0.0, abs=1e-12)
    assert score(q, person_with(tips), toy(), human=PERSON).wrist > 0.003


def test_the_native_error_has_one_scale_for_all_fingers() -> None:
    q = steady(3, 0.5, 0.5, 0.5)
    clip = person_with(robot_tips(q) / 1.6)
    assert score(q, clip, toy(), human=PERSON, native_scale=1.6).native == pytest.approx(0.0)
    assert np.isnan(score(q, clip, toy(), human=PERSON).native)


def test_the_root_error_runs_from_knuckle_to_tip_by_the_fingers_length_ratio() -> None:
    # Person 100 mm from knuckle to tip along three bones, robot 100 mm: both straight, no error.
    q = steady(4, 0.0, 0.0, 0.0)
    points = bent(4, 0.0, 0.0, 0.0, 0.0)
    assert score(q, points, toy(), human=PERSON).root == pytest.approx(0.0, abs=1e-12)
    # A knuckle elsewhere changes the wrist vector but not the finger.
    assert score(q, points, toy(), human=PERSON).wrist > 1e-3
    # A right angle apart: the diagonal of a square of 100 mm.
    closed = score(steady(4, 0.0, np.pi / 2, np.pi / 2), points, toy(), human=PERSON)
    assert closed.root == pytest.approx(0.1 * np.sqrt(2.0))


def test_the_pair_error_takes_the_mean_scale_and_the_thumb_as_origin() -> None:
    q = steady(4, 0.4, 0.3, 0.7)
    tips = robot_tips(q)
    gaps = tips - tips[:, :1]
    clip = person_with(np.array((0.05, 0.05, 0.05)) + gaps / scales().mean())
    assert score(q, clip, toy(), human=PERSON).pair == pytest.approx(0.0, abs=1e-12)
    clip[:, 8, 0] += 0.004 / scales().mean()
    assert score(q, clip, toy(), human=PERSON).pair == pytest.approx(0.002)


def pinching(human_gap: float) -> Matrix:
    """Return a person whose index tip is so far from the thumb's; the middle finger's is 30 mm."""
    x, y, z = thumb = (0.05, 0.02, 0.08)
    return person_with(np.array([[thumb, (x + human_gap, y, z), (x, y + 0.03, z)]]))


def test_a_pinch_counts_from_15_mm_of_the_person_and_is_closed_below_20_mm() -> None:
    upright = np.zeros((1, 3))  # Robot: thumb to index 10 mm, to middle finger 30 mm.
    inside = score(upright, pinching(0.0149), toy(), human=PERSON)
    assert (inside.pinches, inside.pinch_ok) == (1, 1.0)
    assert inside.pinch_gap == pytest.approx(0.01)
    outside = score(upright, pinching(0.0151), toy(), human=PERSON)
    assert outside.pinches == 0
    assert np.isnan(outside.pinch_gap)
    assert np.isnan(outside.pinch_ok)


@pytest.mark.parametrize(("gap", "closed"), [(0.0199, 1.0), (0.0201, 0.0)])
def test_a_pinch_is_closed_below_20_mm_of_the_robot(gap: float, closed: float) -> None:
    # The index finger bends until its tip is ``gap`` from the thumb's, 10 mm of it sideways.
    angle = 2.0 * np.arcsin(np.sqrt(gap**2 - 0.01**2) / 0.2)
    scores = score(steady(1, 0.0, angle, 0.0), pinching(0.005), toy(), human=PERSON)
    assert scores.pinch_gap == pytest.approx(gap)
    assert scores.pinch_ok == closed


@pytest.mark.parametrize(
    ("human", "robot", "share"), [(0.041, 0.014, 1.0), (0.039, 0.014, np.nan), (0.041, 0.016, 0.0)]
)
def test_a_false_pinch_is_below_15_mm_while_the_person_is_40_mm_apart(
    human: float, robot: float, share: float
) -> None:
    angle = 2.0 * np.arcsin(np.sqrt(robot**2 - 0.01**2) / 0.2)
    clip = pinching(human)
    # The middle finger, 30 mm apart, must not count either way.
    scores = score(steady(1, 0.0, angle, 0.0), clip, toy(), human=PERSON)
    assert scores.false_pinch == pytest.approx(share, nan_ok=True)


def test_a_fist_is_every_finger_of_the_robots_beyond_180_degrees() -> None:
    more, less = np.deg2rad(181.0), np.deg2rad(179.0)
    q = steady(2, 0.0, 0.9, 1.2)
    # Ring and little finger of the person have no counterpart here.
    assert score(q, bent(2, more, more, 0.0, 0.0), toy(), human=PERSON).fists == 2
    assert score(q, bent(2, more, less, 0.0, 0.0), toy(), human=PERSON).fists == 0


def test_fist_is_the_closure_of_the_least_closed_finger() -> None:
    q = np.array([(0.0, 0.9, 1.2), (0.0, 1.3, 0.7)])
    scores = score(q, bent(2, 4.0, 4.0, 0.0, 0.0), toy(), human=PERSON)
    assert scores.fist == pytest.approx(0.8 / (np.pi / 2.0))


def test_closure_is_of_270_degrees_where_limits_allow_more() -> None:
    kinematics = toy()
    wide = replace(
        kinematics,
        joints=tuple(
            replace(joint, limits=(0.0, 5.0)) if joint.name == "index" else joint
            for joint in kinematics.joints
        ),
    )
    q = steady(2, 0.0, 1.0, 1.5)
    scores = score(q, bent(2, 4.0, 4.0, 0.0, 0.0), wide, human=PERSON)
    assert scores.fist == pytest.approx(1.0 / FULL_RAD)


def test_open_is_the_robots_flexion_while_the_person_is_open() -> None:
    q = np.array([(0.0, 0.2, 0.4), (0.0, 1.0, 1.0)])
    clip = np.concatenate((bent(1, 0.3, 1.5, 0.0, 0.0), bent(1, 0.3, 1.6, 0.0, 0.0)))
    assert score(q, clip, toy(), human=PERSON).open == pytest.approx(0.3)


def test_flexion_compares_closures_of_robot_and_person() -> None:
    clip = bent(3, 0.6 * FULL_RAD, 0.5 * FULL_RAD, 0.0, 0.0)
    q = steady(3, 0.0, 0.5 * np.pi / 2.0, 0.7 * np.pi / 2.0)
    assert score(q, clip, toy(), human=PERSON).flexion == pytest.approx((0.1 + 0.2) / 2.0)


def test_jerk_is_of_third_differences_against_the_scaled_person() -> None:
    rng = np.random.default_rng(2)
    q = 0.7 + 0.5 * rng.uniform(-1.0, 1.0, (50, 3))
    clip = following(q)
    assert score(q, clip, toy(), human=PERSON).jerk == pytest.approx(1.0)
    middle = clip.mean(axis=0)
    assert score(q, middle + 2.0 * (clip - middle), toy(), human=PERSON).jerk == pytest.approx(0.5)
    # A quadratic has no third difference.
    time = np.arange(50.0)[:, None, None]
    drifting = clip + 1e-5 * time**2 * np.isin(np.arange(21), (4, 8, 12))[:, None]
    assert score(q, drifting, toy(), human=PERSON).jerk == pytest.approx(1.0, rel=1e-6)


def test_steps_are_those_of_the_joint_that_moves_most() -> None:
    q = np.zeros((201, 3))
    q[1:, 1] = 0.1
    q[101:, 2] = 0.4
    q[151:, 2] = 0.1
    scores = score(q, following(q), toy(), human=PERSON)
    assert scores.step_max == pytest.approx(0.4)
    steps = np.zeros(200)
    steps[[0, 100, 150]] = 0.1, 0.4, 0.3
    assert scores.step99 == pytest.approx(np.percentile(steps, 99))


@pytest.mark.parametrize("lag", [0, 1, 5, 12])
def test_lag_is_found_and_taken_out(lag: int) -> None:
    time = np.arange(120.0)[:, None]
    q = 0.7 + 0.5 * np.sin(0.11 * time + np.array((0.0, 1.0, 2.0)))
    clip = following(q)
    late = np.concatenate((np.repeat(q[:1], lag, axis=0), q[: len(q) - lag]))
    scores = score(late, clip, toy(), human=PERSON)
    assert scores.lag == lag
    assert scores.lag_free == pytest.approx(0.0, abs=1e-9)
    assert scores.wrist == pytest.approx(0.0, abs=1e-9) if lag == 0 else scores.wrist > 1e-3


def test_an_error_without_lag_is_still_an_error_free_of_lag() -> None:
    time = np.arange(120.0)[:, None]
    q = 0.7 + 0.5 * np.sin(0.11 * time + np.array((0.0, 1.0, 2.0)))
    tips = robot_tips(q) + np.array((0.0, 0.002, 0.0))
    late = np.concatenate((np.repeat(q[:1], 4, axis=0), q[:-4]))
    scores = score(late, person_with(tips / scales()), toy(), human=PERSON)
    assert (scores.lag, scores.lag_free) == (4, pytest.approx(0.002))


def test_targets_that_run_ahead_have_no_lag() -> None:
    time = np.arange(120.0)[:, None]
    q = 0.7 + 0.5 * np.sin(0.11 * time + np.array((0.0, 1.0, 2.0)))
    assert score(q[3:], following(q)[:-3], toy(), human=PERSON).lag == 0


def test_overlap_is_capsules_deeper_than_3_mm() -> None:
    # Index and middle finger stand 20 mm apart with 8 mm capsules: never. The thumb stands
    # 10 mm beside the index finger, 6 mm deep, but both are first links; the balls at the tips
    # are not, and touch the other's rod.
    upright = np.zeros((2, 3))
    scores = score(upright, following(upright), toy(capsules=True), human=PERSON)
    assert (scores.overlap_fingers, scores.overlap_thumb) == (0.0, 1.0)
    # In half of the frames the fingers bend away from the thumb.
    q = np.array([(0.0, 0.0, 0.0), (0.0, 1.5, 1.5)])
    scores = score(q, following(q), toy(capsules=True), human=PERSON)
    assert (scores.overlap_fingers, scores.overlap_thumb) == (0.0, 0.5)


@pytest.mark.parametrize(("radius", "share"), [(0.0114, 0.0), (0.0116, 1.0)])
def test_fingers_overlap_from_3_mm_on(radius: float, share: float) -> None:
    kinematics = toy(capsules=True)
    ball = {"type": "sphere", "position": (0.0, 0.0, 0.0), "radius": radius}
    geoms = dict(kinematics.geoms) | {"index_tip": (ball,), "middle_tip": (ball,)}
    q = np.zeros((2, 3))  # The tips are 20 mm apart.
    scores = score(q, following(q), replace(kinematics, geoms=geoms), human=PERSON)
    assert scores.overlap_fingers == share


def test_targets_beyond_a_limit_are_told() -> None:
    q = np.array([(0.0, 0.0, 0.0), (0.0, -0.02, 0.0), (0.0, 0.0, np.pi / 2 + 0.05)])
    assert score(q, following(q), toy(), human=PERSON).beyond_limits == pytest.approx(0.05)
    assert score(q[:2], following(q[:2]), toy(), human=PERSON).beyond_limits == pytest.approx(0.02)


def test_frames_without_keypoints_take_no_part() -> None:
    rng = np.random.default_rng(3)
    q = rng.uniform(0.1, 1.4, (60, 3))
    clip = following(q)
    holes = clip.copy()
    holes[[0, 20, 21, 40], 3, 1] = np.nan
    spoilt = q.copy()
    spoilt[[0, 20, 21, 40]] = 99.0, np.nan, np.inf
    scores = score(spoilt, holes, toy(), human=PERSON)
    assert scores.frames == 56
    assert scores.wrist == pytest.approx(0.0, abs=1e-9)
    assert scores.jerk == pytest.approx(1.0)
    assert scores.step_max <= np.abs(np.diff(q, axis=0)).max()
    masked = score(spoilt, clip, toy(), human=PERSON, valid=np.isfinite(holes).all(axis=(1, 2)))
    assert str(masked) == str(scores)


def test_the_warm_up_takes_no_part() -> None:
    q = np.random.default_rng(4).uniform(0.1, 1.4, (60, 3))
    clip = following(q)
    q[:10] = 0.0
    assert score(q, clip, toy(), human=PERSON).wrist > 1e-3
    assert score(q, clip, toy(), human=PERSON, warm_up=10).wrist == pytest.approx(0.0, abs=1e-9)


def test_nonsense_is_refused_with_the_reason() -> None:
    q = np.full((5, 3), 0.5)
    clip = following(q)
    with pytest.raises(RetargetError, match="do not fit"):
        score(q[:4], clip, toy())
    with pytest.raises(RetargetError, match="do not fit"):
        score(q, clip[:, :20], toy())
    with pytest.raises(RetargetError, match="none of 5 frames"):
        score(q, clip, toy(), valid=np.zeros(5, np.bool_))
    q[2, 1] = np.nan
    with pytest.raises(RetargetError, match="1 of 5 valid frames are not finite"):
        score(q, clip, toy())


def test_a_mirrored_hand_is_not_a_perfect_copy() -> None:
    q = np.random.default_rng(5).uniform(0.1, 1.4, (40, 3))
    mirrored = following(q) * (1.0, -1.0, 1.0)
    assert score(q, mirrored, toy(), human=PERSON).wrist > 0.05


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_scores_do_not_depend_on_the_frame_of_the_keypoints(seed: int) -> None:
    rng = np.random.default_rng(seed)
    q = rng.uniform(0.1, 1.4, (20, 3))
    clip = following(q) + rng.normal(scale=0.002, size=(20, 21, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    moved = clip @ turn + rng.normal(size=(20, 1, 3))
    here, there = (score(q, one, toy(), native_scale=1.2) for one in (clip, moved))
    assert here.wrist == pytest.approx(there.wrist, rel=1e-6)
    assert str(here) == str(there)


def test_human_flexion_counts_beyond_a_straight_angle() -> None:
    flexions = np.array((0.3, 2.0, 3.3, 4.6))
    assert human_flexion(bent(1, *flexions))[0] == pytest.approx(flexions)


def test_a_robots_pinky_is_the_little_finger() -> None:
    assert [human_row(name) for name in ("thumb", "ring", "little", "pinky")] == [0, 3, 4, 4]
