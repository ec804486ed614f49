"""The cube as a tracker: OpenCV's camera driver and the real vision against a camera elsewhere."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dexhil.drivers.camera import CameraObservation
from dexhil.drivers.device import State
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.emulators.aruco import waved
from dexhil.drivers.emulators.cube_picture import CAMERA, CUBE
from dexhil.drivers.emulators.picture import N_PICTURES
from dexhil.drivers.errors import ConfigError, ConnectError, FaultError, StaleError
from dexhil.drivers.registry import RigEntry
from dexhil.drivers.testing import TrackerConformance
from dexhil.drivers.testing.emulated import Emulated
from dexhil.drivers.tracker import Tracker
from dexhil.teleop.cube import CubeModel, Intrinsics
from dexhil.teleop.cube.device import MAX_LEAD_S, ArucoTracker
from dexhil.teleop.cube.filter import CubeFilter
from dexhil.teleop.se3 import Pose, distance, exp_rotation, from_quaternion, make_pose

PATIENCE_S = 20.0
TRUTH = [waved(number) for number in range(N_PICTURES)]
Make = Callable[..., Tracker]


@pytest.fixture(scope="module")
def shared() -> Iterator[EmulatorProcess]:
    """One process for all: it takes a while to paint its pictures."""
    with EmulatorProcess("aruco") as process:
        yield process


@pytest.fixture
def process(shared: EmulatorProcess) -> EmulatorProcess:
    shared.tell("reset")
    return shared


class TestArucoTracker(Emulated, TrackerConformance):
    emulator = "aruco"

    @pytest.fixture(scope="class")
    @classmethod
    def process(cls, shared: EmulatorProcess) -> EmulatorProcess:
        return shared


@pytest.fixture
def make(process: EmulatorProcess) -> Iterator[Make]:
    """Build a tracker as a rig file with these options would."""
    made: list[Any] = []

    def build(**options: object) -> Any:
        made.append(RigEntry("tracker", "cube", "aruco", {**process.options, **options}).build())
        return made[-1]

    yield build
    for device in made:
        device.disconnect()


class _Sees:
    """Stands in for the vision: finds the cube where it is told to."""

    def __init__(self) -> None:
        self.filter = CubeFilter()
        self.pose: Pose | None = TRUTH[0]

    def update(self, image: object, stamp_s: float) -> Pose | None:
        del image
        if self.pose is None:
            self.filter.miss(stamp_s, "covered")
            return None
        found = self.filter.update(self.pose, 1e-6 * np.eye(6), stamp_s)
        return self.pose if found else None


@pytest.fixture
def blind() -> Callable[..., tuple[ArucoTracker, _Sees]]:
    """Build a tracker without a camera, and what it sees with."""

    def build(**options: object) -> tuple[Any, _Sees]:
        camera = {"driver": "opencv", "source": "/dev/null"}
        files = {"cube": str(CUBE), "intrinsics": str(CAMERA)}
        tracker: Any = RigEntry("tracker", "cube", "aruco", {**files, "camera": camera, **options})
        tracker, sees = tracker.build(), _Sees()
        tracker._tracker, tracker._pose_told_in_cube = sees, np.eye(4)
        tracker._newest = None
        return tracker, sees

    return build


def _told(tracker: ArucoTracker, number: int) -> bool:
    """Whether a picture taken as one of 30 a second leads to a pose."""
    image = np.zeros((1, 1, 3), np.uint8)
    tracker._look(CameraObservation(stamp_s=1000.0 + number / 30.0, image=image))
    return tracker._newest.finite


@pytest.mark.parametrize("dropped", [2, 3, 4])
def test_dropped_pictures_and_then_another_pose_are_never_passed_off_as_a_motion(
    blind: Callable[..., tuple[ArucoTracker, _Sees]], dropped: int
) -> None:
    tracker, sees = blind()
    assert all(_told(tracker, number) for number in range(10))
    # 40 degrees: what one face alone may flip by, and a wrist may turn by in that time.
    sees.pose = TRUTH[0] @ make_pose(rotation=exp_rotation((0.0, 0.7, 0.0)))
    told = [_told(tracker, 10 + dropped + i) for i in range(8)]
    seen_by_a_loop = 4  # So many periods of 33 ms in a row at least.
    assert not any(told[1 : 1 + seen_by_a_loop])
    assert told[-1]


def test_a_cube_that_is_found_right_after_its_loss_is_not_told_of_at_once(
    blind: Callable[..., tuple[ArucoTracker, _Sees]],
) -> None:
    tracker, sees = blind()
    assert all(_told(tracker, number) for number in range(10))
    sees.pose = None
    assert [_told(tracker, 10), _told(tracker, 11)] == [True, False]
    sees.pose = TRUTH[0]
    assert [_told(tracker, number) for number in range(12, 19)] == [False] * 5 + [True] * 2
    assert tracker._warnings() == ()


def test_the_longest_lead_that_is_allowed_never_flickers(
    blind: Callable[..., tuple[ArucoTracker, _Sees]],
) -> None:
    tracker, _ = blind(lead_s=MAX_LEAD_S)
    assert all(_told(tracker, number) for number in range(200))


def _until(condition: Callable[[], object]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s, "it never happened"
        time.sleep(0.005)


def _pose(tracker: Tracker) -> Pose:
    """Return the newest pose, once there is one: a busy machine drops pictures, which is doubt."""
    samples: list[Any] = []
    _until(lambda: samples.append(tracker.observe()) or samples[-1].finite)
    return from_quaternion(samples[-1].position, samples[-1].orientation)


def _off(pose: Pose) -> tuple[float, float]:
    """Return how far a pose is from the nearest one in the emulator's pictures [m], [rad]."""
    return min((distance(pose, each) for each in TRUTH), key=lambda off: off[0] + 0.05 * off[1])


def test_the_emulator_shows_the_cube_and_the_camera_that_its_files_describe() -> None:
    nominal, cube = CubeModel.nominal(faces=5), CubeModel.load(CUBE)
    assert (cube.dictionary, cube.marker_ids) == (nominal.dictionary, nominal.marker_ids)
    np.testing.assert_allclose(cube.corners_in_cube, nominal.corners_in_cube, atol=1e-9)
    assert Intrinsics.load(CAMERA).width == 640


def test_it_says_where_the_cube_is_to_a_millimetre(make: Make) -> None:
    with make() as tracker:
        stamp_s = tracker.observe().stamp_s
        _until(lambda: tracker.observe().stamp_s > stamp_s + 0.3)
        for _ in range(20):
            stamp_s = tracker.observe().stamp_s
            _until(lambda last=stamp_s: tracker.observe().stamp_s > last)  # type: ignore[misc]
            metres, radians = _off(_pose(tracker))
            assert metres < 1e-3
            assert radians < 0.01


def test_it_reports_the_palm_once_the_hand_is_calibrated(make: Make, tmp_path: Path) -> None:
    palm = make_pose((0.0, 0.02, -0.08), exp_rotation((0.0, 1.2, 0.4)))
    path = tmp_path / "cube.toml"
    replace(CubeModel.load(CUBE), pose_hand_in_cube=palm).save(path)
    with make(cube=str(path), reports="palm") as tracker:
        _until(lambda: tracker.observe().finite)
        metres, radians = _off(_pose(tracker) @ np.linalg.inv(palm))
        assert metres < 1e-3
        assert radians < 0.01


def test_a_lead_reports_where_the_hand_will_be(make: Make) -> None:
    def along(lead_s: float) -> float:
        """How far ahead of its image the pose is, in pictures; its clockwise path is a circle."""
        with make(lead_s=lead_s, camera=camera) as tracker:
            _until(lambda: tracker.observe().finite)
            stamp_s = tracker.observe().stamp_s
            _until(lambda: tracker.observe().stamp_s > stamp_s + 0.5)
            _until(lambda: tracker.health().ok)
            return _off(_pose(tracker))[0]

    camera = make()._config.camera
    # On a path of 5 cm/s to 25 cm/s the next 33 ms are near another picture of it; 17 ms are not.
    assert along(0.0) < 5e-4 < along(1.0 / 60.0)


def test_stamps_are_those_of_the_images(make: Make, process: EmulatorProcess) -> None:
    with make() as tracker:
        process.tell("freeze")
        time.sleep(0.3)
        with pytest.raises(StaleError, match="newest sample is"):
            tracker.observe(max_age_s=0.15)


def test_a_cube_out_of_sight_is_lost_in_words_and_found_again(
    make: Make, process: EmulatorProcess
) -> None:
    with make() as tracker:
        _until(lambda: tracker.health().ok)
        process.tell("nan")
        _until(lambda: not tracker.observe().finite)
        tracker.observe(max_age_s=1.0)  # That it is lost is news of now.
        _until(lambda: not tracker.health().ok)
        assert "the cube is lost: " in tracker.health().reasons[0]
        assert tracker.state is State.CONNECTED
        process.tell("clear")
        _until(lambda: tracker.observe().finite)
        _until(lambda: tracker.health().ok)


def test_a_cube_that_flips_is_lost_until_it_is_believed(
    make: Make, process: EmulatorProcess
) -> None:
    about_the_view = np.diag([-1.0, -1.0, 1.0, 1.0])
    with make() as tracker:
        _until(lambda: _off(_pose(tracker))[1] < 0.05)
        process.tell("flip")
        _until(lambda: not tracker.observe().finite)
        _until(lambda: tracker.observe().finite)
        assert _off(about_the_view @ _pose(tracker))[1] < 0.05
        process.tell("flip")
        _until(lambda: tracker.observe().finite and _off(_pose(tracker))[1] < 0.05)


def test_it_connects_before_the_cube_is_in_sight(make: Make, process: EmulatorProcess) -> None:
    process.tell("nan")
    with make() as tracker:
        assert not tracker.observe().finite
        process.tell("clear")
        _until(lambda: tracker.observe().finite)


def test_a_frozen_picture_is_not_fresh_and_said_so(
    make: Callable[..., ArucoTracker], process: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    with make() as tracker:
        process.tell("repeat")
        _until(lambda: not tracker.health().ok)
        assert "its camera: the image has not changed" in tracker.health().reasons[0]
        stamp_s = tracker.observe().stamp_s
        asked: list[object] = []
        monkeypatch.setattr(tracker._tracker, "update", lambda *_: asked.append(None))
        time.sleep(0.1)
        assert tracker.observe().stamp_s == stamp_s == tracker._camera.observe().stamp_s
        assert not asked  # Nobody looks at the same image twice.


def test_an_unplugged_camera_is_a_fault_in_words(make: Make, process: EmulatorProcess) -> None:
    with make() as tracker:
        process.tell("unplug")
        with pytest.raises(FaultError, match=r"its camera: .*(no new image came|ended)"):
            _until(lambda: tracker.observe() is None)
        process.tell("clear")
        with pytest.raises(FaultError):
            tracker.observe()
        tracker.disconnect()
        tracker.connect()
        assert tracker.health().state is State.CONNECTED


def test_a_camera_that_is_not_there_is_an_error(make: Make, process: EmulatorProcess) -> None:
    process.tell("unplug")
    with pytest.raises(ConnectError, match=r"cube\.camera"):
        make().connect(timeout_s=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cube": "none.toml"}, r"none\.toml: cannot read the cube file"),
        ({"intrinsics": str(CUBE)}, "there is no option 'dictionary'"),
        ({"reports": "palm"}, r"aruco_cube\.toml does not say where the palm is.* --flexion --dev"),
        ({"camera": {"source": 0}}, r"\[tracker\.cube\]: camera: .*name the camera's driver"),
        ({"camera": 0}, r"\[tracker\.cube\]: camera: .*name the camera's driver"),
        ({"camera": {"driver": "opencv", "wide": 640}}, r"\[camera\.cube\.camera\]: there is no"),
        ({"camera": {"driver": "sim"}}, "no marker cube in the simulated world"),
        ({"camera": {"driver": "opencv", "width": 320}}, "640 x 480 pixels, the camera gives 320"),
        ({"lead_s": 0.2}, r"lead_s is 0\.2 s, must be from 0 to 0\.1"),
    ],
)
def test_a_rig_file_that_cannot_be_right_is_an_error(
    make: Make, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options).connect(timeout_s=0.5)
