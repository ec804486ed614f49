"""``dexhil calibrate``: guide a person through six poses, fit, show, keep."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.clock import Clock, MonotonicClock, SimClock
from dexhil.drivers.errors import ConfigError
from dexhil.drivers.glove import Glove
from dexhil.drivers.models.kinematics import Kinematics, Side, load_kinematics
from dexhil.drivers.registry import RigEntry, load, read_rig
from dexhil.integration.errors import RunError
from dexhil.integration.retargeting.users import (
    SAME_S,
    User,
    check_replaceable,
    save_user,
    user_path,
)
from dexhil.retarget.calibration import PINCHES, POSES, fit_person
from dexhil.retarget.keypoints import FINGERS

COUNTDOWN_S: Final = 3.0
"""Time to read what is to come [s]."""
POSE_S: Final = 1.8
"""For one pose: the first third to take it, the rest to hold it [s]."""
READY_SHARE: Final = 1.0 / 3.0

_FINE_GAP_M, _FINE_FIST = 0.020, 0.6  # Of the robot; worse is shown in yellow.
_TODO: Final = {
    "open": "Straighten the hand, the thumb well away from the fingers",
    "fist": "Close the hand to a fist, as far as it goes",
    **{finger: f"Touch thumb and {finger} finger, tip to tip" for finger in PINCHES},
}


@dataclass(frozen=True, slots=True)
class Moment:
    """Where the guide is.

    Attributes:
        pose: Of `POSES`.
        hold: Whether to hold it by now, rather than to take it.
        share: Of that which is over, 0 to 1.
    """

    pose: str
    hold: bool
    share: float


def calibrate(
    *,
    glove: str,
    hand: str,
    user: str,
    side: Side = "right",
    out: Path | None = None,
    force: bool = False,
    pose_s: float = POSE_S,
    console: Console | None = None,
    each_moment: Callable[[Glove, Moment], None] | None = None,
) -> User:
    """Guide, fit, show the residuals and keep the calibration.

    Args:
        glove: As `glove_entry` takes it.
        hand: Name of a robot hand.
        user: Who wears the glove.
        side: Which hand.
        out: File to write instead of the user's own.
        force: Overwrite whatever is there, another person's calibration too.
        pose_s: Time for one pose [s].
        console: Where to show it.
        each_moment: Told before every sample, for whoever plays the person.

    Raises:
        RetargetError: The poses are no calibration; the message says why. Nothing is written.
        RunError: Glove or hand is not of that side, or the file must not be overwritten, as one
            that holds another hand under this name.
        DeviceError: There is no such glove or hand, or the glove failed.
    """
    console = console or Console()
    path = out or user_path(user)
    if not pose_s > 0.0:
        raise RunError(f"A pose cannot take {pose_s:g} s. About {POSE_S:g} s are good.")
    kinematics = load_kinematics(hand, side)
    if kinematics.kind != "hand":
        raise RunError(f"{hand!r} is an {kinematics.kind}, not a hand.")
    worn, clock = _build(glove_entry(glove, side))
    model = worn.spec.model
    if worn.spec.side != side:
        raise RunError(
            f"{glove!r} is a {worn.spec.side} glove and drives a {worn.spec.side} robot hand, "
            f"not a {side} one. Name the right side with --side, or correct the rig file."
        )
    if not force:
        check_replaceable(path, name=user, glove=model, side=side)
    with worn:
        samples = _guide(
            worn,
            clock,
            kinematics=kinematics,
            pose_s=pose_s,
            console=console,
            each_moment=each_moment,
        )
    optional = [finger for finger in PINCHES if finger not in _human_fingers(kinematics)]
    fitted = fit_person(samples, side, optional=optional)
    if not force:
        check_replaceable(path, name=user, glove=model, side=side, fingerprint=fitted.fingerprint)
    result = User(
        name=user,
        glove=model,
        side=side,
        hand=hand,
        date=datetime.now(UTC).replace(microsecond=0),
        proportions=fitted.proportions,
        fingerprint=fitted.fingerprint,
        residuals=fitted.residuals(kinematics),
    )
    save_user(result, path)
    console.print(report(result))
    console.print(f"{escape(user)} is calibrated. Saved in {escape(str(path))}", soft_wrap=True)
    return result


def glove_entry(text: str, side: Side) -> RigEntry:
    """Return the glove that a command line means.

    Args:
        text: A driver with its defaults, e.g. ``quest``; ``replay:FILE.npy``; or ``RIG.toml``,
            of which the glove is taken.
        side: Which hand; a rig file says so itself.

    Raises:
        DeviceError: No such driver, or the rig file is wrong.
        RunError: The rig has no glove, or several.
    """
    if text.endswith(".toml"):
        gloves = [entry for entry in read_rig(Path(text)).devices if entry.kind == "glove"]
        if len(gloves) != 1:
            raise RunError(f"{text}: needs exactly one [glove.NAME] table, has {len(gloves)}.")
        return gloves[0]
    driver, _, path = text.partition(":")
    if (driver == "replay") != bool(path):
        raise ConfigError(f"--glove {text!r}: write a driver, replay:FILE.npy or RIG.toml.")
    config_type: Any = cast("Any", load("glove", driver)).config_type
    options: dict[str, Any] = {"path": path} if path else {}
    if "side" in {field.name for field in fields(config_type)}:
        options["side"] = side
    return RigEntry("glove", driver, driver, options)


def report(user: User) -> RenderableType:
    """Return what a calibration found, finger by finger."""
    proportions, residuals = user.proportions, user.residuals
    table = Table(
        "finger",
        "length \\[mm]",
        "varies by \\[mm]",
        "pinch as shown \\[mm]",
        "corrected \\[mm]",
        f"{escape(user.hand)} \\[mm]",
        box=None,
    )
    for row, finger in enumerate(FINGERS):
        cells = [
            f"{1e3 * proportions.reaches[row]:.0f}",
            f"{1e3 * residuals.reach_spread[row]:.1f}",
        ]
        if row > 0:
            gaps = (residuals.raw_gaps, proportions.touch_gaps, residuals.robot_gaps)
            raw, corrected, robot = (float(each[row - 1]) for each in gaps)
            corrected = np.nan if np.isnan(raw) else corrected
            cells += [_mm(raw), _mm(corrected), _coloured(_mm(robot), robot > _FINE_GAP_M)]
        table.add_row(finger, *cells)
    x, y, z = 1e3 * proportions.thumb_offset
    fist = _coloured(f"{residuals.robot_fist:.0%}", residuals.robot_fist < _FINE_FIST)
    return Group(
        table,
        f"Thumb moved by {x:.0f}, {y:.0f}, {z:.0f} mm. The fist of the {escape(user.hand)} closes "
        f"{fist}. Bones within {user.fingerprint.tolerance:.0%} are {escape(user.name)}'s.",
    )


# -- The guide -------------------------------------------------------------------


def _guide(
    glove: Glove,
    clock: Clock,
    *,
    kinematics: Kinematics,
    pose_s: float,
    console: Console,
    each_moment: Callable[[Glove, Moment], None] | None,
) -> dict[str, Matrix]:
    """Return the fresh samples of each pose while it was to be held. Each (samples, 21, 3)."""
    samples: dict[str, list[Matrix]] = {pose: [] for pose in POSES}
    stamp_s = -np.inf
    with Live(console=console, auto_refresh=False) as live:
        countdown_s = clock.now_s() + COUNTDOWN_S
        while (left_s := countdown_s - clock.now_s()) > 0.0:
            live.update(_countdown(left_s, kinematics), refresh=True)
            clock.sleep(min(0.1, left_s))
        start_s, shown_s = clock.now_s(), -np.inf
        while (moment := _moment(clock.now_s() - start_s, pose_s)) is not None:
            if each_moment is not None:
                each_moment(glove, moment)
            if clock.now_s() >= shown_s + 0.05:
                shown_s = clock.now_s()
                live.update(_picture(moment, samples, kinematics), refresh=True)
            observation = glove.observe()
            if observation.stamp_s > stamp_s + SAME_S:
                stamp_s = observation.stamp_s
                if moment.hold:
                    samples[moment.pose].append(observation.keypoints)
            # Twice as often as there is anything new, to miss nothing.
            clock.sleep(0.5 / glove.spec.rate_hz)
        live.update(_picture(None, samples, kinematics), refresh=True)
    if not console.is_terminal:
        console.print()  # Rich leaves the last picture without an end of line.
    return {pose: np.reshape(frames, (-1, 21, 3)) for pose, frames in samples.items()}


def _moment(elapsed_s: float, pose_s: float) -> Moment | None:
    number, into_s = divmod(elapsed_s, pose_s)
    if number >= len(POSES):
        return None
    share = into_s / pose_s
    if share < READY_SHARE:
        return Moment(tuple(POSES)[int(number)], False, share / READY_SHARE)
    return Moment(tuple(POSES)[int(number)], True, (share - READY_SHARE) / (1.0 - READY_SHARE))


def _countdown(left_s: float, kinematics: Kinematics) -> RenderableType:
    heading = f"[bold]Six poses. Hold each until its bar is full. Begins in {left_s:.0f} s[/]"
    return Group(heading, _picture(None, {}, kinematics))


def _picture(
    moment: Moment | None, samples: dict[str, list[Matrix]], kinematics: Kinematics
) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    fingers = _human_fingers(kinematics)
    for pose in POSES:
        now = moment is not None and moment.pose == pose
        done = bool(samples.get(pose)) and not now
        todo = _TODO[pose]
        if pose in PINCHES and pose not in fingers:
            todo += f" (optional: the {escape(kinematics.model)} has none)"
        bar: RenderableType = ""
        if now and moment is not None:
            bar = ProgressBar(total=1.0, completed=moment.share if moment.hold else 0.0, width=20)
        word = ("[bold yellow]hold[/]" if moment.hold else "ready") if now and moment else ""
        table.add_row("[green]done[/]" if done else word, f"[bold]{todo}[/]" if now else todo, bar)
    return table


# -- Parts -----------------------------------------------------------------------


def _build(entry: RigEntry) -> tuple[Glove, Clock]:
    """Return the glove and its clock: the simulated one if nobody wears it."""
    simulated = SimClock()
    glove = cast("Glove", entry.build(simulated))
    if glove.spec.simulated:
        return glove, simulated
    real = MonotonicClock()
    return cast("Glove", entry.build(real)), real


def _human_fingers(kinematics: Kinematics) -> set[str]:
    return {"little" if finger == "pinky" else finger for finger in kinematics.tips}


def _mm(metres: float) -> str:
    return "–" if np.isnan(metres) else f"{1e3 * metres:.1f}"


def _coloured(text: str, poor: bool) -> str:
    return f"[yellow]{text}[/]" if poor else text
