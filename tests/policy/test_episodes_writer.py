"""Recording: what is refused, what is kept, what is the same every time."""

import errno
import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dexhil.policy.episodes import (
    CorruptError,
    DatasetError,
    DatasetReader,
    DatasetWriter,
    EpisodeError,
    Features,
    FeaturesError,
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
        synced.clear()
        writer.sync()
        assert synced == ["frames.bin", "scene.mp4", ".staging"]
        writer.end_episode()
        synced.clear()
        writer.sync()
        assert synced == []


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


def test_two_writers_do_not_share_a_dataset(tmp_path: Path, blind: Features) -> None:
    with (
        DatasetWriter(tmp_path, blind, FPS),
        pytest.raises(DatasetError, match="another writer has this dataset open"),
    ):
        DatasetWriter(tmp_path, blind, FPS)


def test_another_kind_of_dataset_is_not_mixed_in(
    dataset: Path, features: Features, blind: Features
) -> None:
    with pytest.raises(FeaturesError, match=r"'observation.environment_state' is not wanted"):
        DatasetWriter(dataset, blind, FPS, "sim")
    with pytest.raises(FeaturesError, match="fps is 20, wanted 30"):
        DatasetWriter(dataset, features, 30, "sim")
    with pytest.raises(FeaturesError, match="robot_type is 'sim', wanted 'real'"):
        DatasetWriter(dataset, features, FPS, "real")
    assert check(dataset) == []


def test_a_dataset_from_before_a_column_was_added_is_read_but_not_extended(
    tmp_path: Path, blind: Features, record: Record
) -> None:
    added = ("authority.arm", "authority.hand")
    old = Features({name: blind[name] for name in blind if name not in added})
    with DatasetWriter(tmp_path, old, FPS) as writer:
        record(writer, old)
    assert "authority.arm" not in DatasetReader(tmp_path).episode(0).columns
    assert check(tmp_path) == []
    with pytest.raises(FeaturesError, match=r"'authority.arm' is not in the dataset.*merge joins"):
        DatasetWriter(tmp_path, blind, FPS)


def test_a_dataset_is_opened_again_as_it_describes_itself(
    dataset: Path, features: Features
) -> None:
    with DatasetWriter.reopen(dataset) as writer:
        assert writer.n_episodes == 3
    with DatasetWriter(dataset, features, FPS, "sim") as writer:
        assert writer.n_episodes == 3


def test_what_is_no_dataset_is_not_made_one_by_opening_it_again(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no dataset"):
        DatasetWriter.reopen(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_rate_is_refused(tmp_path: Path, blind: Features) -> None:
    with pytest.raises(FeaturesError, match=r"fps is 12.5, expected a whole number"):
        DatasetWriter(tmp_path, blind, 12.5)


def test_a_folder_of_something_else_is_not_recorded_into(tmp_path: Path, blind: Features) -> None:
    (tmp_path / "data/mine").mkdir(parents=True)
    with pytest.raises(CorruptError, match="is missing, but there is a folder 'data'"):
        DatasetWriter(tmp_path, blind, FPS)


def test_damaged_episodes_are_neither_extended_nor_deleted(
    dataset: Path, features: Features
) -> None:
    (dataset / "data/chunk-000/file-001.parquet").unlink()
    with pytest.raises(CorruptError, match=r"file-001.parquet: is missing, but later episodes"):
        DatasetWriter(dataset, features, FPS, "sim")
    assert (dataset / "data/chunk-000/file-002.parquet").exists()
    assert (dataset / "meta/episodes/chunk-000/file-002.parquet").exists()


@pytest.mark.parametrize("file", ["frames.bin", "scene.mp4"])
def test_a_full_disk_while_recording_is_one_clear_error(
    dataset: Path, features: Features, record: Record, file: str
) -> None:
    with DatasetWriter(dataset, features, FPS, "sim") as writer:
        (dataset / ".staging" / file).symlink_to("/dev/full")
        with pytest.raises(StorageError, match=r"No space left on device\), \d+ bytes free"):
            record(writer, features)
    assert check(dataset) == []
    assert len(DatasetReader(dataset)) == 3


@pytest.mark.parametrize("n_good", range(14))
def test_a_full_disk_at_any_step_of_finishing_costs_nothing(
    dataset: Path,
    features: Features,
    add_frames: AddFrames,
    monkeypatch: pytest.MonkeyPatch,
    n_good: int,
) -> None:
    writer = DatasetWriter(dataset, features, FPS, "sim")
    writer.begin_episode("push")
    add_frames(writer, features, 5)
    left = iter(range(n_good))
    sync = layout._sync

    def full(descriptor: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(layout, "_sync", full)
        with pytest.raises(StorageError, match="Free some space and open the dataset again"):
            writer.end_episode(success=True)
    writer.close()
    assert check(dataset) == []
    with DatasetWriter(dataset, features, FPS, "sim") as again:
        assert again.n_episodes == 4
    assert check(dataset) == []
    last = DatasetReader(dataset).episode(3)
    assert len(last) == 5
    assert last.success is (True if n_good else None)
