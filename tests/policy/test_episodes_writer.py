"""Recording: what is refused, what is kept, what is the same every time."""

import errno
import io
import json
import threading
import time
from collections import namedtuple
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


def tree(root: Path) -> dict[Path, bytes]:
    """Every file of a dataset, but for those that every writer stages anew."""
    paths = (path for path in root.rglob("*") if path.is_file() and ".staging" not in path.parts)
    return {path.relative_to(root): path.read_bytes() for path in paths}


@pytest.mark.parametrize("n_left", [2, 0])
def test_lost_data_of_the_last_episodes_is_told_and_nothing_of_them_deleted(
    dataset: Path, features: Features, n_left: int
) -> None:
    for lost in range(n_left, 3):
        (dataset / f"data/chunk-000/file-{lost:03d}.parquet").unlink()
    before = tree(dataset)
    with pytest.raises(
        CorruptError,
        match=rf"file-00{n_left}.parquet: is missing, but info.json lists 3 .* dataset repair",
    ):
        DatasetWriter(dataset, features, FPS, "sim")
    assert tree(dataset) == before


def test_what_an_interrupted_recording_left_outlives_a_dataset_that_lost_an_episode(
    dataset: Path, features: Features
) -> None:
    (dataset / ".staging").mkdir()
    header = {"episode_index": 4, "task": "lift"}
    (dataset / ".staging/episode.json").write_text(json.dumps(header))
    with pytest.raises(CorruptError, match=r"is of episode 4, but only 3 are there.*repair"):
        DatasetWriter(dataset, features, FPS, "sim")
    (dataset / "data/chunk-000/file-002.parquet").unlink()
    for _ in range(2):
        with pytest.raises(CorruptError, match=r"info.json lists 3"):
            DatasetWriter(dataset, features, FPS, "sim")
    assert json.loads((dataset / ".salvage/episode.json").read_text()) == header


@pytest.mark.parametrize("stale", [True, False])
def test_a_task_never_gets_the_number_of_another_whose_words_are_lost(
    dataset: Path, tmp_path: Path, features: Features, record: Record, *, stale: bool
) -> None:
    tasks = dataset / "meta/tasks.parquet"
    tasks.unlink()
    if stale:
        with DatasetWriter(tmp_path / "other", features, FPS, "sim") as writer:
            record(writer, features, 3, task="lift")
        (tmp_path / "other/meta/tasks.parquet").rename(tasks)
    before = tree(dataset)
    words, episode = ("turn", 1) if stale else ("lift", 0)
    with pytest.raises(
        CorruptError, match=rf"tasks.parquet: .*lacks '{words}', the task of episode {episode}"
    ):
        DatasetWriter(dataset, features, FPS, "sim")
    assert tree(dataset) == before


@pytest.mark.parametrize(("n_rows", "label"), [(6, True), (5, None)])
def test_an_outcome_is_kept_only_with_all_the_frames_it_is_of(
    *, tmp_path: Path, blind: Features, add_frames: AddFrames, n_rows: int, label: bool | None
) -> None:
    writer = DatasetWriter(tmp_path, blind, FPS)
    writer.begin_episode("lift")
    add_frames(writer, blind, 6)
    assert writer._open is not None
    writer._open.finish(success=True)
    writer._release()  # Killed, while the videos are drained; and the disk had not got all rows.
    with (tmp_path / ".staging/frames.bin").open("r+b") as rows:
        rows.truncate(n_rows * blind.frame_dtype.itemsize)
    with DatasetWriter(tmp_path, blind, FPS) as again:
        (repair,) = (said for said in again.repairs if "interrupted" in said)
    assert repair.endswith("unlabelled: its end is lost") is (label is None)
    (entry,) = DatasetReader(tmp_path).episodes
    assert (entry.length, entry.success) == (n_rows, label)
    assert check(tmp_path) == []


def test_a_row_too_many_costs_the_outcome_nothing(
    tmp_path: Path, blind: Features, add_frames: AddFrames
) -> None:
    writer = DatasetWriter(tmp_path, blind, FPS)
    writer.begin_episode("lift")
    add_frames(writer, blind, 6)
    assert writer._open is not None
    writer._open._records.pop()  # An interrupt came between writing a row and counting it.
    writer._open.finish(success=True)
    writer._release()
    DatasetWriter(tmp_path, blind, FPS).close()
    (entry,) = DatasetReader(tmp_path).episodes
    assert (entry.length, entry.success) == (5, True)


@pytest.mark.parametrize("file", ["frames.bin", "scene.mp4"])
def test_a_full_disk_while_recording_is_one_clear_error(
    dataset: Path, features: Features, record: Record, file: str
) -> None:
    with DatasetWriter(dataset, features, FPS, "sim") as writer:
        (dataset / ".staging" / file).symlink_to("/dev/full")
        with pytest.raises(StorageError, match=r"No space left on device\), [\d.]+ GB free"):
            record(writer, features)
    assert check(dataset) == []
    assert len(DatasetReader(dataset)) == 3


@pytest.mark.parametrize("n_good", range(15))
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
        with pytest.raises(StorageError, match=r"Free some space.*the open episode is kept"):
            writer.end_episode(success=True)
    writer.close()
    assert check(dataset) == []
    with DatasetWriter(dataset, features, FPS, "sim") as again:
        assert again.n_episodes == 4
    assert check(dataset) == []
    last = DatasetReader(dataset).episode(3)
    assert len(last) == 5
    assert last.success is (True if n_good >= 2 else None), "rows come first, then the label"


def test_space_is_asked_for_only_where_it_lacks_and_an_open_episode_named_only_where_one_is(
    tmp_path: Path, blind: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    def says(number: int, **more: str) -> str:
        with (
            pytest.raises(StorageError) as caught,
            layout.storing(Path("data"), **more),
        ):
            raise OSError(number, "refused", "rows")
        return str(caught.value)

    usage = namedtuple("usage", "free")
    monkeypatch.setattr(layout.shutil, "disk_usage", lambda _: usage(512_345_678_901))
    full = "data: cannot write (refused: rows), 512.3 GB free. Free some space."
    assert says(errno.ENOSPC) == says(errno.EDQUOT) == full
    assert says(errno.ENOSPC, kept="All is kept.") == f"{full} All is kept."
    for number in (errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EIO):
        assert "pace" not in says(number)
        assert "episode" not in says(number)
    assert "Let this user write there, or name another folder." in says(errno.EROFS)
    with DatasetWriter(tmp_path, blind, FPS) as writer:
        assert "open episode" not in writer._kept()
        writer.begin_episode("lift")
        assert "the open episode is kept" in writer._kept()
