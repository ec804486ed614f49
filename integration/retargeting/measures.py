"""What is measured frame by frame, to find the frames worth looking at."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import Kinematics
from dexhil.integration.retargeting.run import Retargeted
from dexhil.retarget import batch
from dexhil.retarget.batch import Flags
from dexhil.retarget.human import HumanProportions
from dexhil.retarget.keypoints import TIPS
from dexhil.retarget.score import (
    FIST_RAD,
    FULL_RAD,
    PINCH_M,
    human_flexion,
    human_row,
    palm_points,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measures:
    """One clip, frame by frame. Definitions are those of `dexhil.retarget.score`.

    Attributes:
        points: The person's keypoints in the palm frame [m]. Shape (frames, 21, 3).
        targets: Where each robot fingertip should be, from the wrist [m]. (frames, fingers, 3).
        tips: Where it is. Same shape.
        wrist: Distance of the two [m]. Shape (frames, fingers).
        pair: Error of the vector from thumb tip to the other tips [m]. (frames, fingers - 1).
        gaps: From the robot's thumb tip to the other tips [m]. Same shape.
        human_gaps: The person's, not scaled [m]. Same shape.
        closure: Of the robot's least closed finger, 1 for fully. Shape (frames,).
        human_closure: The person's. Same shape.
        steps: Largest motion of a joint since the frame before [rad]. Same shape.
        fists: Where the person makes a fist. Same shape.
        valid: Where there was an answer. Same shape.
    """

    points: Matrix
    targets: Matrix
    tips: Matrix
    wrist: Matrix
    pair: Matrix
    gaps: Matrix
    human_gaps: Matrix
    closure: Vector
    human_closure: Vector
    steps: Vector
    fists: Flags
    valid: Flags


def measure(
    kinematics: Kinematics, clip: Matrix, answer: Retargeted, human: HumanProportions
) -> Measures:
    """Compare every frame. Frames without keypoints repeat those before, and are not valid."""
    points = palm_points(_filled(clip, answer.valid), kinematics.side)
    rows = np.array([human_row(finger) for finger in kinematics.tips])
    q = answer.joint_positions
    tips = batch.tips(kinematics, batch.link_poses(kinematics, q))
    person = points[:, TIPS[rows]]
    scales = batch.reach(kinematics) / human.reaches[rows]
    targets = scales[:, None] * person
    vectors, person_vectors = tips[:, 1:] - tips[:, :1], person[:, 1:] - person[:, :1]
    gains = batch.flexion_gains(kinematics)[1:]
    most = np.minimum(gains @ kinematics.position_limits[:, 1], FULL_RAD)
    flexion = human_flexion(points)[:, rows[1:] - 1]
    return Measures(
        points=points,
        targets=targets,
        tips=tips,
        wrist=np.linalg.norm(tips - targets, axis=2),
        pair=np.linalg.norm(vectors - scales.mean() * person_vectors, axis=2),
        gaps=np.linalg.norm(vectors, axis=2),
        human_gaps=np.linalg.norm(person_vectors, axis=2),
        closure=((q @ gains.T) / most).min(axis=1),
        human_closure=flexion.min(axis=1) / FULL_RAD,
        steps=np.abs(np.diff(q, axis=0, prepend=q[:1])).max(axis=1),
        fists=np.asarray((flexion > FIST_RAD).all(axis=1)),
        valid=answer.valid,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A frame worth looking at.

    Attributes:
        number: Of the frame.
        title: Why, in plain words.
        note: The figure that made it so.
    """

    number: int
    title: str
    note: str


_START: Final = 10  # Frames in which a filter may still be on its way to the person.


def hardest(measures: Measures, count: int) -> list[Pick]:
    """Return up to ``count`` frames, the worst of each kind in turn, never two of one moment."""
    rankings = _rankings(measures)
    apart = max(3, len(measures.valid) // (4 * count))
    usable = measures.valid.copy()
    if usable[_START:].any():
        usable[:_START] = False
    picks: list[Pick] = []
    while len(picks) < count and rankings:
        for ranking in list(rankings):
            free = np.where(usable, ranking.badness, -np.inf)
            number = int(np.argmax(free))
            if not np.isfinite(free[number]):
                rankings.remove(ranking)
            elif len(picks) < count:
                picks.append(Pick(number=number, title=ranking.title, note=ranking.note(number)))
                usable[max(0, number - apart) : number + apart + 1] = False
    return picks


class _Ranking:
    """One reason to look at a frame."""

    def __init__(self, title: str, badness: Vector, figures: tuple[str, ...], *of: Vector) -> None:
        self.title, self.badness = title, badness
        self._figures, self._of = figures, of

    def note(self, number: int) -> str:
        """Return the figures of one frame in words."""
        pairs = zip(self._figures, self._of, strict=True)
        return ", ".join(figure.format(values[number]) for figure, values in pairs)


def _rankings(measures: Measures) -> list[_Ranking]:
    wrist, pair = 1e3 * measures.wrist.mean(axis=1), 1e3 * measures.pair.mean(axis=1)
    frames = np.arange(len(wrist))
    nearest = measures.human_gaps.argmin(axis=1)
    gap = 1e3 * measures.gaps[frames, nearest]
    human_gap = 1e3 * measures.human_gaps[frames, nearest]
    pinching = human_gap < 1e3 * PINCH_M
    both_gaps = (("person's gap {:.0f} mm", "robot's {:.0f} mm"), human_gap, gap)
    # Overextended is open.
    robot, person = (100.0 * np.maximum(c, 0.0) for c in (measures.closure, measures.human_closure))
    both_closures = (("person closed to {:.0f} %", "robot to {:.0f} %"), person, robot)
    if pinching.any():
        pinch = _Ranking("Widest gap in a pinch", _only(pinching, gap), *both_gaps)
    else:
        pinch = _Ranking("Nearest to a pinch", -human_gap, *both_gaps)
    if measures.fists.any():
        fist = _Ranking("Loosest fist", _only(measures.fists, -robot), *both_closures)
    else:
        fist = _Ranking("Nearest to a fist", person, *both_closures)
    usual = -np.abs(wrist - np.median(wrist))
    return [
        _Ranking("Fingertips furthest off", wrist, ("mean {:.0f} mm",), wrist),
        _Ranking("Thumb to fingers furthest off", pair, ("mean {:.0f} mm",), pair),
        pinch,
        fist,
        _Ranking("Most open hand", -person, *both_closures),
        _Ranking(
            "Largest step",
            measures.steps,
            ("a joint moves {:.2f} rad in one frame",),
            measures.steps,
        ),
        _Ranking("An ordinary frame", usual, ("median error, mean {:.0f} mm",), wrist),
    ]


def _only(flags: Flags, values: Vector) -> Vector:
    chosen: Vector = np.where(flags, values, -np.inf)
    return chosen


def _filled(clip: Matrix, valid: Flags) -> Matrix:
    """Return the clip with each invalid frame replaced by the last valid one."""
    numbers = np.where(valid, np.arange(len(clip)), -1)
    last = np.maximum.accumulate(numbers)
    filled: Matrix = clip[np.where(last < 0, int(np.argmax(valid)), last)]
    return filled
