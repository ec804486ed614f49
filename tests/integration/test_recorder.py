"""What is recorded on a rig stays, whatever happens to the rig meanwhile."""

from pathlib import Path

import numpy as np
import pytest

from dexhil.drivers.clock import MonotonicClock, SimClock
from dexhil.integration.live import drive, make_session
from dexhil.integration.recorder import Recorder, open_dataset
from dexhil.integration.rig import Rig, build_rig
from dexhil.policy.episodes import (
    DatasetReader,
    DatasetWriter,
    EpisodeWriter,
    ProcessWriter,
    StorageError,
    check,
)
from dexhil.teleop.session import Session
from dexhil.teleop.takeover import Event, Mode


class Person:
    """Watches a drive and pulls a cable once some frames are recorded."""

    def __init__(self, rig: Rig, writer: EpisodeWriter, camera: str) -> None:
        self.camera = rig.cameras[camera]
        self.writer = writer
        self.n_frames = 0

    def __call__(self, _: Session) -> None:
        if self.writer.n_frames >= 8 and not self.n_frames:
            self.n_frames = self.writer.n_frames
            self.camera.faults.unplug()


@pytest.mark.parametrize("clock", [MonotonicClock, SimClock])
def test_a_camera_unplugged_mid_episode_costs_no_frame_that_was_recorded(
    rig: Path, tmp_path: Path, clock: type[MonotonicClock] | type[SimClock]
) -> None:
    running = build_rig(rig, clock())
    with open_dataset(tmp_path, running) as writer, running.running():
        assert isinstance(writer, ProcessWriter if clock is MonotonicClock else DatasetWriter)
        writer.begin_episode("lift")
        session = make_session(running, sink=Recorder(writer))
        person = Person(running, writer, "scene")
        stretch = drive(running, session, first=Event.TAKE_OVER, duration_s=20.0, show=person)
        writer.end_episode(stretch.success)
    assert "scene" in stretch.ended
    assert "unplugged" in stretch.ended
    assert session.mode is Mode.HOLD
    assert check(tmp_path) == []
    reader = DatasetReader(tmp_path)
    (entry,) = reader.episodes
    assert entry.length >= person.n_frames >= 8
    assert (np.diff(reader.episode(0).columns["t_mono"]) > 0.0).all()
    for camera in running.cameras:
        assert len(list(reader.images(0, camera))) == entry.length


def test_a_disk_that_refuses_ends_the_drive_with_one_clear_sentence(
    rig: Path, tmp_path: Path
) -> None:
    real = build_rig(rig, MonotonicClock(), cameras=False)
    with open_dataset(tmp_path, real) as writer, real.running():
        (tmp_path / ".staging/frames.bin").symlink_to("/dev/full")
        writer.begin_episode("lift")
        session = make_session(real, sink=Recorder(writer))
        with pytest.raises(StorageError, match=r"cannot write \(.*Finished episodes are whole"):
            drive(real, session, first=Event.TAKE_OVER, duration_s=20.0)
        assert session.mode is Mode.HOLD
