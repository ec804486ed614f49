"""The suite for joints is itself tested: each planted bug must be caught."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import pytest

from dexhil.drivers.hand import HandCommand, HandObservation, HandSpec
from dexhil.drivers.testing.example import ExampleHand

SampleT = TypeVar("SampleT")
RunSuite = Any  # See conftest.py.
pytest_plugins = ["pytester"]


def forge(sample: SampleT, **values: object) -> SampleT:
    """Change a sample behind the back of its constructor, which would have mended it."""
    for name, value in values.items():
        object.__setattr__(sample, name, value)
    return sample


# -- Life ---------------------------------------------------------------------


class LearnsItsSideWhenConnected(ExampleHand):
    caught_by = "test_spec_is_known_before_connecting_and_never_changes"

    def _open(self, timeout_s: float) -> None:
        super()._open(timeout_s)
        self._spec = replace(self._spec, side="left")


class ThreadIsNotStartedAgain(ExampleHand):
    caught_by = "test_reconnecting_works_and_gives_fresh_samples"
    closed: HandObservation | None = None

    def _close(self) -> None:
        self.closed = self._read()

    def _read(self) -> HandObservation:
        return self.closed or super()._read()


class ThreadIsNotJoined(ExampleHand):
    caught_by = "test_reconnecting_leaves_no_thread_behind"
    ended: ClassVar[threading.Event] = threading.Event()

    def _open(self, timeout_s: float) -> None:
        super()._open(timeout_s)
        threading.Thread(target=self.ended.wait, daemon=True).start()


class KeepsThePortAfterFailing(ExampleHand):
    caught_by = "test_an_unplugged_device_does_not_connect_and_stays_closed"
    opened = complete = False

    def _open(self, timeout_s: float) -> None:
        if self.opened:
            raise RuntimeError("port is busy")
        self.opened, self.complete = True, False
        super()._open(timeout_s)
        self.complete = True

    def _close(self) -> None:
        self.opened = self.opened and not self.complete


class AlwaysComplains(ExampleHand):
    caught_by = "test_health_can_be_asked_in_any_state"

    def _warnings(self) -> tuple[str, ...]:
        return ("something",)


# -- Samples --------------------------------------------------------------------


class StampsWithWallTime(ExampleHand):
    caught_by = "test_stamps_grow_and_are_never_in_the_future"

    def _read(self) -> HandObservation:
        sample = super()._read()
        return replace(sample, stamp_s=sample.stamp_s + 1.7e9)


class StampsOnlyOnce(ExampleHand):
    caught_by = "test_stamps_grow_and_are_never_in_the_future"
    first_s: float | None = None

    def _read(self) -> HandObservation:
        sample = super()._read()
        self.first_s = self.first_s or sample.stamp_s
        return replace(sample, stamp_s=self.first_s)


class StampsWithItsOwnClock(ExampleHand):
    caught_by = "test_a_live_device_is_fresh"

    def _read(self) -> HandObservation:
        sample = super()._read()
        return replace(sample, stamp_s=sample.stamp_s - 1000.0)


class WaitsForTheNextSample(ExampleHand):
    caught_by = "test_observing_does_not_wait"

    def _read(self) -> HandObservation:
        self.clock.sleep(0.02)
        return super()._read()


class LendsItsBuffer(ExampleHand):
    caught_by = "test_samples_are_read_only_and_do_not_change_after_the_fact"

    def _read(self) -> HandObservation:
        sample = super()._read()
        return forge(sample, joint_positions=self._positions)


class MeasuresInSinglePrecision(ExampleHand):
    caught_by = "test_arrays_have_the_promised_shape_and_dtype"

    def _read(self) -> HandObservation:
        sample = super()._read()
        return forge(sample, joint_positions=sample.joint_positions.astype(np.float32))


class MeasuresOneEffort(ExampleHand):
    caught_by = "test_arrays_have_the_promised_shape_and_dtype"

    def _read(self) -> HandObservation:
        return replace(super()._read(), joint_efforts=np.zeros(1))


class FeelsWithFiveFingers(ExampleHand):
    caught_by = "test_fingertip_forces_are_one_vector_per_finger_or_none"

    def _read(self) -> HandObservation:
        return replace(super()._read(), fingertip_forces=np.zeros((5, 3)))


class HidesThatItHangs(ExampleHand):
    caught_by = "test_a_frozen_device_goes_stale"

    def _read(self) -> HandObservation:
        return replace(super()._read(), stamp_s=self.clock.now_s())


class SwallowsReadErrors(ExampleHand):
    caught_by = "test_pulling_the_cable_is_a_fault_at_the_next_read"
    last: HandObservation | None = None

    def _read(self) -> HandObservation:
        try:
            self.last = super()._read()
        except ConnectionError:
            if self.last is None:
                raise
        return self.last


# -- Spec -------------------------------------------------------------------------


class _Respecified(ExampleHand):
    @property
    def spec(self) -> HandSpec:
        return self.respecify(self._spec)

    def respecify(self, spec: HandSpec) -> HandSpec:
        raise NotImplementedError


class NamesItsJointsBackwards(_Respecified):
    caught_by = "test_the_spec_agrees_with_its_kinematics"

    def respecify(self, spec: HandSpec) -> HandSpec:
        return replace(spec, joint_names=spec.joint_names[::-1])


class SwapsItsLimits(_Respecified):
    caught_by = "test_the_spec_agrees_with_its_kinematics"

    def respecify(self, spec: HandSpec) -> HandSpec:
        return replace(spec, position_limits=spec.position_limits[:, ::-1])


class HasNoSide(_Respecified):
    caught_by = "test_the_side_is_known_before_connecting"

    def respecify(self, spec: HandSpec) -> HandSpec:
        return replace(spec, side="")  # type: ignore[arg-type]


class MeasuresInDegrees(ExampleHand):
    caught_by = "test_it_is_within_its_limits"

    def _read(self) -> HandObservation:
        sample = super()._read()
        return replace(sample, joint_positions=np.degrees(sample.joint_positions + 0.1))


# -- Motion -----------------------------------------------------------------------


class HomesWhenConnected(ExampleHand):
    caught_by = "test_connecting_does_not_move"

    def _open(self, timeout_s: float) -> None:
        super()._open(timeout_s)
        self._target, self._commanded_s = np.full(3, 0.5), self.clock.now_s()


class HomesWhenEnabled(ExampleHand):
    caught_by = "test_enabling_does_not_move"

    def _enable(self) -> None:
        super()._enable()
        self._target, self._commanded_s = np.full(3, 0.5), self.clock.now_s()


class ResumesTheOldTarget(ExampleHand):
    caught_by = "test_enabling_again_does_not_resume_the_old_target"
    kept: Any = None

    def _disable(self) -> None:
        self.kept = self._target
        super()._disable()

    def _enable(self) -> None:
        super()._enable()
        if self.kept is not None:
            self._target, self._commanded_s = self.kept, self.clock.now_s()


class HasNoWatchdog(ExampleHand):
    caught_by = "test_it_holds_when_commands_stop"

    def _walk(self) -> None:
        self._commanded_s = self.clock.now_s()
        super()._walk()


class WatchdogRunsInTheHost(ExampleHand):
    caught_by = "test_without_its_cable_it_stops_within_twice_the_watchdog"

    def _walk(self) -> None:
        if self.clock.now_s() - self._updated_s > self._spec.watchdog_s:
            self._commanded_s = self.clock.now_s()
        super()._walk()


class ForgetsToDisable(ExampleHand):
    caught_by = "test_disabling_stops_it_at_once"

    def _disable(self) -> None:
        pass


class FlushesItsQueueWhenClosed(ExampleHand):
    caught_by = "test_disconnecting_while_enabled_makes_it_safe"
    sent: Any = None

    def _write(self, command: HandCommand) -> None:
        super()._write(command)
        self.sent = command

    def _close(self) -> None:
        if self.sent is not None:
            super()._write(self.sent)


class SwapsTwoJoints(ExampleHand):
    caught_by = "test_each_joint_goes_where_it_is_told_and_no_other_does"

    def _write(self, command: HandCommand) -> None:
        super()._write(HandCommand(joint_positions=command.joint_positions[[1, 0, 2]]))


class TurnsBackwards(ExampleHand):
    caught_by = "test_each_joint_goes_where_it_is_told_and_no_other_does"

    def _write(self, command: HandCommand) -> None:
        super()._write(HandCommand(joint_positions=-command.joint_positions))


class DoesNotMove(ExampleHand):
    caught_by = "test_each_joint_goes_where_it_is_told_and_no_other_does"

    def _write(self, command: HandCommand) -> None:
        pass


class MeasuresVelocityInDegrees(ExampleHand):
    caught_by = "test_velocity_is_the_rate_of_position_and_below_its_limit"

    def _read(self) -> HandObservation:
        sample = super()._read()
        return replace(sample, joint_velocities=np.degrees(sample.joint_velocities))


class IsFasterThanItSays(_Respecified):
    caught_by = "test_velocity_is_the_rate_of_position_and_below_its_limit"

    def respecify(self, spec: HandSpec) -> HandSpec:
        return replace(spec, velocity_limits=spec.velocity_limits / 4)


class SwallowsWriteErrors(ExampleHand):
    caught_by = "test_pulling_the_cable_is_a_fault_at_the_next_command"

    def _write(self, command: HandCommand) -> None:
        try:
            super()._write(command)
        except ConnectionError:
            return


# -- Commands -----------------------------------------------------------------------

Limit = Callable[[ExampleHand, HandCommand], HandCommand]


def limiting(name: str, caught_by: str, limit: Limit) -> type[ExampleHand]:
    """A hand whose own limits are wrong. No subclass may replace them; a bug in them may be."""
    hand = type(name, (ExampleHand,), {"caught_by": caught_by})
    hand._limit = limit  # type: ignore[attr-defined]
    return hand


def raising(hand: ExampleHand, command: HandCommand) -> HandCommand:
    limited = ExampleHand._limit(hand, command)
    if (limited.joint_positions != command.joint_positions).any():
        raise ValueError("out of range")
    return limited


def changed(change: Callable[[Any], Any]) -> Limit:
    return lambda hand, command: ExampleHand._limit(
        hand, HandCommand(joint_positions=change(command.joint_positions))
    )


ReturnsWhatItWasAsked = limiting(
    "ReturnsWhatItWasAsked",
    "test_the_limited_command_is_returned",
    lambda hand, command: (ExampleHand._limit(hand, command), command)[1],
)
RaisesInsteadOfClamping = limiting(
    "RaisesInsteadOfClamping", "test_the_limited_command_is_returned", raising
)
ClampsNaN = limiting(
    "ClampsNaN", "test_non_finite_targets_are_refused_by_name", changed(np.nan_to_num)
)
PadsShortCommands = limiting(
    "PadsShortCommands",
    "test_wrong_shapes_are_refused",
    changed(lambda target: np.resize(target, 3)),
)


# -- The proof ------------------------------------------------------------------------

BUGS = [value for value in list(globals().values()) if hasattr(value, "caught_by")]


@pytest.mark.parametrize("driver", BUGS)
def test_a_planted_bug_is_caught_by_the_test_that_is_there_for_it(
    run_suite: RunSuite, driver: Any
) -> None:
    outcomes = run_suite(driver, "-k", driver.caught_by)
    assert outcomes.failed > 0
    assert outcomes.skipped == 0


@pytest.fixture(autouse=True)
def _forgotten_threads_end() -> Iterator[None]:
    ThreadIsNotJoined.ended.clear()
    yield
    ThreadIsNotJoined.ended.set()


def test_a_healthy_hand_passes_everything(run_suite: RunSuite) -> None:
    outcomes = run_suite(ExampleHand)
    assert (outcomes.skipped, outcomes.failed) == (0, 0)
    assert outcomes.passed > 30
