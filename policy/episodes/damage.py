"""What is left of each episode after a kill, a power cut or a copy that was cut short."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dexhil.policy.episodes.about import VERSION, About
from dexhil.policy.episodes.assembly import Piece
from dexhil.policy.episodes.errors import CorruptError, DatasetError
from dexhil.policy.episodes.footage import count_decodable, probe
from dexhil.policy.episodes.layout import Layout, index_of, place_of, read_json, read_parquet
from dexhil.policy.episodes.metadata import read_tasks, row_stats
from dexhil.policy.episodes.schema import Feature, Features, from_table
from dexhil.policy.episodes.video import ENCODING

UNKNOWN_TASK = "unknown task"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """The frames of a damaged episode that are whole: row and every camera.

    Attributes:
        columns: Their columns, (t,) or (t, n).
        task: What the robot was asked to do.
        success: Whether it did; ``None`` where the end is lost or nobody said.
        videos: By video feature; may be longer.
        to_the_end: Whether the last frame is among them.
    """

    columns: Mapping[str, npt.NDArray[Any]]
    task: str
    success: bool | None
    videos: Mapping[str, Path]
    to_the_end: bool

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Remains:
    """What is left of one episode: all of it, a part, or nothing.

    Attributes:
        index: Its number.
        piece: The episode, if it is whole.
        parts: What is whole of it, if not all is.
        why: What is wrong with it, in words; empty if nothing is.
    """

    index: int
    piece: Piece | None = None
    parts: Parts | None = None
    why: str = ""


@dataclass(slots=True)
class Survey:
    """Reads what is left of a dataset, and never writes.

    Args:
        layout: Of the dataset.
        features: Its columns and cameras.
        deep: Decode every video, instead of counting its frames.

    Raises:
        DatasetError: From ``remains``, if a file holds several episodes or other columns.
    """

    layout: Layout
    features: Features
    deep: bool
    tasks: dict[int, str] = field(init=False)

    def __post_init__(self) -> None:
        self.tasks = _known_tasks(self.layout)

    def remains(self) -> Iterator[Remains]:
        """Yield what is left of each episode of which any file is left."""
        finished = _indices(self.layout, "data")
        for index in sorted(finished | self._begun()):
            try:
                yield self._remains(index)
            except CorruptError as error:
                why = str(error)
                if index not in finished and index > max(finished, default=-1):
                    why = "it was never finished"
                yield Remains(index=index, why=why)

    def count(self) -> int:
        """Return how many episodes ``remains`` yields."""
        return len(_indices(self.layout, "data") | self._begun())

    def _begun(self) -> set[int]:
        folders = ["meta/episodes", *(f"videos/{key}" for key in self.features.cameras.values())]
        return set().union(*(_indices(self.layout, folder) for folder in folders))

    def _remains(self, index: int) -> Remains:
        place = place_of(index)
        path = self.layout.data(place)
        if not path.exists():
            raise CorruptError(f"{path}: is missing")
        columns = self._columns(path)
        videos = {key: self.layout.video(key, place) for key in self.features.cameras.values()}
        length = len(columns["index"])
        why = []
        shown = length
        for video in videos.values():
            n = self._count_frames(video, length)
            if n != length:
                why.append(f"{video}: has {n} whole frames, expected {length}")
            shown = min(shown, n)
        if not shown:
            raise CorruptError(why[0] if why else f"{path}: has no rows.")
        row = self._row(index, length, why)
        if row is not None and not why:
            piece = Piece(row=row, data=path, videos=videos, tasks=self.tasks)
            return Remains(index=index, piece=piece)
        parts = Parts(
            columns={name: values[:shown] for name, values in columns.items()},
            task=self.tasks.get(int(columns["task_index"][0]), UNKNOWN_TASK),
            success=_success(row, columns) if shown == length else None,
            videos=videos,
            to_the_end=shown == length,
        )
        return Remains(index=index, parts=parts, why="; ".join(why))

    def _columns(self, path: Path) -> dict[str, npt.NDArray[Any]]:
        table = read_parquet(path)
        try:
            columns = from_table(table, self.features)
        except (KeyError, ValueError, pa.ArrowException) as error:
            # Not damage: checksums and footer were right.
            raise DatasetError(
                f"{path}: has other columns than info.json says ({error}). Name a dataset of "
                "the same rig by --like."
            ) from error
        if len(np.unique(columns["episode_index"])) > 1:
            raise DatasetError(
                f"{path}: holds several episodes; only datasets with one episode in a file, as "
                "dexhil records them, can be repaired."
            )
        return columns

    def _count_frames(self, video: Path, expected: int) -> int:
        try:
            n = len(probe(video))
        except CorruptError:
            return 0
        return count_decodable(video) if self.deep or n < expected else n

    def _row(self, index: int, length: int, why: list[str]) -> pa.Table | None:
        """Return the metadata, or say in ``why`` what is wrong with it."""
        path = self.layout.episode(place_of(index))
        try:
            row = read_parquet(path)
            known = row_stats(row.to_pylist()[0], self.features) if len(row) == 1 else {}
            complete = known.keys() == set(self.features)
            if complete and row["length"][0].as_py() == length and row["tasks"][0].as_py():
                return row
            why.append(f"{path}: is not the metadata of its {length} rows")
        except (CorruptError, KeyError) as error:
            why.append(str(error))
        return None


def describe(layout: Layout, like: Path | None) -> tuple[dict[str, Any], str]:
    """Return ``info.json``, and what is wrong with it; made again from the files if it is lost.

    Args:
        layout: Of the dataset.
        like: Dataset of the same rig, to take rates and names from.

    Raises:
        DatasetError: If there is no dataset, or nothing to make it from.
    """
    try:
        About.read(layout.root)
        return read_json(layout.info), ""
    except CorruptError as error:
        why = str(error)
    except DatasetError:
        if layout.info.exists() or not _indices(layout, "data"):
            raise
        why = f"{layout.info}: is missing."
    if like is not None:
        About.read(like)
        return read_json(Layout(like).info), f"{why} Taken from {like}"
    lost = "Joint names and robot type were only there: --like ANOTHER brings them back"
    return _describe_anew(layout), f"{why} Made again from the data. {lost}"


def _describe_anew(layout: Layout) -> dict[str, Any]:
    table = _any_table(layout)
    columns: dict[str, Feature] = {}
    for column in table.schema:
        fixed = pa.types.is_fixed_size_list(column.type)
        kind = column.type.value_type if fixed else column.type
        n = column.type.list_size if fixed else 1
        dtype = {"double": "float64", "float": "float32"}.get(str(kind), str(kind))
        columns[column.name] = Feature(dtype=dtype, shape=(n,))
    stamps = table["timestamp"].to_numpy()
    fps = round(1.0 / float(stamps[1] - stamps[0]))
    for folder in sorted(layout.root.glob("videos/*")):
        height, width = _any_shape(folder)
        columns[folder.name] = Feature(
            dtype="video", shape=(height, width, 3), names=("height", "width", "channels")
        )
    return {
        "codebase_version": VERSION,
        "robot_type": "unknown",
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "features": Features(columns).to_info({"video.fps": fps, **ENCODING}),
    }


def _any_table(layout: Layout) -> pa.Table:
    for path in sorted(layout.root.glob("data/chunk-*/file-*.parquet")):
        try:
            table = read_parquet(path)
        except CorruptError:
            continue
        if len(table) > 1:
            return table
    raise DatasetError(
        f"{layout.info}: is lost, and no data file is whole with two rows or more to make it "
        "again from. Name a dataset of the same rig by --like."
    )


def _any_shape(folder: Path) -> tuple[int, int]:
    for path in sorted(folder.glob("chunk-*/file-*.mp4")):
        try:
            return probe(path).shape
        except CorruptError:
            continue
    raise DatasetError(
        f"{folder}: no video is readable to tell its size, and info.json is lost. "
        "Name a dataset of the same rig by --like."
    )


def _known_tasks(layout: Layout) -> dict[int, str]:
    """Return the words of each task number, from the table or else from the episodes."""
    try:
        return {number: words for words, number in read_tasks(layout.tasks).items()}
    except CorruptError:
        pass
    known = {}
    for index in sorted(_indices(layout, "meta/episodes")):
        try:
            words = read_parquet(layout.episode(place_of(index)), ["tasks"])["tasks"][0].as_py()
            number = pq.read_table(layout.data(place_of(index)), columns=["task_index"])
            known[number["task_index"][0].as_py()] = words[0]
        except (CorruptError, OSError, pa.ArrowException, IndexError):
            continue
    return known


def _success(row: pa.Table | None, columns: Mapping[str, npt.NDArray[np.bool_]]) -> bool | None:
    if row is not None and "success" in row.column_names:
        return bool(row["success"][0].as_py()) if row["success"][0].is_valid else None
    won = "next.success" in columns and bool(columns["next.success"].any())
    return True if won else None  # Failed, or nobody said: the rows do not tell.


def _indices(layout: Layout, folder: str) -> set[int]:
    suffix = "mp4" if folder.startswith("videos") else "parquet"
    names = f"{folder}/chunk-[0-9]*/file-[0-9][0-9][0-9].{suffix}"
    return {index_of(path) for path in layout.root.glob(names)}
