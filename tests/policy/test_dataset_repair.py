"""A repair keeps what is whole, recovers what it can, deletes nothing; what results is sound."""

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dexhil.policy.episodes import DatasetError, DatasetReader, DatasetWriter, StorageError, check
from dexhil.policy.episodes import repair as module
from dexhil.policy.episodes.damage import UNKNOWN_TASK
from dexhil.policy.episodes.repair import repair
from dexhil.policy.episodes.schema import from_table
from tests.policy.datasets import (
    EPISODES,
    FEATURES,
    FPS,
    KEY,
    add_frames,
    columns_of,
    contents,
    cut,
    data,
    edit_json,
    edit_row,
    in_one_file,
    record,
    row,
    spoil,
    start_first,
    video,
)

OPEN_FRAMES = 8
NUMBERS = ("episode_index", "index", "task_index")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recorded") / "dataset")


@pytest.fixture(scope="module")
def killed(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, as a kill left it in the middle of a fourth episode."""
    folder = tmp_path_factory.mktemp("killed")
    root = shutil.copytree(original, folder / "recording")
    with DatasetWriter(root, FEATURES, FPS, "sim") as writer:
        writer.begin_episode("push")
        add_frames(writer, OPEN_FRAMES)
        for encoder in writer._open._encoders.values():  # type: ignore[union-attr]
            encoder.stop()  # So that every frame has reached the disk.
        shutil.copytree(root, folder / "dataset")
        writer.discard_episode()
    return folder / "dataset"


@pytest.fixture
def dataset(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "dataset"))


def same_episode(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name], equal_nan=True)
        for name in one
        if name not in NUMBERS
    )


def test_a_sound_dataset_needs_nothing(dataset: Path) -> None:
    before = contents(dataset.parent)
    done = repair(dataset, apply=True)
    assert (done.steps, done.left, done.n_episodes, done.set_aside) == ((), (), 3, None)
    assert contents(dataset.parent) == before


def test_what_is_whole_stays_the_very_file_it_was(dataset: Path) -> None:
    numbers = [data(dataset, 0).stat().st_ino, video(dataset, 2).stat().st_ino]
    cut(data(dataset, 1), 0.5)
    repair(dataset, apply=True)
    assert [data(dataset, 0).stat().st_ino, video(dataset, 1).stat().st_ino] == numbers


def test_nothing_changes_unless_told_to_apply(dataset: Path) -> None:
    cut(data(dataset, 1), 0.5)
    before = contents(dataset.parent)
    planned = repair(dataset)
    assert contents(dataset.parent) == before
    assert planned.set_aside is None
    assert repair(dataset, apply=True).steps == planned.steps


FILES = (
    *("meta/info.json", "meta/stats.json", "meta/tasks.parquet"),
    *(f"data/chunk-000/file-{e:03d}.parquet" for e in range(3)),
    *(f"meta/episodes/chunk-000/file-{e:03d}.parquet" for e in range(3)),
    *(f"videos/{KEY}/chunk-000/file-{e:03d}.mp4" for e in range(3)),
    *(f".staging/{name}" for name in ("episode.json", "frames.bin", "scene.mp4")),
)


@settings(max_examples=12)  # As many as the time of a suite allows; 300 were tried by hand.
@given(name=st.sampled_from(FILES), share=st.floats(0.0, 1.0, exclude_max=True))
@example(name=FILES[9], share=0.98046875)  # Inside the index: a stream of which nothing is known.
def test_a_file_cut_anywhere_costs_no_other_episode_and_the_rest_is_sound(
    killed: Path, name: str, share: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(shutil.copytree(killed, Path(folder) / "dataset"))
        cut(root / name, share)
        damaged = contents(root)
        repair(root, apply=True)
        assert check(root) == []
        reader = DatasetReader(root)
        found = [columns_of(root, episode) for episode in range(len(reader))]
        for episode in range(3):
            if f"file-{episode:03d}.parquet" in name and "data" in name:
                continue
            if name.endswith(f"file-{episode:03d}.mp4"):
                continue
            whole = columns_of(killed, episode)
            assert any(same_episode(whole, other) for other in found), episode
        if ".staging" not in name:
            assert len(found[-1]["index"]) == OPEN_FRAMES
            assert reader.episodes[-1].task == "push"
        # Nothing is deleted: every byte that was there is in the dataset or set aside.
        assert set(damaged.values()) <= set(contents(Path(folder)).values())


def test_a_lost_episode_is_set_aside_with_its_reason_and_later_ones_move_up(dataset: Path) -> None:
    whole = [columns_of(dataset, episode) for episode in range(3)]
    cut(data(dataset, 1), 0.5)
    broken = data(dataset, 1).read_bytes()
    done = repair(dataset, apply=True)
    assert check(dataset) == []
    reader = DatasetReader(dataset)
    assert [(e.length, e.task, e.success) for e in reader.episodes] == [EPISODES[0], EPISODES[2]]
    assert same_episode(columns_of(dataset, 1), whole[2])
    assert not (done.set_aside / f"videos/{KEY}/chunk-000/file-002.mp4").exists()
    assert done.set_aside == dataset.with_name("dataset.set-aside-1")
    assert data(done.set_aside, 1).read_bytes() == broken
    reason = (done.set_aside / "why.txt").read_text()
    assert "episode 1: set aside" in reason
    assert "cannot be read as parquet" in reason
    assert "episode 2 becomes 1" in reason


def test_recording_goes_on_after_a_repair(dataset: Path) -> None:
    cut(data(dataset, 0), 0.5)
    repair(dataset, apply=True)
    record(dataset, [(6, "push", True)])
    assert check(dataset) == []
    assert [entry.task for entry in DatasetReader(dataset).episodes] == ["turn", "lift", "push"]


def test_a_video_that_ends_early_costs_only_the_frames_after_it(dataset: Path) -> None:
    whole = columns_of(dataset, 0)
    start_first(video(dataset, 0))
    cut(video(dataset, 0), 0.6)
    done = repair(dataset, apply=True)
    assert check(dataset) == []
    reader = DatasetReader(dataset)
    n = reader.episodes[0].length
    assert 3 <= n <= 10
    assert f"episode 0: its first {n} frames are kept, labelled neither" in done.steps[0]
    assert reader.episodes[0].success is None
    kept = columns_of(dataset, 0)
    np.testing.assert_array_equal(kept["action"], whole["action"][:n])
    assert kept["next.done"].tolist() == [False] * (n - 1) + [True]
    assert not kept["next.success"].any()
    assert len(list(reader.images(0, "scene"))) == n
    assert [entry.length for entry in reader.episodes[1:]] == [7, 9]


def test_a_video_cut_within_its_last_frame_costs_that_frame(dataset: Path) -> None:
    start_first(video(dataset, 0))
    content = video(dataset, 0).read_bytes()
    video(dataset, 0).write_bytes(content[:-20])
    assert any("has 11 frames, expected 12" in problem for problem in check(dataset))
    repair(dataset, apply=True)
    assert check(dataset) == []
    assert [entry.length for entry in DatasetReader(dataset).episodes] == [11, 7, 9]


def test_only_a_deep_repair_finds_damage_inside_a_video(dataset: Path) -> None:
    content = bytearray(video(dataset, 0).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    video(dataset, 0).write_bytes(content)
    assert repair(dataset).steps == ()
    done = repair(dataset, deep=True, apply=True)
    assert "episode 0: its first" in done.steps[0]
    assert check(dataset) == []


def test_lost_metadata_is_made_again_from_the_rows(dataset: Path) -> None:
    spoil(dataset, 0, lambda columns: columns["next.reward"].put(3, 0.5))
    row(dataset, 0).unlink()
    row(dataset, 1).unlink()
    (dataset / "meta/tasks.parquet").unlink()
    whole = columns_of_all(dataset)
    done = repair(dataset, apply=True)
    assert check(dataset) == []
    entries = DatasetReader(dataset).episodes
    assert [entry.success for entry in entries] == [True, None, None]
    # Only episodes 0 and 2 were told to lift; whoever lost words and number has neither.
    assert [entry.task for entry in entries] == ["lift", "unknown task", "lift"]
    assert f'its task is called "{UNKNOWN_TASK}"' in done.steps[1]
    for episode, columns in enumerate(whole):
        assert same_episode(columns_of(dataset, episode), columns)


def columns_of_all(root: Path) -> list[dict[str, Any]]:
    return [from_table(pq.ParquetFile(data(root, e)).read(), FEATURES) for e in range(3)]


def test_summaries_that_lag_are_written_anew(dataset: Path) -> None:
    wanted = {name: (dataset / "meta" / name).read_text() for name in ("info.json", "stats.json")}
    edit_json(dataset / "meta/info.json", {"total_frames": 1})
    edit_json(dataset / "meta/stats.json", {"action": {}})
    done = repair(dataset, apply=True)
    assert [step.split()[0] for step in done.steps] == ["info.json", "stats.json"]
    for name, text in wanted.items():
        assert json.loads((dataset / "meta" / name).read_text()) == json.loads(text)


def test_a_killed_recording_is_finished(killed: Path, tmp_path: Path) -> None:
    root = shutil.copytree(killed, tmp_path / "dataset")
    done = repair(root, apply=True)
    assert done.steps == (f"kept {OPEN_FRAMES} frames of an interrupted episode as episode 3",)
    assert check(root) == []
    entry = DatasetReader(root).episodes[3]
    assert (entry.length, entry.task, entry.success) == (OPEN_FRAMES, "push", None)


def test_what_a_finished_recording_left_is_no_episode(killed: Path, tmp_path: Path) -> None:
    root = shutil.copytree(killed, tmp_path / "dataset")
    edit_json(root / ".staging/episode.json", {"episode_index": 2})
    assert "was recorded to the end" in repair(root, apply=True).steps[0]
    assert [entry.length for entry in DatasetReader(root).episodes] == [12, 7, 9]


def test_a_whole_episode_is_set_aside_on_request(dataset: Path) -> None:
    done = repair(dataset, drop=frozenset({0}), apply=True)
    assert done.steps[0] == "episode 0: set aside: as asked for"
    assert [entry.length for entry in DatasetReader(dataset).episodes] == [7, 9]
    assert check(dataset) == []
    with pytest.raises(DatasetError, match="has no episode 5 to set aside"):
        repair(dataset, drop=frozenset({5}))


def test_what_no_repair_can_put_right_is_left_and_told(dataset: Path) -> None:
    spoil(dataset, 1, lambda columns: columns["action"].put(0, np.nan))
    before = contents(dataset)
    done = repair(dataset, apply=True)
    assert done.steps == ()
    assert any("action is not finite" in str(finding) for finding in done.left)
    assert contents(dataset) == before


def test_what_is_left_has_the_number_by_which_it_can_be_set_aside(dataset: Path) -> None:
    data(dataset, 0).unlink()
    spoil(dataset, 2, lambda columns: columns["action"].put(0, np.nan))
    edit_row(dataset, 2, {f"videos/{KEY}/to_timestamp": 9.0})
    again = Path(shutil.copytree(dataset, dataset.with_name("again")))
    left = repair(dataset).left
    assert {finding.episode for finding in left} == {2}
    repair(dataset, drop=frozenset({2}), apply=True)
    assert check(dataset) == []
    assert [entry.length for entry in DatasetReader(dataset).episodes] == [7]
    # Once it is applied, numbers are those that the episodes have by then.
    assert {finding.episode for finding in repair(again, apply=True).left} == {1}


def test_what_is_left_names_files_where_they_lie(dataset: Path) -> None:
    data(dataset, 0).unlink()
    edit_row(dataset, 2, {f"videos/{KEY}/from_timestamp": 9.0})
    again = Path(shutil.copytree(dataset, dataset.with_name("again")))
    assert any(f"{video(dataset, 2)}: has no frame" in str(f) for f in repair(dataset).left)
    done = repair(again, apply=True)
    assert any(f"{video(again, 1)}: has no frame" in str(finding) for finding in done.left)


def test_what_is_wrong_with_the_interrupted_episode_has_no_number_yet(
    killed: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(killed, tmp_path / "dataset"))
    records = np.fromfile(root / ".staging/frames.bin", FEATURES.frame_dtype)
    records["action"][3] = np.nan
    records.tofile(root / ".staging/frames.bin")
    data(root, 0).unlink()
    (finding,) = repair(root).left
    assert str(finding).startswith("the interrupted episode: action is not finite")


def test_a_look_writes_nothing_beside_the_dataset_and_copies_no_file(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(data(dataset, 1), 0.5)
    seen: list[Path] = []
    salvage = module._salvage

    def look(*arguments: Any) -> list[str]:
        seen.extend(dataset.parent.iterdir())
        return salvage(*arguments)

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(module, "_salvage", look)
    monkeypatch.setattr("os.link", refuse)
    monkeypatch.setattr("shutil.copyfile", refuse)
    assert repair(dataset).n_episodes == 2
    assert seen == [dataset]


def test_a_folder_that_may_not_be_written_is_named_before_anything_is_done(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(data(dataset, 1), 0.5)
    before = contents(dataset.parent)
    monkeypatch.setattr(os, "access", lambda path, _: path != dataset.parent)
    assert len(repair(dataset).steps) == 2
    with pytest.raises(DatasetError, match=f"{dataset.parent}: this user may not write there"):
        repair(dataset, apply=True)
    assert contents(dataset.parent) == before


def test_what_is_being_recorded_is_left_alone(dataset: Path) -> None:
    with (
        DatasetWriter(dataset, FEATURES, FPS, "sim"),
        pytest.raises(DatasetError, match="another writer has this dataset open"),
    ):
        repair(dataset, apply=True)


def test_datasets_of_other_layouts_or_columns_are_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no such folder"):
        repair(tmp_path / "nothing")
    info = json.loads((dataset / "meta/info.json").read_text())
    features = {**info["features"], "wrench": {"dtype": "float32", "shape": [6], "names": None}}
    edit_json(dataset / "meta/info.json", {"features": features})
    with pytest.raises(DatasetError, match=r"other columns than info.json says \(.*wrench.*--like"):
        repair(dataset)
    edit_json(dataset / "meta/info.json", {"features": info["features"]})
    in_one_file(dataset, list(info["features"]))
    with pytest.raises(DatasetError, match="holds several episodes"):
        repair(dataset)


def test_one_does_not_stand_in_what_is_replaced(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dataset / "meta")
    with pytest.raises(DatasetError, match="is where you stand"):
        repair(dataset, apply=True)


@pytest.mark.parametrize("at", ["dataset", ".dataset.repaired"])
def test_a_rename_that_fails_leaves_the_dataset_as_it_was(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    cut(data(dataset, 1), 0.5)
    before = contents(dataset.parent)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == at:
            raise OSError(16, "Device or resource busy")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(StorageError, match="busy"):
        repair(dataset, apply=True)
    assert contents(dataset.parent) == before


def test_a_kill_before_the_last_rename_is_made_good_by_the_next_repair(dataset: Path) -> None:
    whole = contents(dataset)
    dataset.rename(dataset.with_name(".dataset.repaired"))
    assert repair(dataset).steps == ()
    assert contents(dataset) == whole


def test_an_interrupt_while_it_is_built_leaves_nothing_behind(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut(data(dataset, 1), 0.5)
    before = contents(dataset.parent)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_salvage", interrupt)
    with pytest.raises(KeyboardInterrupt):
        repair(dataset, apply=True)
    assert contents(dataset.parent) == before
