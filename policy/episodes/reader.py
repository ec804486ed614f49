"""Read datasets: those recorded here, and LeRobot's own of the same version."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from dexhil.policy.episodes.about import About
from dexhil.policy.episodes.episode import Episode
from dexhil.policy.episodes.errors import CorruptError, DatasetError
from dexhil.policy.episodes.layout import Layout, read_json, read_parquet
from dexhil.policy.episodes.schema import from_table
from dexhil.policy.episodes.video import Image, read_frames

_OPTIONAL = ("success", "true_fps", "largest_gap_s")  # LeRobot's own datasets have none of them.


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeEntry:
    """What the metadata says of an episode.

    Attributes:
        index: Its number, from 0.
        length: Its frames.
        task: What the robot was asked to do.
        success: Whether it did; ``None`` if nobody said.
        true_fps: Frames per second by their stamps; ``None`` if that was not noted.
        largest_gap_s: Longest time between two frames by their stamps [s]; likewise.
        place: (chunk_index, file_index) of its data file.
        videos: By video feature: (chunk_index, file_index) and where it starts there [s].
    """

    index: int
    length: int
    task: str
    success: bool | None
    true_fps: float | None
    largest_gap_s: float | None
    place: tuple[int, int]
    videos: Mapping[str, tuple[tuple[int, int], float]]


class DatasetReader:
    """The finished episodes of a dataset, as they were when it was opened.

    Attributes:
        features: Columns and cameras.
        fps: Frames per second.
        robot_type: Name of the rig.
        episodes: What is there, in order.

    Raises:
        CorruptError: If a file is missing or unreadable.
        DatasetError: If ``root`` holds no dataset, or one of another version.
        StorageError: From any method, if the disk withholds a table.
    """

    def __init__(self, root: Path | str) -> None:
        self._layout = Layout(Path(root))
        about = About.read(root)
        self.features, self.fps, self.robot_type = about.features, about.fps, about.robot_type
        self.episodes = self._finished(about.n_episodes)

    def __len__(self) -> int:
        return len(self.episodes)

    @cached_property
    def stats(self) -> dict[str, Any]:
        """The content of ``stats.json``: by feature, then ``"mean"``, ``"std"``, ``"q01"``, …."""
        return read_json(self._layout.stats)

    def episode(self, index: int) -> Episode:
        """Return the columns of an episode.

        Raises:
            CorruptError: If its file is missing, unreadable or of another length.
        """
        entry = self._entry(index)
        path = self._layout.data(entry.place)
        table = read_parquet(path, list(self.features.columns))
        table = table.filter(pc.equal(table["episode_index"], index))
        if len(table) != entry.length:
            raise CorruptError(
                f"{path}: has {len(table)} rows of episode {index}, expected {entry.length}."
            )
        return Episode(
            columns=from_table(table, self.features),
            task=entry.task,
            success=entry.success,
            fps=float(self.fps),
        )

    def images(self, index: int, camera: str) -> Iterator[Image]:
        """Yield the frames (h, w, 3) of a camera over an episode, one for each row.

        Raises:
            CorruptError: If the video is missing, unreadable or too short.
            DatasetError: If there is no such camera.
        """
        entry = self._entry(index)
        if camera not in self.features.cameras:
            known = ", ".join(self.features.cameras) or "none"
            raise DatasetError(f"{self._layout.root}: no camera {camera!r}, has {known}.")
        place, start_s = entry.videos[self.features.cameras[camera]]
        path = self._layout.video(self.features.cameras[camera], place)
        n = 0
        for n, image in enumerate(read_frames(path, start_s=start_s), start=1):
            yield image
            if n == entry.length:
                return
        raise CorruptError(f"{path}: has {n} frames of episode {index}, expected {entry.length}.")

    def _entry(self, index: int) -> EpisodeEntry:
        if not 0 <= index < len(self):
            raise IndexError(f"Episode {index}: the dataset has {len(self)}.")
        return self.episodes[index]

    def _finished(self, total: int) -> list[EpisodeEntry]:
        paths = sorted(self._layout.root.glob("meta/episodes/chunk-*/file-*.parquet"))
        entries: list[EpisodeEntry] = []
        for path in paths:
            for row in read_parquet(path, self._columns(), optional=_OPTIONAL).to_pylist():
                entry = self._to_entry(row)
                if entry.index != len(entries):
                    raise CorruptError(
                        f"{path}: holds episode {entry.index}, expected {len(entries)}."
                    )
                # Beyond the total, metadata without data is an episode that was never finished.
                if entry.index >= total and not self._layout.data(entry.place).exists():
                    return entries
                entries.append(entry)
        if len(entries) < total:
            raise CorruptError(
                f"{self._layout.root}/meta/episodes: lists {len(entries)} episodes, "
                f"info.json says {total}."
            )
        return entries

    def _columns(self) -> list[str]:
        videos = [
            f"videos/{key}/{what}"
            for key in self.features.cameras.values()
            for what in ("chunk_index", "file_index", "from_timestamp")
        ]
        return [
            "episode_index",
            "tasks",
            "length",
            "data/chunk_index",
            "data/file_index",
            *videos,
        ]

    def _to_entry(self, row: Mapping[str, Any]) -> EpisodeEntry:
        return EpisodeEntry(
            index=row["episode_index"],
            length=row["length"],
            task=row["tasks"][0],
            **{name: row.get(name) for name in _OPTIONAL},
            place=(row["data/chunk_index"], row["data/file_index"]),
            videos={
                key: (
                    (row[f"videos/{key}/chunk_index"], row[f"videos/{key}/file_index"]),
                    row[f"videos/{key}/from_timestamp"],
                )
                for key in self.features.cameras.values()
            },
        )
