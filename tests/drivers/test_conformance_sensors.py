"""The suites for sensors and switches are themselves tested: each planted bug must be caught."""

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pytest

from dexhil.drivers.camera import Camera, CameraObservation, CameraSpec
from dexhil.drivers.clock import Clock
from dexhil.drivers.faults import Faults
from dexhil.drivers.glove import GloveObservation, GloveSpec
from dexhil.drivers.glove.sim import SimGlove, SimGloveConfig
from dexhil.drivers.switch import SwitchObservation
from dexhil.drivers.switch.sim import SimSwitch
from dexhil.drivers.tracker import TrackerObservation
from dexhil.drivers.tracker.sim import SimTracker

SampleT = TypeVar("SampleT")
RunSuite = Any  # See conftest.py.
pytest_plugins = ["pytester"]


def forge(sample: SampleT, **values: object) -> SampleT:
    """Change a sample behind the back of its constructor, which would have mended it."""
    for name, value in values.items():
        object.__setattr__(sample, name, value)
    return sample


# -- Gloves ---------------------------------------------------------------------------


class MillimetreGlove(SimGlove):
    caught_by = "test_bones_are_as_long_as_bones"

    def _read(self) -> GloveObservation:
        sample = super()._read()
        return replace(sample, keypoints=1e3 * sample.keypoints)


class LittleFingerFirstGlove(SimGlove):
    caught_by = "test_bones_are_as_long_as_bones"

    def _read(self) -> GloveObservation:
        sample = super()._read()
        return replace(sample, keypoints=sample.keypoints[::-1])


class MirroredGlove(SimGlove):
    caught_by = "test_fingers_curl_to_the_side_of_the_palm_that_the_spec_says"

    def _read(self) -> GloveObservation:
        sample = super()._read()
        return replace(sample, keypoints=sample.keypoints * [1.0, -1.0, 1.0])


class RepeatingGlove(SimGlove):
    caught_by = "test_a_live_device_trembles"

    def _read(self) -> GloveObservation:
        self.faults.repeat()
        return super()._read()


class ZeroFillingGlove(SimGlove):
    caught_by = "test_lost_track_is_passed_on_as_nan"

    def _read(self) -> GloveObservation:
        sample = super()._read()
        return replace(sample, keypoints=np.nan_to_num(sample.keypoints))


class BoastfulGlove(SimGlove):
    caught_by = "test_fresh_samples_come_at_half_the_promised_rate_at_least"

    @property
    def spec(self) -> GloveSpec:
        return replace(self._spec, rate_hz=1000.0)

    def _read(self) -> GloveObservation:
        sample = super()._read()
        return replace(sample, stamp_s=np.floor(sample.stamp_s * 60) / 60)


# -- Trackers -------------------------------------------------------------------------


class UnnormalisedTracker(SimTracker):
    caught_by = "test_the_orientation_is_a_unit_quaternion"

    def _read(self) -> TrackerObservation:
        sample = super()._read()
        return replace(sample, orientation=1.01 * sample.orientation)


class MillimetreTracker(SimTracker):
    caught_by = "test_the_position_is_in_metres"

    def _read(self) -> TrackerObservation:
        sample = super()._read()
        return replace(sample, position=1e3 * (sample.position + 0.3))


class LastPoseTracker(SimTracker):
    caught_by = "test_lost_track_is_passed_on_as_nan"
    last: TrackerObservation | None = None

    def _read(self) -> TrackerObservation:
        sample = super()._read()
        self.last = sample if sample.finite else self.last
        return self.last or sample


# -- Cameras --------------------------------------------------------------------------


@dataclass(frozen=True)
class PatternConfig:
    """Nothing to choose."""


class PatternCamera(Camera):
    """A camera that looks at a test pattern."""

    config_type = PatternConfig

    def __init__(self, config: PatternConfig, *, name: str, clock: Clock | None = None) -> None:
        del config
        super().__init__(name=name, clock=clock)
        self.faults: Faults[CameraObservation] = Faults("image")
        self._image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)

    @property
    def spec(self) -> CameraSpec:
        return CameraSpec(model="pattern", width=6, height=4, rate_hz=30.0, simulated=True)

    def _open(self, timeout_s: float) -> None:
        del timeout_s

    def _close(self) -> None:
        pass

    def _read(self) -> CameraObservation:
        sample = CameraObservation(
            stamp_s=self.clock.now_s(), image=self._image, depth=np.full((4, 6), 0.7)
        )
        return self.faults.apply(sample)


class SidewaysCamera(PatternCamera):
    caught_by = "test_images_are_as_the_spec_says"

    def _read(self) -> CameraObservation:
        sample = super()._read()
        return replace(sample, image=sample.image.transpose(1, 0, 2))


class FloatCamera(PatternCamera):
    caught_by = "test_images_are_as_the_spec_says"

    def _read(self) -> CameraObservation:
        sample = super()._read()
        return forge(sample, image=sample.image / 255.0)


class OneBufferCamera(PatternCamera):
    caught_by = "test_samples_are_read_only_and_do_not_change_after_the_fact"

    def _read(self) -> CameraObservation:
        self._image += 1
        return forge(super()._read(), image=self._image)


class CoveredCamera(PatternCamera):
    caught_by = "test_images_show_something"

    def _read(self) -> CameraObservation:
        sample = super()._read()
        return replace(sample, image=np.zeros_like(sample.image))


class MillimetreCamera(PatternCamera):
    caught_by = "test_depth_is_in_metres_or_none"

    def _read(self) -> CameraObservation:
        return replace(super()._read(), depth=np.full((4, 6), 700.0))


class SlowCamera(PatternCamera):
    caught_by = "test_fresh_images_come_at_half_the_promised_rate_at_least"

    def _read(self) -> CameraObservation:
        sample = super()._read()
        return replace(sample, stamp_s=np.floor(sample.stamp_s * 5) / 5)


# -- Switches -------------------------------------------------------------------------


class LevelSwitch(SimSwitch):
    """Counts what it sees when it is read."""

    caught_by = "test_no_press_is_lost_by_a_slow_reader"

    def _read(self) -> SwitchObservation:
        sample = super()._read()
        return replace(sample, counts={b: int(b in sample.pressed) for b in sample.counts})


class StealingSwitch(SimSwitch):
    """The first reader takes the presses away from the second."""

    caught_by = "test_no_press_is_lost_by_a_slow_reader"

    def _read(self) -> SwitchObservation:
        sample = super()._read()
        self._counts = dict.fromkeys(self._counts, 0)
        return sample


class RepeatingSwitch(SimSwitch):
    caught_by = "test_holding_a_button_is_one_press"

    def press(self, button: str) -> None:
        self._pressed -= {button}
        super().press(button)


class LendingSwitch(SimSwitch):
    caught_by = "test_samples_keep_their_counts"

    def _read(self) -> SwitchObservation:
        return forge(super()._read(), counts=self._counts)


class RememberingSwitch(SimSwitch):
    caught_by = "test_counting_starts_anew_when_reconnected"

    def _open(self, timeout_s: float) -> None:
        del timeout_s


class StuckSwitch(SimSwitch):
    caught_by = "test_a_button_is_pressed_until_it_is_released"

    def release(self, button: str) -> None:
        del button


class ForgetfulSwitch(SimSwitch):
    """Names a button only once it was pressed."""

    caught_by = "test_every_button_is_counted_from_zero"

    def _read(self) -> SwitchObservation:
        sample = super()._read()
        return replace(sample, counts={b: n for b, n in sample.counts.items() if n})


# -- The proof ------------------------------------------------------------------------

BUGS = [value for value in list(globals().values()) if hasattr(value, "caught_by")]


@pytest.mark.parametrize("driver", BUGS)
def test_a_planted_bug_is_caught_by_the_test_that_is_there_for_it(
    run_suite: RunSuite, driver: Any
) -> None:
    outcomes = run_suite(driver, "-k", driver.caught_by)
    assert outcomes.failed > 0
    assert outcomes.skipped == 0


class LeftGlove(SimGlove):
    def __init__(self, config: SimGloveConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(replace(config, side="left"), name=name, clock=clock)


@pytest.mark.parametrize("driver", [SimGlove, LeftGlove, SimTracker, PatternCamera, SimSwitch])
def test_a_healthy_driver_passes_everything(run_suite: RunSuite, driver: Any) -> None:
    outcomes = run_suite(driver)
    assert (outcomes.skipped, outcomes.failed) == (0, 0)
    assert outcomes.passed > 15
