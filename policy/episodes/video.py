"""Video of one camera over one episode: H.264 in MP4, frame k exactly at k/fps.

While the episode is open the file is fragmented, so that a kill leaves all but
the last frames readable; finishing copies the packets into a plain MP4.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any, Final, cast

import av
import numpy as np
import numpy.typing as npt

from dexhil.policy.episodes.errors import CorruptError
from dexhil.policy.episodes.layout import sync_path

Image = npt.NDArray[np.uint8]

_CODEC: Final = "libx264"
_KEYFRAME_INTERVAL = 2  # Random access decodes two frames at most; LeRobot's choice.
_OPTIONS = {"preset": "superfast", "tune": "zerolatency", "crf": "23", "bf": "0"}
_QUEUED_FRAMES = 32  # Then the recorder waits: losing frames silently would be worse.
_SAMPLE_EVERY = 10  # Frames; statistics of images need no more.
_TIME_TOLERANCE_S = 1e-4  # LeRobot's, between a row and its frame.
_SAMPLE_SIZE = 160  # Pixels along the longer side.

ENCODING: dict[str, Any] = {
    "video.codec": "h264",
    "video.pix_fmt": "yuv420p",
    "video.g": _KEYFRAME_INTERVAL,
    "video.crf": int(_OPTIONS["crf"]),
    "video.preset": _OPTIONS["preset"],
    "has_audio": False,
    "is_depth_map": False,
}


class VideoEncoder:
    """Encodes one camera's frames in a thread of its own.

    Attributes:
        samples: Some of the images, small, for statistics. Read them after ``finish``.

    Raises:
        OSError: From any method, if the disk refused a write.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], fps: int) -> None:
        self.samples: list[Image] = []
        self._path = path
        self._queue: Queue[Image | None] = Queue(_QUEUED_FRAMES)
        self._error: Exception | None = None
        fragmented = {
            "movflags": "frag_keyframe+empty_moov+default_base_moof",
            "flush_packets": "1",
        }
        self._container = av.open(path, "w", format="mp4", options=fragmented)
        stream = self._container.add_stream(_CODEC, rate=fps, options=_OPTIONS)
        stream.height, stream.width, _ = shape
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = _KEYFRAME_INTERVAL
        stream.codec_context.thread_count = 1  # The bytes must not depend on the machine's cores.
        self._stream = stream
        self._thread = threading.Thread(target=self._run, name=f"encode {path.stem}", daemon=True)
        self._thread.start()

    def add(self, image: Image) -> None:
        """Append a frame (h, w, 3). Returns at once unless 32 frames are waiting."""
        self._raise_error()
        self._queue.put(image.copy())

    def sync(self) -> None:
        """Make what was encoded so far survive a power cut."""
        if self._path.exists():  # It is made with the first frame.
            sync_path(self._path)

    def finish(self, path: Path, n_frames: int) -> None:
        """Write the first ``n_frames`` frames to ``path``, durably."""
        self.stop()
        self._raise_error()
        # The index in front: a copy that was cut short then still shows its first frames.
        options = {"movflags": "faststart"}
        with (
            _as_os_error(),
            av.open(self._path) as source,
            av.open(path, "w", options=options) as target,
        ):
            stream = source.streams.video[0]
            copied = target.add_stream_from_template(stream)
            for k, packet in enumerate(source.demux(stream)):
                if k == n_frames:  # Also leaves out the demuxer's empty last packet.
                    break
                packet.stream = copied
                target.mux(packet)
        sync_path(path)

    def stop(self) -> None:
        """Encode what waits and end the thread. The fragmented file stays. Safe to repeat."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        frames = self._frames()
        try:
            with _as_os_error(), self._container:
                self._encode(frames)
        except Exception as error:  # noqa: BLE001  # Whatever it is, the recorder raises it.
            self._error = error
            for _ in frames:  # Nobody may block on a dead encoder.
                pass

    def _frames(self) -> Iterator[Image]:
        """Yield what is added until it is told to stop; then no more, however often asked."""
        while (image := self._queue.get()) is not None:
            yield image

    def _encode(self, frames: Iterator[Image]) -> None:
        for k, image in enumerate(frames):
            if k % _SAMPLE_EVERY == 0:
                step = -(-max(image.shape) // _SAMPLE_SIZE)
                self.samples.append(image[::step, ::step])
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = k
            self._container.mux(self._stream.encode(frame))
        self._container.mux(self._stream.encode(None))

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Raise what FFmpeg says of files as any other file error."""
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error


def read_frames(path: Path, *, start_s: float = 0.0) -> Iterator[Image]:
    """Yield the frames (h, w, 3) from ``start_s`` on.

    Raises:
        CorruptError: If the file is missing, no video, or damaged; after the frames before it.
    """
    try:
        with av.open(path) as container:
            stream = container.streams.video[0]
            if start_s > 0 and stream.time_base:
                container.seek(int(start_s / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.time > start_s - _TIME_TOLERANCE_S:
                    yield cast("Image", frame.to_ndarray(format="rgb24"))
    except (OSError, av.FFmpegError, IndexError) as error:
        raise CorruptError(f"{path}: cannot be read as video ({error}).") from error
