"""The xArm7: the real driver over the maker's SDK against an emulator on two sockets."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from xarm.core.config.x_config import XCONF
from xarm.x3 import XArm as SdkArm

from dexhil.drivers.arm import ArmCommand
from dexhil.drivers.arm.xarm import XArm, XArmConfig
from dexhil.drivers.device import State
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.errors import ConfigError, ConnectError, FaultError
from dexhil.drivers.testing import ArmConformance, Emulated
from dexhil.drivers.wire.replay import ReplayWire
from dexhil.drivers.wire.xarm import ReportStream
from tests.drivers.emulated.helpers import until, until_fault

EMULATOR = "xarm"
STOPPED, CHANGED, SERVO = 4, 5, 1

Make = Callable[..., XArm]


class TestXArm(Emulated, ArmConformance):
    emulator = EMULATOR


@pytest.fixture
def arm(make: Make) -> XArm:
    arm = make()
    arm.connect()
    return arm


def stream(arm: XArm, target: np.ndarray, duration_s: float) -> None:
    """Command ``target`` at 30 Hz."""
    for _ in range(round(30 * duration_s)):
        arm.command(ArmCommand(joint_positions=target))
        time.sleep(1 / 30)


def fault_of(arm: XArm) -> str:
    """Use the arm until it faults, and return why."""

    def use() -> None:
        here = arm.observe().joint_positions
        if arm.state is State.ENABLED:
            arm.command(ArmCommand(joint_positions=here))

    return until_fault(use)


# -- Switching on and off ------------------------------------------------------------


def test_connecting_leaves_the_brakes_closed_and_the_controller_as_it_was(
    arm: XArm, emulator: EmulatorProcess
) -> None:
    arm.observe()
    state = emulator.state()
    assert (state["braked"], state["state"], state["mode"]) == (True, STOPPED, 0)


def test_enabling_opens_the_brakes_in_servo_mode(arm: XArm, emulator: EmulatorProcess) -> None:
    arm.enable()
    state = emulator.state()
    assert (state["enabled"], state["mode"]) == (True, SERVO)


def test_disabling_stops_the_controller_which_holds_and_obeys_no_more(
    arm: XArm, emulator: EmulatorProcess
) -> None:
    arm.enable()
    until(lambda: emulator.state()["n_commands"] > 0)
    arm.disable()
    state = emulator.state()
    assert (state["state"], state["braked"], state["enabled"]) == (STOPPED, False, False)
    before = state["n_commands"] + state["n_ignored"]
    time.sleep(0.1)
    state = emulator.state()
    assert state["n_commands"] + state["n_ignored"] == before


def test_nothing_is_left_of_the_sdk(
    make: Make, emulator: EmulatorProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    config = XCONF.SocketConf
    with make() as arm:
        arm.enable()
        assert emulator.state()["clients"] == 2
    until(lambda: emulator.state()["clients"] == 0)
    assert config.TCP_CONTROL_PORT == 502
    assert socket.getdefaulttimeout() is None
    assert capfd.readouterr() == ("", "")


def test_two_arms_at_different_ports_move_apart(
    arm: XArm, make: Make, emulator: EmulatorProcess
) -> None:
    with EmulatorProcess("xarm", seed=1) as second, make(process=second) as other:
        arm.enable()
        other.enable()
        target = arm.observe().joint_positions.copy()
        start = target.copy()
        target[6] += 0.3
        stream(arm, target, 0.8)
        assert emulator.state()["positions"][6] == pytest.approx(target[6], abs=0.01)
        assert second.state()["positions"][6] == pytest.approx(start[6], abs=0.01)


def test_arms_opened_at_the_same_time_keep_to_their_ports(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = SdkArm.connect

    def hesitate(client: Any) -> None:
        time.sleep(0.2)  # Long enough for the other to choose its port.
        connect(client)

    monkeypatch.setattr(SdkArm, "connect", hesitate)
    with EmulatorProcess("xarm") as second, ThreadPoolExecutor() as pool:
        second.tell("model", 6, 6)
        right, wrong = pool.submit(make().connect), pool.submit(make(process=second).connect)
        assert right.exception() is None
        assert isinstance(wrong.exception(), ConfigError)


def test_the_sdk_prints_nothing_even_where_it_was_imported_before(
    emulator: EmulatorProcess,
) -> None:
    program = (
        "import xarm; print('---', flush=True)\n"
        "from dexhil.drivers.arm.xarm import XArm, XArmConfig\n"
        f"with XArm(XArmConfig(**{emulator.options}), name='arm') as arm: arm.enable()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True
    )
    assert run.stdout.split("---")[1].strip() == ""
    assert run.stderr == ""


# -- Streaming -----------------------------------------------------------------------


def test_set_points_flow_between_commands(arm: XArm, emulator: EmulatorProcess) -> None:
    arm.enable()
    before = emulator.state()["n_commands"]
    time.sleep(1.0)
    # One for each report: a hundred, or what a busy machine leaves of them.
    assert 20 <= emulator.state()["n_commands"] - before <= 130


def test_no_set_point_leaves_the_limits_or_asks_for_too_much_speed(
    make: Make, emulator: EmulatorProcess
) -> None:
    with make(speed=1.0) as arm:
        arm.enable()
        target = arm.observe().joint_positions.copy()
        target[3] = -9.0
        target[5] = -9.0
        stream(arm, target, 1.2)
        state = emulator.state()
        assert (state["out_of_range"], state["error"]) == (0, 0)
        lowest = arm.spec.position_limits[:, 0]
        np.testing.assert_allclose(np.array(state["positions"])[[3, 5]], lowest[[3, 5]], atol=0.01)


def test_a_program_that_dies_leaves_the_arm_about_where_it_was(emulator: EmulatorProcess) -> None:
    program = (
        "import time\n"
        "from dexhil.drivers.arm import ArmCommand\n"
        "from dexhil.drivers.arm.xarm import XArm, XArmConfig\n"
        f"arm = XArm(XArmConfig(**{emulator.options}, speed=1.0), name='arm')\n"
        "arm.connect(); arm.enable(); goal = arm.observe().joint_positions.copy(); goal[6] += 6\n"
        "while True: arm.command(ArmCommand(joint_positions=goal)); time.sleep(0.02)\n"
    )
    start = emulator.state()["positions"][6]
    with subprocess.Popen([sys.executable, "-c", program]) as run:
        until(lambda: emulator.state()["positions"][6] > start + 0.5, timeout_s=60.0)
        run.kill()
    reached = emulator.state()["positions"][6]
    time.sleep(0.5)
    held = emulator.state()["positions"][6]
    # At full speed it is about a tenth of a radian behind its set point.
    assert held < reached + 0.3
    assert held < start + 4.0, "it arrived instead of holding"


def test_efforts_are_torques_or_nothing(arm: XArm, emulator: EmulatorProcess) -> None:
    efforts = arm.observe().joint_efforts
    assert efforts is not None
    assert 1.0 < np.abs(efforts).max() < 50.0
    arm.disconnect()
    emulator.tell("report_currents")
    arm.connect()
    assert arm.observe().joint_efforts is None


def test_reports_can_be_captured_and_read_again(
    make: Make, tmp_path: Path, emulator: EmulatorProcess
) -> None:
    path = tmp_path / "reports.jsonl"
    with make(capture=path) as arm:
        time.sleep(0.3)
        arm.observe()
    wire, reports = ReplayWire(path, paced=False), ReportStream()
    wire.open()
    found = [report for _ in range(10) for report in reports.feed(wire.receive(0.0))]
    wire.close()
    np.testing.assert_allclose(found[0].positions, emulator.state()["positions"], atol=1e-3)


# -- Trouble -------------------------------------------------------------------------


def test_an_error_is_a_fault_in_the_makers_words_and_is_cleared_on_request(
    arm: XArm, emulator: EmulatorProcess
) -> None:
    arm.enable()
    emulator.tell("error", 31)
    text = fault_of(arm)
    assert "controller error 31: Collision Caused Abnormal Current. Please check" in text
    arm.recover()
    assert arm.state is State.CONNECTED
    assert arm.health().ok
    assert not emulator.state()["enabled"]
    arm.enable()
    assert emulator.state()["enabled"]


def test_an_error_faults_even_a_watching_driver(arm: XArm, emulator: EmulatorProcess) -> None:
    emulator.tell("error", 22)
    assert "controller error 22: Self-Collision" in fault_of(arm)


def test_the_red_button_must_be_released_before_recovering(
    arm: XArm, emulator: EmulatorProcess
) -> None:
    arm.enable()
    emulator.tell("press")
    assert "Emergency Stop Button" in fault_of(arm)
    with pytest.raises(ConnectError, match=r"controller error 1: The Emergency Stop .*pushed in"):
        arm.recover()
    assert arm.state is State.DISCONNECTED
    emulator.tell("release")
    arm.recover()
    assert arm.health().ok


def test_an_arm_in_error_is_not_connected_until_a_person_clears_it(
    make: Make, emulator: EmulatorProcess
) -> None:
    emulator.tell("error", 19)
    arm = make()
    with pytest.raises(ConnectError, match="controller error 19: End Effector Communication"):
        arm.connect()
    assert emulator.state()["error"] == 19
    arm.recover()
    assert arm.state is State.CONNECTED


def test_an_arm_in_error_is_not_enabled(arm: XArm, emulator: EmulatorProcess) -> None:
    emulator.tell("error", 11)
    with pytest.raises(FaultError, match="controller error 11: Servo motor 1 error"):
        arm.enable()
    assert emulator.state()["braked"]


@pytest.mark.parametrize(
    ("order", "text"),
    [
        (("pause",), "paused it"),
        (("stop",), "stopped it"),
        (("mode", 2), "switched it to mode 2"),
    ],
)
def test_whoever_takes_the_arm_away_is_noticed(
    arm: XArm, emulator: EmulatorProcess, order: tuple[Any, ...], text: str
) -> None:
    arm.enable()
    emulator.tell(*order)
    assert text in fault_of(arm)
    until(lambda: emulator.state()["state"] in (STOPPED, CHANGED))  # By its thread, just after.


def test_a_warning_is_told_and_stops_nothing(arm: XArm, emulator: EmulatorProcess) -> None:
    emulator.tell("warning", 12)
    until(lambda: not arm.health().ok)
    assert arm.health().reasons == ("controller warning 12: User instruction parameter error",)
    arm.enable()
    start = arm.observe().joint_positions.copy()
    start[6] += 0.1
    stream(arm, start, 0.5)
    assert emulator.state()["positions"][6] == pytest.approx(start[6], abs=0.02)


def test_a_controller_that_is_deaf_but_reports_is_a_fault(
    arm: XArm, emulator: EmulatorProcess
) -> None:
    arm.enable()
    emulator.tell("deaf")
    assert "set points had no answer for" in fault_of(arm)


def test_lost_answers_now_and_then_stop_nothing(arm: XArm, emulator: EmulatorProcess) -> None:
    arm.enable()
    target = arm.observe().joint_positions.copy()
    target[6] += 0.2
    emulator.faults.drop(0.05)
    stream(arm, target, 1.5)
    assert emulator.state()["positions"][6] == pytest.approx(target[6], abs=0.02)
    emulator.faults.clear()
    assert arm.state is State.ENABLED


def test_reports_without_numbers_are_no_samples(arm: XArm, emulator: EmulatorProcess) -> None:
    arm.enable()
    emulator.faults.nan()
    assert "its reports make no sense" in fault_of(arm)


def test_a_reboot_is_a_fault_and_ends_with_the_brakes_closed(
    arm: XArm, emulator: EmulatorProcess
) -> None:
    arm.enable()
    emulator.tell("reboot")
    assert "is gone" in fault_of(arm)
    arm.disconnect()
    arm.connect()
    assert emulator.state()["braked"]


def test_another_arm_is_refused(make: Make, emulator: EmulatorProcess) -> None:
    emulator.tell("model", 6, 6)
    with pytest.raises(ConfigError, match=r"calls itself '6,6,.*', expected .*'7,7,'"):
        make().connect()


def test_a_controller_that_says_nothing_is_given_up_soon(
    make: Make, emulator: EmulatorProcess
) -> None:
    emulator.tell("deaf")
    began_s = time.monotonic()
    with pytest.raises(ConnectError, match="no xArm controller answers at 127"):
        make().connect()
    assert time.monotonic() - began_s < 20.0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"host": "xarm.local"}, "host is 'xarm.local'"),
        ({"host": "127.0.0.1", "speed": 0.0}, "speed is 0, allowed above 0 to 1"),
        ({"host": "127.0.0.1", "speed": 1.5}, r"speed is 1\.5"),
        ({"host": "127.0.0.1", "report_port": 0}, "port is 0"),
        ({"host": "127.0.0.1", "watchdog_s": -1.0}, "watchdog_s is -1 s"),
        ({"host": "127.0.0.1", "watchdog_s": np.inf}, "watchdog_s is inf s"),
    ],
)
def test_nonsense_in_the_rig_file_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        XArmConfig(**options)
