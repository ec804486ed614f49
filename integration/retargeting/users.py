"""Calibrated people on disk: one readable TOML file per person and glove."""

import json
import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.clock import Clock
from dexhil.drivers.errors import ConfigError
from dexhil.drivers.glove import Glove
from dexhil.drivers.models.kinematics import Side
from dexhil.drivers.registry import parse
from dexhil.integration.errors import RunError
from dexhil.integration.retargeting.files import replacing
from dexhil.retarget.calibration import Residuals
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.human import HumanProportions
from dexhil.retarget.keypoints import FINGERS
from dexhil.retarget.lengths import check_proportions
from dexhil.retarget.wearer import MIN_SAMPLES, Fingerprint, check_wearer

FORMAT: Final = 1
"""Version of the file. Another one is refused."""

SAME_S: Final = 1e-4
"""Stamps closer than this are of one sample: no glove is that fast, but rounding is seen [s]."""

LOOK_S: Final = 0.5
"""How long to look at who wears a glove, at the least [s]."""

_NAME: Final = re.compile(r"\w(?:[\w .-]{0,62}\w)?")
_Four = tuple[float, float, float, float]
_Five = tuple[float, float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class User:
    """A person in a glove, as calibrated.

    Attributes:
        name: Of the person.
        glove: Model of the glove.
        side: Which hand.
        hand: Robot hand that the residuals are of. The rest serves any hand of that side.
        date: When.
        proportions: For the retargeter.
        fingerprint: To know the person again.
        residuals: How good the calibration is.
    """

    name: str
    glove: str
    side: Side
    hand: str
    date: datetime
    proportions: HumanProportions
    fingerprint: Fingerprint
    residuals: Residuals


def user_path(name: str) -> Path:
    """Return where a person's file is unless told otherwise.

    Raises:
        RunError: The name cannot be one of a file.
    """
    if not _NAME.fullmatch(name):
        raise RunError(
            f"{name!r} cannot be a user's name: use 1 to 64 letters, digits, and, in between, "
            "spaces, dots or dashes."
        )
    config = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(config) / "dexhil" / "users" / f"{name}.toml"


def find_user(text: str) -> Path:
    """Return the path that ``--user`` means: that of a file, or of a name calibrated here."""
    return Path(text) if text.endswith(".toml") or os.sep in text else user_path(text)


def load_user(path: Path) -> User:
    """Read a person's calibration.

    Raises:
        RunError: There is no such file, or it is not a calibration that this version reads.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{path}: nobody is calibrated under that name. Run `dexhil calibrate` first."
        ) from None
    except OSError as error:
        raise RunError(f"{path}: cannot read the calibration ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: not a TOML file ({error}). Calibrate again.") from error
    if table.pop("format", None) != FORMAT:
        raise RunError(
            f"{path}: not a calibration of format {FORMAT}, which is what this version reads. "
            "Calibrate again."
        )
    try:
        return _user(parse(_File, table, str(path)))
    except (ConfigError, RetargetError) as error:
        where = "" if str(path) in str(error) else f"{path}: "
        raise RunError(f"{where}{error} Calibrate again.") from error


def check_replaceable(
    path: Path, *, name: str, glove: str, side: Side, fingerprint: Fingerprint | None = None
) -> None:
    """Refuse to write where anything but an older calibration of the same kind is.

    Args:
        path: Of the file.
        name: Of the person.
        glove: Model of the glove.
        side: Which hand.
        fingerprint: Of the person, once it is known.

    Raises:
        RunError: The file is another person's, of another glove or hand, or cannot be read.
    """
    if not path.exists():
        return
    try:
        there = load_user(path)
    except RunError as error:
        raise RunError(f"{error} It is not overwritten without --force.") from error
    if (there.name, there.glove, there.side) != (name, glove, side):
        raise RunError(
            f"{path} holds {there.name!r} with the {there.side} glove {there.glove!r}, not "
            f"{name!r} with the {side} {glove!r}. Choose another file with --out, or overwrite "
            "it with --force."
        )
    if fingerprint is None:
        return
    difference = there.fingerprint.difference(fingerprint.bones)
    allowed = max(there.fingerprint.tolerance, fingerprint.tolerance)
    if difference > allowed:
        raise RunError(
            f"{path} holds another hand under the name {name!r}: its bones differ by "
            f"{difference:.1%}, at most {allowed:.1%} allowed. Choose another name with --user, "
            "or overwrite it with --force."
        )


def save_user(user: User, path: Path) -> None:
    """Write a person's calibration, whole or not at all.

    Raises:
        RunError: The folder cannot be written.
    """
    try:
        with replacing(path) as partial:
            partial.write_text(_toml(user), encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path}: cannot write the calibration ({error.strerror}).") from error


def check_user(user: User, keypoints: npt.ArrayLike) -> None:
    """Refuse a hand that is not the calibrated one.

    Args:
        user: Who should be in the glove.
        keypoints: A few frames, e.g. the first thirty [m]. Shape (frames, 21, 3).

    Raises:
        RetargetError: It is another person's hand, the other hand, mirrored, or hardly seen.
    """
    check_wearer(
        keypoints,
        side=user.side,
        proportions=user.proportions,
        fingerprint=user.fingerprint,
        whose=repr(user.name),
    )


def check_glove(user: User, glove: Glove, clock: Clock) -> None:
    """Look into a connected glove for a moment, and refuse it if ``user`` is not in it.

    Args:
        user: Who should be.
        glove: Connected.
        clock: Its clock.

    Raises:
        RunError: It is another model of glove, or one of the other side.
        RetargetError: As `check_user`.
        DeviceError: The glove fails.
    """
    if (glove.spec.model, glove.spec.side) != (user.glove, user.side):
        raise RunError(
            f"{user.name!r} is calibrated for the {user.side} glove {user.glove!r}, this is the "
            f"{glove.spec.side} {glove.spec.model!r}. Calibrate with this one."
        )
    # Twice as long as all samples take that are needed: some may be lost.
    needed_s = 2.0 * MIN_SAMPLES / glove.spec.rate_hz
    check_user(user, listen(glove, clock, max(LOOK_S, needed_s)))


def listen(glove: Glove, clock: Clock, duration_s: float) -> Matrix:
    """Return the fresh keypoints of a while, lost ones included. Shape (samples, 21, 3)."""
    frames, end_s, stamp_s = [], clock.now_s() + duration_s, -np.inf
    while clock.now_s() < end_s:
        clock.sleep(0.5 / glove.spec.rate_hz)
        observation = glove.observe()
        if observation.stamp_s > stamp_s + SAME_S:
            stamp_s = observation.stamp_s
            frames.append(observation.keypoints)
    return np.reshape(frames, (-1, 21, 3))


# -- The file --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proportions:
    reaches: _Five
    thumb_offset: tuple[float, float, float]
    touch_gaps: _Four


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fingerprint:
    tolerance: float
    thumb: _Four
    index: _Four
    middle: _Four
    ring: _Four
    little: _Four


@dataclass(frozen=True, slots=True, kw_only=True)
class _Residuals:
    reach_spread: _Five
    raw_gaps: _Four
    robot_gaps: _Four
    robot_fist: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    user: str
    glove: str
    side: Side
    hand: str
    date: datetime
    proportions: _Proportions
    fingerprint: _Fingerprint
    residuals: _Residuals


def _user(file: _File) -> User:
    p, f, r = file.proportions, file.fingerprint, file.residuals
    proportions = HumanProportions(
        reaches=np.array(p.reaches),
        thumb_offset=np.array(p.thumb_offset),
        touch_gaps=np.array(p.touch_gaps),
    )
    check_proportions(proportions)
    return User(
        name=file.user,
        glove=file.glove,
        side=file.side,
        hand=file.hand,
        date=file.date,
        proportions=proportions,
        fingerprint=Fingerprint(
            bones=np.array([f.thumb, f.index, f.middle, f.ring, f.little]).reshape(20),
            tolerance=f.tolerance,
        ),
        residuals=Residuals(
            reach_spread=np.array(r.reach_spread),
            raw_gaps=np.array(r.raw_gaps),
            robot_gaps=np.array(r.robot_gaps),
            robot_fist=r.robot_fist,
        ),
    )


def _toml(user: User) -> str:
    p, f, r = user.proportions, user.fingerprint, user.residuals
    bones = zip(FINGERS, f.bones.reshape(5, 4), strict=True)
    lines = [
        "# Written by `dexhil calibrate`. Lengths are in metres; fingers count from the thumb.",
        f"format = {FORMAT}",
        f"user = {_text(user.name)}",
        f"glove = {_text(user.glove)}",
        f"side = {_text(user.side)}",
        f"hand = {_text(user.hand)}  # Of the residuals; the rest serves any hand of this side.",
        f"date = {user.date.isoformat(timespec='seconds')}",
        "",
        "[proportions]",
        "# Wrist over knuckle to tip along the straight finger, thumb to little.",
        f"reaches = {_numbers(p.reaches)}",
        "# Added to the glove's thumb: out of the palm, to the palm's y, along the fingers.",
        f"thumb_offset = {_numbers(p.thumb_offset)}",
        "# Still between the tips of thumb and index to little when they touch.",
        f"touch_gaps = {_numbers(p.touch_gaps)}",
        "",
        "[fingerprint]",
        "# Bones as the glove shows them, and by what share they may differ for the same person.",
        f"tolerance = {_number(f.tolerance)}",
        *(f"{finger} = {_numbers(row)}" for finger, row in bones),
        "",
        "[residuals]",
        "# Standard deviation of each finger's length over the poses.",
        f"reach_spread = {_numbers(r.reach_spread)}",
        "# Between the tips in each pinch: as the glove shows it, and on the robot hand.",
        f"raw_gaps = {_numbers(r.raw_gaps)}",
        f"robot_gaps = {_numbers(r.robot_gaps)}",
        "# How far the robot's fist closes, 1 for fully.",
        f"robot_fist = {_number(r.robot_fist)}",
    ]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")


def _number(value: Any) -> str:
    # A micrometre is beyond any glove, and can be read.
    return f"{float(value):.6f}"


def _numbers(values: Iterable[Any]) -> str:
    return f"[{', '.join(map(_number, values))}]"
