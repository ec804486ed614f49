from collections.abc import Callable, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import Side, load_kinematics
from dexhil.retarget import HumanHand, RetargetError
from dexhil.retarget.calibration import (
    MIN_TOLERANCE,
    PINCHES,
    POSES,
    Calibration,
    fit_person,
)
from dexhil.retarget.human import POSTURES, HumanProportions
from dexhil.retarget.kernels.bounds import MIN_HANDEDNESS
from dexhil.retarget.keypoints import handedness
from dexhil.retarget.lengths import MAX_OFFSET_M
from dexhil.retarget.wearer import MIN_SAMPLES, Fingerprint, check_wearer

FRAMES = 36
MIRROR = {"right": np.ones(3), "left": np.array([1.0, -1.0, 1.0])}
Shown = dict[str, Matrix]


def person(seed: int = 0, size: float = 1.0, jitter: float = 0.05) -> HumanHand:
    return HumanHand(size, rng=np.random.default_rng(seed), jitter=jitter)


def shown(
    wearer: HumanHand,
    *,
    order: tuple[str, ...] = tuple(POSES),
    offset: Vector | float = 0.0,
    noise_m: float = 0.0005,
    side: Side = "right",
    seed: int = 0,
) -> Shown:
    """What a glove with a misplaced thumb shows of a person who shows poses in this order.

    The first third of each pose is still the way there, and the whole hand moves about.
    """
    rng = np.random.default_rng(seed)
    last, clips = POSTURES["relaxed"], {}
    for asked, pose in zip(POSES, order, strict=True):
        angles = wearer.pinch(pose) if pose in PINCHES else POSTURES[pose]
        shares = np.clip(np.arange(FRAMES) / (FRAMES / 3), 0.0, 1.0)[:, None, None]
        frames = np.array([wearer.keypoints(each) for each in last + shares * (angles - last)])
        frames[:, 1:5] -= offset
        frames *= MIRROR[side]
        frames += rng.normal(0.0, noise_m, frames.shape)
        clips[asked] = frames @ _some_rotation(rng)
        last = angles
    return clips


def _some_rotation(rng: np.random.Generator) -> Matrix:
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation: Matrix = q * np.sign(np.linalg.det(q))
    return rotation


@pytest.fixture(scope="module")
def calibrated() -> Calibration:
    return fit_person(shown(person(), offset=np.array([0.008, -0.004, 0.006])))


# -- What is fitted ----------------------------------------------------------------


@given(
    seed=st.integers(0, 10_000),
    size=st.floats(0.8, 1.25),
    offset_m=st.floats(0.0, 0.015),
    noise_m=st.floats(0.0, 0.002),
    side=st.sampled_from(["right", "left"]),
)
@settings(max_examples=40)
def test_fingers_and_thumb_of_any_person_are_found_in_any_glove(
    seed: int, size: float, offset_m: float, noise_m: float, side: Side
) -> None:
    wearer = person(seed, size)
    offset = offset_m * _some_rotation(np.random.default_rng(seed))[0]
    result = fit_person(shown(wearer, offset=offset, noise_m=noise_m, side=side, seed=seed), side)
    found = result.proportions
    np.testing.assert_allclose(found.reaches, wearer.proportions.reaches, rtol=0.03)
    np.testing.assert_allclose(found.thumb_offset, offset * MIRROR[side], atol=0.003)
    assert found.touch_gaps.max() < 0.006
    assert result.reach_spread.max() < 0.005


def test_the_offset_stays_within_its_bound() -> None:
    offset = np.array([0.0, 0.0, 0.030])
    found = fit_person(shown(person(), offset=offset)).proportions
    assert np.linalg.norm(found.thumb_offset) == pytest.approx(MAX_OFFSET_M)
    assert found.touch_gaps == pytest.approx([0.005] * 4, abs=0.002)


def test_only_the_steady_part_of_a_pose_counts() -> None:
    clips = shown(person(), noise_m=0.0)
    # The steady two thirds are in the middle, and the hand leaves the pose before its end.
    early = {pose: np.roll(frames, -8, axis=0) for pose, frames in clips.items()}
    expected, found = fit_person(clips).proportions, fit_person(early).proportions
    np.testing.assert_allclose(found.reaches, expected.reaches, atol=1e-6)
    np.testing.assert_allclose(found.thumb_offset, expected.thumb_offset, atol=1e-6)


def test_a_robot_hand_says_how_well_it_closes(calibrated: Calibration) -> None:
    leap = calibrated.residuals(load_kinematics("leap"))
    assert np.isnan(leap.robot_gaps).tolist() == [False, False, False, True]
    assert leap.robot_gaps[:3].max() < 0.02
    assert 0.6 < leap.robot_fist <= 1.0
    inspire = calibrated.residuals(load_kinematics("inspire"))
    assert inspire.robot_gaps[3] > 0.03, "its thumb does not reach the little finger"


def test_a_robot_closes_better_for_the_person_it_knows() -> None:
    clips = shown(person(), offset=np.array([0.012, 0.0, 0.008]))
    known = fit_person(clips)
    unknown = Calibration(
        side="right",
        proportions=HumanProportions(reaches=known.proportions.reaches),
        fingerprint=known.fingerprint,
        hands=known.hands,
        reach_spread=known.reach_spread,
        raw_gaps=known.raw_gaps,
    )
    leap = load_kinematics("leap")
    better, worse = known.residuals(leap), unknown.residuals(leap)
    assert np.nanmean(better.robot_gaps) < np.nanmean(worse.robot_gaps)


# -- What is refused ---------------------------------------------------------------


def without(pose: str, change: Callable[[Matrix], Matrix]) -> Callable[[Shown], Shown]:
    return lambda clips: {**clips, pose: change(clips[pose])}


def everywhere(change: Callable[[Matrix], Matrix]) -> Callable[[Shown], Shown]:
    return lambda clips: {pose: change(frames) for pose, frames in clips.items()}


def waved(frames: Matrix) -> Matrix:
    """The fingers close and open all the time."""
    relaxed, grasp = POSTURES["relaxed"], POSTURES["grasp"]
    shares = np.sin(np.arange(len(frames)) / 3.0)[:, None, None]
    return np.array([person().keypoints(a) for a in relaxed + shares * (grasp - relaxed)])


def creeping(frames: Matrix) -> Matrix:
    """The fingers bend slowly, too slowly to stray far while the hand should be still."""
    knuckles = np.zeros((5, 4))
    knuckles[1:, 1] = 0.9
    shares = np.linspace(0.0, 1.0, len(frames))[:, None, None]
    return np.array([person().keypoints(a) for a in POSTURES["open"] + shares * knuckles])


def lost(frames: Matrix) -> Matrix:
    return np.where(np.arange(len(frames))[:, None, None] % 2 == 0, np.nan, frames)


def wandering(frames: Matrix) -> Matrix:
    """A camera that takes this hand for half as large again across, not along."""
    stretched = np.array([frame - frame[0] for frame in frames])
    stretched[:, 5:] *= 1.15
    return stretched


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (everywhere(lambda f: f[:5]), "Open hand: 5 of 5 samples show a hand, at least 8 needed"),
        (without("fist", lambda f: f[:0]), "Fist: 0 of 0 samples"),
        (without("ring", lost), "Pinch of the ring finger: 18 of 36 .* at least 26 needed"),
        (without("open", lambda f: 0.0 * f), "Open hand: 0 of 36 samples show a hand"),
        (everywhere(lambda f: 1e200 * f), "samples show a hand|along the finger"),
        (everywhere(lambda f: 100.0 * f), r"wrist to thumb tip is .* mm.*metres"),
        (everywhere(lambda f: 0.001 * f), r"wrist to thumb tip is 0 mm.*metres"),
        (everywhere(lambda f: f * (1.0, 1.0, -1.0)), "no right hand.*handedness -"),
        (without("middle", waved), "Pinch of the middle finger: a fingertip moved by"),
        (without("open", creeping), "Open hand: a fingertip moved by (1[6-9]|2.) mm while held"),
        (without("fist", wandering), "Fist: bone lengths differ by"),
    ],
    ids=[
        "too few",
        "missing",
        "half lost",
        "all zero",
        "absurd",
        "in centimetres",
        "in kilometres",
        "mirrored",
        "waving",
        "creeping",
        "stretched",
    ],
)
def test_a_glove_that_cannot_be_believed_is_refused(
    spoil: Callable[[Shown], Shown], why: str
) -> None:
    with pytest.raises(RetargetError, match=why):
        fit_person(spoil(shown(person())))


@pytest.mark.parametrize(("shows", "asked"), [("left", "right"), ("right", "left")])
@pytest.mark.parametrize("seed", range(3))
def test_the_other_hand_is_refused_on_either_side(shows: Side, asked: Side, seed: int) -> None:
    clips = shown(person(seed), side=shows, offset=np.array([0.015, 0.0, 0.0]), noise_m=0.002)
    with pytest.raises(RetargetError, match=f"no {asked} hand.*Is the glove the {shows} one"):
        fit_person(clips, asked)


@pytest.mark.parametrize("values", [np.zeros((30, 20, 3)), np.zeros((21, 3))])
def test_samples_of_another_shape_are_refused(values: Matrix) -> None:
    with pytest.raises(RetargetError, match=r"expected \(frames, 21, 3\)"):
        fit_person({**shown(person()), "fist": values})


def test_a_glove_that_froze_half_way_is_refused() -> None:
    clips = shown(person())
    for pose in ("ring", "little"):
        clips[pose] = np.repeat(clips["middle"][-1:], FRAMES, axis=0)
    with pytest.raises(RetargetError, match=r"from pinch of the .* no fingertip moved .* frozen"):
        fit_person(clips)


@pytest.mark.parametrize(
    ("pose", "instead", "why"),
    [
        ("open", "grasp", r"Open hand: the \w+ finger bends by \d+°, at most 90° allowed"),
        ("fist", "relaxed", r"Fist: the \w+ finger bends by \d+°, at least 150° needed"),
        ("ring", "open", "Pinch of the ring finger: no finger touched the thumb; .* 15 mm"),
        ("ring", "fist", "Pinch of the ring finger: the tips are .* 15 mm allowed"),
    ],
)
def test_a_pose_that_is_not_the_one_asked_for_is_named(pose: str, instead: str, why: str) -> None:
    order = tuple(instead if each == pose else each for each in POSES)
    with pytest.raises(RetargetError, match=why):
        fit_person(shown(person(), order=order))


@given(
    order=st.tuples(*[st.sampled_from(PINCHES)] * 4),
    seed=st.integers(0, 1000),
    offset_m=st.floats(0.0, 0.015),
    size=st.floats(0.8, 1.25),
    little=st.booleans(),
)
@settings(max_examples=60)
def test_pinches_in_a_wrong_order_are_always_refused(
    order: tuple[str, ...], seed: int, offset_m: float, size: float, little: bool
) -> None:
    optional = () if little else ("little",)
    right = order == PINCHES if little else order[:3] == PINCHES[:3]
    offset = offset_m * _some_rotation(np.random.default_rng(seed))[0]
    clips = shown(person(seed, size), order=("open", "fist", *order), offset=offset, seed=seed)
    if right:
        fit_person(clips, optional=optional)
    else:
        with pytest.raises(RetargetError, match=r"touched the thumb|no fingertip moved"):
            fit_person(clips, optional=optional)


def test_two_swapped_pinches_are_both_named() -> None:
    order = ("open", "fist", "middle", "index", "ring", "little")
    with pytest.raises(
        RetargetError,
        match=(
            "Pinch of the index finger: the middle finger touched the thumb; "
            "pinch of the middle finger: the index finger touched the thumb"
        ),
    ):
        fit_person(shown(person(), order=order))


def test_only_the_pinch_that_failed_is_blamed() -> None:
    order = ("open", "fist", "index", "middle", "open", "little")
    with pytest.raises(RetargetError) as refused:
        fit_person(shown(person(), order=order))
    assert "Pinch of the ring finger" in str(refused.value)
    assert "index finger:" not in str(refused.value)
    assert "little finger:" not in str(refused.value)


def test_a_pinch_that_may_be_left_out_is_left_out_only_when_it_spoils_the_rest() -> None:
    offset = np.array([0.008, -0.004, 0.006])
    clips = shown(person(), offset=offset)
    all_four = fit_person(clips, optional=("little",))
    assert np.isfinite(all_four.raw_gaps).all()
    clips["little"] = np.full((FRAMES, 21, 3), np.nan)
    with pytest.raises(RetargetError, match="Pinch of the little finger: 0 of 36"):
        fit_person(clips)
    three = fit_person(clips, optional=("little",))
    assert np.isnan(three.raw_gaps).tolist() == [False, False, False, True]
    np.testing.assert_allclose(three.proportions.thumb_offset, offset, atol=0.002)
    assert np.isfinite(three.proportions.touch_gaps).all()


# -- Known again -------------------------------------------------------------------


def check(calibration: Calibration, keypoints: object) -> None:
    check_wearer(
        keypoints,
        side=calibration.side,
        proportions=calibration.proportions,
        fingerprint=calibration.fingerprint,
    )


@given(seed=st.integers(0, 1000), noise_m=st.floats(0.0, 0.002), size=st.floats(0.8, 1.25))
@settings(max_examples=30)
def test_the_same_person_is_known_again_in_any_pose(seed: int, noise_m: float, size: float) -> None:
    wearer = person(seed, size)
    known = fit_person(shown(wearer, noise_m=noise_m, seed=seed))
    for frames in shown(wearer, noise_m=noise_m, seed=seed + 1).values():
        check(known, frames[-15:])


@given(seed=st.integers(0, 1000), size=st.floats(0.7, 1.4))
@settings(max_examples=30)
def test_a_hand_of_another_size_is_refused_once_that_matters(seed: int, size: float) -> None:
    known = fit_person(shown(person(seed)))
    tolerance = known.fingerprint.tolerance
    assert tolerance == MIN_TOLERANCE, "a glove with fixed bones and little noise"
    bones = person(seed, size).proportions.reaches / person(seed).proportions.reaches
    np.testing.assert_allclose(bones, size)
    frames = shown(person(seed, size))["open"][-10:]
    if abs(size - 1.0) > tolerance + 0.005:
        with pytest.raises(RetargetError, match=r"bones differ by .* times as large"):
            check(known, frames)
    elif abs(size - 1.0) < tolerance - 0.005:
        check(known, frames)


def test_hands_of_one_size_but_other_proportions_are_told_apart(calibrated: Calibration) -> None:
    strangers = 0
    for seed in range(1, 11):
        try:
            check(calibrated, shown(person(seed))["open"][-10:])
        except RetargetError:
            strangers += 1
    assert strangers >= 8


def test_a_glove_whose_bones_wander_is_given_more_room() -> None:
    rng = np.random.default_rng(0)
    clips = shown(person())
    for frames in clips.values():
        frames[:] = (frames - frames[:, :1]) * (1.0 + 0.05 * rng.uniform(-1.0, 1.0))
    known = fit_person(clips)
    assert MIN_TOLERANCE < known.fingerprint.tolerance < 0.15
    check(known, 1.04 * shown(person())["open"])


def test_the_other_hand_of_the_same_person_is_refused_unless_it_is_flat(
    calibrated: Calibration,
) -> None:
    mirrored: Mapping[str, Matrix] = shown(
        person(), side="left", offset=calibrated.proportions.thumb_offset
    )
    for pose in ("fist", *PINCHES):
        with pytest.raises(RetargetError, match="no right hand"):
            check(calibrated, mirrored[pose][-10:])


def test_an_overextended_hand_is_judged_by_where_its_thumb_really_is() -> None:
    offset = np.array([0.024, 0.0, 0.0])
    known = fit_person(shown(person(), offset=offset))
    flat = np.zeros((5, 4))
    flat[0] = POSTURES["open"][0]
    flat[1:, 2:] = -0.27
    points = person().keypoints(flat)
    points[1:5] -= offset
    assert handedness(points) < MIN_HANDEDNESS, "as the glove shows it, it is another hand"
    check(known, points + np.random.default_rng(0).normal(0.0, 2e-4, (10, 21, 3)))


def test_a_few_frames_are_not_enough_to_know_anybody(calibrated: Calibration) -> None:
    frames = shown(person())["open"][-10:]
    frames[: 10 - MIN_SAMPLES + 1] = np.nan
    with pytest.raises(RetargetError, match="7 frames show a hand, at least 8 needed"):
        check(calibrated, frames)
    with pytest.raises(RetargetError, match=r"expected \(frames, 21, 3\)"):
        check(calibrated, np.zeros((10, 20, 3)))


@pytest.mark.parametrize(
    ("bones", "tolerance"),
    [(np.ones(19), 0.1), (np.zeros(20), 0.1), (np.full(20, np.nan), 0.1), (np.ones(20), np.nan)],
)
def test_a_fingerprint_that_means_nothing_is_refused(bones: Vector, tolerance: float) -> None:
    with pytest.raises(RetargetError, match="Fingerprint"):
        Fingerprint(bones=bones, tolerance=tolerance)
