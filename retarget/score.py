"""How well joint targets follow a person: the figures by which retargeting is compared.

Pure numpy and its own forward kinematics, so that it shares no line with the solver it judges.
All lengths are in metres, in the palm frames of the person and of the robot. A frame without
keypoints or without targets takes no part in any figure.
"""

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.models.kinematics import Kinematics, Side
from dexhil.retarget import batch
from dexhil.retarget.batch import Flags
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.human import HumanProportions
from dexhil.retarget.keypoints import FINGERS, PARENTS, TIPS

WARM_UP: Final = 10
"""First frames whose time does not count, and which a picture need not show."""
PINCH_M: Final = 0.015
"""Thumb and finger of the person are taken to touch below this gap [m]."""
CLOSED_M: Final = 0.020
"""The robot's are, below this one [m]."""
APART_M: Final = 0.040
"""Thumb and finger of the person are taken to be apart above this gap [m]."""
FALSE_M: Final = 0.015
"""The robot may then not come closer than this [m]."""
FIST_RAD: Final = np.pi
"""Each finger of a fist bends more than this in all its joints together [rad]."""
OPEN_RAD: Final = np.pi / 2.0
"""Each finger of an open hand bends less than this [rad]."""
FULL_RAD: Final = 1.5 * np.pi
"""How far a person bends a finger at most, three joints by a right angle [rad]."""
LONGEST_LAG: Final = 12
"""Frames by which targets are shifted in search of their lag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Figures of one clip. A mean over no frames at all is NaN.

    Attributes:
        frames: That took part.
        wrist: Robot tip minus robot wrist, against the person's times the finger's scale [m].
        root: The same from knuckle to tip, by the fingers' own length ratios, no thumb [m].
        pair: Tip minus thumb tip, against the person's times the mean scale [m].
        native: As ``wrist``, by one given scale for all fingers [m].
        pinches: Finger-frames in which the person pinches.
        pinch_gap: Mean gap of the robot in those [m].
        pinch_ok: Share of those in which the robot's gap is closed.
        false_pinch: Share of the finger-frames well apart in which the robot touches.
        fists: Frames in which the person makes a fist.
        fist: Mean closure in those of the finger that is closed the least, 1 for fully.
        open: Mean flexion of the robot's fingers where the person's hand is open [rad].
        flexion: Mean difference between the closures of robot and person.
        jerk: RMS third difference of the tips, over that of the person's scaled tips. NaN if
            the person never moves.
        step99: Of the largest joint step of each frame, the 99th percentile [rad].
        step_max: The largest of them [rad].
        lag: Shift with the smallest wrist error [frames].
        lag_free: Wrist error at that shift [m].
        overlap_fingers: Share of frames in which two fingers overlap.
        overlap_thumb: Share of frames in which the thumb overlaps a finger.
        beyond_limits: By how much the worst target is beyond a joint limit [rad].
    """

    frames: int
    wrist: float
    root: float
    pair: float
    native: float
    pinches: int
    pinch_gap: float
    pinch_ok: float
    false_pinch: float
    fists: int
    fist: float
    open: float
    flexion: float
    jerk: float
    step99: float
    step_max: float
    lag: int
    lag_free: float
    overlap_fingers: float
    overlap_thumb: float
    beyond_limits: float

    def __str__(self) -> str:
        lengths = {"wrist", "root", "pair", "native", "pinch_gap", "lag_free"}
        words = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in lengths:
                words.append(f"{field.name} {1e3 * value:.1f} mm")
            elif field.name == "open":
                words.append(f"open {np.rad2deg(value):.0f} deg")
            else:
                words.append(f"{field.name} {value:.3g}")
        return ", ".join(words)


def score(
    targets: npt.ArrayLike,
    clip: npt.ArrayLike,
    kinematics: Kinematics,
    *,
    human: HumanProportions | None = None,
    valid: npt.ArrayLike | None = None,
    native_scale: float | None = None,
    warm_up: int = 0,
) -> Scores:
    """Compare joint targets with the keypoints they answer, frame by frame.

    Args:
        targets: Of the commanded joints, in their order [rad]. Shape (frames, n).
        clip: Keypoints in any rigid frame, NaN where there were none [m]. Shape (frames, 21, 3).
        kinematics: The robot hand; its side is the person's.
        human: The person's proportions; medians of the clip if not given.
        valid: Frames to look at. Shape (frames,).
        native_scale: For `Scores.native`, which is NaN without.
        warm_up: First frames to leave out.

    Raises:
        RetargetError: Shapes do not fit, a target of a valid frame is not finite, or no
            frame is valid.
    """
    q, keypoints = np.asarray(targets, np.float64), np.asarray(clip, np.float64)
    shape = (len(keypoints), len(kinematics.joint_names))
    if keypoints.shape[1:] != (21, 3) or q.shape != shape:
        raise RetargetError(
            f"Score: keypoints of shape {keypoints.shape} and targets of shape {q.shape} do not "
            f"fit; (frames, 21, 3) and {shape} needed for {kinematics.model}."
        )
    used = np.array(np.isfinite(keypoints).all(axis=(1, 2)), dtype=np.bool_)
    used[:warm_up] = False
    if valid is not None:
        used &= np.asarray(valid, dtype=np.bool_)
    if not used.any():
        raise RetargetError(f"Score: none of {len(used)} frames is valid.")
    if not np.isfinite(q[used]).all():
        raise RetargetError(
            f"Score: the targets of {(~np.isfinite(q[used]).all(axis=1)).sum()} of {used.sum()} "
            "valid frames are not finite."
        )
    # Frames that do not count are kept in place, for shifts and differences, but harmless.
    first = int(np.argmax(used))
    q = np.where(used[:, None], q, q[first])
    keypoints = np.where(used[:, None, None], keypoints, keypoints[first])
    points = palm_points(keypoints, getattr(kinematics, "side", "right"))
    if human is None:
        human = HumanProportions.measure(points[used])
    return _Comparison(q, points, used, kinematics, human).scores(native_scale)


class _Comparison:
    """The robot's and the person's motion side by side."""

    def __init__(
        self,
        q: Matrix,
        points: Matrix,
        used: Flags,
        kinematics: Kinematics,
        human: HumanProportions,
    ) -> None:
        self._q, self._used, self._limits = q, used, kinematics.position_limits
        rows = np.array([human_row(name) for name in kinematics.tips])
        poses = batch.link_poses(kinematics, q)
        self._overlaps = batch.overlaps(kinematics, poses)
        self._tips = batch.tips(kinematics, poses)
        self._human = points[:, TIPS[rows]]
        self._scales = batch.reach(kinematics) / human.reaches[rows]

        fingers = list(kinematics.tips.values())[1:]
        knuckles = [batch.bending(kinematics, tip)[0][0].child for tip in fingers]
        roots = np.stack([poses[link][1] for link in knuckles], axis=1) - batch.wrist(kinematics)
        straight = batch.link_poses(kinematics, batch.straight_posture(kinematics))
        self._lengths = np.array(
            [
                _norm(straight[tip][1] - straight[link][1])[0]
                for tip, link in zip(fingers, knuckles, strict=True)
            ]
        )
        self._bent = self._tips[:, 1:] - roots
        self._human_bent = self._human[:, 1:] - points[:, TIPS[rows[1:]] - 3]
        bones = np.diff(points[used][:, 1:].reshape(-1, 5, 4, 3)[:, rows[1:]], axis=2)
        self._human_lengths = np.median(_norm(bones), axis=0).sum(axis=1)

        gains = batch.flexion_gains(kinematics)[1:]
        self._flexion = q @ gains.T
        self._closure = self._flexion / np.minimum(gains @ self._limits[:, 1], FULL_RAD)
        self._human_flexion = human_flexion(points)[:, rows[1:] - 1]

    def scores(self, native_scale: float | None) -> Scores:
        used, steps = self._used, _runs(self._used, 1)
        step = np.abs(np.diff(self._q, axis=0)).max(axis=1)[steps]
        target = self._scales[:, None] * self._human
        fists = used & (self._human_flexion > FIST_RAD).all(axis=1)
        opened = used & (self._human_flexion < OPEN_RAD).all(axis=1)
        gaps = _norm(self._tips[:, 1:] - self._tips[:, :1])[used]
        human_gaps = _norm(self._human[:, 1:] - self._human[:, :1])[used]
        pinched = gaps[human_gaps < PINCH_M]
        lag, lag_free = self._lag(target)
        low, high = self._limits.T
        return Scores(
            frames=int(used.sum()),
            wrist=_mean(_norm(self._tips - target)[used]),
            root=self._root(),
            pair=self._pair(),
            native=np.nan if native_scale is None else self._native(native_scale),
            pinches=len(pinched),
            pinch_gap=_mean(pinched),
            pinch_ok=_mean(pinched < CLOSED_M),
            false_pinch=_mean(gaps[human_gaps > APART_M] < FALSE_M),
            fists=int(fists.sum()),
            fist=_mean(self._closure[fists].min(axis=1)) if fists.any() else np.nan,
            open=_mean(self._flexion[opened]),
            flexion=_mean(np.abs(self._closure - self._human_flexion / FULL_RAD)[used]),
            jerk=self._jerk(target),
            step99=float(np.percentile(step, 99)) if len(step) else np.nan,
            step_max=float(step.max()) if len(step) else np.nan,
            lag=lag,
            lag_free=lag_free,
            overlap_fingers=_mean(self._overlaps[0][used]),
            overlap_thumb=_mean(self._overlaps[1][used]),
            beyond_limits=float(
                max(0.0, (low - self._q[used]).max(), (self._q[used] - high).max())
            ),
        )

    def _root(self) -> float:
        ratios = (self._lengths / self._human_lengths)[:, None]
        return _mean(_norm(self._bent - ratios * self._human_bent)[self._used])

    def _pair(self) -> float:
        human = self._scales.mean() * (self._human[:, 1:] - self._human[:, :1])
        return _mean(_norm(self._tips[:, 1:] - self._tips[:, :1] - human)[self._used])

    def _native(self, scale: float) -> float:
        return _mean(_norm(self._tips - scale * self._human)[self._used])

    def _jerk(self, target: Matrix) -> float:
        runs = _runs(self._used, 3)
        robot, human = (np.diff(tips, 3, axis=0)[runs] for tips in (self._tips, target))
        moves = float((human**2).sum())
        return float(np.sqrt((robot**2).sum() / moves)) if moves > 0.0 else np.nan

    def _lag(self, target: Matrix) -> tuple[int, float]:
        # Every shift is judged by the same targets, those that have all the frames before.
        judged = _runs(self._used, LONGEST_LAG)
        if not judged.any():
            return 0, np.nan
        tips, last = self._tips[LONGEST_LAG:], len(target)
        errors = [
            _mean(_norm(tips - target[LONGEST_LAG - shift : last - shift])[judged])
            for shift in range(LONGEST_LAG + 1)
        ]
        return int(np.argmin(errors)), min(errors)


def palm_points(clip: Matrix, side: Side = "right") -> Matrix:
    """Return all frames in the palm frame, as `to_palm` does for one. Shape (frames, 21, 3)."""
    points = clip - clip[:, :1]
    z = points[:, 9] / _norm(points[:, 9])[:, None]
    x = np.cross(points[:, 5] - points[:, 13], z)
    x /= (1.0 if side == "right" else -1.0) * _norm(x)[:, None]
    palm: Matrix = points @ np.stack((x, np.cross(z, x), z), axis=2)
    return palm


def human_flexion(points: Matrix) -> Matrix:
    """Return how far knuckle, middle and end joint of the four fingers bend in all [rad].

    Shape (frames, 4), index first. In the plane across the palm, against the palm's z.
    """
    bones = (points[:, 1:] - points[:, PARENTS]).reshape(-1, 5, 4, 3)[:, 1:, 1:]
    bends = np.arctan2(bones[..., 0], bones[..., 2])
    turns = np.unwrap(np.concatenate((np.zeros_like(bends[..., :1]), bends), axis=-1), axis=-1)
    total: Matrix = turns[..., -1]
    return total


def human_row(finger: str) -> int:
    """Return which of the five human fingers a robot's finger is, thumb 0."""
    return FINGERS.index("little" if finger == "pinky" else finger)


def _norm(vectors: Matrix) -> Matrix:
    lengths: Matrix = np.sqrt((vectors * vectors).sum(axis=-1))
    return lengths


def _runs(used: Flags, order: int) -> Flags:
    """Return where ``order`` + 1 frames in a row are used, for differences of that order."""
    frames = len(used) - order
    if frames <= 0:
        return np.zeros(0, np.bool_)
    run: Flags = np.all([used[shift : shift + frames] for shift in range(order + 1)], axis=0)
    return run


def _mean(values: npt.NDArray[np.bool_] | Matrix) -> float:
    return float(values.mean()) if values.size else np.nan
