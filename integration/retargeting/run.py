"""``dexhil retarget run``: recorded keypoints in, joint targets of one hand out."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import Kinematics, Side
from dexhil.integration.errors import RunError
from dexhil.integration.retargeting.clips import (
    load_clip,
    load_hand,
    plausible_frames,
)
from dexhil.integration.retargeting.files import replacing
from dexhil.integration.retargeting.users import check_user, find_user, load_user
from dexhil.retarget.batch import Flags
from dexhil.retarget.build import Method, Retargets, chosen_method, make_retargeter
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.filters import FILTERS, FilterName, JointFilter
from dexhil.retarget.human import HumanProportions

_LONG_CLIP: Final = 2000  # Frames from which a bar is worth its line.
_BAR_FRAMES: Final = 200
_SETTLING: Final = 30  # Solves before the first frame, which has no frame before it to start from.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Retargeted:
    """Targets for every frame of a clip.

    Attributes:
        joint_positions: In the order of the hand's joints [rad]. Shape (frames, n).
        valid: False where the frame had no answer and the pose before was held. Shape (frames,).
        latency_s: From raw keypoints to filtered target, frame by frame [s]. Shape (frames,).
        why_not: Reason of each frame that is not valid, by its number.
    """

    joint_positions: Matrix
    valid: Flags
    latency_s: Vector
    why_not: dict[int, str]


def retarget(
    *,
    hand: str,
    keypoints: Path,
    out: Path,
    method: Method | None,
    user: str | None,
    filter_name: FilterName,
    side: Side,
    rate_hz: float,
    console: Console,
    weights: Path | None = None,
) -> None:
    """Read a clip, retarget it, write the targets, and say how it went.

    Raises:
        RunError: A file or an option is wrong; nothing was written.
        RetargetError: The weights are of another hand, or the clip shows another person.
    """
    if out.suffix != ".npz":
        raise RunError(f"--out is {out}, must end in .npz.")
    if not 0.0 < rate_hz < np.inf:
        raise RunError(f"--rate-hz is {rate_hz:g} Hz, must be above 0.")
    kinematics, clip = load_hand(hand, side), load_clip(keypoints)
    method = chosen_method(kinematics, method, weights)
    human = person_of(clip, side, user)
    with _bar(len(clip), console) as moved:
        answer = retarget_clip(
            kinematics,
            clip,
            method=method,
            human=human,
            filter_name=filter_name,
            rate_hz=rate_hz,
            weights=weights,
            progress=moved,
        )
    save(out, kinematics, answer)
    console.print(_summary(kinematics, answer, method, filter_name, rate_hz))
    console.print(f"Wrote {escape(str(out))}.", highlight=False, soft_wrap=True)


def person_of(clip: Matrix, side: Side, user: str | None) -> HumanProportions:
    """Return the person's proportions: as calibrated, else the medians of the clip.

    Args:
        clip: Keypoints [m]. Shape (frames, 21, 3).
        side: Which hand it shows.
        user: Name or file of a calibrated person.

    Raises:
        RunError: The clip or the file is not usable.
        RetargetError: The clip shows another person.
    """
    plausible = plausible_frames(clip, side)
    if user is None:
        return HumanProportions.measure(clip[plausible])
    person = load_user(find_user(user))
    if person.side != side:
        raise RunError(
            f"{person.name!r} is calibrated for the {person.side} hand, this is a {side} one."
        )
    check_user(person, clip[plausible])
    return person.proportions


def retarget_clip(
    kinematics: Kinematics,
    clip: Matrix,
    *,
    method: Method,
    human: HumanProportions,
    filter_name: FilterName = "off",
    rate_hz: float = 90.0,
    weights: Path | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Retargeted:
    """Retarget every frame as a live session would: in order, knowing only those before.

    A frame without an answer holds the last one, or the open hand where there was none.

    Args:
        kinematics: The robot hand.
        clip: Keypoints, NaN where there are none [m]. Shape (frames, 21, 3).
        method: How.
        human: The person's proportions.
        filter_name: Of `FILTERS`.
        rate_hz: Of the clip; only the filter asks for it [1/s].
        weights: File of a learned map; the shipped one if not given.
        progress: Told the number of frames done, now and then.

    Raises:
        RunError: No frame could be retargeted.
        RetargetError: The method needs a learned map and none fits the hand.
    """
    retargeter = make_retargeter(kinematics, method=method, human=human, weights=weights)
    smoother = JointFilter(FILTERS[filter_name]) if filter_name != "off" else None
    held, dt_s = _open_posture(kinematics), 1.0 / rate_hz
    positions = np.empty((len(clip), len(held)))
    valid, latency_s = np.ones(len(clip), np.bool_), np.empty(len(clip))
    why_not: dict[int, str] = {}
    retargeter.reset(held)
    _settle(retargeter, clip)
    for number, frame in enumerate(clip):
        start_s = time.perf_counter()
        try:
            target = retargeter.retarget(frame)
            held = target if smoother is None else smoother.step(target, dt_s)
        except RetargetError as error:
            valid[number], why_not[number] = False, str(error)
        latency_s[number] = time.perf_counter() - start_s
        positions[number] = held
        if number % _BAR_FRAMES == 0:
            progress(number)
    progress(len(clip))
    if not valid.any():
        raise RunError(f"No frame could be retargeted. {why_not[0]}")
    return Retargeted(joint_positions=positions, valid=valid, latency_s=latency_s, why_not=why_not)


def save(path: Path, kinematics: Kinematics, answer: Retargeted) -> None:
    """Write the ``.npz`` file, whole or not at all.

    Raises:
        RunError: The place cannot be written.
    """
    every_name, every_position = urdf_joints(kinematics, answer.joint_positions)
    arrays = {
        "joint_positions": answer.joint_positions,
        "joint_names": np.array(kinematics.joint_names),
        "urdf_joint_names": np.array(
            [kinematics.joint(name).urdf_name for name in kinematics.joint_names]
        ),
        "latency_s": answer.latency_s,
        "valid": answer.valid,
        "all_urdf_joint_names": np.array(every_name),
        "all_urdf_joint_positions": every_position,
    }
    try:
        with replacing(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise RunError(f"Cannot write {path} ({error}).") from error


def urdf_joints(kinematics: Kinematics, joint_positions: Matrix) -> tuple[list[str], Matrix]:
    """Return every movable joint of the published URDF, coupled ones included.

    Returns:
        Names, and positions [rad] of shape (frames, joints).
    """
    columns = {name: joint_positions[:, k] for k, name in enumerate(kinematics.joint_names)}
    names, positions = [], []
    for joint in kinematics.joints:
        if joint.type != "fixed":
            driver, multiplier, offset = joint.mimic or (joint.name, 1.0, 0.0)
            names.append(joint.urdf_name)
            positions.append(multiplier * columns[driver] + offset)
    return names, np.stack(positions, axis=1)


def _open_posture(kinematics: Kinematics) -> Vector:
    posture = kinematics.extra.get("open", np.zeros(len(kinematics.joint_names)))
    clipped: Vector = np.clip(np.array(posture, np.float64), *kinematics.position_limits.T)
    return clipped


def _settle(retargeter: Retargets, clip: Matrix) -> None:
    """Let the solver arrive at the first frame that shows a hand, maybe far from the open hand."""
    for frame in clip:
        with contextlib.suppress(RetargetError):
            for _ in range(_SETTLING):
                retargeter.retarget(frame)
            return


@contextlib.contextmanager
def _bar(frames: int, console: Console) -> Iterator[Callable[[int], None]]:
    if frames < _LONG_CLIP:
        yield lambda _: None
        return
    columns = (TextColumn("frames"), BarColumn(), MofNCompleteColumn())
    # Refreshed by us and not by a thread, which would spoil the latencies.
    with Progress(*columns, console=console, auto_refresh=False) as bars:
        task = bars.add_task("frames", total=frames)
        yield lambda done: bars.update(task, completed=done, refresh=True)


def _summary(
    kinematics: Kinematics,
    answer: Retargeted,
    method: Method,
    filter_name: FilterName,
    rate_hz: float,
) -> Table:
    p50, p99, worst = 1e3 * np.percentile(answer.latency_s, (50, 99, 100))
    frames, valid = len(answer.valid), int(answer.valid.sum())
    table = Table(
        "hand", "method", "filter", "frames", "valid", "p50 ms", "p99 ms", "max ms", box=None
    )
    table.add_row(
        f"{kinematics.model} ({kinematics.side})",
        method,
        filter_name if filter_name == "off" else f"{filter_name} at {rate_hz:g} Hz",
        str(frames),
        f"{valid} ({valid / frames:.1%})",
        *(f"{value:.3f}" for value in (p50, p99, worst)),
    )
    return table
