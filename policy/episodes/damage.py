"""What is left of each episode after a kill, a power cut or a copy that was cut short."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dexhil.policy.episodes.about import VERSION, About
from dexhil.policy.episodes.assembly import Piece
from dexhil.policy.episodes.errors import CorruptError, DatasetError
from dexhil.policy.episodes.footage import count_decodable, probe
from dexhil.policy.episodes.layout import (
    Layout,
    index_of,
    is_there,
    place_of,
    read_json,
    read_parquet,
    require_readable,
    withheld,
)
from dexhil.policy.episodes.metadata import read_tasks, row_stats
from dexhil.policy.episodes.schema import Feature, Features, from_table
from dexhil.policy.episodes.video import ENCODING

UNKNOWN_TASK: Final = "unknown task"
UNKNOWN_ROBOT: Final = "unknown"


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
        StorageError: If the disk withholds a file or a folder, which is not to be taken for lost.
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
                if index not in finished:
                    raise CorruptError(f"{self.layout.data(place_of(index))}: is missing")
                yield self._remains(index)
            except CorruptError as error:
                why = str(error)
                if index not in finished and index >= self._listed():
                    why = "it was never finished"
                yield Remains(index=index, why=why)

    def count(self) -> int:
        """Return how many episodes ``remains`` yields."""
        return len(_indices(self.layout, "data") | self._begun())

    def _listed(self) -> int:
        """Return how many episodes ``info.json`` says were finished; none if it is lost."""
        with suppress(DatasetError):
            return int(read_json(self.layout.info)["total_episodes"])
        return 0

    def _begun(self) -> set[int]:
        folders = ["meta/episodes", *(f"videos/{key}" for key in self.features.cameras.values())]
        return set().union(*(_indices(self.layout, folder) for folder in folders))

    def _remains(self, index: int) -> Remains:
        place = place_of(index)
        path = self.layout.data(place)
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
        n = _count_packets(video)
        if n < expected:
            require_readable(video)
            n = _count_packets(video)  # Again, for a disk that only faltered.
        return min(n, count_decodable(video)) if self.deep or n < expected else n

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
        like: Dataset of the same rig, to take robot type and names from if there are none.

    Raises:
        DatasetError: If there is no dataset, nothing to make it from, or ``like`` is of another
            rig: columns, cameras or rate differ.
    """
    other = None if like is None else About.read(like)
    info: dict[str, Any] = {}
    why = ""
    try:
        About.read(layout.root)
        info = read_json(layout.info)
    except CorruptError as error:
        why = f"{error} Made again from the data. "
    except DatasetError:
        if is_there(layout.info) or not _indices(layout, "data"):
            raise
        why = f"{layout.info}: is missing. Made again from the data. "
    if why:
        info = _describe_anew(layout, other)
    if info["robot_type"] != UNKNOWN_ROBOT:
        return info, ""
    if other is not None:
        named = _named_like(info, other, f"{layout.root}", f"{like}")
        return named, f"{why}Joint names and robot type are taken from {like}"
    lost = "Joint names and robot type were only there: --like ANOTHER brings them back"
    return info, why and why + lost


def _describe_anew(layout: Layout, other: About | None) -> dict[str, Any]:
    """Return what the files tell, and what none of them tells as the other dataset has it."""
    table = _any_table(layout)
    if table is not None:
        columns = _columns_of(table)
    elif other is not None:
        columns = dict(other.features.columns)
    else:
        raise _nothing_tells(layout, f"{layout.root}/data", "what its columns are")
    if table is not None and len(table) > 1:
        stamps = table["timestamp"].to_numpy()
        fps = round(1.0 / float(stamps[1] - stamps[0]))
    elif other is not None:
        fps = other.fps
    else:
        raise _nothing_tells(layout, f"{layout.root}/data", "the rate: each has one row only")
    for folder in sorted(layout.root.glob("videos/*")):
        shape = _any_shape(folder)
        if shape is None and other is not None and folder.name in other.features:
            shape = other.features[folder.name].shape
        if shape is None:
            raise _nothing_tells(layout, f"{folder}", "the size of its images")
        columns[folder.name] = Feature(
            dtype="video", shape=shape, names=("height", "width", "channels")
        )
    return {
        "codebase_version": VERSION,
        "robot_type": UNKNOWN_ROBOT,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "features": Features(columns).to_info({"video.fps": fps, **ENCODING}),
    }


def _nothing_tells(layout: Layout, files: str, what: str) -> DatasetError:
    return DatasetError(
        f"{layout.info}: is lost, and no whole file in {files} tells {what}. Name a dataset of "
        "the same rig by --like."
    )


def _columns_of(table: pa.Table) -> dict[str, Feature]:
    columns: dict[str, Feature] = {}
    for column in table.schema:
        fixed = pa.types.is_fixed_size_list(column.type)
        kind = column.type.value_type if fixed else column.type
        n = column.type.list_size if fixed else 1
        dtype = {"double": "float64", "float": "float32"}.get(str(kind), str(kind))
        columns[column.name] = Feature(dtype=dtype, shape=(n,))
    return columns


def _any_table(layout: Layout) -> pa.Table | None:
    """Return a table that is whole, with two rows or more if there is one."""
    found = None
    for path in sorted(layout.root.glob("data/chunk-*/file-*.parquet")):
        with suppress(CorruptError):
            found = read_parquet(path)
            if len(found) > 1:
                break
    return found


def _any_shape(folder: Path) -> tuple[int, ...] | None:
    """Return (height, width, 3) of a video that can be read, if there is one."""
    for path in sorted(folder.glob("chunk-*/file-*.mp4")):
        with suppress(CorruptError):
            return (*probe(path).shape, 3)
    return None


def _named_like(info: Mapping[str, Any], other: About, mine: str, theirs: str) -> dict[str, Any]:
    """Return ``info`` with the robot type and names of another dataset, if it is of the same rig.

    Raises:
        DatasetError: It is not.
    """
    here = _kinds(Features.from_info(info["features"]), info["fps"])
    there = _kinds(other.features, other.fps)
    for what in here | there:
        if here.get(what) != there.get(what):
            raise DatasetError(
                f"{theirs}: {what} is {there.get(what, 'missing')}, but {here.get(what, 'missing')}"
                f" in {mine}. --like needs a dataset of the same rig; nothing was changed."
            )
    named = other.features.to_info({})
    features = {
        name: {**entry, "names": named[name]["names"]} for name, entry in info["features"].items()
    }
    return {**info, "robot_type": other.robot_type, "features": features}


def _kinds(features: Features, fps: int) -> dict[str, str]:
    """Return what two datasets of one rig have in common, in words."""
    kinds = {repr(name): f"{f.dtype} {f.shape}" for name, f in features.items()}
    return {"the rate": f"{fps} frames per second", **kinds}


def _known_tasks(layout: Layout) -> dict[int, str]:
    """Return the words of each task number: from the table and, what it lacks, the episodes."""
    known: dict[int, str] = {}
    with suppress(CorruptError):
        known = {number: words for words, number in read_tasks(layout.tasks).items()}
    for index in sorted(_indices(layout, "meta/episodes")):
        place = place_of(index)
        with suppress(CorruptError, IndexError, TypeError):
            words = read_parquet(layout.episode(place), ["tasks"])["tasks"][0].as_py()
            number = read_parquet(layout.data(place), ["task_index"])["task_index"][0].as_py()
            known.setdefault(number, words[0])
    return known


def _success(row: pa.Table | None, columns: Mapping[str, npt.NDArray[np.bool_]]) -> bool | None:
    if row is not None and "success" in row.column_names:
        return bool(row["success"][0].as_py()) if row["success"][0].is_valid else None
    won = "next.success" in columns and bool(columns["next.success"].any())
    return True if won else None  # Failed, or nobody said: the rows do not tell.


def _count_packets(video: Path) -> int:
    try:
        return len(probe(video))
    except CorruptError:
        return 0


def _indices(layout: Layout, name: str) -> set[int]:
    """Return of which episodes a folder holds a file.

    Raises:
        StorageError: If the disk withholds it. Listing it by a pattern would find it empty.
    """
    folder = layout.root / name
    suffix = "mp4" if name.startswith("videos") else "parquet"
    try:
        chunks = [c for c in folder.iterdir() if c.match("chunk-[0-9]*") and c.is_dir()]
        files = [path for chunk in chunks for path in chunk.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise withheld(Path(error.filename or folder), error) from error
    return {index_of(path) for path in files if path.match(f"file-[0-9][0-9][0-9].{suffix}")}
