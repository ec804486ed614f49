"""What the runtime saw and did, as rows of a dataset."""

from collections.abc import Sequence
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dexhil.drivers.clock import SimClock
from dexhil.integration.live import teleop_config
from dexhil.integration.rig import Rig
from dexhil.policy.episodes import (
    DatasetWriter,
    EpisodeWriter,
    Features,
    ProcessWriter,
    Source,
)
from dexhil.teleop.frame import Frame
from dexhil.teleop.takeover import Mode

MODE_NUMBERS = {Mode.HOLD: 0, Mode.POLICY: 1, Mode.HUMAN: 2}


def rig_features(rig: Rig, environment_names: Sequence[str] = ()) -> Features:
    """Return the columns of a dataset recorded on ``rig``."""
    return Features.for_rig(
        arm_joints=rig.arm.spec.joint_names,
        hand_joints=rig.hand.spec.joint_names,
        cameras={name: (c.spec.height, c.spec.width) for name, c in rig.cameras.items()},
        environment_state=environment_names,
    )


def open_dataset(root: Path, rig: Rig, environment_names: Sequence[str] = ()) -> EpisodeWriter:
    """Open the dataset in ``root``, new or to be extended, for what ``rig`` records.

    On the host's clock a process of its own writes, so that no loop waits for the disk. On the
    simulated clock nothing has to be on time, and an episode that has ended is on disk.

    Raises:
        DatasetError: It belongs to another rig, is damaged, or cannot be written.
    """
    features = rig_features(rig, environment_names)
    fps = teleop_config(rig).policy_rate_hz
    if isinstance(rig.clock, SimClock):
        return DatasetWriter(root, features, fps, rig.robot_type)
    return ProcessWriter(root, features, fps, rig.robot_type)


class Recorder:
    """Writes every frame of the runtime into the open episode of a dataset.

    Args:
        writer: Of the dataset.
        demonstration: Nobody but the person drives, so nothing is an intervention.
    """

    def __init__(self, writer: EpisodeWriter, *, demonstration: bool = False) -> None:
        self._writer = writer
        self._demonstration = demonstration

    def write(self, frame: Frame) -> None:
        """Add a frame to the open episode; on the host's clock no longer than a copy takes.

        Raises:
            StorageError: The disk refused it, or cannot keep up; what was recorded is kept.
        """
        row = frame_row(frame)
        if self._demonstration:
            row["intervention"] = False
        images = {name: camera.image for name, camera in frame.images.items()}
        self._writer.add_frame(row, images=images)


def frame_row(frame: Frame) -> dict[str, npt.ArrayLike]:
    """Return the columns of one frame; NaN where somebody was silent."""
    silent = np.full(frame.executed.shape, np.nan)
    row: dict[str, Any] = {
        "observation.state": frame.state,
        "action": frame.executed,
        "action.policy": silent if frame.proposal is None else frame.proposal,
        "action.human": silent if frame.human is None else frame.human,
        "intervention": frame.intervention,
        "authority": frame.authority,
        "authority.arm": frame.authority_arm,
        "authority.hand": frame.authority_hand,
        "source": _source(frame),
        "mode": MODE_NUMBERS[frame.mode],
        "segment_index": frame.segment,
        "t_mono": frame.stamp_s,
        **{
            f"age.{name}": age_s if isfinite(age_s) else nan for name, age_s in frame.ages_s.items()
        },
    }
    if frame.environment_state is not None:
        row["observation.environment_state"] = frame.environment_state
    return row


def _source(frame: Frame) -> Source:
    if frame.mode is Mode.HOLD:
        return Source.HOLD
    if frame.mode is Mode.POLICY:
        return Source.POLICY if frame.authority == 0.0 else Source.BLEND
    return Source.HUMAN if frame.authority == 1.0 else Source.BLEND
