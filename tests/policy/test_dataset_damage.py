"""What a repair takes for lost or damaged, what it makes that from, and what it leaves alone."""

import errno
import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import av
import pyarrow.parquet as pq
import pytest

from dexhil.policy.episodes import DatasetError, DatasetReader, StorageError, check
from dexhil.policy.episodes.catalogue import tasks_table
from dexhil.policy.episodes.footage import copy_start
from dexhil.policy.episodes.layout import write_parquet
from dexhil.policy.episodes.repair import repair
from tests.policy.datasets import (
    FEATURES,
    FPS,
    KEY,
    contents,
    cut,
    data,
    edit_json,
    record,
    start_first,
    video,
)

FILES = (
    *("meta/info.json", "meta/stats.json", "meta/tasks.parquet"),
    *("data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-001.parquet"),
    f"videos/{KEY}/chunk-000/file-000.mp4",
)
FOLDERS = ("data", "data/chunk-000", "meta/episodes", f"videos/{KEY}")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recorded") / "dataset")


@pytest.fixture
def dataset(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "dataset"))


# -- info.json -------------------------------------------------------------------------------------


def test_a_lost_info_is_made_again_and_another_dataset_brings_the_names_back(
    dataset: Path, original: Path
) -> None:
    (dataset / "meta/info.json").unlink()
    like = repair(dataset, like=original)
    assert f"robot type are taken from {original}" in like.steps[0]
    done = repair(dataset, apply=True)
    assert "--like ANOTHER brings them back" in done.steps[0]
    reader = DatasetReader(dataset)
    assert check(dataset) == []
    assert (reader.fps, reader.robot_type) == (FPS, "unknown")
    assert reader.features["action"].shape == (3,)
    assert reader.features["action"].names is None
    assert reader.features.cameras == FEATURES.cameras


@pytest.fixture
def nameless(dataset: Path) -> Path:
    """A dataset that has lost its ``info.json``."""
    (dataset / "meta/info.json").unlink()
    return dataset


def features_of(root: Path) -> dict[str, Any]:
    return dict(json.loads((root / "meta/info.json").read_text())["features"])


@pytest.mark.parametrize("name", ["t_mono", KEY])
def test_names_are_not_taken_from_a_dataset_that_lacks_a_column_or_a_camera(
    nameless: Path, original: Path, tmp_path: Path, name: str
) -> None:
    other = shutil.copytree(original, tmp_path / "other")
    fewer = {n: entry for n, entry in features_of(other).items() if n != name}
    edit_json(other / "meta/info.json", {"features": fewer})
    before = contents(nameless)
    message = f"other: '{name}' is missing, but .* in {nameless}. --like needs .* the same rig"
    with pytest.raises(DatasetError, match=message):
        repair(nameless, like=other, apply=True)
    assert contents(nameless) == before


def test_names_are_not_taken_from_a_dataset_of_another_rate_or_shape(
    nameless: Path, original: Path, tmp_path: Path
) -> None:
    other, features = shutil.copytree(original, tmp_path / "other"), features_of(original)
    edit_json(other / "meta/info.json", {"fps": 30})
    message = "the rate is 30 frames per second, but 20 frames per second in"
    with pytest.raises(DatasetError, match=message):
        repair(nameless, like=other)
    wider = {**features["action"], "shape": [4], "names": list("abcd")}
    edit_json(other / "meta/info.json", {"fps": FPS, "features": {**features, "action": wider}})
    with pytest.raises(DatasetError, match=r"'action' is float32 \(4,\), but float32 \(3,\) in"):
        repair(nameless, like=other)


def test_lost_names_can_still_be_brought_back_after_a_repair_without(
    nameless: Path, original: Path
) -> None:
    repair(nameless, apply=True)
    done = repair(nameless, like=original, apply=True)
    assert done.steps == (
        f"info.json is written anew: Joint names and robot type are taken from {original}",
    )
    reader, whole = DatasetReader(nameless), DatasetReader(original)
    assert (dict(reader.features), reader.robot_type) == (dict(whole.features), whole.robot_type)
    assert repair(nameless, like=original).steps == ()


def test_what_no_file_tells_is_as_in_the_other_dataset(nameless: Path, original: Path) -> None:
    for episode in range(3):
        cut(video(nameless, episode), 0.0)
    with pytest.raises(DatasetError, match=r"no whole file in .*scene tells the size of"):
        repair(nameless)
    assert "are taken from" in repair(nameless, like=original).steps[0]
    for episode in range(3):
        cut(data(nameless, episode), 0.5)
    with pytest.raises(DatasetError, match=r"no whole file in .*data tells what its columns are"):
        repair(nameless)
    assert "are taken from" in repair(nameless, like=original).steps[0]


# -- Tasks -----------------------------------------------------------------------------------------


def test_words_that_the_table_of_tasks_lacks_are_those_of_the_episodes(dataset: Path) -> None:
    write_parquet(tasks_table({"lift": 0}), dataset / "meta/tasks.parquet")
    start_first(video(dataset, 1))
    cut(video(dataset, 1), 0.6)  # So that it is written anew, with the words for its number.
    repair(dataset, apply=True)
    assert check(dataset) == []
    assert [entry.task for entry in DatasetReader(dataset).episodes] == ["lift", "turn", "lift"]


def test_a_table_of_tasks_that_lags_is_no_reason_to_give_up(dataset: Path) -> None:
    write_parquet(tasks_table({"lift": 0}), dataset / "meta/tasks.parquet")
    (step,) = repair(dataset, apply=True).steps
    assert step == "tasks.parquet is written anew: it did not agree with the episodes"
    assert check(dataset) == []


# -- What the disk withholds -----------------------------------------------------------------------


def withhold(
    monkeypatch: pytest.MonkeyPatch, refused: Path, number: int, *, times: int = 1000
) -> None:
    """Have the disk refuse a file or folder, however it is opened, so many times."""
    left = [times]

    def refusing(function: Any) -> Any:
        def instead(path: Any, *arguments: Any, **options: Any) -> Any:
            if path == refused and left[0]:
                left[0] -= 1
                raise OSError(number, os.strerror(number), str(path))
            return function(path, *arguments, **options)

        return instead

    for owner, function in ((io, "open"), (av, "open"), (pq, "ParquetFile"), (Path, "iterdir")):
        monkeypatch.setattr(owner, function, refusing(getattr(owner, function)))


@pytest.mark.parametrize(
    ("name", "number"), list(zip((*FILES, *FOLDERS), 5 * (errno.EACCES, errno.EIO), strict=True))
)
def test_what_the_disk_withholds_is_not_taken_for_damaged(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    before = contents(dataset.parent)
    with monkeypatch.context() as patch:
        withhold(patch, dataset / name, number)
        with pytest.raises(
            StorageError,
            match=rf"{name}.* cannot be read \({os.strerror(number)}\); nothing was changed",
        ):
            repair(dataset, apply=True)
    assert contents(dataset.parent) == before


def test_a_folder_that_may_not_be_entered_is_not_said_to_refuse_a_write(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    exists = Path.exists
    name = "info.json"
    monkeypatch.setattr(Path, "exists", lambda p: refuse(p) if p.name == name else exists(p))
    with pytest.raises(StorageError, match=r"info\.json: cannot be read \(Permission denied\)"):
        repair(dataset)


def test_a_disk_that_falters_once_costs_no_frame(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    withhold(monkeypatch, video(dataset, 0), errno.EIO, times=1)
    assert repair(dataset).steps == ()


def test_a_video_that_gives_fewer_frames_than_it_had_is_not_kept_as_whole(
    dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match="gave 12 frames, a moment ago it had 13"):
        copy_start(video(dataset, 0), 13, tmp_path / "copy.mp4")
