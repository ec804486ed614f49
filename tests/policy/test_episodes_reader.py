"""Reading back what was recorded, and saying what is broken."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dexhil.policy.episodes import (
    CorruptError,
    DatasetError,
    DatasetReader,
    DatasetWriter,
    Features,
    check,
)
from dexhil.policy.episodes.schema import may_be_absent

DATA = "data/chunk-000/file-001.parquet"
VIDEO = "videos/observation.images.scene/chunk-000/file-001.mp4"
BLIND = Features.for_rig(arm_joints=["a", "b"], hand_joints=["c"])


@st.composite
def frames(draw: st.DrawFn) -> dict[str, object]:
    frame: dict[str, object] = {}
    for name in BLIND.frame_dtype.names or ():
        feature = BLIND[name]
        if may_be_absent(name) and draw(st.booleans()):
            frame[name] = None
            continue
        element = {
            "bool": st.booleans(),
            "int64": st.integers(-(2**63), 2**63 - 1),
            "float32": st.floats(width=32, allow_nan=False, allow_infinity=False),
            "float64": st.floats(-1e38, 1e38),
        }[feature.dtype]
        values = draw(st.lists(element, min_size=feature.shape[0], max_size=feature.shape[0]))
        frame[name] = np.array(values, dtype=feature.dtype)
    return frame


@settings(max_examples=15, deadline=None)
@given(st.lists(frames(), min_size=1, max_size=6), st.text(min_size=1), st.booleans() | st.none())
def test_what_is_written_is_read(
    written: list[dict[str, object]], task: str, success: bool | None
) -> None:
    with tempfile.TemporaryDirectory() as root:
        with DatasetWriter(root, BLIND, 20) as writer:
            writer.begin_episode(task)
            for frame in written:
                writer.add_frame(frame)
            writer.end_episode(success)
        episode = DatasetReader(root).episode(0)
    assert (episode.task, episode.success, episode.fps) == (task, success, 20.0)
    for name in BLIND.frame_dtype.names or ():
        feature, column = BLIND[name], episode.columns[name]
        assert column.shape == (len(written), *feature.row_shape)
        assert column.dtype == feature.dtype
        for row, frame in zip(column, written, strict=True):
            value = np.nan if frame[name] is None else frame[name]
            np.testing.assert_array_equal(row, np.broadcast_to(value, feature.shape).squeeze())


def test_episodes_are_listed_with_task_and_outcome(dataset: Path) -> None:
    reader = DatasetReader(dataset)
    assert len(reader) == 3
    assert [entry.length for entry in reader.episodes] == [12, 7, 9]
    assert [entry.task for entry in reader.episodes] == ["lift", "turn", "lift"]
    assert [entry.success for entry in reader.episodes] == [True, False, None]
    assert (reader.fps, reader.robot_type) == (20, "sim")


def test_images_come_in_order_one_for_each_row(dataset: Path) -> None:
    images = list(DatasetReader(dataset).images(1, "scene"))
    assert [image.shape for image in images] == [(48, 64, 3)] * 7
    np.testing.assert_allclose([i.mean() for i in images], 5.0 * np.arange(7), atol=3)


def test_unknown_episodes_and_cameras_are_refused(dataset: Path) -> None:
    reader = DatasetReader(dataset)
    with pytest.raises(IndexError, match="Episode 3: the dataset has 3"):
        reader.episode(3)
    with pytest.raises(DatasetError, match="no camera 'wrist', has scene"):
        next(reader.images(0, "wrist"))


def test_no_dataset_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no dataset"):
        DatasetReader(tmp_path)
    assert len(check(tmp_path)) == 1


def test_another_version_is_a_clear_error(dataset: Path) -> None:
    info = json.loads((dataset / "meta/info.json").read_text())
    (dataset / "meta/info.json").write_text(json.dumps({**info, "codebase_version": "v2.1"}))
    with pytest.raises(DatasetError, match=r"version is 'v2.1', expected 'v3.0'"):
        DatasetReader(dataset)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"codebase_version": "v3.0"}'])
def test_a_damaged_info_is_a_clear_error(dataset: Path, content: str) -> None:
    (dataset / "meta/info.json").write_text(content)
    with pytest.raises(DatasetError, match=r"info\.json"):
        DatasetReader(dataset)


def test_a_cut_data_file_is_found_and_the_others_are_readable(dataset: Path) -> None:
    path = dataset / DATA
    path.write_bytes(path.read_bytes()[:-20])
    reader = DatasetReader(dataset)
    with pytest.raises(CorruptError, match=r"file-001.parquet: cannot be read as parquet"):
        reader.episode(1)
    assert len(reader.episode(0)) == 12
    assert len(check(dataset)) == 1


def test_a_flipped_bit_is_found(dataset: Path) -> None:
    path = dataset / DATA
    column = pq.read_metadata(path).row_group(0).column(0)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(CorruptError, match=r"file-001.parquet"):
        DatasetReader(dataset).episode(1)


def test_a_lost_row_is_found(dataset: Path) -> None:
    table = pq.ParquetFile(dataset / DATA).read()
    pq.write_table(table.slice(1), dataset / DATA)
    with pytest.raises(CorruptError, match="has 6 rows of episode 1, expected 7"):
        DatasetReader(dataset).episode(1)


def test_a_lost_data_file_is_found(dataset: Path) -> None:
    (dataset / "data/chunk-000/file-002.parquet").unlink()
    (problem,) = check(dataset)
    assert "file-002.parquet" in problem


def test_lost_metadata_is_found(dataset: Path) -> None:
    (dataset / "meta/episodes/chunk-000/file-001.parquet").unlink()
    (problem,) = check(dataset)
    assert "episode 1: has no metadata" in problem


def test_a_video_of_another_length_is_found(dataset: Path) -> None:
    (dataset / VIDEO).write_bytes((dataset / VIDEO.replace("001", "000")).read_bytes())
    (problem,) = check(dataset)
    assert "file-001.mp4: has 12 frames, expected 7" in problem
    (dataset / VIDEO.replace("001", "000")).write_bytes(
        (dataset / VIDEO.replace("001", "002")).read_bytes()
    )
    with pytest.raises(CorruptError, match="has 9 frames of episode 0, expected 12"):
        list(DatasetReader(dataset).images(0, "scene"))


def test_a_cut_video_is_found(dataset: Path) -> None:
    (dataset / VIDEO).write_bytes(b"no video")
    (problem,) = check(dataset)
    assert "file-001.mp4: cannot be read as video" in problem


def test_datasets_with_several_episodes_in_a_file_are_read(
    record: Callable[..., int], tmp_path: Path
) -> None:
    """LeRobot's own layout: rows of all episodes in one file, metadata rows in another."""
    blind = tmp_path / "blind"
    with DatasetWriter(blind, BLIND, 20) as writer:
        for n in (4, 6, 5):
            record(writer, BLIND, n)
    for folder in ("data", "meta/episodes"):
        paths = sorted((blind / folder / "chunk-000").iterdir())
        table = pa.concat_tables([pq.ParquetFile(path).read() for path in paths])
        for path in paths:
            path.unlink()
        if folder != "data":
            place = table.schema.get_field_index("data/file_index")
            table = table.set_column(place, "data/file_index", pa.array([0, 0, 0]))
            table = table.drop_columns(["success"])
        pq.write_table(table, paths[0])
    reader = DatasetReader(blind)
    assert [len(reader.episode(e)) for e in range(3)] == [4, 6, 5]
    assert reader.episode(2).success is None
    np.testing.assert_array_equal(reader.episode(1).columns["frame_index"], np.arange(6))
