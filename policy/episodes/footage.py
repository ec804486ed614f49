"""What a finished video file holds, judged by its packets, and copies of its first frames.

Nothing here encodes: packets are counted, decoded to see whether they can be, or copied.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from dexhil.policy.episodes.errors import CorruptError, StorageError
from dexhil.policy.episodes.layout import sync_path
from dexhil.policy.episodes.video import Image, read_frames

_SAMPLE_EVERY = 10  # Frames, and pixels below: as the encoder samples what it is given.
_SAMPLE_SIZE = 160


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Footage:
    """A video file.

    Attributes:
        codec: As LeRobot's ``video.codec`` names it, e.g. ``"h264"``, ``"av1"``.
        shape: Height and width in pixels.
        times_s: When each frame that is there whole is shown [s], in order. Shape (t,).
    """

    codec: str
    shape: tuple[int, int]
    times_s: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.times_s)


def probe(path: Path) -> Footage:
    """Read the packets of a video, decoding none.

    Raises:
        CorruptError: If it is missing, or nothing of it can be read.
    """
    try:
        with av.open(path) as container:
            stream = container.streams.video[0]
            if stream.codec_context is None:  # The index was cut before it says what it is of.
                raise CorruptError(f"{path}: cannot be read as video (its index is cut).")
            codec, shape = stream.codec.canonical_name, (stream.height, stream.width)
            base = float(stream.time_base or 0)
            times_s = [base * (packet.pts or 0) for packet in _whole_packets(container, stream)]
    except (OSError, av.FFmpegError, IndexError) as error:
        raise CorruptError(f"{path}: cannot be read as video ({error}).") from error
    return Footage(codec=codec, shape=shape, times_s=np.sort(np.array(times_s, np.float64)))


def count_decodable(path: Path) -> int:
    """Return how many frames can be decoded, up to the first damage."""
    n = 0
    try:
        for _ in read_frames(path):
            n += 1
    except CorruptError:
        pass
    return n


def sample_images(path: Path, n_frames: int) -> list[Image]:
    """Return some of the first ``n_frames`` images, small, for statistics.

    Raises:
        CorruptError: If they cannot be decoded.
    """
    samples = []
    for image in itertools.islice(read_frames(path), 0, n_frames, _SAMPLE_EVERY):
        step = -(-max(image.shape) // _SAMPLE_SIZE)
        samples.append(image[::step, ::step])
    return samples


def copy_start(source: Path, n_frames: int, target: Path) -> None:
    """Write the first ``n_frames`` frames to ``target``, durably, without encoding them anew.

    Raises:
        OSError: If ``source`` cannot be read so far, or the disk refuses.
    """
    n = 0
    try:
        with av.open(source) as container, av.open(target, "w") as output:
            stream = container.streams.video[0]
            copied = output.add_stream_from_template(stream)
            for packet in itertools.islice(_whole_packets(container, stream), n_frames):
                packet.stream = copied
                output.mux(packet)
                n += 1
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror, str(target)) from error
    if n < n_frames:
        raise StorageError(f"{source}: gave {n} frames, a moment ago it had {n_frames}.")
    sync_path(target)


def _whole_packets(
    container: av.container.InputContainer, stream: av.VideoStream
) -> "Iterator[av.Packet[av.VideoStream]]":
    """Yield packets until the first that is cut, missing or not there."""
    try:
        for packet in container.demux(stream):
            # The demuxer ends with an empty one, and hands out what it has of a cut one.
            if packet.is_corrupt or packet.pts is None or not packet.size:
                return
            yield packet
    except av.FFmpegError:
        return
