"""What the OpenCV driver asks of a USB camera: there is none here, so OpenCV itself is replaced."""

import time
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dexhil.drivers.camera.opencv import OpencvCamera, OpencvCameraConfig
from dexhil.drivers.device import State
from dexhil.drivers.errors import ConfigError, ConnectError


class UsbCamera:
    """Stands for ``cv2.VideoCapture``: a camera that does as it likes."""

    size = (480, 640)
    rate_hz = 30.0
    fourcc = "YUYV"
    age_s = 0.0

    def __init__(self, source: object, backend: int) -> None:
        self.source, self.backend = source, backend
        self.asked: list[int] = []
        self._rng = np.random.default_rng(0)

    def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name.
        return True

    def set(self, key: int, value: float) -> bool:
        del value
        self.asked.append(key)
        return True

    def get(self, key: int) -> float:
        if key == cv2.CAP_PROP_FOURCC:
            return float(cv2.VideoWriter.fourcc(*self.fourcc))
        if key == cv2.CAP_PROP_POS_MSEC:
            return (time.monotonic() - self.age_s) * 1e3
        return self.rate_hz if key == cv2.CAP_PROP_FPS else 0.0

    def grab(self) -> bool:
        time.sleep(0.01)
        return True

    def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
        return True, self._rng.integers(0, 255, (*self.size, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        ({"size": (720, 1280)}, "1280 x 720 pixels, the rig file asks for 640 x 480"),
        ({"rate_hz": 10.0}, "10 images per second, the rig file asks for 30"),
        ({"fourcc": "YUYV"}, "encodes as 'YUYV', the rig file asks for 'MJPG'"),
    ],
)
def test_a_usb_camera_that_does_not_do_as_asked_is_an_error(
    monkeypatch: pytest.MonkeyPatch, lie: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", type("Liar", (UsbCamera,), {"fourcc": "MJPG", **lie}))
    camera = OpencvCamera(OpencvCameraConfig(fourcc="MJPG"), name="wrist")
    with pytest.raises(ConfigError, match=message):
        camera.connect()
    assert camera.state is State.DISCONNECTED


def test_a_usb_camera_stamps_with_the_time_of_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", type("Late", (UsbCamera,), {"age_s": 0.25}))
    with OpencvCamera(OpencvCameraConfig(), name="wrist") as camera:
        assert time.monotonic() - camera.observe().stamp_s >= 0.25


def test_a_usb_camera_without_a_clock_stamps_at_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", type("Timeless", (UsbCamera,), {"age_s": 3600.0}))
    with OpencvCamera(OpencvCameraConfig(), name="wrist") as camera:
        camera.observe(max_age_s=1.0)


def test_there_is_no_usb_camera_here() -> None:
    camera = OpencvCamera(OpencvCameraConfig(source=63), name="wrist")
    with pytest.raises(ConnectError, match="cannot open 63"):
        camera.connect()


@pytest.mark.parametrize(
    ("source", "opened"),
    [(2, 2), ("2", 2), ("/dev/v4l/by-id/usb-Cam", "/dev/v4l/by-id/usb-Cam")],
)
def test_a_usb_camera_is_named_by_number_or_path(
    monkeypatch: pytest.MonkeyPatch, source: int | str, opened: int | str
) -> None:
    asked: list[object] = []

    class Camera(UsbCamera):
        def __init__(self, source: object, backend: int) -> None:
            super().__init__(source, backend)
            asked.append(source)

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    with OpencvCamera(OpencvCameraConfig(source=source), name="wrist"):
        pass
    assert asked == [opened]
