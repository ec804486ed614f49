"""Cameras that OpenCV can open: USB cameras, network cameras, recordings."""

import contextlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import av
import cv2
import numpy as np
from pydantic import AfterValidator

from dexhil.drivers.arrays import Image
from dexhil.drivers.camera.camera import CameraSpec
from dexhil.drivers.camera.grabbing import SILENT_S, Frame, GrabbedCamera, check_images
from dexhil.drivers.clock import Clock
from dexhil.drivers.errors import ConfigError

FRESH_S = 1.0  # A time of capture older than this is on another clock than ours [s].
MJPEG = "MJPG"


def _recording(source: int | str | Path) -> int | str | Path:
    """Return a source; what is a file as a path, so that a rig file may name it from its folder."""
    if isinstance(source, int) or "://" in str(source) or str(source).isdecimal():
        return source
    return Path(source)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpencvCameraConfig:
    """How to build an ``OpencvCamera``.

    The camera must really give what is asked for: a picture of another size would teach a
    policy something else without a word.

    Attributes:
        source: A USB camera by number or path (``0``, ``"/dev/video0"``, better one under
            ``/dev/v4l/by-id``), a network camera by URL (``"http://..."``, ``"rtsp://..."``),
            or a recording by path.
        width: Of the image [pixel].
        height: Of the image [pixel].
        rate_hz: How often it gives an image [1/s]. A recording plays at its own rate, which
            this must name.
        fourcc: Encoding to ask a USB camera for, e.g. ``"MJPG"``, without which many give
            few images per second. Its own choice when empty.
        loop: Whether a recording begins again. Otherwise it falls silent at its end.
        frozen_s: An image that stays identical for this long is reported [s]; 0 allows it.
    """

    source: Annotated[int | str | Path, AfterValidator(_recording)] = 0
    width: int = 640
    height: int = 480
    rate_hz: float = 30.0
    fourcc: str = ""
    loop: bool = False
    frozen_s: float = 0.5

    def __post_init__(self) -> None:
        check_images(self.width, self.height, self.rate_hz, self.frozen_s)
        if len(self.fourcc) not in (0, 4):
            raise ValueError(f"fourcc is {self.fourcc!r}, must have four letters")

    @property
    def number(self) -> int | None:
        """Of a USB camera, if that is how it is named."""
        text = str(self.source)
        return int(text) if text.isdecimal() else None

    @property
    def is_stream(self) -> bool:
        return "://" in str(self.source)

    @property
    def is_usb(self) -> bool:
        return self.number is not None or str(self.source).startswith("/dev/")

    @property
    def shown(self) -> str:
        """The source without its password, for messages."""
        return re.sub(r"//[^/@]*@", "//", str(self.source))


class OpencvCamera(GrabbedCamera):
    """A camera behind ``cv2.VideoCapture``.

    Images are stamped when they arrive, or with the kernel's time of capture where it gives
    one (Video4Linux). Motion JPEG from the network is decoded strictly: an image that breaks
    off or lacks a piece is thrown away, not shown half grey. A flipped bit cannot be seen in
    a JPEG, which carries no checksum; TCP and USB have their own.

    Tested against an emulator, never on hardware.
    """

    config_type = OpencvCameraConfig

    def __init__(
        self, config: OpencvCameraConfig, *, name: str, clock: Clock | None = None
    ) -> None:
        super().__init__(name=name, clock=clock, rate_hz=config.rate_hz, frozen_s=config.frozen_s)
        self._config = config
        self._spec = CameraSpec(
            model="opencv", width=config.width, height=config.height, rate_hz=config.rate_hz
        )
        self._capture: cv2.VideoCapture | None = None
        self._jpeg: StrictJpeg | None = None
        self._due_s = 0.0

    @property
    def spec(self) -> CameraSpec:
        return self._spec

    # -- Opening -------------------------------------------------------------------------------

    def _camera_open(self, timeout_s: float) -> None:
        if self._config.is_stream:
            self._open_stream(timeout_s)
        elif self._config.is_usb:
            self._open_usb()
        else:
            self._open_recording()

    def _open_stream(self, timeout_s: float) -> None:
        capture = cv2.VideoCapture(
            str(self._config.source),
            cv2.CAP_FFMPEG,
            [
                cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
                max(1, round(timeout_s * 1e3)),
                cv2.CAP_PROP_READ_TIMEOUT_MSEC,
                round(SILENT_S * 1e3),
                cv2.CAP_PROP_N_THREADS,
                1,  # Several decode one image each, which makes all of them late.
            ],
        )
        self._take(capture)
        # Undecoded, so that damage shows: OpenCV fills what is missing with grey.
        if _fourcc(capture) == MJPEG and capture.set(cv2.CAP_PROP_FORMAT, -1):
            self._jpeg = StrictJpeg()

    def _open_recording(self) -> None:
        path = Path(str(self._config.source))
        if not path.is_file():
            raise ConfigError(f"{self}: there is no recording {path}.")
        capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise ConfigError(f"{self}: {path} is not a recording that OpenCV can play.")
        self._take(capture)
        self._require_rate(capture.get(cv2.CAP_PROP_FPS))
        self._due_s = self.clock.now_s()

    def _open_usb(self) -> None:
        config = self._config
        # Else a camera that hangs holds the thread for 10 s, which is longer than ours waits.
        os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")
        backend = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
        source = str(config.source) if config.number is None else config.number
        capture = cv2.VideoCapture(source, backend)
        self._take(capture)
        if config.fourcc:  # First: it decides which sizes and rates there are.
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*config.fourcc))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, config.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, config.height)
        capture.set(cv2.CAP_PROP_FPS, config.rate_hz)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # The newest image, not a queue of old ones.
        self._require_rate(capture.get(cv2.CAP_PROP_FPS))
        if config.fourcc and _fourcc(capture) != config.fourcc:
            raise ConfigError(
                f"{self}: the camera encodes as {_fourcc(capture)!r}, the rig file asks for "
                f"{config.fourcc!r}. List what it can do: v4l2-ctl --list-formats-ext"
            )

    def _take(self, capture: cv2.VideoCapture) -> None:
        if not capture.isOpened():
            raise ConnectionError(f"cannot open {self._config.shown}")
        self._capture = capture

    def _require_rate(self, rate_hz: float) -> None:
        # Some cameras report 0: then the images are counted instead, see ``health``.
        if rate_hz > 0 and abs(rate_hz - self._config.rate_hz) > 0.05 * self._config.rate_hz:
            raise ConfigError(
                f"{self}: {self._config.shown} gives {rate_hz:g} images per second, the rig "
                f"file asks for {self._config.rate_hz:g}. Change rate_hz, or try fourcc "
                f"{MJPEG!r} for a USB camera."
            )

    def _camera_close(self) -> None:
        # No release() in a race: the thread, if it is still stuck in there, holds on to it.
        self._capture = self._jpeg = None

    @property
    def _is_recording(self) -> bool:
        return not self._config.is_stream and not self._config.is_usb

    # -- Images --------------------------------------------------------------------------------

    def _grab(self) -> Frame | None:
        capture = self._capture
        if capture is None:
            raise ConnectionError("it was closed")
        if self._is_recording:
            self._pause(self._due_s - self.clock.now_s())
            self._due_s += 1.0 / self._config.rate_hz
        if not capture.grab():
            self._after_failure(capture)
            return None
        stamp_s = self._stamp(capture)
        image = self._retrieve(capture)
        if image is None:
            self._count_damaged()
            return None
        self._require_size(image)
        return Frame(stamp_s=stamp_s, image=image)

    def _after_failure(self, capture: cv2.VideoCapture) -> None:
        """Do what can be done when no image came."""
        if self._config.is_stream:
            raise ConnectionError(f"{self._config.shown} ended")
        if self._is_recording and self._config.loop:
            capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
            return
        # Silence becomes a fault by itself. Asking a dead camera again costs no time: do not spin.
        self._pause(0.05)

    def _stamp(self, capture: cv2.VideoCapture) -> float:
        now_s = self.clock.now_s()
        if self._config.is_usb:
            taken_s = capture.get(cv2.CAP_PROP_POS_MSEC) * 1e-3
            if 0.0 <= now_s - taken_s < FRESH_S:
                return taken_s
        return now_s

    def _retrieve(self, capture: cv2.VideoCapture) -> Image | None:
        ok, data = capture.retrieve()
        if not ok or data is None or data.size == 0:
            return None
        if self._jpeg is not None:
            return self._jpeg.decode(data.tobytes())
        if data.ndim != 3 or data.shape[2] != 3:
            raise ConfigError(f"{self}: images have shape {data.shape}, expected three colours.")
        return np.asarray(cv2.cvtColor(data, cv2.COLOR_BGR2RGB), dtype=np.uint8)

    def _require_size(self, image: Image) -> None:
        height, width = image.shape[:2]
        if (width, height) != (self._spec.width, self._spec.height):
            raise ConfigError(
                f"{self}: images are {width} x {height} pixels, the rig file asks for "
                f"{self._spec.width} x {self._spec.height}. Change width and height there."
            )


class StrictJpeg:
    """Decodes JPEG images, and refuses those that lack a piece."""

    def __init__(self) -> None:
        self._codec = av.CodecContext.create("mjpeg", "r")
        self._codec.options = {"err_detect": "explode"}
        self._codec.thread_count = 1

    def decode(self, data: bytes) -> Image | None:
        """Return the image as RGB, or ``None`` when it is damaged."""
        if data.rstrip(b"\0\r\n")[-2:] != b"\xff\xd9":
            return None
        with contextlib.suppress(av.FFmpegError, ValueError):
            for frame in self._codec.decode(av.Packet(data)):
                return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
        return None


def _fourcc(capture: cv2.VideoCapture) -> str:
    code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    return code.to_bytes(4, "little").decode("latin-1")
