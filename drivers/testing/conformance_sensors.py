"""What gloves, trackers, cameras and switches must do.

On a bench somebody wears the glove with a relaxed, slightly bent hand, and the
tracked body is in view.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import pytest

from dexhil.drivers.camera import Camera
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.glove import N_KEYPOINTS, Glove
from dexhil.drivers.registry import AnyDevice
from dexhil.drivers.switch import Switch, SwitchObservation
from dexhil.drivers.switch.sim import SimSwitch
from dexhil.drivers.testing.conformance import SETTLE_S, DeviceConformance, arrays
from dexhil.drivers.testing.person import AnyFaults
from dexhil.drivers.tracker import Tracker

HEARD_S = 10.0  # Longest time that a press or a release may take to be seen [s].
LOOK_S = 0.01  # How often is looked meanwhile [s].


class StreamConformance(DeviceConformance):
    """What a device must do that gives fresh samples at a rate of its own."""

    def test_fresh_samples_come_at_half_the_promised_rate_at_least(
        self, connected: AnyDevice
    ) -> None:
        rate_hz = connected.spec.rate_hz
        assert rate_hz > 0
        n_polls = 40
        stamps = set()
        for _ in range(n_polls):
            stamps.add(connected.observe().stamp_s)
            connected.clock.sleep(0.5 / rate_hz)
        assert len(stamps) >= n_polls // 4

    def test_a_live_device_trembles(self, connected: AnyDevice) -> None:
        # Bit-identical values behind fresh stamps are how a dead sensor looks.
        first = connected.observe()
        for _ in range(20):
            connected.clock.sleep(1.0 / connected.spec.rate_hz)
            later = arrays(connected.observe())
            if any((array != later[name]).any() for name, array in arrays(first).items()):
                return
        pytest.fail(f"{connected}: 20 samples in a row are bit-identical")


class GloveConformance(StreamConformance):
    """What a glove must do as well."""

    kind = "glove"

    @pytest.fixture
    def glove(self, connected: AnyDevice) -> Glove:
        assert isinstance(connected, Glove)
        return connected

    def test_keypoints_have_the_promised_shape_and_dtype(self, glove: Glove) -> None:
        sample = glove.observe()
        assert sample.keypoints.shape == (N_KEYPOINTS, 3)
        assert sample.keypoints.dtype == np.float64
        assert sample.finite

    def test_bones_are_as_long_as_bones(self, glove: Glove) -> None:
        # Catches millimetres as well as keypoints in another order.
        fingers = glove.observe().keypoints[1:].reshape(5, 4, 3)
        bones = np.linalg.norm(np.diff(fingers, axis=1), axis=2)
        assert (bones > 0.005).all(), bones
        assert (bones < 0.09).all(), bones
        palm = np.linalg.norm(fingers[1:, 0] - glove.observe().keypoints[0], axis=1)
        assert (palm > 0.05).all(), palm
        assert (palm < 0.15).all(), palm

    def test_fingers_curl_to_the_side_of_the_palm_that_the_spec_says(self, glove: Glove) -> None:
        keypoints = glove.observe().keypoints
        wrist, index, little = keypoints[[0, 5, 17]]
        palmar = np.cross(index - wrist, little - wrist)
        curl = (keypoints[[8, 12, 16, 20]] - keypoints[[5, 9, 13, 17]]) @ palmar
        assert (curl.mean() > 0) == (glove.spec.side == "right")

    def test_lost_track_is_passed_on_as_nan(self, glove: Glove, faults: AnyFaults) -> None:
        faults.nan()
        glove.clock.sleep(SETTLE_S)
        assert not glove.observe().finite


class TrackerConformance(StreamConformance):
    """What a tracker must do as well."""

    kind = "tracker"

    @pytest.fixture
    def tracker(self, connected: AnyDevice) -> Tracker:
        assert isinstance(connected, Tracker)
        return connected

    def test_the_pose_has_the_promised_shape_and_dtype(self, tracker: Tracker) -> None:
        sample = tracker.observe()
        assert sample.position.shape == (3,)
        assert sample.orientation.shape == (4,)
        assert sample.position.dtype == sample.orientation.dtype == np.float64
        assert sample.finite

    def test_the_orientation_is_a_unit_quaternion(self, tracker: Tracker) -> None:
        assert np.linalg.norm(tracker.observe().orientation) == pytest.approx(1.0, abs=1e-6)

    def test_the_position_is_in_metres(self, tracker: Tracker) -> None:
        assert np.linalg.norm(tracker.observe().position) < 10.0

    @pytest.mark.expects_fault  # It may say in its health why it sees nothing.
    def test_lost_track_is_passed_on_as_nan(self, tracker: Tracker, faults: AnyFaults) -> None:
        faults.nan()
        tracker.clock.sleep(SETTLE_S)
        assert not tracker.observe().finite


class CameraConformance(DeviceConformance):
    """What a camera must do as well."""

    kind = "camera"

    @pytest.fixture
    def camera(self, connected: AnyDevice) -> Camera:
        assert isinstance(connected, Camera)
        return connected

    def test_images_are_as_the_spec_says(self, camera: Camera) -> None:
        image = camera.observe().image
        assert image.shape == (camera.spec.height, camera.spec.width, 3)
        assert image.dtype == np.uint8

    def test_images_show_something(self, camera: Camera) -> None:
        assert np.ptp(camera.observe().image) > 0

    def test_depth_is_in_metres_or_none(self, camera: Camera) -> None:
        depth = camera.observe().depth
        if depth is not None:
            assert depth.shape == (camera.spec.height, camera.spec.width)
            assert depth.dtype == np.float64
            assert (depth[np.isfinite(depth)] >= 0).all()
            assert np.median(depth[np.isfinite(depth)]) < 20.0

    def test_fresh_images_come_at_half_the_promised_rate_at_least(self, camera: Camera) -> None:
        rate_hz = camera.spec.rate_hz
        stamps = set()
        for _ in range(20):
            stamps.add(camera.observe().stamp_s)
            camera.clock.sleep(0.5 / rate_hz)
        assert len(stamps) >= 5


class Finger(Protocol):
    """What presses the buttons of a switch.

    ``release`` comes back once the switch can know of it. A terminal, for one, says nothing
    when a key is let go, so there it takes as long as the driver goes on taking it for held.
    """

    def press(self, button: str) -> None: ...

    def release(self, button: str) -> None: ...


class EmulatedFinger:
    """A finger on an emulator that knows ``press`` and ``release``.

    Args:
        emulator: Of ``switch``.
        switch: Connected.
    """

    def __init__(self, emulator: EmulatorProcess, switch: Switch) -> None:
        self._emulator, self._switch = emulator, switch

    def press(self, button: str) -> None:
        self._emulator.tell("press", button)

    def release(self, button: str) -> None:
        self._emulator.tell("release", button)
        # On a link that is late it may not even have come down yet.
        n = self._emulator.state()["counts"][button]
        _until(
            self._switch,
            lambda sample: sample.counts[button] >= n and button not in sample.pressed,
        )


def _until(switch: Switch, happened: Callable[[SwitchObservation], bool]) -> SwitchObservation:
    """Return the first sample in which it happened, or the last one before giving up."""
    for _ in range(round(HEARD_S / LOOK_S)):
        sample = switch.observe()
        if happened(sample):
            return sample
        switch.clock.sleep(LOOK_S)
    return switch.observe()


class SwitchConformance(DeviceConformance):
    """What a switch must do as well."""

    kind = "switch"

    @pytest.fixture
    def switch(self, connected: AnyDevice) -> Switch:
        assert isinstance(connected, Switch)
        return connected

    @pytest.fixture
    def finger(self, switch: Switch, emulator: EmulatorProcess | None) -> Finger:
        """What presses the buttons. On a bench a person would."""
        if emulator is not None:
            return EmulatedFinger(emulator, switch)
        if not isinstance(switch, SimSwitch):
            pytest.skip(f"{switch} cannot be pressed by a program")
        return switch

    def test_every_button_is_counted_from_zero(self, switch: Switch) -> None:
        assert switch.spec.buttons
        sample = switch.observe()
        assert set(sample.counts) == set(switch.spec.buttons)
        assert set(sample.counts.values()) == {0}
        assert sample.pressed == frozenset()

    def test_a_button_is_pressed_until_it_is_released(self, switch: Switch, finger: Finger) -> None:
        for button in switch.spec.buttons:
            finger.press(button)
            assert _until(switch, lambda sample: bool(sample.pressed)).pressed == {button}
            switch.clock.sleep(SETTLE_S)
            assert switch.observe().pressed == {button}
            finger.release(button)
            assert _until(switch, lambda sample: not sample.pressed).pressed == frozenset()

    def test_no_press_is_lost_by_a_slow_reader(self, switch: Switch, finger: Finger) -> None:
        button, other = switch.spec.buttons[:2]
        for _ in range(3):
            finger.press(button)
            finger.release(button)
        _until(switch, lambda sample: sample.counts[button] == 3)
        for _ in range(2):  # A second reader finds them as well.
            assert switch.observe().counts[button] == 3
            assert switch.observe().counts[other] == 0

    def test_holding_a_button_is_one_press(self, switch: Switch, finger: Finger) -> None:
        button = switch.spec.buttons[0]
        for _ in range(3):
            finger.press(button)
            switch.clock.sleep(SETTLE_S)
            assert switch.observe().counts[button] == 1

    def test_samples_keep_their_counts(self, switch: Switch, finger: Finger) -> None:
        button = switch.spec.buttons[0]
        before = switch.observe()
        finger.press(button)
        assert _until(switch, lambda sample: sample.counts[button] == 1).counts[button] == 1
        assert set(before.counts.values()) == {0}
        with pytest.raises(TypeError):
            before.counts[button] = 5  # type: ignore[index]

    def test_no_press_is_lost_on_a_lossy_link(
        self, switch: Switch, finger: Finger, faults: AnyFaults
    ) -> None:
        button = switch.spec.buttons[0]
        faults.drop(0.5)
        counts = []
        for _ in range(20):
            finger.press(button)
            finger.release(button)
            switch.clock.sleep(0.05)
            counts.append(switch.observe().counts[button])
        assert counts == sorted(counts)
        faults.clear()
        assert _until(switch, lambda sample: sample.counts[button] == 20).counts[button] == 20

    def test_counting_starts_anew_when_reconnected(self, switch: Switch, finger: Finger) -> None:
        button = switch.spec.buttons[0]
        finger.press(button)
        assert _until(switch, lambda sample: sample.counts[button] == 1).counts[button] == 1
        finger.release(button)
        switch.disconnect()
        switch.connect()
        assert set(switch.observe().counts.values()) == {0}
