"""A camera that is dead, late or frozen holds the robot, and lets nobody take it."""

import numpy as np
import pytest

from dexhil.drivers.camera import Camera, CameraObservation, CameraSpec
from dexhil.drivers.clock import SimClock
from dexhil.teleop.takeover import Event, Mode


class FakeCamera(Camera):
    """A camera that trembles, until it is told not to."""

    def __init__(self, clock, *, simulated):
        super().__init__(name="scene", clock=clock)
        self._spec = CameraSpec(
            model="fake", width=16, height=12, rate_hz=20.0, simulated=simulated
        )
        self._rng = np.random.default_rng(0)
        self.still = False
        self._image = np.zeros((12, 16, 3), dtype=np.uint8)

    @property
    def spec(self):
        return self._spec

    def _open(self, timeout_s):
        pass

    def _close(self):
        pass

    def _read(self):
        if not self.still:
            self._image = self._rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        return CameraObservation(stamp_s=self.clock.now_s(), image=self._image)


@pytest.fixture
def filmed(make_bench):
    """Return a bench and its camera."""
    clock = SimClock()
    camera = FakeCamera(clock, simulated=True)
    camera.connect()
    return make_bench(clock=clock, cameras={"scene": camera}), camera


def a_camera_that_is_unplugged(camera):
    def fail():
        raise OSError("no such device")

    camera._read = fail


def a_camera_that_hangs(camera):
    last = CameraObservation(stamp_s=camera.clock.now_s() - 1.0, image=camera._image)
    camera._read = lambda: last


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [(a_camera_that_is_unplugged, "no such device"), (a_camera_that_hangs, "1000 ms old")],
)
def test_nobody_takes_the_robot_before_a_camera_that_was_dead_when_the_attempt_began(
    filmed, trouble, reason
):
    bench, camera = filmed
    trouble(camera)
    bench.session.begin()
    for event in (Event.TAKE_OVER, Event.START):
        bench.session.set_event(event)
        assert bench.session.mode is Mode.HOLD
        assert reason in bench.session.refused
    assert reason in bench.session.doubts["scene"]


def test_a_camera_that_is_well_refuses_nobody_at_the_very_beginning(filmed):
    bench, _ = filmed
    bench.session.begin()
    bench.session.set_event(Event.TAKE_OVER)
    assert bench.session.mode is Mode.HUMAN


@pytest.mark.parametrize(
    ("simulated", "options", "holds"),
    [
        (False, {}, True),
        (False, {"camera_frozen_s": 0.0}, False),
        (True, {}, False),
        (True, {"camera_frozen_s": 0.5}, True),
    ],
)
def test_a_picture_that_never_changes_holds_the_robot_where_pictures_tremble(
    make_bench, constant_policy, simulated, options, holds
):
    clock = SimClock()
    camera = FakeCamera(clock, simulated=simulated)
    camera.connect()
    bench = make_bench(clock=clock, policy=constant_policy, cameras={"scene": camera}, **options)
    bench.press("start")
    bench.run(1.5)
    assert bench.session.mode is Mode.POLICY
    camera.still = True
    bench.run(1.2)
    assert (bench.session.mode is Mode.HOLD) == holds
    if holds:
        assert "bit-identical" in bench.session.drive.reason
