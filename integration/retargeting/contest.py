"""Retargeters side by side on one clip: their answers, their time, what throws them off.

Times of different runs on different days say little; ratios of times taken in one run
do. So the contestants take turns in short blocks, and whatever else the machine does
hits them all.
"""

import contextlib
import resource
import sys
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import Kinematics
from dexhil.retarget.batch import Flags
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.filters import FilterConfig, JointFilter
from dexhil.retarget.score import WARM_UP, Scores, score

SETTLING: Final = 8
"""Times the first frame is shown before the clock runs; the person may be anywhere."""
BLOCK: Final = 100
"""Frames after which it is the next contestant's turn; the first `WARM_UP` of a turn are not
timed, since the processor's caches are still full of the contestant before."""
GLITCHES: Final = 12
GLITCH_FRAMES: Final = 1200
OFF_RAD: Final = 0.05
"""A joint that is farther from where it would be without the glitch is off [rad]."""
RATE_HZ: Final = 90.0
"""Of a glove; only filters need to know."""


class Contestant(Protocol):
    """What is compared."""

    def retarget(self, keypoints: npt.ArrayLike) -> Vector: ...


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What one contestant made of a clip.

    Attributes:
        targets: [rad]. Shape (frames, n).
        valid: False where it refused the frame; the target before is repeated. Shape (frames,).
        spent_s: Wall time [s]. Shape (frames,).
        worked_s: Time on the processor [s]. Shape (frames,).
    """

    targets: Matrix
    valid: Flags
    spent_s: Vector
    worked_s: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Time per frame.

    Attributes:
        p50_s: [s].
        p99_s: [s].
        max_s: [s].
        worked99_s: 99th percentile of the time on the processor, which other programs on a
            busy machine do not lengthen [s].
    """

    p50_s: float
    p99_s: float
    max_s: float
    worked99_s: float

    @classmethod
    def of(cls, spent_s: Vector, worked_s: Vector) -> "Latency":
        """Summarise a run, without its first frames."""
        warm = np.arange(len(spent_s)) % BLOCK >= WARM_UP
        if not warm.any():
            warm[:] = True
        p50, p99, most = np.percentile(spent_s[warm], (50, 99, 100))
        worked99 = np.percentile(worked_s[warm], 99)
        return cls(
            p50_s=float(p50), p99_s=float(p99), max_s=float(most), worked99_s=float(worked99)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What single wrong frames do to a contestant.

    Attributes:
        share_off: Share of all frames that are off, the wrong frames among them.
        frames: Most frames after a wrong one until nothing is off; -1 if once the next wrong
            frame came first.
    """

    share_off: float
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Endurance:
    """A long run.

    Attributes:
        frames: Of the run.
        latency: Over all of them.
        over_2_ms: Frames that took longer than that.
        grown_bytes: How far the peak of the process's memory rose after the first tenth [bytes].
        kept_bytes: What Python holds more of after 2,000 further frames [bytes].
    """

    frames: int
    latency: Latency
    over_2_ms: int
    grown_bytes: int
    kept_bytes: int


def play(
    contestants: Sequence[Contestant], clip: Matrix, *, period_s: float | None = None
) -> list[Answers]:
    """Show every frame to every contestant, in turns of a block of frames.

    Args:
        contestants: Fresh ones, or they remember the clip before.
        clip: Keypoints [m]. Shape (frames, 21, 3).
        period_s: Time from call to call, as in a control loop, whose core has gone to sleep
            in between [s]. Back to back if not given.
    """
    held = [_settle(contestant, clip) for contestant in contestants]
    answers = [
        Answers(
            targets=np.empty((len(clip), len(settled))),
            valid=np.ones(len(clip), np.bool_),
            spent_s=np.empty(len(clip)),
            worked_s=np.empty(len(clip)),
        )
        for settled in held
    ]
    for start in range(0, len(clip), BLOCK):
        for number, contestant in enumerate(contestants):
            answer, due_s = answers[number], time.perf_counter()
            for row in range(start, min(start + BLOCK, len(clip))):
                if period_s is not None:
                    due_s = max(due_s + period_s, time.perf_counter())
                    time.sleep(max(0.0, due_s - time.perf_counter()))
                begun_s, idle_s = time.perf_counter(), time.thread_time()
                try:
                    held[number] = contestant.retarget(clip[row])
                except RetargetError:
                    answer.valid[row] = False
                answer.worked_s[row] = time.thread_time() - idle_s
                answer.spent_s[row] = time.perf_counter() - begun_s
                answer.targets[row] = held[number]
    return answers


def glitched(clip: Matrix) -> tuple[Matrix, npt.NDArray[np.int64]]:
    """Return a clip in which a few single frames are wrong, and which.

    A wrong frame is a hand like any other, but the one of the clip that is least like the
    frame it takes the place of: nothing in it tells that it is wrong.
    """
    rows = (np.arange(GLITCHES) + 0.5) * len(clip) / GLITCHES
    wrong = rows.astype(np.int64)
    shapes = clip - clip[:, :1]
    out = clip.copy()
    for row in wrong:
        unlike = np.linalg.norm(shapes - shapes[row], axis=2).mean(axis=1)
        out[row] = clip[int(np.nanargmax(unlike))]
    return out, wrong


def recovery(clean: Matrix, disturbed: Matrix, wrong: npt.NDArray[np.int64]) -> Recovery:
    """Compare the targets of a clip and of its glitched copy. Shapes (frames, n), twice."""
    off = np.abs(disturbed - clean).max(axis=1) > OFF_RAD
    ends = np.append(wrong[1:], len(off))
    lasted = []
    for row, end in zip(wrong, ends, strict=True):
        # Once back on its path it may leave it again, so the last frame that is off counts.
        late = np.flatnonzero(off[row + 1 : end])
        after = int(late[-1]) + 1 if len(late) else 0
        lasted.append(-1 if after and row + 1 + after == end else after)
    return Recovery(share_off=float(off.mean()), frames=-1 if -1 in lasted else max(lasted))


def endure(contestant: Contestant, clip: Matrix, frames: int) -> Endurance:
    """Show a clip again and again, and watch time and memory."""
    spent_s, worked_s = np.zeros(frames), np.zeros(frames)
    _settle(contestant, clip)
    early = 0
    for row in range(frames):
        begun_s, idle_s = time.perf_counter(), time.thread_time()
        with contextlib.suppress(RetargetError):
            contestant.retarget(clip[row % len(clip)])
        worked_s[row] = time.thread_time() - idle_s
        spent_s[row] = time.perf_counter() - begun_s
        if row == frames // 10:
            early = _peak_bytes()
    grown = _peak_bytes() - early
    # Apart, because it slows everything down.
    tracemalloc.start()
    _show(contestant, clip, 200)
    before = tracemalloc.get_traced_memory()[0]
    _show(contestant, clip, 2000)
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return Endurance(
        frames=frames,
        latency=Latency.of(spent_s, worked_s),
        over_2_ms=int((spent_s[WARM_UP:] > 2e-3).sum()),
        grown_bytes=grown,
        kept_bytes=kept,
    )


def moving_average(targets: Matrix, alpha: float) -> Matrix:
    """Return the peer's low-pass filter applied to targets. Shape (frames, n)."""
    out = targets.copy()
    for row in range(1, len(out)):
        out[row] = out[row - 1] + alpha * (targets[row] - out[row - 1])
    return out


def smoothed(targets: Matrix, config: FilterConfig) -> Matrix:
    """Return targets after our filter. Shape (frames, n)."""
    joint_filter = JointFilter(config)
    return np.array([joint_filter.step(row, 1.0 / RATE_HZ) for row in targets])


def as_smooth_as(
    other: Scores, targets: Matrix, clip: Matrix, kinematics: Kinematics
) -> tuple[FilterConfig, Matrix]:
    """Return our weakest filter whose targets are no rougher than those of ``other``.

    That is, neither their jerk nor their ``step99`` is larger.

    Returns:
        The filter, and its targets. Shape (frames, n).
    """
    # The rate limit alone takes care of the steps, whatever the cutoff.
    max_rate = other.step99 * RATE_HZ
    low, high = 0.5, 80.0
    for _ in range(12):
        cutoff = float(np.sqrt(low * high))
        config = FilterConfig(min_cutoff_hz=cutoff, passes=3, max_rate=max_rate)
        if score(smoothed(targets, config), clip, kinematics).jerk <= other.jerk:
            low = cutoff
        else:
            high = cutoff
    config = FilterConfig(min_cutoff_hz=low, passes=3, max_rate=max_rate)
    return config, smoothed(targets, config)


def _settle(contestant: Contestant, clip: Matrix) -> Vector:
    """Let it arrive at the first frame it accepts, and return its answer."""
    for frame in clip:
        try:
            for _ in range(SETTLING - 1):
                contestant.retarget(frame)
            return contestant.retarget(frame)
        except RetargetError:
            continue
    raise RetargetError("No frame of the clip could be retargeted.")


def _show(contestant: Contestant, clip: Matrix, frames: int) -> None:
    for row in range(frames):
        with contextlib.suppress(RetargetError):
            contestant.retarget(clip[row % len(clip)])


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
