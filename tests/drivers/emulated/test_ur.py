"""UrArm against an emulated controller, through the real ur_rtde."""

import time
from typing import Any

import numpy as np
import pytest

from dexhil.drivers.arm import ArmCommand
from dexhil.drivers.arm.ur import UrArm, UrConfig
from dexhil.drivers.device import State
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.errors import ConnectError, FaultError
from dexhil.drivers.registry import AnyDevice
from dexhil.drivers.testing import ArmConformance, Emulated
from tests.drivers.emulated.helpers import until, until_fault
from tests.drivers.emulated.ur_suite import UrTests, here, turned


class TestUr(Emulated, ArmConformance):
    emulator = "ur"


class TestMotion(UrTests):
    def test_connecting_starts_no_program_and_disabling_ends_it(
        self, arm: UrArm, process: EmulatorProcess
    ) -> None:
        assert process.state()["n_programs"] == 0
        for count in (1, 2, 3):
            arm.enable()
            assert process.state()["enabled"]
            arm.disable()
            assert not process.state()["enabled"]
            assert process.state()["n_programs"] == count
        assert process.state()["commands"][-2:] == [16, 255], "servoStop, then the program's end"

    def test_commands_beyond_the_limits_never_reach_the_robot(
        self, enabled: UrArm, process: EmulatorProcess
    ) -> None:
        for sign in (-1, 1):
            for _ in range(5):
                enabled.command(ArmCommand(joint_positions=np.full(6, sign * 100.0)))
                time.sleep(0.02)
        until(lambda: process.state()["n_commands"] > 10)
        assert process.state()["out_of_range"] == 0

    def test_targets_at_30_hz_become_motion_without_steps(
        self, enabled: UrArm, process: EmulatorProcess
    ) -> None:
        start, speed, rate_hz = here(enabled), 0.6, 30.0
        process.tell("forget_steps")
        begin_s = time.monotonic()
        for tick in range(30):
            target = start.copy()
            target[5] += speed * tick / rate_hz
            enabled.command(ArmCommand(joint_positions=target))
            time.sleep(max(0.0, begin_s + (tick + 1) / rate_hz - time.monotonic()))
        steps = np.array(process.state()["steps"])
        assert len(steps) > 3 * 30
        # Each is a small part of the 0.02 rad between two targets, and none is idle.
        evenly = speed / 250
        assert 0.5 * evenly < np.median(steps) < 2 * evenly
        assert np.quantile(steps, 0.9) < 3 * evenly

    def test_disabling_in_full_motion_stops_the_arm(
        self, enabled: UrArm, process: EmulatorProcess
    ) -> None:
        command = turned(enabled, 2.0)
        until(lambda: enabled.command(command) and abs(process.state()["velocities"][5]) > 1.0)
        enabled.disable()
        first = process.state()
        time.sleep(0.1)
        assert not first["enabled"]
        assert process.state()["positions"] == first["positions"]

    def test_the_speed_fraction_limits_the_joints(self, process: EmulatorProcess) -> None:
        process.tell("reset")
        slow = UrArm(UrConfig(**process.options, speed=0.1), name="slow")
        with slow:
            slow.enable()
            command = turned(slow, 1.0)
            for _ in range(20):
                slow.command(command)
                time.sleep(0.02)
                assert abs(process.state()["velocities"][5]) < 2 * 0.1 * np.pi
            assert process.state()["velocities"][5] > 0.2 * 0.1 * np.pi, "it did not move"

    def test_it_passes_on_what_the_controller_measures(
        self, arm: UrArm, process: EmulatorProcess
    ) -> None:
        process.tell("joints", 0.1, -1.2, 1.3, -0.4, 0.5, -0.6)
        until(lambda: np.abs(here(arm) - process.state()["positions"]).max() < 1e-3)
        assert arm.observe().joint_efforts is None


class TestStops(UrTests):
    @pytest.mark.expects_fault
    def test_a_protective_stop_is_a_fault_that_says_how_to_mend_it(
        self, enabled: UrArm, process: EmulatorProcess
    ) -> None:
        process.tell("protective_stop")
        assert "protective stop: see why, free the arm, then recover()" in until_fault(
            enabled.observe
        )
        assert not process.state()["enabled"]

    def test_recovering_waits_until_the_controller_lets_it_unlock(
        self, enabled: UrArm, process: EmulatorProcess
    ) -> None:
        process.tell("unlock_delay_s", 1.0)
        process.tell("protective_stop")
        until_fault(enabled.observe)
        enabled.recover()
        assert process.state()["n_refused_unlocks"] > 0
        assert enabled.state is State.CONNECTED
        assert process.state()["safety"] == "NORMAL"
        enabled.enable()
        assert process.state()["n_programs"] == 2
        target = enabled.command(turned(enabled, 0.1)).joint_positions
        until(
            lambda: (
                enabled.command(ArmCommand(joint_positions=target))
                and np.abs(here(enabled) - target).max() < 0.01
            )
        )

    @pytest.mark.expects_fault
    @pytest.mark.parametrize(
        ("verb", "words"),
        [
            ("protective_stop", "protective stop"),
            ("emergency_stop", "release the button"),
            ("safeguard_stop", "leave the guarded area"),
            ("safety_fault", "restart the controller's safety system"),
        ],
    )
    def test_an_arm_in_a_safety_stop_does_not_connect(
        self, device: AnyDevice, process: EmulatorProcess, verb: str, words: str
    ) -> None:
        process.tell(verb)
        with pytest.raises(ConnectError, match=words):
            device.connect()
        assert device.state is State.DISCONNECTED

    @pytest.mark.expects_fault
    def test_only_a_person_ends_an_emergency_stop(
        self, enabled: UrArm, process: EmulatorProcess
    ) -> None:
        process.tell("emergency_stop")
        assert "emergency stop: release the button" in until_fault(enabled.observe)
        with pytest.raises(ConnectError, match="release the button"):
            enabled.recover()
        assert process.state()["safety"] == "ROBOT_EMERGENCY_STOP"
        process.tell("release")
        enabled.connect()
        with pytest.raises(FaultError, match="power it on and release its brakes"):
            enabled.enable()

    @pytest.mark.expects_fault
    @pytest.mark.parametrize(
        ("verb", "words"),
        [("stop", "its control program ended"), ("power_off", "the arm lost its power")],
    )
    def test_what_somebody_does_at_the_pendant_is_a_fault(
        self, enabled: UrArm, process: EmulatorProcess, verb: str, words: str
    ) -> None:
        process.tell(verb)
        assert words in until_fault(enabled.observe)

    @pytest.mark.expects_fault
    def test_an_arm_of_another_size_is_not_enabled(
        self, arm: UrArm, process: EmulatorProcess
    ) -> None:
        process.tell("model", "UR10")
        with pytest.raises(FaultError, match="it moves a UR10, not a UR5e"):
            arm.enable()

    @pytest.mark.expects_fault
    def test_somebody_elses_program_is_not_stopped(
        self, arm: UrArm, process: EmulatorProcess
    ) -> None:
        process.tell("play")
        until(lambda: process.state()["runtime"] == "PLAYING")
        time.sleep(0.1)
        with pytest.raises(FaultError, match="another program runs on the controller"):
            arm.enable()
        arm.disconnect()
        assert process.state()["runtime"] == "PLAYING"

    @pytest.mark.expects_fault
    @pytest.mark.parametrize(
        ("verb", "words"), [("local", "remote control"), ("fieldbus", "already in use")]
    )
    def test_a_controller_that_takes_no_orders_is_not_enabled(
        self, arm: UrArm, process: EmulatorProcess, verb: str, words: str
    ) -> None:
        process.tell(verb)
        with pytest.raises(FaultError, match=words):
            arm.enable()
        assert process.state()["n_programs"] == 0

    @pytest.mark.expects_fault
    def test_a_speed_slider_below_full_is_told(self, arm: UrArm, process: EmulatorProcess) -> None:
        process.tell("speed_slider", 0.3)
        until(lambda: not arm.health().ok)
        assert arm.health().reasons == ("its speed slider stands at 30%",)
        assert arm.state is State.CONNECTED


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("rate_hz", 0.0),
        ("rate_hz", 501.0),
        ("lookahead_s", 0.01),
        ("gain", 50.0),
        ("robot_watchdog_hz", 100.0),
        ("speed", 0.0),
        ("speed", 1.5),
        ("ramp_s", float("nan")),
        ("watchdog_s", -1.0),
    ],
)
def test_values_that_the_controller_refuses_are_refused_at_once(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option} is"):
        UrConfig(host="192.0.2.1", **{option: value})


def test_nobody_at_the_address_is_told_in_time() -> None:
    arm = UrArm(UrConfig(host="127.0.0.254"), name="nobody")
    with pytest.raises(ConnectError, match=r"127\.0\.0\.254"):
        arm.connect(timeout_s=5.0)
