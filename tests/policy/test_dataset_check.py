"""A check finds what a training run would stumble over, says of which episode, and nothing else."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from dexhil.policy.episodes import DatasetWriter, check
from dexhil.policy.episodes.check import examine
from dexhil.policy.episodes.findings import Report
from tests.policy.datasets import (
    FEATURES,
    FPS,
    KEY,
    add_frames,
    data,
    edit_json,
    edit_row,
    in_one_file,
    record,
    row,
    spoil,
    video,
)

Columns = dict[str, npt.NDArray[Any]]
PLAIN = (
    *("observation.state", "action", "intervention", KEY),
    *("timestamp", "frame_index", "episode_index", "index", "task_index"),
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("recorded") / "dataset")


@pytest.fixture
def dataset(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "dataset"))


def said(report: Report) -> list[str]:
    return [str(finding) for finding in report.findings]


@pytest.mark.parametrize("deep", [False, True])
def test_what_was_recorded_is_sound(original: Path, deep: bool) -> None:
    steps: list[tuple[int, int]] = []
    report = examine(original, deep=deep, progress=lambda done, of: steps.append((done, of)))
    assert report.findings == []
    assert report.left_out == []
    assert (report.n_episodes, report.n_frames) == (3, 28)
    assert steps == [(k + 1, 6) for k in range(6)]


def put(name: str, at: Any, value: Any) -> Callable[[Columns], None]:
    def change(columns: Columns) -> None:
        columns[name][at] = value

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (put("action", (3, 1), np.nan), "action is not finite in 1 of 12 frames, first in frame 3"),
        (put("action.human", (7, 0), np.nan), "action.human is not finite in 1 of 12"),
        (put("index", 4, 5), "index is 5 in frame 4, expected 4"),
        (put("frame_index", 4, 3), "frame_index is 3 in frame 4, expected 4"),
        (put("task_index", slice(None), 1), "task_index is 1 in frame 0, expected 0"),
        (put("timestamp", 4, 0.21), "timestamp is 0.2100 s in frame 4, expected 0.2000 s at 20 Hz"),
        (put("timestamp", 4, np.nan), "timestamp is nan s in frame 4"),
        (put("t_mono", 4, 1e5), "t_mono does not increase from frame 3 to 4 (1 times)"),
        (put("intervention", slice(None), False), "7 of them are not marked as intervention"),
        (put("intervention", slice(7, None), False), "5 of them are not marked as intervention"),
        (put("source", slice(5, 7), 4), "source is 4, which means nothing"),
        (put("mode", 2, 7), "mode is 7, which means nothing"),
        (put("authority", 2, 0.5), "source is POLICY with authority 0.5 in frame 2, expected 0"),
        (put("authority", 8, 0.5), "source is HUMAN with authority 0.5 in frame 8, expected 1"),
        (put("authority.arm", 8, 1.5), "authority.arm is 1.5 in frame 8, allowed 0 to 1"),
        (put("next.done", 4, True), "next.done is not true in the last frame and only there"),
        (put("next.success", 11, False), "next.success says False, the metadata True"),
        (put("action", 3, 99.0), "the statistics of 'action' in its metadata are not those"),
    ],
)
def test_a_wrong_column_is_found_in_its_episode(
    dataset: Path, change: Callable[[Columns], None], expected: str
) -> None:
    spoil(dataset, 0, change)
    problems = examine(dataset).problems
    assert {problem.episode for problem in problems} == {0}
    assert any(expected in problem.text for problem in problems), problems


def test_frames_marked_though_nobody_drove_are_found(dataset: Path) -> None:
    def change(columns: Columns) -> None:
        columns["source"][:] = 0
        columns["mode"][:] = 1
        columns["authority"][:] = 0.0

    spoil(dataset, 0, change)
    expected = "7 frames are marked as intervention, but a person drove in none"
    assert any(expected in problem for problem in check(dataset))


def test_one_frame_unmarked_where_the_driver_changes_is_no_fault(dataset: Path) -> None:
    spoil(dataset, 0, put("intervention", 5, False))
    assert not any("marked" in problem for problem in check(dataset))


def test_a_demonstration_marks_nothing(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, FEATURES, FPS, "sim") as writer:
        writer.begin_episode("lift")
        add_frames(writer, 6, person_from=0)
        writer.end_episode(success=True)
    spoil(tmp_path, 0, put("intervention", slice(None), False))
    assert not any("marked" in problem for problem in check(tmp_path))


def test_a_rate_that_was_not_kept_is_a_warning_with_the_true_one(dataset: Path) -> None:
    def half_as_fast(columns: Columns) -> None:
        columns["t_mono"][:] = 1e5 + 2.0 * np.arange(12) / FPS

    spoil(dataset, 0, half_as_fast)
    report = examine(dataset)
    (warning,) = report.warnings
    assert warning.episode == 0
    assert "10.00" in warning.text
    assert any("true_fps is 20, its stamps say 10" in p.text for p in report.problems)


@pytest.mark.parametrize(
    ("spoiled", "expected"),
    [
        (
            lambda root: edit_json(root / "meta/info.json", {"total_frames": 27}),
            "info.json: total_frames is 27, the episodes make 28.",
        ),
        (
            lambda root: edit_json(root / "meta/stats.json", {"action": {"mean": [0.0] * 3}}),
            "stats.json: min of 'action' is not that of the episodes.",
        ),
        (
            lambda root: (root / "meta/tasks.parquet").unlink(),
            "tasks.parquet: cannot be read as parquet",
        ),
        (lambda root: (root / "meta/stats.json").write_text("{"), "stats.json: cannot be read"),
        (lambda root: row(root, 1).unlink(), "episode 1: has no metadata"),
        (lambda root: data(root, 2).unlink(), "file-002.parquet"),
        (lambda root: video(root, 1).unlink(), "episode 1: "),
        (lambda root: edit_row(root, 1, {"length": 6}), "has 7 rows of it, the metadata says 6"),
        (
            lambda root: edit_row(root, 1, {"tasks": ["fly"]}),
            "episode 1: task 'fly' is not in tasks.parquet",
        ),
        (
            lambda root: edit_row(root, 1, {f"videos/{KEY}/to_timestamp": 0.3}),
            "episode 1: the metadata gives it 0.3000 s of file-001.mp4, its rows 0.3500 s",
        ),
        (lambda root: shutil.copy(data(root, 2), data(root, 3)), "file-003.parquet: belongs to no"),
        (lambda root: shutil.copy(row(root, 2), row(root, 3)), "episode 2: has 2 rows of metadata"),
    ],
)
def test_files_that_disagree_are_found(
    dataset: Path, spoiled: Callable[[Path], object], expected: str
) -> None:
    spoiled(dataset)
    assert any(expected in problem for problem in check(dataset)), check(dataset)


def remux(path: Path, *, late: int = 0, every: int = 1) -> None:
    """Write a video's packets anew: late by so many, or one of so many left out."""
    whole = path.with_suffix(".whole.mp4")
    path.rename(whole)
    with av.open(whole) as source, av.open(path, "w") as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        for k, packet in enumerate(source.demux(stream)):
            if packet.pts is None or (every > 1 and k % every == every - 1):
                continue
            assert packet.dts is not None
            if k >= 4:
                step = late * int(1 / (FPS * packet.time_base))
                packet.pts, packet.dts = packet.pts + step, packet.dts + step
            packet.stream = copied
            target.mux(packet)
    whole.unlink()


def test_a_video_of_fewer_frames_than_rows_is_found(dataset: Path) -> None:
    remux(video(dataset, 0), every=6)
    (problem,) = check(dataset)
    assert "file-000.mp4: has 10 frames, expected 12" in problem


def test_a_frame_that_is_not_where_its_row_looks_is_found(dataset: Path) -> None:
    remux(video(dataset, 0), late=1)
    (problem,) = check(dataset)
    assert "file-000.mp4: has no frame at 0.2000 s, where row 4 looks for one" in problem


def test_another_codec_or_size_than_declared_is_found(dataset: Path) -> None:
    features = json.loads((dataset / "meta/info.json").read_text())["features"]
    features[KEY]["info"]["video.codec"] = "av1"
    features[KEY]["shape"] = [64, 48, 3]
    edit_json(dataset / "meta/info.json", {"features": features})
    problems = " ".join(check(dataset))
    assert "codec is 'h264', info.json says 'av1'" in problems
    assert "is (48, 64), the feature (64, 48)" in problems


def test_only_a_deep_check_decodes(dataset: Path) -> None:
    path = video(dataset, 0)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    assert check(dataset) == []
    (problem,) = examine(dataset, deep=True).problems
    assert problem.episode == 0
    assert "of 12 frames can be decoded" in problem.text


def test_an_episode_being_recorded_is_a_warning(original: Path, tmp_path: Path) -> None:
    root = shutil.copytree(original, tmp_path / "dataset")
    with DatasetWriter(root, FEATURES, FPS, "sim") as writer:
        writer.begin_episode("lift")
        report = examine(root)
    assert report.problems == []
    assert "is being recorded, or was interrupted" in said(report)[0]


def test_lerobots_own_layout_is_checked_as_far_as_it_goes(dataset: Path) -> None:
    in_one_file(dataset, PLAIN)
    report = examine(dataset)
    assert report.problems == []
    assert report.left_out == [
        "the true rate: there are no real stamps",
        "who drove: there is no record of it",
        "how episodes ended: there is no label",
    ]


def test_features_of_other_kinds_are_left_out_and_named(dataset: Path) -> None:
    features = json.loads((dataset / "meta/info.json").read_text())["features"]
    features["said"] = {"dtype": "string", "shape": [1], "names": None}
    edit_json(dataset / "meta/info.json", {"features": features})
    report = examine(dataset)
    assert report.findings == []
    assert report.left_out == ["said: a kind of feature not known here"]


@pytest.mark.parametrize("file", [row, data])
def test_what_the_disk_withholds_of_one_episode_does_not_end_the_check(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, file: Callable[[Path, int], Path]
) -> None:
    opened = pq.ParquetFile

    def refuse(path: Path, **options: Any) -> pq.ParquetFile:
        if path == file(dataset, 1):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, **options)

    spoil(dataset, 2, lambda columns: columns["action"].put(0, np.nan))
    monkeypatch.setattr(pq, "ParquetFile", refuse)
    found = check(dataset)
    assert any(f"{file(dataset, 1)}: cannot be read (Permission denied)" in text for text in found)
    assert any("episode 2: action is not finite" in text for text in found)


@pytest.mark.parametrize("name", ["meta/info.json", ".staging"])
def test_a_folder_that_the_disk_withholds_is_a_finding(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    stat = Path.stat

    def refuse(path: Path, **options: Any) -> os.stat_result:
        if path == dataset / name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    (text,) = check(dataset)
    assert text.startswith(f"{dataset / name}: cannot be read (Permission denied)")


def test_no_dataset_is_a_finding(tmp_path: Path) -> None:
    assert check(tmp_path) == [f"{tmp_path}: holds no dataset (no meta/info.json)."]
