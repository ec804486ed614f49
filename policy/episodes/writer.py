"""Record episodes so that neither a kill nor a full disk loses a finished one.

Frames go to a journal as they come and videos are encoded meanwhile, so ending
an episode is quick, and a writer that was killed costs the open episode no more
than its last frames: the next writer keeps it, labelled neither success nor failure.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from dexhil.policy.episodes.about import About
from dexhil.policy.episodes.catalogue import Catalogue
from dexhil.policy.episodes.errors import DatasetError, EpisodeError, FeaturesError, StorageError
from dexhil.policy.episodes.layout import Layout, make_folder, storing
from dexhil.policy.episodes.open_episode import (
    Journal,
    OpenEpisode,
    Record,
    check_images,
    to_record,
)
from dexhil.policy.episodes.schema import Features
from dexhil.policy.episodes.video import Image

_RESERVE_BYTES = 32 * 2**20  # Of disk: more than all cameras fill between two looks.


class EpisodeWriter(Protocol):
    """What records episodes: `DatasetWriter`, or `ProcessWriter` in a process of its own."""

    @property
    def repairs(self) -> tuple[str, ...]: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...
    @property
    def n_episodes(self) -> int: ...
    @property
    def n_frames(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def begin_episode(self, task: str) -> None: ...
    def add_frame(
        self, frame: Mapping[str, Any], images: Mapping[str, Image] | None = None
    ) -> None: ...
    def end_episode(self, success: bool | None = None) -> int: ...
    def discard_episode(self) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...


class DatasetWriter:
    """Writes episodes to a dataset, new or already there.

    Leaving the ``with`` block, also by an exception or Ctrl-C, keeps the open episode and
    labels it neither success nor failure. Not for use by several threads at once.

    Args:
        root: Folder of the dataset. Made if missing.
        features: Its columns and cameras.
        fps: Frames per second, a whole number. Frame k is taken to lie at k/fps.
        robot_type: Name of the rig, for the record.

    Raises:
        FeaturesError: If the dataset there has other features, frame rate or robot type.
        CorruptError: If a finished episode there is damaged.
        DatasetError: If another writer has it open.
        StorageError: From any method, if the disk refuses a write. The writer is closed then.
    """

    def __init__(
        self, root: Path | str, features: Features, fps: float, robot_type: str = "dexhil"
    ) -> None:
        if fps != int(fps) or fps < 1:
            raise FeaturesError(f"fps is {fps}, expected a whole number: LeRobot stores no other.")
        self._layout = Layout(Path(root))
        self._features = features
        self._fps = int(fps)
        self._open: OpenEpisode | None = None
        self._lock: int | None = None
        with self._guarded(closing_on=BaseException):
            make_folder(self._layout.root)
            self._lock = lock(self._layout.root)
            self._set_journal_aside()
            self._catalogue = Catalogue(self._layout, features, self._fps, robot_type)
            self._salvage()

    @classmethod
    def reopen(cls, root: Path | str) -> Self:
        """Open a dataset that is there, as it describes itself; what a kill left is put right.

        Raises:
            DatasetError: If there is none, or another writer has it open.
            CorruptError: If a finished episode there is damaged.
            StorageError: If the disk refuses a write.
        """
        about = About.read(root)
        return cls(root, about.features, about.fps, about.robot_type)

    @property
    def repairs(self) -> tuple[str, ...]:
        """What was found broken on opening and put right, in words."""
        return tuple(self._catalogue.repairs)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Which episodes written here were not recorded at the declared rate, in words."""
        return tuple(self._catalogue.warnings)

    @property
    def n_episodes(self) -> int:
        """How many episodes are finished."""
        return self._catalogue.n_episodes

    @property
    def n_frames(self) -> int:
        """How many frames the open episode has; 0 if none is open."""
        return 0 if self._open is None else len(self._open)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def begin_episode(self, task: str) -> None:
        """Open an episode.

        Args:
            task: What the robot is asked to do, in words.

        Raises:
            EpisodeError: If one is open, or the writer is closed.
        """
        if self._lock is None:
            raise EpisodeError(f"{self._layout.root}: the writer is closed.")
        if self._open is not None:
            raise EpisodeError(f"{self._layout.root}: episode {self._open.index} is still open.")
        with self._guarded():
            self._open = OpenEpisode(
                self._layout.staging,
                self._features,
                fps=self._fps,
                episode_index=self.n_episodes,
                task=task,
            )

    def add_frame(
        self, frame: Mapping[str, Any], images: Mapping[str, Image] | None = None
    ) -> None:
        """Append a frame; returns in well below a millisecond.

        Args:
            frame: Value of each feature, but for cameras and those the writer fills in
                (``schema.FILLED_BY_WRITER``). Those that ``schema.may_be_absent`` may be left out.
            images: uint8 (h, w, 3) by camera name.

        Raises:
            FrameError: If a value does not fit. The episode goes on without the frame.
            EpisodeError: If no episode is open.
        """
        self._require_open()
        record = to_record(self._features, frame)
        check_images(self._features, images or {})
        self.add_record(record, images or {})

    def add_record(self, record: Record, images: Mapping[str, Image]) -> None:
        """Append a frame that `to_record` and `check_images` have passed.

        Raises:
            EpisodeError: If no episode is open.
        """
        episode = self._require_open()
        with self._guarded():
            episode.add(record, images)

    def shortage(self) -> StorageError | None:
        """Return what to say when there is hardly more room than finishing the episode takes."""
        staged = sum(path.stat().st_size for path in self._layout.staging.iterdir())
        # Finishing copies the videos into their final form, and the rows into a table.
        needed = 2 * staged + _RESERVE_BYTES
        free = shutil.disk_usage(self._layout.root).free
        if free >= needed:
            return None
        return StorageError(
            f"{self._layout.root}: the disk is nearly full, {free / 2**20:.0f} MiB free, "
            f"{needed / 2**20:.0f} MiB are kept for finishing the open episode. All that was "
            "recorded is kept, unlabelled. Free some space and open the dataset again."
        )

    def sync(self) -> None:
        """Have the open episode so far survive a power cut soon; a kill it survives anyway.

        Does not wait for the disk.

        Raises:
            StorageError: The disk refused what it was asked for last time.
        """
        if self._open is not None:
            with self._guarded():
                self._open.sync()

    def end_episode(self, success: bool | None = None) -> int:
        """Finish the open episode. Once this returns, it survives a kill and a power cut.

        Args:
            success: Whether the robot did the task; ``None`` if nobody says.

        Returns:
            The episode's index.

        Raises:
            EpisodeError: If no episode is open, or it has no frames.
        """
        episode = self._require_open()
        if not len(episode):
            raise EpisodeError(f"{self._layout.root}: episode {episode.index} has no frames.")
        with self._guarded(closing_on=BaseException):
            videos = episode.finish(success)
            index = self._catalogue.add(
                episode.columns(),
                task=episode.task,
                success=success,
                videos=videos,
                samples=episode.samples(),
            )
            self.discard_episode()
        return index

    def discard_episode(self) -> None:
        """Forget the open episode.

        Raises:
            EpisodeError: If none is open.
        """
        episode = self._require_open()
        with self._guarded():
            episode.remove()
            self._open = None

    def flush(self) -> None:
        """Wait until every ended episode is on disk: here it is, once ``end_episode`` returns."""

    def close(self) -> None:
        """Keep the open episode, unlabelled, and let go of the dataset. Safe to repeat."""
        try:
            if self._open is not None:
                if len(self._open):
                    self.end_episode(success=None)
                else:
                    self.discard_episode()
            if self._lock is not None:
                shutil.rmtree(self._layout.staging)
        finally:
            self._release()

    def _require_open(self) -> OpenEpisode:
        if self._open is None:
            raise EpisodeError(f"{self._layout.root}: no episode is open. Call begin_episode().")
        return self._open

    @contextmanager
    def _guarded(self, closing_on: type[BaseException] = StorageError) -> Iterator[None]:
        """Close the writer if the block fails; the next one keeps what is on disk by then."""
        try:
            with storing(self._layout.root, kept=self._kept()):
                yield
        except closing_on:
            self._release()
            raise

    def _kept(self) -> str:
        if self._open is None:
            return "Finished episodes are whole."
        return "Finished episodes are whole. Open the dataset again: the open episode is kept."

    def _release(self) -> None:
        if self._open is not None:
            self._open.stop()
            self._open = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _set_journal_aside(self) -> None:
        """Move what a killed writer staged out of the way; an unfinished salvage goes first."""
        staging, salvage = self._layout.staging, self._layout.salvage
        if salvage.exists() and staging.exists():
            shutil.rmtree(staging)
        elif staging.exists():
            staging.rename(salvage)

    def _salvage(self) -> None:
        journal = Journal.read(self._layout.salvage, self._features, self.n_episodes)
        if journal is not None:
            self.begin_episode(journal.task)
            episode = self._require_open()
            for record, images in journal.frames():
                episode.add(record, images)
            if n_frames := len(episode):
                whole = n_frames == journal.n_labelled  # Of a part nobody said how it went.
                index = self.end_episode(journal.success if whole else None)
                unsaid = "" if whole or journal.success is None else ", unlabelled: its end is lost"
                self._catalogue.repairs.append(
                    f"kept {n_frames} frames of an interrupted episode as episode {index}{unsaid}"
                )
            else:
                self.discard_episode()
            journal.remove()
        if self._layout.salvage.exists():
            shutil.rmtree(self._layout.salvage)


def lock(root: Path) -> int:
    """Return a lock on the folder; it goes with the process, however that ends."""
    descriptor = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise DatasetError(f"{root}: another writer has this dataset open.") from error
    return descriptor
