"""Recording: what is refused, what is kept, what is the same every time."""

import errno
import io
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dexhil.policy.episodes import (
    DatasetReader,
    DatasetWriter,
    EpisodeError,
    Features,
    FrameError,
    StorageError,
    check,
    layout,
)

FPS = 20
AddFrames = Callable[..., None]
MakeFrame = Callable[[Features, int], dict[str, object]]
MakeImage = Callable[[int], np.ndarray]
Record = Callable[..., int]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": [0.0, np.nan, 0.0]}, r"'action' has 1 of 3 values not finite"),
        ({"action": [0.0, 1e39, 0.0]}, r"'action' has 1 of 3 values not finite"),
        ({"action.human": [0.0, np.nan, 0.0]}, r"all finite, or all NaN if absent"),
        ({"t_mono": 1e200}, r"'t_mono' has 1 of 1 values not finite"),
        ({"action": [0.0, 0.0]}, r"'action' has shape \(2,\), expected \(3,\)"),
        ({"mode": 1.5}, r"'mode' is float64, expected int64"),
        ({"intervention": 1}, r"'intervention' is int64, expected bool"),
        ({"action": None}, r"'action' is missing"),
        ({"wrench": 1.0}, r"'wrench' is no feature"),
        ({"index": 1}, r"'index' is no feature to give"),
    ],
)
def test_a_bad_frame_is_refused_and_costs_nothing_else(
    *,
    tmp_path: Path,
    blind: Features,
    add_frames: AddFrames,
    make_frame: MakeFrame,
    change: dict[str, object],
    message: str,
) -> None:
    with DatasetWriter(tmp_path, blind, FPS) as writer:
        writer.begin_episode("lift")
        add_frames(writer, blind, 3)
        with pytest.raises(FrameError, match=message):
            writer.add_frame({**make_frame(blind, 3), **change})
        add_frames(writer, blind, 2, start=3)
        writer.end_episode(success=True)
    states = DatasetReader(tmp_path).episode(0).columns["observation.state"]
    np.testing.assert_allclose(states[:, 0], 0.1 * np.arange(5), rtol=1e-6)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ({}, r"images of \[\], expected \['scene'\]"),
        ({"scene": np.zeros((64, 48, 3), np.uint8)}, r"uint8 \(64, 48, 3\), expected uint8 \(48,"),
        ({"scene": np.zeros((48, 64, 3))}, r"is float64"),
    ],
)
def test_a_bad_image_is_refused(
    tmp_path: Path,
    features: Features,
    make_frame: MakeFrame,
    images: dict[str, np.ndarray],
    message: str,
) -> None:
    with DatasetWriter(tmp_path, features, FPS) as writer:
        writer.begin_episode("lift")
        with pytest.raises(FrameError, match=message):
            writer.add_frame(make_frame(features, 0), images)


def test_what_is_absent_may_be_left_out(
    tmp_path: Path, blind: Features, make_frame: MakeFrame
) -> None:
    frame = make_frame(blind, 0)
    del frame["action.policy"]
    with DatasetWriter(tmp_path, blind, FPS) as writer:
        writer.begin_episode("lift")
        writer.add_frame(frame)
    columns = DatasetReader(tmp_path).episode(0).columns
    assert np.isnan(columns["action.policy"]).all()
    assert np.isnan(columns["age.glove"]).all()


def test_images_may_be_reused_by_the_camera(
    tmp_path: Path, features: Features, make_frame: MakeFrame, make_image: MakeImage
) -> None:
    buffer = make_image(0)
    with DatasetWriter(tmp_path, features, FPS) as writer:
        writer.begin_episode("lift")
        for k in range(10):
            buffer[:] = 20 * k
            writer.add_frame(make_frame(features, k), {"scene": buffer})
    found = [image.mean() for image in DatasetReader(tmp_path).images(0, "scene")]
    np.testing.assert_allclose(found, 20.0 * np.arange(10), atol=4)


def test_rows_videos_and_their_folder_are_made_to_survive_a_power_cut_on_request(
    tmp_path: Path, features: Features, add_frames: AddFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        layout, "_sync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink().name)
    )
    with DatasetWriter(tmp_path, features, FPS) as writer:
        writer.begin_episode("lift")
        writer.sync()  # There is no video yet.
        add_frames(writer, features, 4)
        while not (tmp_path / ".staging/scene.mp4").exists():
            time.sleep(0.01)
        while ".staging" not in synced:  # The first request; while it runs, others are left out.
            time.sleep(0.01)
        synced.clear()
        writer.sync()
        while ".staging" not in synced:
            time.sleep(0.01)
        assert synced == ["frames.bin", "scene.mp4", ".staging"]
        writer.end_episode()
        synced.clear()
        writer.sync()
        assert synced == []


def test_a_disk_that_takes_its_time_delays_no_frame(
    tmp_path: Path, features: Features, add_frames: AddFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    awake = threading.Event()
    awake.set()
    monkeypatch.setattr(layout, "_sync", lambda _: awake.wait(10.0))
    with DatasetWriter(tmp_path, features, FPS) as writer:
        writer.begin_episode("lift")
        awake.clear()
        for _ in range(3):
            writer.sync()
            add_frames(writer, features, 2)
        assert writer.n_frames == 6
        awake.set()
        writer.end_episode()
    assert len(DatasetReader(tmp_path)) == 1


def test_what_a_disk_refused_to_make_durable_is_told_with_the_next_request(
    tmp_path: Path, features: Features, add_frames: AddFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = threading.Event()

    def refuse(_: int) -> None:
        refused.set()
        raise OSError(errno.EIO, "Input/output error")

    def ask_until_it_is_told() -> None:
        while True:  # The refusal is on its way for a moment.
            writer.sync()

    with DatasetWriter(tmp_path, features, FPS) as writer:
        writer.begin_episode("lift")
        add_frames(writer, features, 2)
        with monkeypatch.context() as patched:
            patched.setattr(layout, "_sync", refuse)
            writer.sync()
            assert refused.wait(10.0)
        with pytest.raises(StorageError, match="Input/output error"):
            ask_until_it_is_told()


def test_a_later_writer_goes_on(tmp_path: Path, features: Features, record: Record) -> None:
    for expected in range(3):
        with DatasetWriter(tmp_path, features, FPS) as writer:
            assert writer.repairs == ()
            assert record(writer, features) == expected
    assert check(tmp_path) == []
    assert len(DatasetReader(tmp_path)) == 3


def test_going_on_gives_the_same_statistics_as_never_stopping(
    tmp_path: Path, features: Features, record: Record
) -> None:
    with DatasetWriter(tmp_path / "a", features, FPS) as writer:
        for n in (5, 9):
            record(writer, features, n)
    for n in (5, 9):
        with DatasetWriter(tmp_path / "b", features, FPS) as writer:
            record(writer, features, n)
    assert DatasetReader(tmp_path / "a").stats == DatasetReader(tmp_path / "b").stats


def test_the_same_frames_give_the_same_bytes(
    tmp_path: Path, features: Features, record: Record
) -> None:
    for name in ("a", "b"):
        with DatasetWriter(tmp_path / name, features, FPS) as writer:
            record(writer, features, 12)
            record(writer, features, 7, task="turn", success=None)
    files = [p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()]
    assert len(files) == 9
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_a_discarded_episode_leaves_no_trace(
    tmp_path: Path, features: Features, record: Record, add_frames: AddFrames
) -> None:
    with DatasetWriter(tmp_path, features, FPS) as writer:
        record(writer, features)
        writer.begin_episode("spoilt")
        add_frames(writer, features, 4)
        writer.discard_episode()
        assert record(writer, features) == 1
    assert [entry.task for entry in DatasetReader(tmp_path).episodes] == ["lift", "lift"]
    assert check(tmp_path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_leaving_by_an_error_keeps_the_open_episode_unlabelled(
    tmp_path: Path, features: Features, add_frames: AddFrames, error: type[BaseException]
) -> None:
    def record_and_fail() -> None:
        with DatasetWriter(tmp_path, features, FPS) as writer:
            writer.begin_episode("lift")
            add_frames(writer, features, 4)
            raise error

    with pytest.raises(error):
        record_and_fail()
    (entry,) = DatasetReader(tmp_path).episodes
    assert (entry.length, entry.success) == (4, None)
    assert not DatasetReader(tmp_path).episode(0).columns["next.success"].any()


class InterruptedJournal(io.BytesIO):
    def write(self, _: object) -> int:
        raise KeyboardInterrupt


def test_an_interrupt_between_image_and_row_cuts_the_image(
    tmp_path: Path, features: Features, add_frames: AddFrames, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DatasetWriter(tmp_path, features, FPS) as writer:
        writer.begin_episode("lift")
        add_frames(writer, features, 4)
        assert writer._open is not None
        writer._open._journal.close()
        monkeypatch.setattr(writer._open, "_journal", InterruptedJournal())
        with pytest.raises(KeyboardInterrupt):
            add_frames(writer, features, 1, start=4)
    assert check(tmp_path) == []
    assert len(DatasetReader(tmp_path).episode(0)) == 4


def test_calls_out_of_turn_are_refused(tmp_path: Path, blind: Features) -> None:
    writer = DatasetWriter(tmp_path, blind, FPS)
    with pytest.raises(EpisodeError, match=r"no episode is open. Call begin_episode"):
        writer.add_frame({})
    writer.begin_episode("lift")
    with pytest.raises(EpisodeError, match="episode 0 is still open"):
        writer.begin_episode("lift")
    with pytest.raises(EpisodeError, match="has no frames"):
        writer.end_episode(success=True)
    writer.close()
    writer.close()
    with pytest.raises(EpisodeError, match="the writer is closed"):
        writer.begin_episode("lift")
