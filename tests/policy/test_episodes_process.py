"""Recording in a process of its own: the same dataset, and nothing waits for the disk."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

from dexhil.policy.episodes import (
    DatasetError,
    DatasetReader,
    DatasetWriter,
    EpisodeError,
    Features,
    FeaturesError,
    FrameError,
    ProcessWriter,
    StorageError,
    check,
)
from dexhil.policy.episodes.process_main import _Server
from dexhil.policy.episodes.slots import Slots, slot_size
from dexhil.policy.memory import make_memory
from tests.policy.datasets import states

FPS = 20
AddFrames = Callable[..., None]
MakeFrame = Callable[[Features, int], dict[str, object]]
Record = Callable[..., int]


@contextmanager
def disk_standing_still(writer: ProcessWriter) -> Iterator[None]:
    """Stop the process that writes, as a disk does that hangs."""
    pid = writer._process.pid
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_it_writes_the_same_bytes_as_the_writer_in_this_process(
    tmp_path: Path, features: Features, record: Record, add_frames: AddFrames
) -> None:
    for name, writer_type in (("here", DatasetWriter), ("there", ProcessWriter)):
        with writer_type(tmp_path / name, features, FPS, "sim") as writer:
            assert record(writer, features, 12) == 0
            writer.begin_episode("spoilt")
            add_frames(writer, features, 3)
            writer.discard_episode()
            assert record(writer, features, 7, task="turn", success=None) == 1
            assert writer.n_episodes == 2
    here, there = tmp_path / "here", tmp_path / "there"
    files = {p.relative_to(here) for p in here.rglob("*")}
    assert files == {p.relative_to(there) for p in there.rglob("*")}
    for file in files:
        if (here / file).is_file():
            assert (here / file).read_bytes() == (there / file).read_bytes(), file


def test_it_goes_on_where_another_stopped(
    dataset: Path, features: Features, record: Record
) -> None:
    with ProcessWriter(dataset, features, FPS, "sim") as writer:
        assert writer.repairs == ()
        assert record(writer, features) == 3
        writer.flush()
        assert len(DatasetReader(dataset)) == 4
        assert check(dataset) == []


def test_a_bad_frame_is_refused_at_once_and_costs_nothing_else(
    tmp_path: Path, blind: Features, add_frames: AddFrames, make_frame: MakeFrame
) -> None:
    with ProcessWriter(tmp_path, blind, FPS) as writer:
        writer.begin_episode("lift")
        add_frames(writer, blind, 3)
        with pytest.raises(FrameError, match="'action' is missing"):
            writer.add_frame({**make_frame(blind, 3), "action": None})
        with pytest.raises(FrameError, match=r"images of \['scene'\], expected \[\]"):
            writer.add_frame(make_frame(blind, 3), {"scene": np.zeros((2, 2, 3), np.uint8)})
        add_frames(writer, blind, 2, start=3)
        assert writer.n_frames == 5
    np.testing.assert_allclose(states(tmp_path, 0), 0.1 * np.arange(5), rtol=1e-6)


def test_calls_out_of_turn_are_refused(tmp_path: Path, blind: Features) -> None:
    writer = ProcessWriter(tmp_path, blind, FPS)
    with pytest.raises(EpisodeError, match=r"no episode is open. Call begin_episode"):
        writer.add_frame({})
    writer.begin_episode("lift")
    with pytest.raises(EpisodeError, match="episode 0 is still open"):
        writer.begin_episode("lift")
    with pytest.raises(EpisodeError, match="has no frames"):
        writer.end_episode(success=True)
    writer.close()
    writer.close()
    for call in (lambda: writer.begin_episode("lift"), writer.flush):
        with pytest.raises(EpisodeError, match="the writer is closed"):
            call()


def test_what_cannot_be_opened_is_said_as_by_the_writer_in_this_process(
    dataset: Path, features: Features, blind: Features
) -> None:
    with pytest.raises(FeaturesError, match=r"not wanted any more.*dexhil dataset merge"):
        ProcessWriter(dataset, blind, FPS, "sim")
    with pytest.raises(FeaturesError, match=r"fps is 12.5, expected a whole number"):
        ProcessWriter(dataset, features, 12.5, "sim")
    with (
        DatasetWriter(dataset, features, FPS, "sim"),
        pytest.raises(DatasetError, match="another writer has this dataset open"),
    ):
        ProcessWriter(dataset, features, FPS, "sim")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_leaving_by_an_error_keeps_the_open_episode_unlabelled(
    tmp_path: Path, features: Features, add_frames: AddFrames, error: type[BaseException]
) -> None:
    def record_and_fail() -> None:
        with ProcessWriter(tmp_path, features, FPS) as writer:
            writer.begin_episode("lift")
            add_frames(writer, features, 4)
            raise error

    with pytest.raises(error):
        record_and_fail()
    (entry,) = DatasetReader(tmp_path).episodes
    assert (entry.length, entry.success) == (4, None)
    assert check(tmp_path) == []


def test_neither_frames_nor_the_end_of_an_episode_wait_for_the_disk(
    tmp_path: Path, features: Features, record: Record, add_frames: AddFrames
) -> None:
    with ProcessWriter(tmp_path, features, FPS) as writer:
        with disk_standing_still(writer):  # Whatever waited here would wait for ever.
            for _ in range(3):
                record(writer, features, 10)
            writer.begin_episode("spoilt")
            add_frames(writer, features, 10)
            writer.discard_episode()
            assert not (tmp_path / "data").exists()
        writer.flush()
        assert [entry.length for entry in DatasetReader(tmp_path).episodes] == [10] * 3
    assert check(tmp_path) == []


@pytest.mark.parametrize("fps", [FPS, 60])
def test_a_disk_that_cannot_keep_up_ends_the_recording_without_a_hole(
    tmp_path: Path, features: Features, add_frames: AddFrames, fps: int
) -> None:
    with ProcessWriter(tmp_path, features, fps) as writer:
        n_slots = len(writer._slots)
        with disk_standing_still(writer):
            writer.begin_episode("lift")
            add_frames(writer, features, n_slots)
            with pytest.raises(StorageError, match=rf"cannot keep up, {n_slots} frames .* kept"):
                add_frames(writer, features, 1, start=n_slots)
            with pytest.raises(EpisodeError, match="no episode is open"):
                add_frames(writer, features, 1, start=n_slots)
    np.testing.assert_allclose(states(tmp_path, 0), 0.1 * np.arange(n_slots), rtol=1e-6)
    assert DatasetReader(tmp_path).episodes[0].success is None
    assert check(tmp_path) == []


def test_the_slots_of_written_frames_are_used_again(
    tmp_path: Path, blind: Features, add_frames: AddFrames
) -> None:
    with ProcessWriter(tmp_path, blind, FPS) as writer:
        writer.begin_episode("lift")
        for start in range(0, 200, 50):
            add_frames(writer, blind, 50, start=start)
            writer.flush()
    np.testing.assert_allclose(states(tmp_path, 0), 0.1 * np.arange(200), rtol=1e-6)


def test_a_slot_is_given_back_only_after_its_frame_is_written(blind: Features) -> None:
    ours, theirs = Pipe()
    memory = make_memory(2 * slot_size(blind))
    server = _Server.__new__(_Server)
    server._pipe, server._slots = theirs, Slots(blind, 2, memory)
    os.close(memory)

    class Writer:
        def add_record(self, *_: object) -> None:
            assert not ours.poll()

    with ours, theirs:
        server._do(Writer(), "frame", 1)  # type: ignore[arg-type]
        assert ours.recv() == ("taken", 1)


def test_a_full_disk_is_told_once_and_costs_no_finished_episode(
    dataset: Path, features: Features, record: Record
) -> None:
    with ProcessWriter(dataset, features, FPS, "sim") as writer:
        (dataset / ".staging/frames.bin").symlink_to("/dev/full")

        def record_until_refused() -> None:
            record(writer, features)
            writer.flush()

        with pytest.raises(StorageError, match=r"cannot write \(.*Finished episodes are whole"):
            record_until_refused()
        with pytest.raises(EpisodeError, match="the writer is closed"):
            writer.begin_episode("lift")
    assert check(dataset) == []
    assert len(DatasetReader(dataset)) == 3


def test_a_nearly_full_disk_ends_the_recording_while_there_is_room_to_finish_it(
    tmp_path: Path, features: Features, add_frames: AddFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(_small_disk(tmp_path)))

    taken: list[int] = []

    def record_until_refused() -> None:
        while True:
            add_frames(writer, features, 1, start=len(taken))
            taken.append(len(taken))
            time.sleep(0.01)

    with ProcessWriter(tmp_path / "dataset", features, FPS) as writer:
        writer.begin_episode("lift")
        with pytest.raises(StorageError, match=r"nearly full, 1 MiB free, 32 MiB are kept"):
            record_until_refused()
        with pytest.raises(EpisodeError, match="the writer is closed"):
            writer.flush()
    assert taken
    np.testing.assert_allclose(states(tmp_path / "dataset", 0), 0.1 * np.array(taken), rtol=1e-6)
    assert check(tmp_path / "dataset") == []


def _small_disk(folder: Path) -> Path:
    """Return a folder of modules with which every new process sees a disk of 1 MiB."""
    (folder / "sitecustomize.py").write_text(
        "import collections, shutil\n"
        "usage = collections.namedtuple('usage', 'total used free')(2**30, 2**30 - 2**20, 2**20)\n"
        "shutil.disk_usage = lambda path: usage\n"
    )
    return folder


def test_a_writing_process_that_is_killed_is_told_and_the_episode_is_kept(
    tmp_path: Path, blind: Features, record: Record, add_frames: AddFrames
) -> None:
    with ProcessWriter(tmp_path, blind, FPS) as writer:
        record(writer, blind, 5)
        writer.begin_episode("lift")
        add_frames(writer, blind, 30)
        writer.flush()
        writer._process.kill()
        writer._process.wait()
        with pytest.raises(StorageError, match=r"ended \(status -9\).*the open episode is kept"):
            add_frames(writer, blind, 1)
    with DatasetWriter.reopen(tmp_path) as again:
        assert "interrupted episode as episode 1" in again.repairs[0]
    first, second = DatasetReader(tmp_path).episodes
    assert (first.length, first.success, second.success) == (5, True, None)
    assert second.length == 30
    assert check(tmp_path) == []


def test_a_writing_process_that_is_told_to_end_finishes_what_it_was_given(
    tmp_path: Path, blind: Features, add_frames: AddFrames
) -> None:
    with ProcessWriter(tmp_path, blind, FPS) as writer:
        writer.begin_episode("lift")
        with disk_standing_still(writer):
            add_frames(writer, blind, 30)
            writer._process.terminate()
        writer._process.wait()
        with pytest.raises(StorageError, match=r"ended \(status 0\)"):
            add_frames(writer, blind, 1)
    np.testing.assert_allclose(states(tmp_path, 0), 0.1 * np.arange(30), rtol=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_writing_process_loads_no_torch(tmp_path: Path, features: Features) -> None:
    with ProcessWriter(tmp_path, features, FPS) as writer:
        loaded = Path(f"/proc/{writer._process.pid}/maps").read_text()
    assert "libarrow" in loaded
    assert "torch" not in loaded
    assert "mujoco" not in loaded


@pytest.mark.parametrize("handed_over", [False, True])
def test_a_writing_process_that_hangs_is_killed_and_told(
    *,
    tmp_path: Path,
    blind: Features,
    add_frames: AddFrames,
    monkeypatch: pytest.MonkeyPatch,
    handed_over: bool,
) -> None:
    monkeypatch.setattr("dexhil.policy.episodes.process._PATIENCE_S", 0.05)
    writer = ProcessWriter(tmp_path, blind, FPS)
    writer.begin_episode("lift")
    add_frames(writer, blind, 3)
    os.kill(writer._process.pid, signal.SIGSTOP)
    wait = writer.flush
    if handed_over:  # As after a disk that could not keep up: there is nothing more to hear.
        writer._let_go()
        wait = writer.close
    with pytest.raises(StorageError, match=r"did nothing for 0.05 s and was killed.*is kept"):
        wait()
    assert writer._process.wait() == -signal.SIGKILL
    writer.close()
    DatasetWriter.reopen(tmp_path).close()
    assert check(tmp_path) == []


# -- The rate that is declared, and the true one -------------------------------------------


@pytest.mark.parametrize("writer_type", [DatasetWriter, ProcessWriter])
def test_an_episode_that_is_slower_than_declared_is_told_and_noted(
    tmp_path: Path,
    blind: Features,
    make_frame: MakeFrame,
    caplog: pytest.LogCaptureFixture,
    writer_type: type[DatasetWriter] | type[ProcessWriter],
) -> None:
    with (
        caplog.at_level(logging.WARNING, logger="dexhil"),
        writer_type(tmp_path, blind, FPS) as writer,
    ):
        for gap_s in (0.05, 0.0625):
            writer.begin_episode("lift")
            for k in range(11):
                writer.add_frame({**make_frame(blind, k), "t_mono": 1e5 + gap_s * k})
            writer.end_episode()
        writer.flush()
        (warning,) = writer.warnings
    assert warning == "episode 1: it has 16.00 frames per second, declared are 20"
    assert [record.getMessage() for record in caplog.records] == [f"{tmp_path}: {warning}"]
    first, second = DatasetReader(tmp_path).episodes
    assert first.true_fps == pytest.approx(20.0)
    assert second.true_fps == pytest.approx(16.0)
    assert second.largest_gap_s == pytest.approx(0.0625)
