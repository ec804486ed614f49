"""The bytes that LeRobotDataset v3.0 asks for, so that LeRobot's own reader loads what we write."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dexhil.policy.episodes import Features

LENGTHS = (12, 7, 9)
FPS = 20


@pytest.fixture
def info(dataset: Path) -> dict[str, Any]:
    return dict(json.loads((dataset / "meta/info.json").read_text()))


def data(dataset: Path, episode: int) -> pa.Table:
    return pq.ParquetFile(dataset / f"data/chunk-000/file-{episode:03d}.parquet").read()


def row(dataset: Path, episode: int) -> dict[str, Any]:
    path = dataset / f"meta/episodes/chunk-000/file-{episode:03d}.parquet"
    (only,) = pq.ParquetFile(path).read().to_pylist()
    return dict(only)


def test_nothing_else_lies_in_the_dataset(dataset: Path) -> None:
    names = {p.relative_to(dataset).as_posix() for p in dataset.rglob("*") if p.is_file()}
    files = [f"chunk-000/file-{e:03d}" for e in range(3)]
    assert names == {
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        *(f"data/{f}.parquet" for f in files),
        *(f"meta/episodes/{f}.parquet" for f in files),
        *(f"videos/observation.images.scene/{f}.mp4" for f in files),
    }


def test_info_has_every_field(info: dict[str, Any]) -> None:
    features = info.pop("features")
    assert info == {
        "codebase_version": "v3.0",
        "robot_type": "sim",
        "total_episodes": 3,
        "total_frames": sum(LENGTHS),
        "total_tasks": 2,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": FPS,
        "splits": {"train": "0:3"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    assert features["intervention"] == {"dtype": "bool", "shape": [1], "names": None}
    for name, dtype in {
        "timestamp": "float32",
        "frame_index": "int64",
        "episode_index": "int64",
        "index": "int64",
        "task_index": "int64",
    }.items():
        assert features[name] == {"dtype": dtype, "shape": [1], "names": None}


def test_info_describes_the_video(info: dict[str, Any]) -> None:
    video = info["features"]["observation.images.scene"]
    assert video["dtype"] == "video"
    assert video["shape"] == [48, 64, 3]
    assert video["names"] == ["height", "width", "channels"]
    expected = {
        "video.height": 48,
        "video.width": 64,
        "video.codec": "h264",
        "video.pix_fmt": "yuv420p",
        "video.fps": FPS,
        "video.channels": 3,
        "has_audio": False,
        "is_depth_map": False,
    }
    assert expected.items() <= video["info"].items()


def test_vectors_are_lists_of_fixed_size_and_single_values_are_scalars(
    dataset: Path, features: Features
) -> None:
    scalars = {"bool": pa.bool_(), "int64": pa.int64(), "float32": pa.float32()}
    schema = data(dataset, 0).schema
    assert set(schema.names) == set(features.columns)
    for name, feature in features.columns.items():
        scalar = scalars.get(feature.dtype, pa.float64())
        n = feature.shape[0]
        assert schema.field(name).type == (scalar if n == 1 else pa.list_(scalar, n)), name


def test_the_schema_tells_datasets_the_types(dataset: Path) -> None:
    types = json.loads(data(dataset, 0).schema.metadata[b"huggingface"])["info"]["features"]
    assert types["timestamp"] == {"dtype": "float32", "_type": "Value"}
    assert types["action"] == {
        "feature": {"dtype": "float32", "_type": "Value"},
        "length": 3,
        "_type": "List",
    }


def test_each_episode_is_one_snappy_row_group(dataset: Path) -> None:
    metadata = pq.read_metadata(dataset / "data/chunk-000/file-001.parquet")
    assert metadata.num_row_groups == 1
    assert metadata.row_group(0).column(0).compression == "SNAPPY"


def test_indices_count_on_over_episodes(dataset: Path) -> None:
    tables = [data(dataset, e) for e in range(3)]
    index = np.concatenate([t["index"].to_numpy() for t in tables])
    np.testing.assert_array_equal(index, np.arange(sum(LENGTHS)))
    for e, (table, length) in enumerate(zip(tables, LENGTHS, strict=True)):
        np.testing.assert_array_equal(table["frame_index"].to_numpy(), np.arange(length))
        np.testing.assert_array_equal(table["episode_index"].to_numpy(), np.full(length, e))


def test_timestamps_are_frame_over_rate_in_single_precision(dataset: Path) -> None:
    stamps = data(dataset, 0)["timestamp"].to_numpy()
    np.testing.assert_array_equal(stamps, (np.arange(12) / FPS).astype(np.float32))


def test_outcome_stands_on_the_last_frame(dataset: Path) -> None:
    won, lost = data(dataset, 0), data(dataset, 1)
    for table, success in ((won, True), (lost, False)):
        assert table["next.done"].to_pylist() == [False] * (len(table) - 1) + [True]
        assert table["next.success"].to_pylist() == [False] * (len(table) - 1) + [success]
        assert table["next.reward"].to_pylist() == [0.0] * (len(table) - 1) + [float(success)]


def test_rows_of_metadata_say_where_the_episode_lies(dataset: Path) -> None:
    start = 0
    for e, length in enumerate(LENGTHS):
        found = row(dataset, e)
        expected = {
            "episode_index": e,
            "tasks": ["turn" if e == 1 else "lift"],
            "length": length,
            "data/chunk_index": 0,
            "data/file_index": e,
            "dataset_from_index": start,
            "dataset_to_index": start + length,
            "videos/observation.images.scene/chunk_index": 0,
            "videos/observation.images.scene/file_index": e,
            "videos/observation.images.scene/from_timestamp": 0.0,
            "videos/observation.images.scene/to_timestamp": length / FPS,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": e,
        }
        assert expected.items() <= found.items()
        start += length


def test_rows_of_metadata_are_of_one_type(dataset: Path) -> None:
    paths = sorted(dataset.glob("meta/episodes/*/*.parquet"))
    first, *others = [pq.ParquetFile(path).schema_arrow for path in paths]
    assert all(other == first for other in others)
    assert first.field("tasks").type == pa.list_(pa.string())
    assert first.field("stats/action/mean").type == pa.list_(pa.float64())
    assert first.field("stats/action/count").type == pa.list_(pa.int64())
    nested = pa.list_(pa.list_(pa.list_(pa.float64())))
    assert first.field("stats/observation.images.scene/mean").type == nested


def test_tasks_are_indexed_by_their_words_as_pandas_does(dataset: Path) -> None:
    table = pq.ParquetFile(dataset / "meta/tasks.parquet").read()
    assert table.to_pydict() == {"task_index": [0, 1], "task": ["lift", "turn"]}
    pandas = json.loads(table.schema.metadata[b"pandas"])
    assert pandas["index_columns"] == ["task"]
    assert [column["name"] for column in pandas["columns"]] == ["task_index", "task"]
    np.testing.assert_array_equal(data(dataset, 1)["task_index"].to_numpy(), np.ones(7))


def test_statistics_have_the_shape_of_the_feature(dataset: Path, features: Features) -> None:
    stats = json.loads((dataset / "meta/stats.json").read_text())
    assert set(stats) == set(features)
    keys = {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}
    for name, entry in stats.items():
        assert set(entry) == keys
        image = features[name].is_video
        for key in keys - {"count"}:
            expected = (3, 1, 1) if image else features[name].shape
            assert np.shape(entry[key]) == expected, (name, key)
    assert stats["action"]["count"] == [sum(LENGTHS)]
    assert 0.0 <= stats["observation.images.scene"]["max"][0][0][0] <= 1.0


def test_video_frames_sit_where_the_rows_say(dataset: Path) -> None:
    for e, length in enumerate(LENGTHS):
        path = dataset / f"videos/observation.images.scene/chunk-000/file-{e:03d}.mp4"
        with av.open(path) as container:
            stream = container.streams.video[0]
            times = [frame.time for frame in container.decode(stream)]
            assert stream.duration is not None
            assert stream.time_base is not None
            assert float(stream.duration * stream.time_base) == pytest.approx(length / FPS)
        stamps = data(dataset, e)["timestamp"].to_numpy()
        np.testing.assert_allclose(times, stamps, atol=1e-4, rtol=0)


def test_video_can_be_entered_at_every_second_frame(dataset: Path) -> None:
    with av.open(dataset / "videos/observation.images.scene/chunk-000/file-000.mp4") as container:
        keys = [frame.key_frame for frame in container.decode(video=0)]
    assert all(keys[::2])
