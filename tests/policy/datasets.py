"""Small datasets for the tools that look after them, and ways to spoil one."""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dexhil.policy.episodes import DatasetReader, DatasetWriter, Features, Source
from dexhil.policy.episodes.layout import write_parquet
from dexhil.policy.episodes.schema import from_table

FPS = 20
KEY = "observation.images.scene"
FEATURES = Features.for_rig(arm_joints=["a", "b"], hand_joints=["c"], cameras={"scene": (48, 64)})
EPISODES = ((12, "lift", True), (7, "turn", False), (9, "lift", None))


def wait_until_unlocked(root: Path) -> None:
    """Wait until no process writes this dataset any more."""
    descriptor = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def states(root: Path, episode: int) -> npt.NDArray[Any]:
    """Return the first joint of every frame."""
    return DatasetReader(root).episode(episode).columns["observation.state"][:, 0]


def frame(k: int, *, person_from: int = 5, seed: int = 0) -> dict[str, Any]:
    """Return frame ``k`` of a trial in which a person takes over."""
    person = k >= person_from
    return {
        "observation.state": np.arange(4) + 0.1 * k + seed,
        "action": np.arange(3) - 0.1 * k + seed,
        "action.policy": np.sin(np.arange(3) + k),
        "action.human": np.cos(np.arange(3) + k) if person else None,
        "intervention": person,
        "authority": float(person),
        "source": Source.HUMAN if person else Source.POLICY,
        "mode": 2 if person else 1,
        "segment_index": int(person),
        "t_mono": 1e5 + k / FPS,
        "age.arm": 0.002,
        "age.scene": 0.01,
    }


def add_frames(writer: DatasetWriter, n: int, **options: Any) -> None:
    random = np.random.default_rng(n)
    for k in range(n):
        image = random.integers(0, 255, (48, 64, 3), dtype=np.uint8)  # Fills its file with frames.
        writer.add_frame(frame(k, **options), {"scene": image})


def record(
    root: Path, episodes: Sequence[tuple[int, str, bool | None]] = EPISODES, **options: Any
) -> Path:
    """Record episodes of so many frames, with task and verdict."""
    with DatasetWriter(root, FEATURES, FPS, "sim") as writer:
        for n, task, success in episodes:
            writer.begin_episode(task)
            add_frames(writer, n, **options)
            writer.end_episode(success)
    return root


def data(root: Path, episode: int) -> Path:
    return root / f"data/chunk-000/file-{episode:03d}.parquet"


def row(root: Path, episode: int) -> Path:
    return root / f"meta/episodes/chunk-000/file-{episode:03d}.parquet"


def video(root: Path, episode: int) -> Path:
    return root / f"videos/{KEY}/chunk-000/file-{episode:03d}.mp4"


def columns_of(root: Path, episode: int) -> dict[str, npt.NDArray[Any]]:
    return dict(DatasetReader(root).episode(episode).columns)


def spoil(
    root: Path, episode: int, change: Callable[[dict[str, npt.NDArray[Any]]], object]
) -> None:
    """Change columns of an episode behind the back of its metadata."""
    table = pq.ParquetFile(data(root, episode)).read()
    columns = {name: values.copy() for name, values in from_table(table, FEATURES).items()}
    change(columns)
    write_parquet(FEATURES.to_table(columns), data(root, episode))


def edit_json(path: Path, changes: Mapping[str, Any]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_row(root: Path, episode: int, changes: Mapping[str, Any]) -> None:
    """Change values of an episode's metadata, keeping their types."""
    table = pq.ParquetFile(row(root, episode)).read()
    (only,) = table.to_pylist()
    write_parquet(pa.Table.from_pylist([{**only, **changes}], table.schema), row(root, episode))


def in_one_file(root: Path, names: Sequence[str]) -> None:
    """Put all rows into one file and keep the columns ``names``, as LeRobot records."""
    info = json.loads((root / "meta/info.json").read_text())
    edit_json(
        root / "meta/info.json",
        {"features": {name: info["features"][name] for name in names}},
    )
    for folder in ("data", "meta/episodes"):
        paths = sorted((root / folder / "chunk-000").iterdir())
        table = pa.concat_tables([pq.ParquetFile(path).read() for path in paths])
        for path in paths:
            path.unlink()
        if folder == "data":
            table = table.select([name for name in names if name != KEY])
        else:
            place = table.schema.get_field_index("data/file_index")
            table = table.set_column(place, "data/file_index", pa.array([0] * len(table)))
            table = table.drop_columns(["success", "true_fps", "largest_gap_s"])
        pq.write_table(table, paths[0])


def contents(folder: Path) -> dict[str, str]:
    """Return every file's digest by its place."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def start_first(path: Path) -> None:
    """Move a video's index to the front, as LeRobot writes them, so that its start survives."""
    whole = path.with_suffix(".whole.mp4")
    path.rename(whole)
    fast = {"movflags": "faststart"}
    with av.open(whole) as source, av.open(path, "w", options=fast) as target:
        copied = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.pts is not None:
                packet.stream = copied
                target.mux(packet)
    whole.unlink()
