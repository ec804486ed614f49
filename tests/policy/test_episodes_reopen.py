"""Recording on: what a dataset must be like to be continued, and disks that refuse."""

import errno
import json
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
    Features,
    FeaturesError,
    StorageError,
    check,
    layout,
)

FPS = 20
AddFrames = Callable[..., None]
MakeFrame = Callable[[Features, int], dict[str, object]]
MakeImage = Callable[[int], np.ndarray]
Record = Callable[..., int]


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
