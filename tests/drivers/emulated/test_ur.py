"""UrArm against an emulated controller, through the real ur_rtde."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dexhil.drivers.arm import ArmCommand
from dexhil.drivers.arm.ur import UrArm, UrConfig
from dexhil.drivers.arrays import Vector
from dexhil.drivers.device import State
from dexhil.drivers.emulators import EmulatorProcess, RemoteFaults
from dexhil.drivers.errors import ConnectError, FaultError
from dexhil.drivers.registry import AnyDevice
from dexhil.drivers.testing import ArmConformance, Emulated

PATIENCE_S = 10.0  # Machines that run tests are busy.


def wait_for(condition: Callable[[], object]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s, "it did not happen"
        time.sleep(0.01)


def until_fault(arm: UrArm) -> str:
    """Observe until the arm faults. Returns why it did."""
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        try:
            arm.observe()
        except FaultError as error:
            return str(error)
        time.sleep(0.01)
    pytest.fail("it did not fault")


def here(arm: UrArm) -> Vector:
    return arm.observe().joint_positions.copy()


def turned(arm: UrArm, by: float = 0.6) -> ArmCommand:
    """Return the command that turns the last joint by ``by`` [rad]."""
    return ArmCommand(joint_positions=here(arm) + np.array([0, 0, 0, 0, 0, by]))


class TestUr(Emulated, ArmConformance):
    emulator = "ur"


class UrTests(Emulated):
    emulator = "ur"

    @pytest.fixture
    def arm(self, connected: AnyDevice) -> UrArm:
        assert isinstance(connected, UrArm)
        return connected

    @pytest.fixture
    def enabled(self, arm: UrArm) -> UrArm:
        arm.enable()
        return arm


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
        wait_for(lambda: process.state()["n_commands"] > 10)
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
        wait_for(lambda: enabled.command(command) and abs(process.state()["velocities"][5]) > 1.0)
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
        wait_for(lambda: np.abs(here(arm) - process.state()["positions"]).max() < 1e-3)
        assert arm.observe().joint_efforts is None


class TestStops(UrTests):
    @pytest.mark.expects_fault
    def test_a_protective_stop_is_a_fault_that_says_how_to_mend_it(
        self, enabled: UrArm, process: EmulatorProcess
    ) -> None:
        process.tell("protective_stop")
        assert "protective stop: see why, free the arm, then recover()" in until_fault(enabled)
        assert not process.state()["enabled"]

    def test_recovering_waits_until_the_controller_lets_it_unlock(
        self, enabled: UrArm, process: EmulatorProcess
    ) -> None:
        process.tell("unlock_delay_s", 1.0)
        process.tell("protective_stop")
        until_fault(enabled)
        enabled.recover()
        assert process.state()["n_refused_unlocks"] > 0
        assert enabled.state is State.CONNECTED
        assert process.state()["safety"] == "NORMAL"
        enabled.enable()
        assert process.state()["n_programs"] == 2
        target = enabled.command(turned(enabled, 0.1)).joint_positions
        wait_for(
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
        assert "emergency stop: release the button" in until_fault(enabled)
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
        assert words in until_fault(enabled)

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
        wait_for(lambda: process.state()["runtime"] == "PLAYING")
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
        wait_for(lambda: not arm.health().ok)
        assert arm.health().reasons == ("its speed slider stands at 30%",)
        assert arm.state is State.CONNECTED


class TestLink(UrTests):
    @pytest.mark.expects_fault
    def test_a_silent_controller_stops_by_itself_and_nothing_waits_for_it(
        self, enabled: UrArm, process: EmulatorProcess, faults: RemoteFaults
    ) -> None:
        enabled.command(turned(enabled))
        faults.freeze()
        began_s = time.monotonic()
        enabled.disable()
        enabled.disconnect()
        assert time.monotonic() - began_s < PATIENCE_S
        wait_for(lambda: process.state()["n_watchdog_stops"] == 1)
        assert not process.state()["enabled"]

    @pytest.mark.expects_fault
    @pytest.mark.parametrize("verb", ["unplug", "freeze"])
    def test_nothing_starts_again_by_itself_when_the_link_is_back(
        self, enabled: UrArm, process: EmulatorProcess, verb: str
    ) -> None:
        process.tell(verb)
        until_fault(enabled)
        process.tell("clear")
        # ur_rtde itself would be connected, with its program running, within this time.
        time.sleep(1.0)
        assert process.state()["n_programs"] == 1
        assert not process.state()["enabled"]
        enabled.disconnect()
        wait_for(lambda: process.state()["n_clients"] == 0)

    def test_it_can_be_enabled_again_as_soon_as_the_cable_is_back(
        self, enabled: UrArm, process: EmulatorProcess, faults: RemoteFaults
    ) -> None:
        faults.unplug()
        until_fault(enabled)
        faults.clear()
        enabled.disconnect()
        enabled.connect()
        # Its own program may still run, until the robot's watchdog ends it.
        enabled.enable()
        assert process.state()["n_programs"] == 2
        enabled.disable()

    @pytest.mark.expects_fault
    def test_a_controller_that_never_answers_is_given_up_in_time_and_stalls_nobody(
        self, device: AnyDevice, faults: RemoteFaults
    ) -> None:
        faults.freeze()
        gaps: list[float] = []
        done = threading.Event()

        def tick() -> None:
            last_s = time.monotonic()
            while not done.wait(0.005):
                gaps.append(time.monotonic() - last_s)
                last_s = time.monotonic()

        ticking = threading.Thread(target=tick)
        ticking.start()
        try:
            with pytest.raises(ConnectError, match="Check power"):
                device.connect(timeout_s=1.5)
        finally:
            done.set()
            ticking.join()
        assert max(gaps) < 1.0, "the interpreter's lock was held"

    @pytest.mark.expects_fault
    def test_the_arm_stops_when_its_session_is_killed(
        self, enabled: UrArm, process: EmulatorProcess
    ) -> None:
        enabled.command(turned(enabled))
        assert enabled._process is not None
        os.kill(enabled._process.pid, signal.SIGKILL)
        assert "the link to the controller ended" in until_fault(enabled)
        wait_for(lambda: not process.state()["enabled"])
        assert process.state()["n_watchdog_stops"] == 1

    def test_the_arm_stops_when_the_whole_program_dies(
        self, device: AnyDevice, process: EmulatorProcess
    ) -> None:
        del device  # The emulator was reset for it.
        script = (
            "import os\n"
            "from dexhil.drivers.arm.ur import UrArm, UrConfig\n"
            f"arm = UrArm(UrConfig(host={process.options['host']!r}), name='doomed')\n"
            "arm.connect()\n"
            "arm.enable()\n"
            "os.kill(os.getpid(), 9)\n"
        )
        died = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
        assert died.returncode == -signal.SIGKILL
        assert process.state()["n_programs"] == 1
        wait_for(lambda: not process.state()["enabled"] and process.state()["n_clients"] == 0)
        assert process.state()["commands"][-2:] == [16, 255], "its session ended it in order"

    @pytest.mark.expects_fault
    def test_a_clock_that_goes_back_is_not_trusted(self, arm: UrArm, faults: RemoteFaults) -> None:
        faults.rewind(5.0)
        assert "the controller's clock went back by" in until_fault(arm)

    @pytest.mark.expects_fault
    @pytest.mark.parametrize(("verb", "words"), [("repeat", "no fresh"), ("nan", "not finite")])
    def test_an_arm_that_does_not_know_where_it_is_holds_and_faults(
        self, enabled: UrArm, process: EmulatorProcess, verb: str, words: str
    ) -> None:
        command = turned(enabled, 2.0)
        enabled.command(command)
        process.tell(verb)
        began = process.state()["positions"][5]
        assert words in until_fault(enabled)
        # Held after 0.1 s; the rest is what this machine needs on a bad day.
        assert abs(process.state()["positions"][5] - began) < 1.0

    @pytest.mark.parametrize(
        ("verb", "amount"), [("delay", 0.03), ("duplicate", 0.5), ("duplicate", 1.0)]
    )
    def test_late_and_double_packages_change_nothing(
        self, device: AnyDevice, process: EmulatorProcess, verb: str, amount: float
    ) -> None:
        assert isinstance(device, UrArm)
        if verb == "delay":
            process.tell(verb, amount)
        device.connect()
        device.enable()
        # Doubled answers would not be TCP; doubled data packages are a sender's doing.
        process.tell(verb, amount)
        target = turned(device, 0.2)
        wait_for(
            lambda: (
                device.command(target)
                and np.abs(here(device) - target.joint_positions).max() < 0.01
            )
        )
        assert device.health().ok

    @pytest.mark.expects_fault
    @pytest.mark.parametrize("verb", ["corrupt", "partial", "drop"])
    def test_damage_that_tcp_does_not_let_through_is_a_fault_at_worst(
        self, enabled: UrArm, process: EmulatorProcess, verb: str
    ) -> None:
        low, high = enabled.spec.position_limits.T
        process.tell(verb, 0.05)
        give_up_s = time.monotonic() + 2.0
        while time.monotonic() < give_up_s:
            try:
                positions = enabled.command(ArmCommand(joint_positions=here(enabled)))
            except FaultError:
                break
            assert (positions.joint_positions >= low).all()
            assert (positions.joint_positions <= high).all()
            time.sleep(0.01)
        process.tell("clear")
        enabled.disconnect()
        wait_for(lambda: not process.state()["enabled"])
        enabled.connect()
        assert np.abs(here(enabled) - process.state()["positions"]).max() < 0.01


class TestOracle(UrTests):
    """The emulator against ur_rtde alone: it shares code with neither."""

    @pytest.fixture
    def host(self, device: AnyDevice, process: EmulatorProcess) -> str:
        del device  # The emulator was reset for it.
        return str(process.options["host"])

    def test_the_real_client_moves_servos_stops_and_recovers(
        self, host: str, process: EmulatorProcess
    ) -> None:
        # In a process of its own: ur_rtde's constructors hold the interpreter's lock.
        done = subprocess.run(
            [sys.executable, "-c", ORACLE, host],
            check=False,
            timeout=90,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert process.state()["n_watchdog_stops"] == 1
        assert process.state()["n_programs"] == 3


ORACLE = """
import sys, time
import dashboard_client, rtde_control, rtde_receive

host = sys.argv[1]
receive = rtde_receive.RTDEReceiveInterface(host)
control = rtde_control.RTDEControlInterface(host)
assert control.isProgramRunning()


def settled(value, wanted, tolerance):
    # A package may still be under way when a move says that it is done.
    for _ in range(500):
        if max(abs(a - b) for a, b in zip(value(), wanted)) < tolerance:
            return True
        time.sleep(0.01)
    return False


home = receive.getActualQ()
joints = [*home[:5], home[5] + 0.3]
assert control.moveJ(joints, 1.0, 1.0)
assert settled(receive.getActualQ, joints, 1e-3)

pose = receive.getActualTCPPose()
pose[2] += 0.05
assert control.moveL(pose, 0.2, 0.5)
assert settled(receive.getActualTCPPose, pose, 1e-3)

for _ in range(100):
    start = control.initPeriod()
    pose[1] += 0.0002
    assert control.servoL(pose, 0.5, 0.5, 0.002, 0.05, 300)
    control.waitPeriod(start)
assert settled(receive.getActualTCPPose, pose, 1e-3)
assert control.servoStop()

height = receive.getActualTCPPose()[2]
assert control.speedL([0, 0, 0.05, 0, 0, 0], 0.5, 0.0)
time.sleep(0.3)
assert receive.getActualTCPPose()[2] > height + 0.005
assert control.speedJ([0, 0, 0, 0, 0, 0.5], 0.5, 0.0)
assert settled(receive.getActualQd, [0, 0, 0, 0, 0, 0.5], 1e-3)
assert control.speedStop()
assert settled(receive.getActualQd, [0] * 6, 1e-3)
assert control.servoJ(home, 0.5, 0.5, 0.002, 0.1, 300)
assert settled(receive.getActualQ, home, 1e-3)
assert control.servoStop()

assert control.setWatchdog(2.0)
for _ in range(20):
    assert control.kickWatchdog()
    time.sleep(0.05)
assert control.isProgramRunning()
time.sleep(1.5)
assert not control.isProgramRunning()
assert not control.servoJ(home, 0.5, 0.5, 0.002, 0.1, 300)
assert control.reuploadScript()
time.sleep(0.5)
assert control.isProgramRunning()

control.triggerProtectiveStop()
time.sleep(0.1)
assert receive.isProtectiveStopped() and not receive.isEmergencyStopped()
dashboard = dashboard_client.DashboardClient(host)
dashboard.connect()
assert "PROTECTIVE_STOP" in dashboard.safetystatus()
time.sleep(1.0)
dashboard.unlockProtectiveStop()
assert control.reuploadScript()
time.sleep(0.5)
assert control.moveJ(home, 1.0, 1.0)
control.stopScript()
assert not control.isProgramRunning()
control.disconnect()
receive.disconnect()
"""


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
