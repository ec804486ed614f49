"""Episodes for the Rerun viewer: what was seen, who drove, what was wanted and what was done."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dexhil.drivers.models.kinematics import Side
from dexhil.integration.errors import RunError
from dexhil.integration.view.layout import flush, layout, path, require, send_to
from dexhil.integration.view.plots import Plots, Rows, joint_names
from dexhil.integration.view.robot import Robot, robot_of
from dexhil.integration.view.scene import RobotScene
from dexhil.policy.episodes import DatasetReader, Episode, Features
from dexhil.policy.episodes.assembly import building
from dexhil.policy.episodes.content import TIME_TOLERANCE_S
from dexhil.policy.episodes.errors import CorruptError
from dexhil.policy.episodes.layout import Layout, storing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """An episode, and what it takes to show it.

    Attributes:
        index: Its number.
        episode: Its columns.
        features: What the columns are.
        videos: By camera: the file, and where the episode starts in it [s].
        robot: What its joints move, if that is known.
    """

    index: int
    episode: Episode
    features: Features
    videos: Mapping[str, tuple[Path, float]]
    robot: Robot | None = None

    @property
    def rows(self) -> Rows:
        """All of its frames, by their real stamps where there are some."""
        columns = self.episode.columns
        stamps_s = columns["t_mono" if "t_mono" in columns else "timestamp"].astype(np.float64)
        return Rows(columns=columns, times_s=stamps_s - stamps_s[0])

    @property
    def layout(self) -> Any:
        """Blueprint for the viewer."""
        return layout(list(self.videos), joint_names(self.features), robot=self.robot is not None)


class Episodes:
    """The episodes of a dataset, to be shown.

    Args:
        root: Folder of the dataset.
        side: Which hand the robot has, if not the one that the dataset names.

    Attributes:
        shapeless: Why its robot cannot be shown in three dimensions, if it cannot.

    Raises:
        RunError: Rerun is missing.
        DatasetError: The dataset is damaged.
    """

    def __init__(self, root: Path, side: Side | None = None) -> None:
        require()
        self._root, self._reader = root, DatasetReader(root)
        self._robot: Robot | None = None
        self.shapeless: str | None = None
        try:
            self._robot = robot_of(
                self._reader.robot_type, joint_names(self._reader.features), side
            )
        except RunError as error:
            self.shapeless = f"{error} The robot is not shown in three dimensions."

    def __len__(self) -> int:
        return len(self._reader)

    def open(self, index: int) -> Shown:
        """Return one of them.

        Raises:
            RunError: There is no such episode.
            CorruptError: Its columns cannot be read.
        """
        reader = self._reader
        if not 0 <= index < len(reader):
            raise RunError(f"{self._root}: has no episode {index}, it has {len(reader)}.")
        entry = reader.episodes[index]
        videos = {
            camera: (Layout(self._root).video(key, entry.videos[key][0]), entry.videos[key][1])
            for camera, key in reader.features.cameras.items()
        }
        return Shown(
            index=index,
            episode=reader.episode(index),
            features=reader.features,
            videos=videos,
            robot=self._robot,
        )

    def show(self, index: int, out: Path | None) -> None:
        """Open the viewer with one of them, or write a file if one is given.

        Raises:
            RunError: There is no such episode, or viewer or file cannot be opened.
            CorruptError: It cannot be read.
        """
        import rerun as rr  # noqa: PLC0415 - an extra, and slow to load

        shown = self.open(index)
        name = f"{self._root.name}-episode-{index:06d}"
        # Not by ``with``, whose end waits for ever for a viewer that does not come up.
        recording = rr.RecordingStream("dexhil_dataset", recording_id=name)
        try:
            send_to(recording, out, shown.layout)
            log_episode(recording, shown)
            flush(recording, out)
        finally:
            recording.disconnect()  # Finishes the file.


def export(episodes: Episodes, out: Path, wanted: Sequence[int] = ()) -> Iterator[Path]:
    """Write a recording of each episode, or of those wanted, to the new folder ``out``.

    Yields:
        Each file as it is done; they appear in ``out`` together at the end.

    Raises:
        RunError: There is no such episode.
        DatasetError: The dataset is damaged, or ``out`` is there.
    """
    for index in wanted:
        episodes.open(index)
    with storing(out), building(out) as folder:
        for index in wanted or range(len(episodes)):
            name = f"episode-{index:06d}.rrd"
            episodes.show(index, folder / name)
            yield out / name


def log_episode(recording: Any, shown: Shown) -> None:
    """Log an episode to a ``rerun.RecordingStream``.

    Raises:
        CorruptError: If a video cannot be read or is too short.
    """
    import rerun as rr  # noqa: PLC0415

    outcome = {True: "success", False: "failure", None: "no label"}[shown.episode.success]
    text = f"Episode {shown.index}: {shown.episode.task}, {outcome}, {len(shown.episode)} frames"
    recording.log("episode", rr.TextDocument(text), static=True)
    rows = shown.rows
    for camera, (file, start_s) in shown.videos.items():
        _log_video(recording, rows, path("cameras", camera), file, start_s)
    Plots(recording, shown.features).log(rows)
    if shown.robot is not None:
        RobotScene(recording, shown.robot).log(rows)


def _log_video(recording: Any, rows: Rows, entity: str, file: Path, start_s: float) -> None:
    """Log a video as it is, and which of its frames each row shows."""
    import rerun as rr  # noqa: PLC0415

    n = len(rows)
    try:
        asset = rr.AssetVideo(path=file)
        frames = np.sort(asset.read_frame_timestamps_nanos())
    except (OSError, ValueError, RuntimeError) as error:
        raise CorruptError(f"{file}: cannot be read as video ({error}).") from error
    # By the frames' own times: a rounded one would show the frame before.
    frames = frames[np.searchsorted(frames, 1e9 * (start_s - TIME_TOLERANCE_S)) :][:n]
    if len(frames) < n:
        raise CorruptError(f"{file}: has {len(frames)} frames of the episode, expected {n}.")
    recording.log(entity, asset, static=True)
    references = rr.VideoFrameReference.columns_nanos(frames)
    recording.send_columns(entity, indexes=rows.timelines(), columns=references)
