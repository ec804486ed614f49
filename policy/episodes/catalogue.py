"""The finished episodes of a dataset: verified and repaired when opened, extended one at a time.

An episode is finished when its data file is in place, for that is renamed last:
videos and metadata wait for it. LeRobot reads every data file it finds and
looks its episodes up in the metadata, so in this order it can load the dataset
at any moment; the other way round a kill would leave rows without metadata.
``info.json`` and ``stats.json`` follow and are rewritten from the episodes if they lag.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dexhil.policy.episodes import stats
from dexhil.policy.episodes.about import VERSION
from dexhil.policy.episodes.errors import CorruptError, FeaturesError
from dexhil.policy.episodes.layout import (
    CHUNK_SIZE,
    DATA_PATH,
    VIDEO_PATH,
    Layout,
    count_rows,
    index_of,
    place_of,
    publish,
    read_json,
    read_parquet,
    write_json,
    write_parquet,
)
from dexhil.policy.episodes.metadata import read_tasks
from dexhil.policy.episodes.pace import Pace
from dexhil.policy.episodes.schema import Features
from dexhil.policy.episodes.video import ENCODING, Image

log = logging.getLogger(__name__)

_MEND = "Bring it back, or run dexhil dataset repair on the dataset."


class Catalogue:
    """The finished episodes under ``layout``, and how to add one.

    Attributes:
        n_episodes: How many are finished.
        n_frames: Their frames together.
        repairs: What was found broken and put right, in words.
        warnings: Which episodes added here were not recorded at the declared rate, in words.

    Raises:
        FeaturesError: If the dataset has other features, frame rate or robot type.
        CorruptError: If a finished episode is damaged. Nothing is deleted then.
        OSError: If the disk refuses a write.
    """

    def __init__(self, layout: Layout, features: Features, fps: int, robot_type: str) -> None:
        self.n_episodes = 0
        self.n_frames = 0
        self.repairs: list[str] = []
        self.warnings: list[str] = []
        self._layout = layout
        self._features = features
        self._fps = fps
        self._robot_type = robot_type
        self._tasks: dict[str, int] = {}
        self._stats: dict[str, stats.Stats] = {}
        layout.staging.mkdir(exist_ok=True)
        if layout.info.exists():
            listed = _require_same(layout.info, self._info())
            self._load(listed)
            if listed != self.n_episodes:
                self.repairs.append(
                    f"info.json lists {self.n_episodes} episodes, it listed {listed}"
                )
        else:
            _require_empty(layout)
        self._write_summaries()

    def add(
        self,
        columns: Mapping[str, npt.NDArray[Any]],
        *,
        task: str,
        success: bool | None,
        videos: Mapping[str, Path],
        samples: Mapping[str, list[Image]],
    ) -> int:
        """Finish an episode.

        Args:
            columns: What was recorded; outcome and bookkeeping are filled in here.
            task: What the robot was asked to do.
            success: Whether it did; ``None`` if nobody said.
            videos: Durable file by camera, on the dataset's disk. It is moved.
            samples: Images by camera for statistics.

        Returns:
            The episode's index.
        """
        tasks = self._tasks if task in self._tasks else {**self._tasks, task: len(self._tasks)}
        length = len(next(iter(columns.values())))
        whole = {
            **columns,
            **self._outcome(length, success),
            **self._bookkeeping(length, tasks[task]),
        }
        episode_stats = {
            **{name: stats.column_stats(whole[name]) for name in self._features.columns},
            **{
                self._features.cameras[camera]: stats.image_stats(images)
                for camera, images in samples.items()
            },
        }
        pace = Pace.of(columns.get("t_mono"))
        row = self._row(length, task, success, pace, episode_stats)
        place = place_of(self.n_episodes)
        staged_data, staged_row = (
            self._layout.staging / n for n in ("data.parquet", "row.parquet")
        )
        write_parquet(self._features.to_table(whole), staged_data)
        write_parquet(row, staged_row)
        if tasks is not self._tasks:
            staged_tasks = self._layout.staging / "tasks.parquet"
            write_parquet(tasks_table(tasks), staged_tasks)
            publish(staged_tasks, self._layout.tasks)
            self._tasks = tasks
        for camera, video in videos.items():
            publish(video, self._layout.video(self._features.cameras[camera], place))
        publish(staged_row, self._layout.episode(place))
        publish(staged_data, self._layout.data(place))
        self._warn(pace)
        self._count(length, episode_stats)
        self._write_summaries()
        return self.n_episodes - 1

    def _warn(self, pace: Pace | None) -> None:
        departure = None if pace is None else pace.departure(self._fps)
        if departure is not None:
            self.warnings.append(f"episode {self.n_episodes}: {departure}")
            log.warning("%s: %s", self._layout.root, self.warnings[-1])

    def _outcome(self, length: int, success: bool | None) -> dict[str, npt.NDArray[Any]]:
        last = np.arange(length) == length - 1
        won = last & bool(success)
        outcome = {"next.reward": won.astype(np.float32), "next.done": last, "next.success": won}
        return {name: values for name, values in outcome.items() if name in self._features}

    def _bookkeeping(self, length: int, task_index: int) -> dict[str, npt.NDArray[Any]]:
        frame_index = np.arange(length)
        return {
            "timestamp": (frame_index / self._fps).astype(np.float32),
            "frame_index": frame_index,
            "episode_index": np.full(length, self.n_episodes),
            "index": self.n_frames + frame_index,
            "task_index": np.full(length, task_index),
        }

    def _row(
        self,
        length: int,
        task: str,
        success: bool | None,
        pace: Pace | None,
        episode_stats: dict[str, stats.Stats],
    ) -> pa.Table:
        chunk, file = place_of(self.n_episodes)
        row: dict[str, pa.Array] = {
            "episode_index": pa.array([self.n_episodes]),
            "tasks": pa.array([[task]], pa.list_(pa.string())),
            "length": pa.array([length]),
            "success": pa.array([success], pa.bool_()),
            "true_fps": pa.array([pace and pace.true_fps], pa.float64()),
            "largest_gap_s": pa.array([pace and pace.largest_gap_s], pa.float64()),
            "data/chunk_index": pa.array([chunk]),
            "data/file_index": pa.array([file]),
            "dataset_from_index": pa.array([self.n_frames]),
            "dataset_to_index": pa.array([self.n_frames + length]),
        }
        for key in self._features.cameras.values():
            row[f"videos/{key}/chunk_index"] = pa.array([chunk])
            row[f"videos/{key}/file_index"] = pa.array([file])
            row[f"videos/{key}/from_timestamp"] = pa.array([0.0])
            row[f"videos/{key}/to_timestamp"] = pa.array([length / self._fps])
        row["meta/episodes/chunk_index"] = pa.array([chunk])
        row["meta/episodes/file_index"] = pa.array([file])
        for name, entry in stats.to_json(episode_stats).items():
            for key, values in entry.items():
                row[f"stats/{name}/{key}"] = pa.array([values])
        return pa.table(row)

    def _count(self, length: int, episode_stats: Mapping[str, stats.Stats]) -> None:
        self.n_episodes += 1
        self.n_frames += length
        self._stats = stats.merge(self._stats, episode_stats)

    def _load(self, listed: int) -> None:
        """Count the finished episodes and remove what is left of one that was not.

        ``info.json`` is written last: if the data of an episode is not there that was ``listed``
        in it, or that others follow, it was lost. Then nothing may be removed.
        """
        layout = self._layout
        if layout.tasks.exists():
            self._tasks = read_tasks(layout.tasks)
        while (data := layout.data(place := place_of(self.n_episodes))).exists():
            row = read_parquet(layout.episode(place)).to_pylist()[0]
            self._verify(row)
            self._count(row["length"], _stats_of(row, self._features))
        if self._beyond("data"):
            raise CorruptError(f"{data}: is missing, but later episodes are there. {_MEND}")
        if self.n_episodes < listed:
            raise CorruptError(
                f"{data}: is missing, but info.json lists {listed} episodes. {_MEND}"
            )
        videos = (f"videos/{key}" for key in self._features.cameras.values())
        for path in self._beyond("meta/episodes", *videos):
            path.unlink()
            self.repairs.append(f"removed {path}: its episode was not finished")

    def _beyond(self, *folders: str) -> list[Path]:
        """Return the files there that belong to no finished episode."""
        files = (
            path
            for folder in folders
            for path in sorted((self._layout.root / folder).glob("chunk-*/file-*"))
        )
        return [path for path in files if index_of(path) >= self.n_episodes]

    def _verify(self, row: Mapping[str, Any]) -> None:
        place = place_of(self.n_episodes)
        data = self._layout.data(place)
        found = (row["episode_index"], row["data/chunk_index"], row["data/file_index"])
        if found != (self.n_episodes, *place):
            raise CorruptError(
                f"{self._layout.episode(place)}: episode, chunk and file are {found}, expected "
                f"{(self.n_episodes, *place)}. Only datasets recorded here can go on."
            )
        if (n_rows := count_rows(data)) != row["length"]:
            raise CorruptError(f"{data}: has {n_rows} rows, expected {row['length']}.")
        for words in row["tasks"]:
            if words not in self._tasks:  # Its number would go to the next new task.
                raise CorruptError(
                    f"{self._layout.tasks}: {'lacks' if self._tasks else 'is missing or lacks'} "
                    f"{words!r}, the task of episode {self.n_episodes}. {_MEND}"
                )
        for key in self._features.cameras.values():
            if not (video := self._layout.video(key, place)).exists():
                raise CorruptError(f"{video}: is missing. {_MEND}")

    def _info(self) -> dict[str, Any]:
        return {
            "codebase_version": VERSION,
            "robot_type": self._robot_type,
            "total_episodes": self.n_episodes,
            "total_frames": self.n_frames,
            "total_tasks": len(self._tasks),
            "chunks_size": CHUNK_SIZE,
            "data_files_size_in_mb": 100,
            "video_files_size_in_mb": 200,
            "fps": self._fps,
            "splits": {"train": f"0:{self.n_episodes}"},
            "data_path": DATA_PATH,
            "video_path": VIDEO_PATH if self._features.cameras else None,
            "features": self._features.to_info({"video.fps": self._fps, **ENCODING}),
        }

    def _write_summaries(self) -> None:
        summaries = {
            self._layout.stats: stats.to_json(self._stats),
            self._layout.info: self._info(),
        }
        for path, content in summaries.items():
            staged = self._layout.staging / path.name
            write_json(content, staged)
            publish(staged, path)


def _stats_of(row: Mapping[str, Any], features: Features) -> dict[str, stats.Stats]:
    return {
        name: {key: np.array(row[f"stats/{name}/{key}"]) for key in stats.KEYS} for name in features
    }


def tasks_table(tasks: Mapping[str, int]) -> pa.Table:
    """Return the tasks as pandas would store them with ``task`` as the index."""
    table = pa.table({"task_index": pa.array(tasks.values(), pa.int64()), "task": list(tasks)})
    columns = [
        {
            "name": name,
            "field_name": name,
            "pandas_type": pandas_type,
            "numpy_type": numpy_type,
            "metadata": None,
        }
        for name, pandas_type, numpy_type in (
            ("task_index", "int64", "int64"),
            ("task", "unicode", "object"),
        )
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns}
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _require_same(path: Path, wanted: Mapping[str, Any]) -> int:
    """Refuse another kind of dataset. Returns how many episodes it lists."""
    found = read_json(path)
    for key in ("codebase_version", "robot_type", "fps"):
        if found.get(key) != wanted[key]:
            raise FeaturesError(
                f"{path}: {key} is {found.get(key)!r}, wanted {wanted[key]!r}. "
                "Record into a new dataset."
            )
    mine = Features.from_info(found["features"])
    difference = mine.difference(Features.from_info(wanted["features"]))
    if difference is not None:
        raise FeaturesError(
            f"{path}: {difference}. Record into a new dataset; dexhil dataset merge joins them."
        )
    return int(found["total_episodes"])


def _require_empty(layout: Layout) -> None:
    for folder in ("data", "meta", "videos"):
        # Whoever was killed while making a new dataset left no more than statistics of nothing.
        if set((layout.root / folder).glob("*")) - {layout.stats}:
            raise CorruptError(
                f"{layout.info}: is missing, but there is a folder {folder!r} beside it. "
                "Name an empty folder to record into."
            )
