"""The episode being recorded: in memory, and in a journal that survives a kill."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dexhil.policy.episodes.errors import CorruptError, FrameError
from dexhil.policy.episodes.layout import publish, read_json, sync_path, write_json
from dexhil.policy.episodes.schema import Features, may_be_absent
from dexhil.policy.episodes.video import Image, VideoEncoder, read_frames

Record = npt.NDArray[np.void]  # One frame: a scalar array of ``Features.frame_dtype``.

HEADER = "episode.json"
_FRAMES = "frames.bin"


class OpenEpisode:
    """The frames so far, journaled in ``folder`` as they come.

    Raises:
        OSError: From any method, if the disk refused a write.
    """

    def __init__(
        self, folder: Path, features: Features, *, fps: int, episode_index: int, task: str
    ) -> None:
        self.task = task
        self.index = episode_index
        self._folder = folder
        self._features = features
        self._records: list[Record] = []
        self._journal = (folder / _FRAMES).open("wb", buffering=0)
        self._encoders: dict[str, VideoEncoder] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="sync")
        self._syncing: Future[None] | None = None
        try:
            for camera, key in features.cameras.items():
                path = folder / f"{camera}.mp4"
                self._encoders[camera] = VideoEncoder(path, features[key].shape, fps)
            self._write_header({})
        except BaseException:
            self.stop()
            raise

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record, images: Mapping[str, Image]) -> None:
        """Append a frame that ``to_record`` and ``check_images`` have passed."""
        for camera, encoder in self._encoders.items():
            encoder.add(images[camera])
        self._journal.write(record.tobytes())
        self._records.append(
            record
        )  # Last: an interrupt before it leaves frames to cut, not to miss.

    def finish(self, success: bool | None) -> dict[str, Path]:
        """Make the outcome and the videos durable. Returns the video file by camera."""
        if self._syncing is not None:
            self._syncing.result()
        sync_path(self._folder / _FRAMES)
        # Of so many frames: the videos are not whole yet, and the outcome is not that of a part.
        self._write_header({"success": success, "n_frames": len(self)})
        videos = {}
        for camera, encoder in self._encoders.items():
            videos[camera] = self._folder / f"{camera}.final.mp4"
            encoder.finish(videos[camera], len(self))
        return videos

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Return the recorded columns, (t,) or (t, n)."""
        records = np.array(self._records, dtype=self._features.frame_dtype)
        return {name: records[name] for name in records.dtype.names or ()}

    def samples(self) -> dict[str, list[Image]]:
        """Return sampled images by camera, once finished."""
        return {camera: encoder.samples for camera, encoder in self._encoders.items()}

    def sync(self) -> None:
        """Have what was written so far survive a power cut, as soon as the disk has it.

        Waits for nothing: while the disk takes its time, frames go on, to memory. What it says
        is raised by the next call.
        """
        if self._syncing is not None:
            if not self._syncing.done():
                return
            self._syncing.result()
        self._syncing = self._pool.submit(self._sync)

    def _sync(self) -> None:
        sync_path(self._folder / _FRAMES)
        for encoder in self._encoders.values():
            encoder.sync()
        sync_path(self._folder)

    def stop(self) -> None:
        """End the threads and close the files, and leave the journal on disk. Safe to repeat."""
        self._pool.shutdown()
        self._journal.close()
        for encoder in self._encoders.values():
            encoder.stop()

    def remove(self) -> None:
        """Stop, and forget the episode: a later writer finds nothing to salvage."""
        (self._folder / HEADER).unlink()
        self.stop()

    def _write_header(self, outcome: Mapping[str, Any]) -> None:
        header = {"episode_index": self.index, "task": self.task, **outcome}
        staged = self._folder / f"{HEADER}.tmp"
        write_json(header, staged)
        publish(staged, self._folder / HEADER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What a killed writer left of its open episode.

    Attributes:
        folder: Where it lies.
        features: What a frame is.
        task: What the robot was asked to do.
        success: Whether it did; ``None`` if nobody said so far.
        n_labelled: How many frames the episode had when somebody said so; ``None`` if nobody did.
        records: Rows that are whole.
    """

    folder: Path
    features: Features
    task: str
    success: bool | None
    n_labelled: int | None
    records: npt.NDArray[np.void]

    @classmethod
    def read(cls, folder: Path, features: Features, episode_index: int) -> "Journal | None":
        """Return the journal of that episode in ``folder``, or ``None`` if there is none.

        Raises:
            CorruptError: If it cannot be read, or is of a later episode.
        """
        if not (folder / HEADER).exists():
            return None
        header = read_json(folder / HEADER)
        if header["episode_index"] > episode_index:
            raise CorruptError(
                f"{folder / HEADER}: is of episode {header['episode_index']}, but only "
                f"{episode_index} are there. Run dexhil dataset repair on the dataset."
            )
        if header["episode_index"] < episode_index:
            return None  # Killed between finishing the episode and removing its journal.
        content = (folder / _FRAMES).read_bytes()
        n_whole = len(content) // features.frame_dtype.itemsize
        return cls(
            folder=folder,
            features=features,
            task=header["task"],
            success=header.get("success"),
            n_labelled=header.get("n_frames"),
            records=np.frombuffer(content, dtype=features.frame_dtype, count=n_whole),
        )

    def remove(self) -> None:
        """Forget the episode; what else lies in the folder means nothing then."""
        (self.folder / HEADER).unlink()

    def frames(self) -> Iterator[tuple[Record, dict[str, Image]]]:
        """Yield the frames that are whole: row and every camera."""
        videos = [_until_damage(self.folder / f"{camera}.mp4") for camera in self.features.cameras]
        # An interrupt between writing a row and counting it leaves one too many.
        records = self.records[: self.n_labelled]
        # The rows come last, so that none is consumed in vain when a video ends first.
        for *images, record in zip(*videos, records, strict=False):
            yield np.array(record), dict(zip(self.features.cameras, images, strict=True))


def to_record(features: Features, frame: Mapping[str, Any]) -> Record:
    """Return ``frame`` as one record.

    Raises:
        FrameError: If a value is missing, unknown, not finite, or of the wrong type or shape.
    """
    record: Record = np.zeros((), dtype=features.frame_dtype)
    names = features.frame_dtype.names or ()
    for name in frame:
        if name not in names:
            raise FrameError(f"Frame: {name!r} is no feature to give, expected {', '.join(names)}.")
    for name in names:
        record[name] = _to_row(features, name, frame.get(name))
    return record


def check_images(features: Features, images: Mapping[str, Any]) -> None:
    """Refuse images that do not fit the features.

    Raises:
        FrameError: If a camera is missing or unknown, or its image has another shape or type.
    """
    if images.keys() != features.cameras.keys():
        raise FrameError(f"Frame: images of {sorted(images)}, expected {sorted(features.cameras)}.")
    for camera, key in features.cameras.items():
        image, shape = images[camera], features[key].shape
        if image.shape != shape or image.dtype != np.uint8:
            raise FrameError(
                f"Frame: image of {camera!r} is {image.dtype} {image.shape}, "
                f"expected uint8 {shape}."
            )


def _to_row(features: Features, name: str, value: Any) -> npt.NDArray[Any]:
    feature = features[name]
    if value is None:
        if not may_be_absent(name):
            raise FrameError(f"Frame: {name!r} is missing.")
        return np.full(feature.row_shape, np.nan, dtype=feature.dtype)
    given = np.asarray(value)
    if given.shape not in {feature.shape, feature.row_shape}:
        raise FrameError(f"Frame: {name!r} has shape {given.shape}, expected {feature.shape}.")
    if not np.can_cast(given.dtype, feature.dtype, casting="same_kind"):
        raise FrameError(f"Frame: {name!r} is {given.dtype}, expected {feature.dtype}.")
    row = given.reshape(feature.row_shape)
    # In single precision for all, so that no sum of squares in the statistics overflows.
    with np.errstate(over="ignore"):
        finite = np.isfinite(row.astype(np.float32))
    if finite.all() or (may_be_absent(name) and np.isnan(row).all()):
        return row.astype(feature.dtype)
    n_bad = int(np.sum(~finite))
    rule = "all finite, or all NaN if absent" if may_be_absent(name) else "all finite"
    raise FrameError(
        f"Frame: {name!r} has {n_bad} of {row.size} values not finite, expected {rule}."
    )


def _until_damage(path: Path) -> Iterator[Image]:
    try:
        yield from read_frames(path)
    except CorruptError:
        return
