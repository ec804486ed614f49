"""A dataset put together from finished episodes of others, without encoding or recording anew.

Videos are linked, not copied, so it takes neither time nor space. Nothing here or in the writer
ever changes a file in place.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dexhil.policy.episodes import stats
from dexhil.policy.episodes.catalogue import tasks_table
from dexhil.policy.episodes.errors import CorruptError, DatasetError
from dexhil.policy.episodes.layout import (
    CHUNK_SIZE,
    DATA_PATH,
    VIDEO_PATH,
    Layout,
    place_of,
    read_json,
    read_parquet,
    sync_path,
    write_json,
    write_parquet,
)
from dexhil.policy.episodes.metadata import read_tasks, row_stats
from dexhil.policy.episodes.schema import Features, from_table

Columns = Mapping[str, npt.NDArray[Any]]
Keep = Callable[[Path, Path], None]  # How the second becomes the first: `link`, `copy`, `refer`.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """A finished episode that has files of its own.

    Attributes:
        row: Its metadata, a table of one row.
        data: Its columns.
        videos: By video feature.
        tasks: The words that the task numbers in ``data`` stand for.
    """

    row: pa.Table
    data: Path
    videos: Mapping[str, Path]
    tasks: Mapping[int, str]

    def __getitem__(self, name: str) -> Any:
        """Return one value of the metadata."""
        return self.row.column(name)[0].as_py()


def require_finished(root: Path) -> None:
    """Refuse a dataset of which an episode is not listed yet, as `pieces` would leave it out.

    Raises:
        CorruptError: If ``info.json`` cannot be read.
        DatasetError: If an episode is open, or was when the recorder died.
    """
    layout = Layout(root)
    unlisted = layout.data(place_of(read_json(layout.info)["total_episodes"]))
    for path in (layout.staging, layout.salvage, unlisted):
        if path.exists():
            raise DatasetError(
                f"{root}: an episode is being recorded, or was interrupted, and would be left out "
                f"({path.relative_to(root)} is there). End the recording; if there is none, "
                f"dexhil dataset repair {root} --apply finishes the episode."
            )


def pieces(root: Path) -> list[Piece]:
    """Return the finished episodes of a dataset that keeps each in files of its own.

    Raises:
        CorruptError: If metadata is missing or cannot be read.
        DatasetError: If a file holds several episodes, as LeRobot's own do.
    """
    layout = Layout(root)
    info = read_json(layout.info)
    cameras = [name for name, entry in info["features"].items() if entry["dtype"] == "video"]
    tasks = {number: words for words, number in read_tasks(layout.tasks).items()}
    found: list[Piece] = []
    for index in range(info["total_episodes"]):
        place = place_of(index)
        path = layout.episode(place)
        row = read_parquet(path)
        if len(row) != 1 or row["episode_index"][0].as_py() != index:
            raise DatasetError(
                f"{path}: holds {len(row)} episodes; only datasets with one episode in a file, "
                "as dexhil records and exports them, can be put together."
            )
        videos = {key: layout.video(key, place) for key in cameras}
        found.append(Piece(row=row, data=layout.data(place), videos=videos, tasks=tasks))
    return found


class Assembly:
    """A new dataset in an empty folder; ``finish`` makes it one.

    Args:
        root: The folder.
        info: What ``info.json`` shall say; totals and places are filled in.
        rows: Metadata of all that will be added, so that all rows get the same columns.
        tasks: Words that keep the numbers they stand at.
        tables: How to keep data files that need no change; `copy` if left out. Where both datasets
            stay, a script that edits a table in place must not change the other.
        videos: How to keep videos; `link` if left out.

    Raises:
        CorruptError: From ``add``, if a file of the episode cannot be read.
        OSError: From any method, if the disk refuses.
    """

    def __init__(
        self,
        root: Path,
        info: Mapping[str, Any],
        rows: Sequence[pa.Table],
        tasks: Sequence[str] = (),
        *,
        tables: Keep | None = None,
        videos: Keep | None = None,
    ) -> None:
        self.n_episodes = 0
        self.n_frames = 0
        self._layout = Layout(root)
        self._keep_table = tables or copy
        self._keep_video = videos or link
        self._info = info
        self._features = Features.from_info(info["features"])
        self._schema = _row_schema([row.schema for row in rows], self._features)
        self._tasks = {words: number for number, words in enumerate(tasks)}
        self._stats: dict[str, stats.Stats] = {}

    def add(self, piece: Piece, given: Columns | None = None) -> None:
        """Append an episode.

        Args:
            piece: The episode. Columns that are no features here are left out.
            given: Columns to put in place of its own, or beside them.
        """
        old = read_parquet(piece.data)
        wanted = {**(given or {}), **self._numbers(piece, old)}
        changed = {n: v for n, v in wanted.items() if not _is_same(old, n, v)}
        place = place_of(self.n_episodes)
        target = self._layout.data(place)
        if changed or set(old.column_names) != set(self._features.columns):
            kept = [n for n in self._features.columns if n in old.column_names and n not in wanted]
            columns = {**_arrays(old, kept, self._features), **wanted}
            target.parent.mkdir(parents=True, exist_ok=True)
            write_parquet(self._features.to_table(columns), target)
        else:
            self._keep_table(piece.data, target)
        for key in self._features.cameras.values():
            self._keep_video(piece.videos[key], self._layout.video(key, place))
        self._add_row(piece, len(old), changed)

    def finish(self) -> None:
        """Write what sums the episodes up, and make all of it survive a power cut."""
        layout = self._layout
        (layout.root / "meta").mkdir(parents=True, exist_ok=True)
        write_parquet(tasks_table(self._tasks), layout.tasks)
        write_json(stats.to_json(self._stats), layout.stats)
        totals = {
            "total_episodes": self.n_episodes,
            "total_frames": self.n_frames,
            "total_tasks": len(self._tasks),
            "chunks_size": CHUNK_SIZE,
            "splits": {"train": f"0:{self.n_episodes}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self._features.cameras else None,
        }
        write_json({**self._info, **totals}, layout.info)

    def _numbers(self, piece: Piece, old: pa.Table) -> dict[str, npt.NDArray[np.int64]]:
        """Return the columns that say which frame of the whole dataset a row is."""
        for words in piece["tasks"]:
            self._tasks.setdefault(words, len(self._tasks))
        given = old["task_index"].to_numpy()
        numbers = np.empty(len(old), np.int64)
        for number in np.unique(given):
            if (words := piece.tasks.get(int(number))) not in self._tasks:
                raise CorruptError(f"{piece.data}: task_index {number} has no words.")
            numbers[given == number] = self._tasks[words]
        return {
            "episode_index": np.full(len(old), self.n_episodes),
            "index": self.n_frames + np.arange(len(old)),
            "task_index": numbers,
        }

    def _add_row(self, piece: Piece, length: int, changed: Columns) -> None:
        row = {name: piece[name] for name in piece.row.column_names if name in self._schema.names}
        chunk, file = place_of(self.n_episodes)
        row |= {
            "episode_index": self.n_episodes,
            "dataset_from_index": self.n_frames,
            "dataset_to_index": self.n_frames + length,
        }
        files = ("data", "meta/episodes", *(f"videos/{k}" for k in self._features.cameras.values()))
        for name in files:
            row |= {f"{name}/chunk_index": chunk, f"{name}/file_index": file}
        for name, entry in stats.to_json(
            {name: stats.column_stats(values) for name, values in changed.items()}
        ).items():
            row |= {f"stats/{name}/{key}": value for key, value in entry.items()}
        target = self._layout.episode((chunk, file))
        target.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(pa.Table.from_pylist([row], schema=self._schema), target)
        self._stats = stats.merge(self._stats, row_stats(row, self._features))
        self.n_episodes += 1
        self.n_frames += length


@contextmanager
def building(target: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``target`` if nothing goes wrong, and vanishes if it does.

    Raises:
        DatasetError: If there is something at ``target``.
        OSError: If the disk refuses.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DatasetError(f"{target}: is there already. Name a new folder.")
    partial = target.with_name(f".{target.name}.partial")
    clear(partial)
    partial.mkdir(parents=True)
    try:
        yield partial
        sync_tree(partial)
        partial.replace(target)
        sync_path(target.parent)
    finally:
        clear(partial)


def clear(folder: Path) -> None:
    """Remove a folder that only holds links and what can be made again."""
    if folder.exists():
        shutil.rmtree(folder)


def link(source: Path, target: Path) -> None:
    """Make ``target`` the same file, or where the disk has no links, a durable copy of it.

    Raises:
        CorruptError: If ``source`` is missing.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except FileNotFoundError as error:
        raise CorruptError(f"{source}: is missing.") from error
    except OSError:  # Another disk, too many links, or a file system without.
        copy(source, target)


def refer(source: Path, target: Path) -> None:
    """Make ``target`` say where ``source`` is: for a dataset that is only looked at.

    That takes no space on any disk, unlike `link`, which copies where it cannot link.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)


def copy(source: Path, target: Path) -> None:
    """Write a durable copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    sync_path(target)


def sync_tree(root: Path) -> None:
    """Make the entries of a folder and of those in it survive a power cut."""
    for folder, _, _ in os.walk(root):
        sync_path(Path(folder))


def _row_schema(schemas: Sequence[pa.Schema], features: Features) -> pa.Schema:
    """Return the columns of metadata that any episode has, less those of features left out."""
    whole = pa.unify_schemas(schemas) if schemas else pa.schema([])
    kept = [
        field
        for field in whole
        if not field.name.startswith(("stats/", "videos/"))
        or any(
            field.name.startswith(f"{kind}/{n}/") for n in features for kind in ("stats", "videos")
        )
    ]
    names = {field.name for field in kept}
    for name in features.columns:  # Columns that no episode had.
        for key in stats.KEYS:
            if f"stats/{name}/{key}" not in names:
                value = pa.int64() if key == "count" else pa.float64()
                kept.append(pa.field(f"stats/{name}/{key}", pa.list_(value)))
    return pa.schema(kept)


def _is_same(table: pa.Table, name: str, values: npt.NDArray[Any]) -> bool:
    if name not in table.column_names or values.ndim > 1:
        return False
    return np.array_equal(table[name].to_numpy(), values)


def _arrays(table: pa.Table, names: Sequence[str], features: Features) -> Columns:
    part = Features({name: features[name] for name in names})
    return {n: v for n, v in from_table(table, part).items() if n in names}
