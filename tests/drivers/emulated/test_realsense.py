"""The RealSense driver through the real SDK: software cameras, and a recording played back."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyrealsense2 as rs
import pytest

from dexhil.drivers.camera import realsense
from dexhil.drivers.camera.realsense import RealsenseCamera, RealsenseCameraConfig
from dexhil.drivers.camera.realsense_bus import FOCAL_LENGTH, SERIAL, SoftwareCamera
from dexhil.drivers.camera.realsense_source import Mode, SensorSource, describe_modes, find_device
from dexhil.drivers.device import State
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.emulators.picture import N_PICTURES, number_in, pictures
from dexhil.drivers.errors import ConfigError, ConnectError
from dexhil.drivers.registry import AnyDevice
from dexhil.drivers.testing import CameraConformance
from dexhil.drivers.testing.emulated import Emulated
from dexhil.drivers.wire.shot import Shot
from tests.drivers.emulated.helpers import is_stale, until, until_fault

EMULATOR = "realsense"
MOST_LATE = 20  # Of 30 images per second: how far a busy machine may lag behind.
Make = Callable[..., RealsenseCamera]


class TestPipeline(Emulated, CameraConformance):
    emulator = EMULATOR


class TestSensors(Emulated, CameraConformance):
    emulator = EMULATOR
    options = {"source": "sensor"}  # noqa: RUF012  # As in every suite.


# -- What it knows of itself ---------------------------------------------------------------


def test_it_tells_the_projection_that_its_maker_measured(make: Make) -> None:
    camera = make()
    assert camera.lens() is None
    with camera:
        lens = camera.lens()
        assert lens is not None
        expected = [[FOCAL_LENGTH, 0, 320], [0, FOCAL_LENGTH, 240], [0, 0, 1]]
        np.testing.assert_allclose(lens.matrix, expected)
        np.testing.assert_array_equal(lens.distortion, np.zeros(5))
    assert camera.lens() is None


def test_a_projection_the_wrong_way_round_is_not_told() -> None:
    told = SimpleNamespace(
        fx=600.0, fy=601.0, ppx=320.0, ppy=240.0, coeffs=[0.1, 0.0, 0.0, 0.0, 0.0],
        model=rs.distortion.inverse_brown_conrady,
    )  # fmt: skip
    assert realsense._lens(told) is None
    told.model = rs.distortion.brown_conrady
    lens = realsense._lens(told)
    assert lens is not None
    assert lens.distortion[0] == 0.1
    # D435 cameras name it for colour, with nothing to undo.
    told.model, told.coeffs = rs.distortion.inverse_brown_conrady, [0.0] * 5
    assert realsense._lens(told) is not None


# -- A recording ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds, as the SDK records them."""
    path = tmp_path_factory.mktemp("recording") / "two_seconds.db3"
    rng = np.random.default_rng(0)
    depth = rng.integers(900, 1100, (N_PICTURES, 240, 320)).astype(np.uint16)
    shots = [
        Shot(number, number * 1e3 / 30, 30, picture, depth[number])
        for number, picture in enumerate(pictures(320, 240, rng))
    ]
    camera = SoftwareCamera(shots[0])
    recorder = rs.recorder(str(path), camera.device)
    queue = rs.frame_queue(50)
    sensors = recorder.query_sensors()
    for sensor in sensors:
        sensor.open(sensor.get_stream_profiles()[0])
        sensor.start(queue)
    for shot in shots:
        camera.show(shot)
        time.sleep(1.0 / 30.0)
    for sensor in sensors:
        sensor.stop()
        sensor.close()
    del recorder, sensors, sensor  # It writes the end of the file when it goes.
    return path


class PlayedFaults:
    """The knobs of a recording. Its cable is the file: without one a camera is looked for."""

    def __init__(self, camera: RealsenseCamera) -> None:
        self._camera = camera
        self._config = camera._config

    def _playback(self) -> Any:
        source: Any = self._camera._source
        return source and source.device.as_playback()

    def freeze(self) -> None:
        self._playback().pause()

    def unplug(self) -> None:
        self._camera._config = replace(self._config, file=None, serial="unplugged")
        if self._playback():
            self._playback().pause()

    def clear(self) -> None:
        self._camera._config = self._config
        if self._playback():
            self._playback().resume()


class TestRecording(CameraConformance):
    @pytest.fixture
    def device(self, request: pytest.FixtureRequest, recording: Path) -> Iterator[AnyDevice]:
        config = RealsenseCameraConfig(file=recording, width=320, height=240, loop=True)
        with ExitStack() as stack:
            device = RealsenseCamera(config, name="scene")
            stack.callback(device.disconnect)
            yield device
            health = device.health()
        assert device.state is State.DISCONNECTED
        assert health.ok or request.node.get_closest_marker("expects_fault"), health.reasons

    @pytest.fixture
    def faults(self, device: AnyDevice) -> Any:
        return PlayedFaults(device)


def test_a_recording_falls_silent_at_its_end_and_then_faults(recording: Path) -> None:
    config = RealsenseCameraConfig(file=recording, width=320, height=240)
    with RealsenseCamera(config, name="scene") as camera:
        start_s = time.monotonic()
        until_fault(camera.observe, match="no new image came")
        assert time.monotonic() - start_s > 2.0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.db3", None, "there is no recording"),
        ("old.bag", b"#ROSBAG V2.0\n", r"not a \.db3 file.*convert_bag_to_db3"),
        ("letter.db3", b"Dear robot", "cannot play"),
    ],
)
def test_what_cannot_be_played_is_an_error(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    camera = RealsenseCamera(RealsenseCameraConfig(file=path), name="scene")
    with pytest.raises(ConfigError, match=message):
        camera.connect()
    assert camera.state is State.DISCONNECTED


def test_a_recording_of_another_size_is_an_error_that_says_its_own(recording: Path) -> None:
    camera = RealsenseCamera(RealsenseCameraConfig(file=recording), name="scene")
    with pytest.raises(ConfigError, match=r"no 640 x 480 at 30 Hz, only Color 320 x 240 at 30 Hz"):
        camera.connect()


# -- The emulated camera -------------------------------------------------------------------


@pytest.fixture(params=["pipeline", "sensor"])
def camera(make: Make, request: pytest.FixtureRequest) -> Iterator[RealsenseCamera]:
    with make(source=request.param) as camera:
        yield camera


def _fresh(camera: RealsenseCamera) -> Any:
    stamp_s = camera.observe().stamp_s
    until(lambda: camera.observe().stamp_s > stamp_s)
    return camera.observe()


def test_images_come_fresh_and_in_order(camera: RealsenseCamera, emulator: EmulatorProcess) -> None:
    numbers = []
    for _ in range(20):
        numbers.append(number_in(_fresh(camera).image))
        # A queue of images would lag further and further behind; a busy machine only a little.
        assert (emulator.state()["number"] - numbers[-1]) % N_PICTURES <= MOST_LATE
    assert all(0 < (b - a) % N_PICTURES < N_PICTURES // 2 for a, b in pairwise(numbers))


def test_red_is_red(camera: RealsenseCamera) -> None:
    red, green, blue = camera.observe().image[200].max(axis=0).astype(int)  # Of the bar.
    assert red > green + 50
    assert green > blue


def test_depth_is_in_metres_and_nan_where_nothing_was_measured(camera: RealsenseCamera) -> None:
    depth = camera.observe().depth
    assert depth is not None
    assert np.nanmedian(depth) == pytest.approx(1.0, abs=0.01)
    assert np.nanmin(depth) == pytest.approx(0.5, abs=0.01)
    assert np.isnan(depth[:, :30]).mean() > 0.9


def test_depth_is_seen_from_where_the_colour_camera_is(camera: RealsenseCamera) -> None:
    depth = camera.observe().depth
    assert depth is not None
    # The stereo pair leaves 40 columns out; the wall at 1 m is shifted by the baseline.
    unseen = np.isnan(depth[400]).cumprod().sum()
    assert unseen == pytest.approx(40 + FOCAL_LENGTH * 0.015 / 1.0, abs=2)


def test_covered_eyes_measure_nothing(camera: RealsenseCamera, emulator: EmulatorProcess) -> None:
    emulator.tell("nan")
    until(lambda: np.isnan(camera.observe().depth).all())


@pytest.mark.parametrize("source", ["pipeline", "sensor"])
def test_depth_may_be_left_out(make: Make, source: str) -> None:
    with make(depth=False, source=source) as camera:
        assert camera.observe().depth is None
        _fresh(camera)


def test_a_late_image_is_known_to_be_late(
    camera: RealsenseCamera, emulator: EmulatorProcess
) -> None:
    emulator.tell("delay", 0.3)
    time.sleep(0.6)
    for _ in range(5):
        _fresh(camera)
        assert time.monotonic() - camera.observe().stamp_s >= 0.29


def test_a_clock_turned_back_makes_it_stale_and_then_a_fault(
    camera: RealsenseCamera, emulator: EmulatorProcess
) -> None:
    stamp_s = camera.observe().stamp_s
    emulator.tell("rewind", 5)
    until(lambda: is_stale(camera, 0.25))
    assert camera.observe().stamp_s < stamp_s + 0.5
    until_fault(camera.observe, match="no new image came")


def test_images_that_never_change_go_stale_and_say_so(
    camera: RealsenseCamera, emulator: EmulatorProcess
) -> None:
    emulator.tell("repeat")
    until(lambda: is_stale(camera, 0.25))
    until(lambda: not camera.health().ok)
    assert "not changed by a single bit for" in camera.health().reasons[0]
    assert camera.state is State.CONNECTED


@pytest.mark.parametrize("fault", ["corrupt", "partial", "drop"])
def test_a_bad_cable_costs_images_but_shows_no_damaged_one(
    camera: RealsenseCamera, emulator: EmulatorProcess, fault: str
) -> None:
    emulator.tell(fault, 0.3)
    for _ in range(20):
        image = _fresh(camera).image
        noise = image[16:100].astype(int)
        assert noise.min() >= 90
        assert noise.max() < 130


def test_shots_said_twice_count_once(camera: RealsenseCamera, emulator: EmulatorProcess) -> None:
    emulator.tell("duplicate", 1.0)
    numbers = [number_in(_fresh(camera).image) for _ in range(20)]
    assert all(a != b for a, b in pairwise(numbers))


def test_a_hung_camera_becomes_a_fault(camera: RealsenseCamera, emulator: EmulatorProcess) -> None:
    emulator.tell("freeze")
    until_fault(camera.observe, match=r"no new image came for \d\.\d s")


def test_a_camera_that_left_the_bus_is_missed_by_name(
    make: Make, emulator: EmulatorProcess
) -> None:
    with make(source="sensor") as camera:
        emulator.tell("unplug")
        until_fault(camera.observe, match=f"{SERIAL} left the bus")


@pytest.mark.parametrize("source", ["pipeline", "sensor"])
def test_a_mode_the_camera_lacks_is_an_error_that_says_which_it_has(
    make: Make, source: str
) -> None:
    camera = make(source=source, width=1280, height=720)
    with pytest.raises(
        ConfigError,
        match=r"no 1280 x 720 at 30 Hz, only Color 640 x 480 at 30 Hz, Depth 640 x 480 at 30 Hz",
    ):
        camera.connect()


def test_another_serial_is_an_error_that_lists_what_was_found(make: Make) -> None:
    camera = make(serial="123")
    message = rf"no RealSense has the serial number '123'; found: {SERIAL} \(Emulated .*USB 3.2\)"
    with pytest.raises(ConnectError, match=message):
        camera.connect()


# -- Finding cameras -----------------------------------------------------------------------


def _software_device(serial: str, usb: str = "3.2") -> Any:
    shot = Shot(0, 0.0, 30, np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64), np.uint16))
    camera = SoftwareCamera(shot)
    camera.device.update_info(rs.camera_info.serial_number, serial)
    camera.device.update_info(rs.camera_info.usb_type_descriptor, usb)
    return camera.device


def test_no_camera_at_all_is_an_error_with_a_hint() -> None:
    with pytest.raises(ConnectionError, match=r"no RealSense is plugged in.*libusb-1\.0-0"):
        find_device(SimpleNamespace(devices=[]), "")


def test_several_cameras_are_not_guessed_between() -> None:
    two = SimpleNamespace(devices=[_software_device("111"), _software_device("222")])
    with pytest.raises(ConnectionError, match=r"must name a serial: 111 \(.*222 \("):
        find_device(two, "")
    assert find_device(two, "222").get_info(rs.camera_info.serial_number) == "222"


def test_sensors_that_cannot_all_be_had_are_let_go_of_again() -> None:
    device = _software_device("111")
    depth, color = device.query_sensors()
    color.open(color.get_stream_profiles()[0])  # As another program would.
    with pytest.raises(RuntimeError, match="already opened"):
        SensorSource(device, Mode(width=64, height=48, rate_hz=30, depth=True))
    depth.open(depth.get_stream_profiles()[0])
    depth.close()


def test_usb_2_is_named_as_the_likely_cause() -> None:
    assert "use a USB 3 port" in describe_modes(_software_device("111", usb="2.1"))
    assert "USB" not in describe_modes(_software_device("111"))


@pytest.mark.parametrize(
    ("domain", "age_s"),
    [("global_time", 0.2), ("system_time", 0.2), ("hardware_clock", 0.0)],
)
def test_only_a_clock_that_is_the_hosts_tells_the_age_of_an_image(
    domain: str, age_s: float
) -> None:
    frame = SimpleNamespace(
        get_frame_timestamp_domain=lambda: getattr(rs.timestamp_domain, domain),
        get_timestamp=lambda: (time.time() - 0.2) * 1e3,
    )
    assert realsense._age_s(frame) == pytest.approx(age_s, abs=0.1)


def test_a_clock_that_is_ahead_gives_no_stamp_in_the_future() -> None:
    frame = SimpleNamespace(
        get_frame_timestamp_domain=lambda: rs.timestamp_domain.global_time,
        get_timestamp=lambda: (time.time() + 60.0) * 1e3,
    )
    assert realsense._age_s(frame) == 0.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 0},
        {"rate_hz": 0},
        {"frozen_s": -1},
        {"emulator": "somewhere"},
        {"file": Path("x.db3"), "source": "sensor"},
    ],
)
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        RealsenseCameraConfig(**wrong)
