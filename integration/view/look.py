"""One frame of a running session, as it travels to the process that shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Image, Matrix, Vector
from dexhil.drivers.models.kinematics import Kinematics
from dexhil.integration.recorder import frame_row
from dexhil.policy.episodes import Features
from dexhil.teleop.frame import Frame
from dexhil.teleop.se3 import Pose


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setup:
    """What is shown.

    Attributes:
        out: File to write; opens the viewer when ``None``.
        features: Of the columns.
        cameras: Their names.
        arm: Its table.
        hand: Its table.
        workspace: Lower and upper corner of the palm's box [m]. Shape (2, 3).
        pose_palm_in_cube: X of DexHiL Eq. 3. Shape (4, 4).
        arm_scale: Of the palm's motion to the person's.
    """

    out: Path | None
    features: Features
    cameras: tuple[str, ...]
    arm: Kinematics
    hand: Kinematics
    workspace: Matrix
    pose_palm_in_cube: Pose
    arm_scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """A frame without its pictures.

    Attributes:
        stamp_s: As in the frame [s].
        row: Columns, as they would be recorded.
        drivers: Who drives the arm, and the hand.
        limits: Limits that changed the last commands.
        reason: Why nobody drives, in HOLD.
        keypoints: Of the glove, in its own frame [m]. Shape (21, 3).
        cube: Position and quaternion wxyz of the tracked body, in the tracker's frame [m].
            Shape (7,).
        pictures: Height and width of each picture that follows, by camera.
    """

    stamp_s: float
    row: Mapping[str, npt.NDArray[Any]]
    drivers: tuple[str, str]
    limits: tuple[str, ...] = ()
    reason: str = ""
    keypoints: Matrix | None = None
    cube: Vector | None = None
    pictures: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def look_of(frame: Frame, pictures: Mapping[str, Image]) -> Look:
    """Return what there is to see of a frame."""
    row = {name: np.asarray(value) for name, value in frame_row(frame).items()}
    del row["intervention"]  # Only who records can tell: driving in a demonstration is none.
    glove, cube = frame.glove, frame.tracker
    return Look(
        stamp_s=frame.stamp_s,
        row=row,
        drivers=(frame.drivers.arm.name, frame.drivers.hand.name),
        limits=tuple(sorted(frame.limits)),
        reason=frame.reason,
        keypoints=None if glove is None else glove.keypoints,
        cube=None if cube is None else np.concatenate([cube.position, cube.orientation]),
        pictures={name: (len(image), len(image[0])) for name, image in pictures.items()},
    )


def words(drivers: Sequence[str], reason: str = "") -> str:
    """Return who drives arm and hand, and why nobody does if so."""
    arm, hand = drivers
    who = arm if arm == hand else f"arm {arm}, hand {hand}"
    return f"{who}: {reason}" if reason else who
