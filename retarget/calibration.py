"""From six poses of a person in a glove to proportions, or the reason why not.

The person shows an open hand, a fist, and the thumb touching each finger in turn. The
poses say how long the fingers are, and where the glove misplaces the thumb: thumb and
finger really meet in a pinch, so the offset o that the glove's thumb needs solves

    min_o  sum_f |tip_f - (tip_thumb + o)|^2   in the pinch of each finger f, |o| <= 25 mm

What is left of each gap is what "touching" looks like in this glove on this person.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix, Vector, freeze_fields
from dexhil.drivers.models.kinematics import Kinematics, Side
from dexhil.retarget.build import make_retargeter
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.human import HumanProportions
from dexhil.retarget.keypoints import FINGERS, TIPS, bone_lengths
from dexhil.retarget.lengths import (
    MAX_OFFSET_M,
    MAX_TOUCH_GAP_M,
    check_proportions,
    reaches_seen,
)
from dexhil.retarget.score import FULL_RAD, human_flexion
from dexhil.retarget.wearer import (
    MIN_SAMPLES,
    Fingerprint,
    check_side,
    corrected,
    median_bones,
    tracked,
)

PINCHES: Final = FINGERS[1:]
POSES: Final = {
    "open": "open hand",
    "fist": "fist",
    **{finger: f"pinch of the {finger} finger" for finger in PINCHES},
}
"""What to show, in this order, and what messages call it."""

MIN_TRACKED: Final = 0.7
"""Share of a pose's samples in which the glove must see the hand."""
MAX_MOTION_M: Final = 0.015
"""How far a fingertip may wander while the hand is held still [m]."""
MIN_CHANGE_M: Final = 0.005
"""How far some fingertip goes from one pose to the next at the least [m]."""
OPEN_RAD: Final = np.deg2rad(90.0)
"""No finger of an open hand bends further, in all its joints together [rad]."""
FIST_RAD: Final = np.deg2rad(150.0)
"""Every finger of a fist bends further [rad]."""
MAX_SPREAD: Final = 0.10
"""How much bone lengths of one pose may differ from those of all poses."""
MIN_TOLERANCE: Final = 0.03
"""People whose hands differ by less need no calibration of their own."""

# How surprising a gap that is left and an offset are [m], to tell which finger was pinched.
_GAP_SIGMA_M: Final = 0.004
_OFFSET_SIGMA_M: Final = 0.010
_SURE: Final = 4.0  # Another reading must be better by this much, in squared sigmas.
_SETTLE: Final = 40  # Frames that a robot hand gets to reach a pose.


class _Problem(NamedTuple):
    """What is wrong with a pose, and what to do."""

    measured: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Residuals:
    """How good a calibration is.

    Attributes:
        reach_spread: Standard deviation of each finger's length over the poses [m]. Shape (5,).
        raw_gaps: Between the tips of each pinch as the glove shows it [m]. Shape (4,).
        robot_gaps: Between the robot's tips in each pinch [m]; NaN without that finger.
            Shape (4,).
        robot_fist: How far the robot's fist closes, of its least closed finger; 1 is fully.
    """

    reach_spread: Vector
    raw_gaps: Vector
    robot_gaps: Vector
    robot_fist: float

    def __post_init__(self) -> None:
        freeze_fields(self, "reach_spread", "raw_gaps", "robot_gaps")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """What the poses of one person in one glove say.

    Attributes:
        side: Which hand.
        proportions: For the retargeter.
        fingerprint: To know the person again.
        hands: Keypoints of each pose, in the palm frame, as the glove shows them [m].
            Each of shape (21, 3). Without the pinch that was left out, if one was.
        reach_spread: As in `Residuals`.
        raw_gaps: As in `Residuals`; NaN for a pinch that was left out.
    """

    side: Side
    proportions: HumanProportions
    fingerprint: Fingerprint
    hands: Mapping[str, Matrix]
    reach_spread: Vector
    raw_gaps: Vector

    def residuals(self, kinematics: Kinematics) -> Residuals:
        """Have a robot hand of the same side follow the poses and say how well it closes.

        Raises:
            RetargetError: It cannot follow one.
        """
        retargeter = make_retargeter(kinematics, human=self.proportions)
        robot = retargeter.model
        gaps, fist = np.full(4, np.nan), np.nan
        for pose, hand in self.hands.items():
            for _ in range(_SETTLE):
                q = retargeter.retarget(hand)
            if pose == "fist":
                full = np.maximum(robot.flexion_gains * robot.limits.T[:, None], 0.0).max(axis=0)
                full = np.minimum(full.sum(axis=1), FULL_RAD)[1:]
                fist = float(((robot.flexion_gains @ q)[1:] / full).min())
            elif pose in PINCHES and FINGERS.index(pose) in retargeter.fingers:
                row = retargeter.fingers.tolist().index(FINGERS.index(pose))
                tips = robot.tips(q)
                gaps[PINCHES.index(pose)] = np.linalg.norm(tips[row] - tips[0])
        return Residuals(
            reach_spread=self.reach_spread,
            raw_gaps=self.raw_gaps,
            robot_gaps=gaps,
            robot_fist=fist,
        )


def fit_person(
    samples: Mapping[str, npt.ArrayLike], side: Side = "right", *, optional: Collection[str] = ()
) -> Calibration:
    """Fit a person's proportions to samples of the six poses.

    Args:
        samples: Keypoints of each of `POSES`, as evenly spaced in time as the glove gives
            them, in any rigid frame [m]. NaN where it lost track. Each of shape
            (frames, 21, 3); in the same rigid frame or not.
        side: Which hand.
        optional: Pinches that may be left out when they spoil the rest, e.g. that of the
            little finger for a robot hand without one.

    Raises:
        RetargetError: The poses are no calibration. The message names each that is not as it
            should be, with what was measured and what is allowed.
    """
    try:
        return _fit(samples, side, tuple(POSES))
    except RetargetError:
        if not optional:
            raise
        return _fit(samples, side, tuple(pose for pose in POSES if pose not in optional))


def _fit(samples: Mapping[str, npt.ArrayLike], side: Side, poses: tuple[str, ...]) -> Calibration:
    steady = {pose: _steady(samples.get(pose, np.empty((0, 21, 3))), side) for pose in poses}
    _refuse((pose, problem) for pose, (_, problem) in steady.items())
    frames = {pose: window for pose, (window, _) in steady.items()}
    hands: dict[str, Matrix] = {pose: np.median(window, axis=0) for pose, window in frames.items()}
    _check_motion(hands)
    # A flat hand is its own mirror image; a fist is not, wherever its thumb.
    check_side(hands["fist"], side, np.zeros(3))
    _refuse((pose, _unlike_pose(pose, hands[pose])) for pose in ("open", "fist"))
    pinches = [pose for pose in poses if pose in PINCHES]
    offset, gaps, raw = _thumb([hands[pose] for pose in pinches], pinches)
    fingerprint = _fingerprint(frames)
    bones = np.array([bone_lengths(corrected(hand, offset)) for hand in hands.values()])
    bones = bones.reshape(-1, 5, 4)
    rows = [PINCHES.index(pose) for pose in pinches]
    touch_gaps, raw_gaps = np.full(4, gaps.mean()), np.full(4, np.nan)
    touch_gaps[rows], raw_gaps[rows] = gaps, raw
    proportions = HumanProportions(
        reaches=np.median(bones, axis=0).sum(axis=1), thumb_offset=offset, touch_gaps=touch_gaps
    )
    check_proportions(proportions)
    return Calibration(
        side=side,
        proportions=proportions,
        fingerprint=fingerprint,
        hands=hands,
        reach_spread=bones.sum(axis=2).std(axis=0),
        raw_gaps=raw_gaps,
    )


# -- One pose ------------------------------------------------------------------


def _steady(keypoints: npt.ArrayLike, side: Side) -> tuple[Matrix, _Problem | None]:
    """Return the steadiest half of a pose in the palm frame, and what is wrong with it."""
    frames = np.asarray(keypoints, dtype=np.float64)
    palm = tracked(frames, side)
    n = len(palm)
    if n < MIN_SAMPLES or n < MIN_TRACKED * len(frames):
        needed = max(MIN_SAMPLES, int(np.ceil(MIN_TRACKED * len(frames))))
        return palm, _Problem(
            f"{n} of {len(frames)} samples show a hand, at least {needed} needed",
            "Is the glove streaming, and does it see the hand?",
        )
    length = max(MIN_SAMPLES, n // 2)
    starts = range(n - length + 1)
    spreads = [palm[s : s + length, TIPS].var(axis=0).sum() for s in starts]
    window = palm[(first := int(np.argmin(spreads))) : first + length]
    if (problem := _unlike_any_hand(np.median(window, axis=0))) is not None:
        return window, problem
    moved = _motion(window[:, TIPS])
    if moved > MAX_MOTION_M:
        return window, _Problem(
            f"a fingertip moved by {1e3 * moved:.0f} mm while held, at most "
            f"{1e3 * MAX_MOTION_M:.0f} mm allowed",
            "Take the pose at once and hold it until the bar is full.",
        )
    return window, None


def _motion(tips: Matrix) -> float:
    """Return how far a tip drifts from one half to the other, or strays from its middle [m].

    Args:
        tips: Shape (frames, 5, 3).
    """
    half = len(tips) // 2
    drift = np.median(tips[half:], axis=0) - np.median(tips[:half], axis=0)
    stray = np.sqrt(((tips - np.median(tips, axis=0)) ** 2).sum(axis=2).mean(axis=0))
    return float(max(np.linalg.norm(drift, axis=1).max(), stray.max()))


def _unlike_any_hand(hand: Matrix) -> _Problem | None:
    reaches = bone_lengths(hand).reshape(5, 4).sum(axis=1)
    for finger, reach, (low, high) in zip(FINGERS, reaches, reaches_seen(), strict=True):
        if not low <= reach <= high:
            return _Problem(
                f"wrist to {finger} tip is {1e3 * reach:.0f} mm along the finger, allowed "
                f"{1e3 * low:.0f} to {1e3 * high:.0f} mm",
                "Does the glove report metres, and wrist, thumb, index, middle, ring, little in "
                "this order?",
            )
    return None


def _unlike_pose(pose: str, hand: Matrix) -> _Problem | None:
    flexion = np.rad2deg(human_flexion(hand[None])[0])
    row = int(flexion.argmax() if pose == "open" else flexion.argmin())
    bend = f"the {PINCHES[row]} finger bends by {flexion[row]:.0f}°"
    if pose == "open" and flexion[row] > np.rad2deg(OPEN_RAD):
        return _Problem(
            f"{bend}, at most {np.rad2deg(OPEN_RAD):.0f}° allowed", "Straighten all fingers."
        )
    if pose == "fist" and flexion[row] < np.rad2deg(FIST_RAD):
        return _Problem(
            f"{bend}, at least {np.rad2deg(FIST_RAD):.0f}° needed", "Close all fingers to a fist."
        )
    return None


# -- All poses together ----------------------------------------------------------


def _check_motion(hands: Mapping[str, Matrix]) -> None:
    for before, after in pairwise(hands):
        motion = np.linalg.norm(hands[after][TIPS] - hands[before][TIPS], axis=1).max()
        if motion < MIN_CHANGE_M:
            raise RetargetError(
                f"No calibration: from {POSES[before]} to {POSES[after]} no fingertip moved by "
                f"more than {1e3 * motion:.1f} mm, at least {1e3 * MIN_CHANGE_M:.0f} mm needed. "
                "Is the glove frozen, is it worn by nobody, or was one pose shown twice?"
            )


def _thumb(hands: list[Matrix], pinches: list[str]) -> tuple[Vector, Vector, Vector]:
    """Return the thumb's offset (3,), and the gaps after and before that, one per pinch [m].

    Raises:
        RetargetError: Other fingers touched the thumb, or none did.
    """
    vectors = np.array([hand[TIPS[1:]] - hand[TIPS[0]] for hand in hands])
    asked = [PINCHES.index(pose) for pose in pinches]
    rows = np.arange(len(pinches))
    ways = np.array(list(product(range(4), repeat=len(pinches))))
    surprises = _surprise(vectors[rows, ways])
    likeliest = ways[int(np.argmin(surprises))]
    if surprises.min() + _SURE < _surprise(vectors[rows, asked][None])[0]:
        gaps = np.linalg.norm(
            vectors[rows, likeliest] - _bounded(vectors[rows, likeliest].mean(axis=0)), axis=1
        )
        _refuse(
            (pose, _misread(PINCHES[finger], gap))
            for pose, finger, gap in zip(pinches, likeliest, gaps, strict=True)
            if pose != PINCHES[finger]
        )
    touching = vectors[rows, asked]
    # About the median first: it blames the one pinch that went wrong, not its neighbours.
    _check_gaps(pinches, touching, _bounded(np.median(touching, axis=0)))
    offset = _bounded(touching.mean(axis=0))
    gaps = _check_gaps(pinches, touching, offset)
    return offset, gaps, np.linalg.norm(touching, axis=1)


def _misread(finger: str, gap: float) -> _Problem:
    advice = "Touch the thumb with the finger that is named."
    if gap > MAX_TOUCH_GAP_M:
        return _Problem(
            f"no finger touched the thumb; the nearest, the {finger} finger, stayed "
            f"{1e3 * gap:.0f} mm away, at most {1e3 * MAX_TOUCH_GAP_M:.0f} mm allowed",
            advice,
        )
    return _Problem(f"the {finger} finger touched the thumb", advice)


def _check_gaps(pinches: list[str], touching: Matrix, offset: Vector) -> Vector:
    """Return how far the tips of each pinch are apart after moving the thumb [m]."""
    gaps: Vector = np.linalg.norm(touching - offset, axis=1)
    moved = 1e3 * float(np.linalg.norm(offset))
    _refuse(
        (
            pose,
            _Problem(
                f"the tips are {1e3 * gap:.0f} mm apart after moving the thumb by {moved:.0f} mm, "
                f"at most {1e3 * MAX_TOUCH_GAP_M:.0f} mm allowed",
                "Press the tips together, and check how the thumb of the glove sits.",
            ),
        )
        for pose, gap in zip(pinches, gaps, strict=True)
        if gap > MAX_TOUCH_GAP_M
    )
    return gaps


def _bounded(offsets: Matrix) -> Matrix:
    """Return offsets no longer than `MAX_OFFSET_M`, in the same direction. Shape (..., 3)."""
    length = np.linalg.norm(offsets, axis=-1, keepdims=True)
    bounded: Matrix = offsets * (MAX_OFFSET_M / np.maximum(length, MAX_OFFSET_M))
    return bounded


def _surprise(touching: Matrix) -> Vector:
    """Return how unlikely it is that these tips touched, in squared sigmas.

    Args:
        touching: From the thumb's tip to the finger's in each pinch, for each way to read
            the pinches [m]. Shape (ways, pinches, 3).
    """
    offsets = _bounded(touching.mean(axis=1))
    left = ((touching - offsets[:, None]) ** 2).sum(axis=(1, 2)) / _GAP_SIGMA_M**2
    surprise: Vector = left + (offsets**2).sum(axis=1) / _OFFSET_SIGMA_M**2
    return surprise


def _fingerprint(frames: Mapping[str, Matrix]) -> Fingerprint:
    each = np.array([median_bones(window) for window in frames.values()])
    fingerprint = Fingerprint(bones=np.median(each, axis=0), tolerance=MIN_TOLERANCE)
    spreads = [fingerprint.difference(bones) for bones in each]
    _refuse(
        (
            pose,
            _Problem(
                f"bone lengths differ by {spread:.1%} from those of all poses, at most "
                f"{MAX_SPREAD:.0%} allowed",
                "Does the glove see all fingers?",
            ),
        )
        for pose, spread in zip(frames, spreads, strict=True)
        if spread > MAX_SPREAD
    )
    return Fingerprint(bones=fingerprint.bones, tolerance=max(MIN_TOLERANCE, 2.0 * max(spreads)))


# -- Parts -----------------------------------------------------------------------


def _refuse(problems: Iterable[tuple[str, _Problem | None]]) -> None:
    """Refuse the calibration if any pose has a problem."""
    found = [(POSES[pose], problem) for pose, problem in problems if problem is not None]
    if found:
        measured = "; ".join(f"{pose}: {problem.measured}" for pose, problem in found)
        advice = " ".join(dict.fromkeys(problem.advice for _, problem in found))
        raise RetargetError(f"No calibration. {measured[0].upper()}{measured[1:]}. {advice}")
