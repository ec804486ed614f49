"""The OpenCV driver against a network camera in another process, and against recordings."""

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dexhil.drivers.camera.opencv import OpencvCamera, OpencvCameraConfig, StrictJpeg
from dexhil.drivers.device import State
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.emulators.picture import N_PICTURES, number_in, pictures
from dexhil.drivers.errors import ConfigError, ConnectError, FaultError, StaleError
from dexhil.drivers.testing import CameraConformance
from dexhil.drivers.testing.emulated import Emulated

MOST_LATE = 20  # Of 30 images per second: how far a busy machine may lag behind.


def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_s, "it did not happen in time"
        time.sleep(0.005)


class TestOpencvCamera(Emulated, CameraConformance):
    emulator = "opencv"


@pytest.fixture(scope="module")
def process() -> Iterator[EmulatorProcess]:
    with EmulatorProcess("opencv") as process:
        yield process


@pytest.fixture
def camera(process: EmulatorProcess) -> Iterator[OpencvCamera]:
    process.tell("reset")
    with OpencvCamera(OpencvCameraConfig(**process.options), name="scene") as camera:
        yield camera


# -- The network camera ------------------------------------------------------------------


def test_what_is_observed_is_what_the_camera_sees_at_that_moment(
    camera: OpencvCamera, process: EmulatorProcess
) -> None:
    for _ in range(20):
        seen = _number(camera)
        # A queue of images would lag further and further behind; a busy machine only a little.
        assert (process.state()["number"] - seen) % N_PICTURES <= MOST_LATE


def test_red_is_red(camera: OpencvCamera, recording: Path) -> None:
    for image in (camera.observe().image, _first_image(recording)):
        red, green, blue = image[200].max(axis=0).astype(int)  # The bar is more red than grey.
        assert red > green + 50
        assert green > blue


def test_images_that_break_off_are_thrown_away_and_counted(
    camera: OpencvCamera, process: EmulatorProcess
) -> None:
    process.tell("partial", 0.5)
    until(lambda: camera.n_damaged >= 10)
    assert camera.state is State.CONNECTED
    stamps = set()
    for _ in range(40):
        sample = camera.observe()
        stamps.add(sample.stamp_s)
        # What OpenCV fills in for the missing half is one flat colour.
        assert sample.image[-20:].std() > 5.0
        time.sleep(0.01)
    assert len(stamps) > 2
    assert "damaged" in camera.health().reasons[0]


@pytest.mark.parametrize("fault", ["partial", "drop"])
def test_a_camera_that_gives_nothing_whole_goes_stale_and_then_faults(
    camera: OpencvCamera, process: EmulatorProcess, fault: str
) -> None:
    process.tell(fault, 1.0)
    until(lambda: _is_stale(camera))
    with pytest.raises(FaultError, match=r"no new image came for|ended"):
        until(lambda: camera.observe() is None)


def test_flipped_bits_neither_crash_nor_stop_it(
    camera: OpencvCamera, process: EmulatorProcess
) -> None:
    process.tell("corrupt", 1.0)
    first = camera.observe().stamp_s
    until(lambda: camera.observe().stamp_s > first + 1.0)


def test_an_image_that_never_changes_goes_stale_and_says_so(
    camera: OpencvCamera, process: EmulatorProcess
) -> None:
    process.tell("repeat")
    until(lambda: _is_stale(camera))
    stamp_s = camera.observe().stamp_s
    until(lambda: not camera.health().ok)
    assert "not changed by a single bit for" in camera.health().reasons[0]
    time.sleep(1.5)
    assert camera.observe().stamp_s == stamp_s
    assert camera.state is State.CONNECTED
    process.tell("clear")
    until(lambda: camera.observe().stamp_s > stamp_s)
    until(lambda: camera.health().ok)


def test_an_image_that_never_changes_may_be_allowed(process: EmulatorProcess) -> None:
    process.tell("reset")
    config = OpencvCameraConfig(**process.options, frozen_s=0)
    with OpencvCamera(config, name="scene") as camera:
        process.tell("repeat")
        stamp_s = camera.observe().stamp_s
        until(lambda: camera.observe().stamp_s > stamp_s + 1.0)
        assert camera.health().ok


def test_images_said_twice_count_once(camera: OpencvCamera, process: EmulatorProcess) -> None:
    process.tell("duplicate", 1.0)
    numbers = []
    stamp_s = camera.observe().stamp_s
    for _ in range(30):
        until(lambda last=stamp_s: camera.observe().stamp_s > last)
        sample = camera.observe()
        stamp_s = sample.stamp_s
        numbers.append(number_in(sample.image))
    assert all(a != b for a, b in pairwise(numbers))


def test_a_late_camera_still_gives_its_images_in_order(
    camera: OpencvCamera, process: EmulatorProcess
) -> None:
    process.tell("delay", 0.2)
    time.sleep(0.5)
    numbers = [_number(camera) for _ in range(30)]
    assert all((b - a) % N_PICTURES < N_PICTURES // 2 for a, b in pairwise(numbers))
    lag = (process.state()["number"] - _number(camera)) % N_PICTURES
    assert 3 <= lag <= 30  # 6 images are 0.2 s.


def test_a_hung_camera_does_not_hold_up_disconnecting(
    camera: OpencvCamera, process: EmulatorProcess
) -> None:
    process.tell("freeze")
    time.sleep(0.2)
    start_s = time.monotonic()
    camera.disconnect()
    assert time.monotonic() - start_s < 2.5


def test_a_hung_camera_becomes_a_fault(camera: OpencvCamera, process: EmulatorProcess) -> None:
    process.tell("freeze")
    with pytest.raises(FaultError, match=r"no new image came for 1\.\d s|ended"):
        until(lambda: camera.observe() is None)


def test_another_size_than_asked_for_is_an_error(process: EmulatorProcess) -> None:
    process.tell("reset")
    config = OpencvCameraConfig(**process.options, width=1280, height=720)
    with pytest.raises(ConfigError, match="640 x 480 pixels, the rig file asks for 1280 x 720"):
        OpencvCamera(config, name="scene").connect()


def test_a_size_that_changes_on_the_way_is_a_fault(
    camera: OpencvCamera, process: EmulatorProcess
) -> None:
    process.tell("resolution", 320, 240)
    with pytest.raises(FaultError, match="320 x 240 pixels"):
        until(lambda: camera.observe() is None)


def test_a_camera_that_gives_fewer_images_than_promised_says_so(
    camera: OpencvCamera, process: EmulatorProcess
) -> None:
    process.tell("rate", 8)
    until(lambda: not camera.health().ok)
    assert "images come per second, not 30" in camera.health().reasons[0]


def test_a_page_that_is_no_camera_is_an_error(process: EmulatorProcess) -> None:
    process.tell("reset")
    config = OpencvCameraConfig(source=process.options["source"] + ".txt")
    with pytest.raises(ConnectError, match="cannot open"):
        OpencvCamera(config, name="scene").connect(timeout_s=1.0)


def _number(camera: OpencvCamera) -> int:
    stamp_s = camera.observe().stamp_s
    until(lambda: camera.observe().stamp_s > stamp_s)
    return number_in(camera.observe().image)


def _is_stale(camera: OpencvCamera) -> bool:
    try:
        camera.observe(max_age_s=0.2)
    except StaleError:
        return True
    return False


# -- Recordings --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "half_a_second.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (320, 240))
    for picture in pictures(320, 240, np.random.default_rng(0))[:15]:
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def _player(recording: Path, **options: Any) -> OpencvCamera:
    config = OpencvCameraConfig(source=str(recording), width=320, height=240, **options)
    return OpencvCamera(config, name="scene")


def _first_image(recording: Path) -> NDArray[np.uint8]:
    with _player(recording) as camera:
        return camera.observe().image


def test_a_recording_plays_at_its_rate_in_order(recording: Path) -> None:
    with _player(recording) as camera:
        start_s = time.monotonic()
        numbers = [number_in(camera.observe().image)]
        while numbers[-1] < 14:
            numbers.append(number_in(camera.observe().image))
            time.sleep(0.005)
        assert numbers == sorted(numbers)
        assert time.monotonic() - start_s > 0.3


def test_a_recording_falls_silent_at_its_end_and_then_faults(recording: Path) -> None:
    with _player(recording) as camera:
        until(lambda: _is_stale(camera))
        assert number_in(camera.observe().image) == 14
        with pytest.raises(FaultError, match="no new image came"):
            until(lambda: camera.observe() is None)


def test_a_recording_can_begin_again(recording: Path) -> None:
    with _player(recording, loop=True) as camera:
        stamp_s = camera.observe().stamp_s
        until(lambda: camera.observe().stamp_s > stamp_s + 2.0)
        until(lambda: number_in(camera.observe().image) < 5)


def test_a_recording_of_another_rate_is_an_error(recording: Path) -> None:
    with pytest.raises(ConfigError, match="30 images per second, the rig file asks for 20"):
        _player(recording, rate_hz=20.0).connect()


def test_a_missing_recording_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no recording"):
        _player(tmp_path / "none.avi").connect()


def test_a_file_that_is_no_recording_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "letter.avi"
    path.write_text("Dear robot")
    with pytest.raises(ConfigError, match="not a recording"):
        _player(path).connect()


# -- USB cameras: none here, so these pin what is asked of OpenCV -------------------------


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


def test_a_password_is_not_shown() -> None:
    config = OpencvCameraConfig(source="http://me:secret@127.0.0.1:9/video")
    with pytest.raises(ConnectError, match="cannot open http://127") as caught:
        OpencvCamera(config, name="scene").connect(timeout_s=0.5)
    assert "secret" not in str(caught.value)


# -- Images ------------------------------------------------------------------------------


def _jpeg() -> bytes:
    picture = pictures(320, 240, np.random.default_rng(1))[0]
    return bytes(cv2.imencode(".jpg", picture)[1])


def test_a_whole_image_is_decoded_as_opencv_does() -> None:
    jpeg = _jpeg()
    image = StrictJpeg().decode(jpeg)
    assert image is not None
    theirs = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.abs(image.astype(int) - theirs).mean() < 4.0  # They smooth colours differently.
    np.testing.assert_allclose(image.mean(axis=(0, 1)), theirs.mean(axis=(0, 1)), atol=1.0)


def test_an_image_that_lacks_a_piece_is_refused() -> None:
    jpeg, decoder = _jpeg(), StrictJpeg()
    for cut in range(1500, len(jpeg) - 5000, 997):
        assert decoder.decode(jpeg[:cut]) is None
        assert decoder.decode(jpeg[:cut] + b"\xff\xd9") is None
        assert decoder.decode(jpeg[:cut] + jpeg[cut + 4000 :]) is None
    assert decoder.decode(jpeg) is not None


def test_anything_may_come_instead_of_an_image() -> None:
    rng, jpeg, decoder = np.random.default_rng(0), _jpeg(), StrictJpeg()
    for _ in range(200):
        decoder.decode(rng.bytes(int(rng.integers(0, 2000))))
        changed = bytearray(jpeg)
        changed[rng.integers(len(jpeg))] ^= 1 << rng.integers(8)
        decoder.decode(bytes(changed))
    assert decoder.decode(jpeg) is not None


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"rate_hz": 0}, {"frozen_s": -1}, {"fourcc": "MJPEG"}]
)
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        OpencvCameraConfig(**wrong)
