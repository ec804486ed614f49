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

from dexhil.drivers.camera.opencv import OpencvCamera, OpencvCameraConfig
from dexhil.drivers.device import State
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.emulators.picture import N_PICTURES, number_in, pictures
from dexhil.drivers.errors import ConfigError, ConnectError
from dexhil.drivers.testing import CameraConformance
from dexhil.drivers.testing.emulated import Emulated
from tests.drivers.emulated.helpers import is_stale, until, until_fault

EMULATOR = "opencv"
MOST_LATE = 20  # Of 30 images per second: how far a busy machine may lag behind.
Make = Callable[..., OpencvCamera]


class TestOpencvCamera(Emulated, CameraConformance):
    emulator = EMULATOR


@pytest.fixture
def camera(make: Make) -> Iterator[OpencvCamera]:
    with make() as camera:
        yield camera


# -- The network camera ------------------------------------------------------------------


def test_what_is_observed_is_what_the_camera_sees_at_that_moment(
    camera: OpencvCamera, emulator: EmulatorProcess
) -> None:
    for _ in range(20):
        seen = _number(camera)
        # A queue of images would lag further and further behind; a busy machine only a little.
        assert (emulator.state()["number"] - seen) % N_PICTURES <= MOST_LATE


def test_red_is_red(camera: OpencvCamera, recording: Path) -> None:
    for image in (camera.observe().image, _first_image(recording)):
        red, green, blue = image[200].max(axis=0).astype(int)  # The bar is more red than grey.
        assert red > green + 50
        assert green > blue


def test_images_that_break_off_are_thrown_away_and_counted(
    camera: OpencvCamera, emulator: EmulatorProcess
) -> None:
    emulator.tell("partial", 0.5)
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
    camera: OpencvCamera, emulator: EmulatorProcess, fault: str
) -> None:
    emulator.tell(fault, 1.0)
    until(lambda: is_stale(camera, 0.2))
    until_fault(camera.observe, match=r"no new image came for|ended")


def test_flipped_bits_neither_crash_nor_stop_it(
    camera: OpencvCamera, emulator: EmulatorProcess
) -> None:
    emulator.tell("corrupt", 1.0)
    first = camera.observe().stamp_s
    until(lambda: camera.observe().stamp_s > first + 1.0)


def test_an_image_that_never_changes_goes_stale_and_says_so(
    camera: OpencvCamera, emulator: EmulatorProcess
) -> None:
    emulator.tell("repeat")
    until(lambda: is_stale(camera, 0.2))
    stamp_s = camera.observe().stamp_s
    until(lambda: not camera.health().ok)
    assert "not changed by a single bit for" in camera.health().reasons[0]
    time.sleep(1.5)
    assert camera.observe().stamp_s == stamp_s
    assert camera.state is State.CONNECTED
    emulator.tell("clear")
    until(lambda: camera.observe().stamp_s > stamp_s)
    until(lambda: camera.health().ok)


def test_an_image_that_never_changes_may_be_allowed(make: Make, emulator: EmulatorProcess) -> None:
    with make(frozen_s=0) as camera:
        emulator.tell("repeat")
        stamp_s = camera.observe().stamp_s
        until(lambda: camera.observe().stamp_s > stamp_s + 1.0)
        assert camera.health().ok


def test_images_said_twice_count_once(camera: OpencvCamera, emulator: EmulatorProcess) -> None:
    emulator.tell("duplicate", 1.0)
    numbers = []
    stamp_s = camera.observe().stamp_s
    for _ in range(30):
        until(lambda last=stamp_s: camera.observe().stamp_s > last)
        sample = camera.observe()
        stamp_s = sample.stamp_s
        numbers.append(number_in(sample.image))
    assert all(a != b for a, b in pairwise(numbers))


def test_a_late_camera_still_gives_its_images_in_order(
    camera: OpencvCamera, emulator: EmulatorProcess
) -> None:
    emulator.tell("delay", 0.2)
    time.sleep(0.5)
    numbers = [_number(camera) for _ in range(30)]
    assert all((b - a) % N_PICTURES < N_PICTURES // 2 for a, b in pairwise(numbers))
    lag = (emulator.state()["number"] - _number(camera)) % N_PICTURES
    assert 3 <= lag <= 30  # 6 images are 0.2 s.


def test_a_hung_camera_does_not_hold_up_disconnecting(
    camera: OpencvCamera, emulator: EmulatorProcess
) -> None:
    emulator.tell("freeze")
    time.sleep(0.2)
    start_s = time.monotonic()
    camera.disconnect()
    assert time.monotonic() - start_s < 2.5


def test_a_hung_camera_becomes_a_fault(camera: OpencvCamera, emulator: EmulatorProcess) -> None:
    emulator.tell("freeze")
    until_fault(camera.observe, match=r"no new image came for 1\.\d s|ended")


def test_another_size_than_asked_for_is_an_error(make: Make) -> None:
    with pytest.raises(ConfigError, match="640 x 480 pixels, the rig file asks for 1280 x 720"):
        make(width=1280, height=720).connect()


def test_a_size_that_changes_on_the_way_is_a_fault(
    camera: OpencvCamera, emulator: EmulatorProcess
) -> None:
    emulator.tell("resolution", 320, 240)
    until_fault(camera.observe, match="320 x 240 pixels")


def test_a_camera_that_gives_fewer_images_than_promised_says_so(
    camera: OpencvCamera, emulator: EmulatorProcess
) -> None:
    emulator.tell("rate", 8)
    until(lambda: not camera.health().ok)
    assert "images come per second, not 30" in camera.health().reasons[0]


def test_a_page_that_is_no_camera_is_an_error(make: Make, emulator: EmulatorProcess) -> None:
    with pytest.raises(ConnectError, match="cannot open"):
        make(source=emulator.options["source"] + ".txt").connect(timeout_s=1.0)


def test_a_password_is_not_shown() -> None:
    config = OpencvCameraConfig(source="http://me:secret@127.0.0.1:9/video")
    with pytest.raises(ConnectError, match="cannot open http://127") as caught:
        OpencvCamera(config, name="scene").connect(timeout_s=0.5)
    assert "secret" not in str(caught.value)


def _number(camera: OpencvCamera) -> int:
    stamp_s = camera.observe().stamp_s
    until(lambda: camera.observe().stamp_s > stamp_s)
    return number_in(camera.observe().image)


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
        until(lambda: is_stale(camera, 0.2))
        assert number_in(camera.observe().image) == 14
        until_fault(camera.observe, match="no new image came")


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


# -- Options ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [{"width": 0}, {"rate_hz": 0}, {"frozen_s": -1}, {"fourcc": "MJPEG"}]
)
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        OpencvCameraConfig(**wrong)
