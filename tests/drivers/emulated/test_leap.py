"""The LEAP hand against its emulator."""

import time
from pathlib import Path
from typing import Any

import dynamixel_sdk as sdk  # type: ignore[import-untyped]
import numpy as np
import pytest

from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.errors import ConfigError, ConnectError, FaultError
from dexhil.drivers.hand import HandCommand
from dexhil.drivers.hand.leap import LeapHand, to_ticks
from dexhil.drivers.registry import RigEntry
from dexhil.drivers.testing import HandConformance
from dexhil.drivers.testing.emulated import Emulated
from dexhil.drivers.wire import dynamixel as wire
from dexhil.drivers.wire.capture import read_capture
from tests.drivers.emulated.helpers import PATIENCE_S, until
from tests.drivers.emulated.leap_suite import (
    DRIVE_MODE,
    MODE,
    MODEL,
    TORQUE,
    TRIPPED,
    WATCHDOG,
    Make,
    poke_all,
    walk,
)

EMULATOR = "leap"
TICK = 2 * np.pi / 4096  # [rad]


class TestLeap(Emulated, HandConformance):
    emulator = EMULATOR


# -- Conventions ---------------------------------------------------------------------------


def test_the_middle_of_a_motor_is_a_straight_finger() -> None:
    assert to_ticks(np.array([0.0, np.pi / 2, -np.pi / 4])) == [2048, 3072, 1536]


def test_each_joint_is_the_motor_of_its_name(make: Make, emulator: EmulatorProcess) -> None:
    hand = make()
    hand.connect()
    hand.enable()
    walk(hand, 6, 0.4)

    def agree() -> bool:
        truth = np.array(emulator.state()["positions"])
        return bool(np.abs(hand.observe().joint_positions - truth).max() < 3 * TICK)

    until(agree)  # It is still arriving.
    moved = hand.observe().joint_positions
    hand.disconnect()
    port, packets = sdk.PortHandler(emulator.options["port"]), sdk.PacketHandler(2.0)
    assert port.setBaudRate(4_000_000)
    ticks: list[int] = []

    def all_read() -> bool:
        motor = int(hand.spec.joint_names[len(ticks)])
        tick, result, _ = packets.read4ByteTxRx(port, motor, 132)
        if result == sdk.COMM_SUCCESS:
            ticks.append(tick)
        return len(ticks) == hand.spec.n_joints

    until(all_read)
    port.closePort()
    np.testing.assert_allclose((np.array(ticks) - 2048) * TICK, moved, atol=4 * TICK)


def test_motors_are_set_up_as_the_maker_of_the_hand_does(
    enabled: LeapHand, emulator: EmulatorProcess
) -> None:
    del enabled
    state = emulator.state()
    assert state["modes"] == [5] * 16
    assert state["goal_currents"] == [350] * 16
    assert [state["gains"][side] for side in (0, 4, 8)] == [[450, 0, 150]] * 3
    assert [state["gains"][joint] for joint in (1, 2, 3, 12, 15)] == [[600, 0, 200]] * 5
    assert state["watchdogs"] == [15] * 16


def test_stronger_motors_may_draw_more(make: Make, emulator: EmulatorProcess) -> None:
    poke_all(emulator, MODEL, 2, 1240)
    hand = make()
    hand.connect()
    hand.enable()
    assert emulator.state()["goal_currents"] == [550] * 16


def test_efforts_follow_the_current(enabled: LeapHand, emulator: EmulatorProcess) -> None:
    emulator.tell("block", 7)
    goal = enabled.observe().joint_positions.copy()
    goal[7] += 0.5

    def pushes() -> bool:
        enabled.command(HandCommand(joint_positions=goal))
        efforts = enabled.observe().joint_efforts
        assert efforts is not None
        return bool(efforts[7] > 0.05 and np.abs(np.delete(efforts, 7)).max() < 0.02)

    until(pushes)


def test_no_goal_leaves_the_limits(enabled: LeapHand, emulator: EmulatorProcess) -> None:
    low, high = enabled.spec.position_limits.T
    for goal in (low - 1, high + 1, 0.5 * (low + high)):
        for _ in range(40):
            enabled.command(HandCommand(joint_positions=goal))
            time.sleep(0.02)
    state = emulator.state()
    assert state["n_commands"] > 20
    assert state["out_of_range"] == 0


def test_disabling_switches_the_torque_off(enabled: LeapHand, emulator: EmulatorProcess) -> None:
    assert emulator.state()["torques"] == [True] * 16
    enabled.disable()
    assert emulator.state()["torques"] == [False] * 16


def test_enabling_corrects_what_another_program_left(make: Make, emulator: EmulatorProcess) -> None:
    poke_all(emulator, MODE, 1, 3)
    poke_all(emulator, WATCHDOG, 1, TRIPPED)
    poke_all(emulator, TORQUE, 1, 1)
    hand = make()
    hand.connect()
    assert emulator.state()["torques"] == [True] * 16, "connecting must not let go"
    hand.enable()
    assert emulator.state()["modes"] == [5] * 16
    walk(hand, 3, 0.3)


def test_everything_said_is_captured(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "leap.wire"
    hand = make(capture=path)
    hand.connect()
    hand.enable()
    hand.disconnect()
    parser = wire.PacketParser()
    said = [
        packet
        for message in read_capture(path).messages
        if not message.incoming
        for packet in parser.feed(message.data)
    ]
    kinds = {packet.instruction for packet in said}
    assert kinds == {wire.READ, wire.SYNC_WRITE, wire.FAST_SYNC_READ}


# -- What does not connect -----------------------------------------------------------------


def test_a_missing_motor_is_named(make: Make, emulator: EmulatorProcess) -> None:
    emulator.tell("mute", 3)
    with pytest.raises(ConnectError, match=r"motor 3 \(joint 3, index\) did not answer.* 15 did"):
        make().connect(timeout_s=0.3)


def test_a_motor_may_still_be_starting(make: Make, emulator: EmulatorProcess) -> None:
    emulator.tell("reboot", 3)
    make().connect(timeout_s=PATIENCE_S)


def test_the_wrong_baud_rate_is_said(make: Make) -> None:
    with pytest.raises(ConnectError, match=r"no motor answers on .* at 57600 bit/s"):
        make(baud=57600).connect(timeout_s=0.1)


def test_the_wrong_motor_is_named(make: Make, emulator: EmulatorProcess) -> None:
    emulator.tell("poke", 8, MODEL, 2, 1190)
    with pytest.raises(ConnectError, match=r"motor 8 .* is of model 1190, expected 1200"):
        make().connect()


@pytest.mark.parametrize("drive_mode", [1, 8])
def test_a_motor_that_runs_backwards_is_refused(
    make: Make, emulator: EmulatorProcess, drive_mode: int
) -> None:
    emulator.tell("poke", 8, DRIVE_MODE, 1, drive_mode)
    with pytest.raises(ConnectError, match=f"motor 8 .* has drive mode {drive_mode}, expected 0"):
        make().connect()


def test_motors_that_answer_nothing_are_asked_to(make: Make, emulator: EmulatorProcess) -> None:
    poke_all(emulator, 68, 1, 0)
    make().connect()


def test_a_current_beyond_a_motors_limit_is_refused(make: Make, emulator: EmulatorProcess) -> None:
    emulator.tell("poke", 2, 38, 2, 200)
    hand = make()
    hand.connect()
    with pytest.raises(FaultError, match=r"motor 2 .* refuses goal current 350 and keeps"):
        hand.enable()
    assert emulator.state()["torques"] == [False] * 16


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rate_hz": 1000}, "allowed 10 to 400 Hz"),
        ({"speed": 0}, "allowed above 0 to 1"),
        ({"d_gain": -1}, "allowed 0 to 16383"),
        ({"goal_current": 2000}, "allowed above 0 to 1750 mA"),
        ({"watchdog_s": 0}, "must be above 0"),
        ({"watchdog_s": np.inf}, "up to 1 s"),
        ({"bus_watchdog_s": 3}, "allowed 0.1 to 2.54 s"),
        ({"side": "middle"}, "right"),
        ({"bauds": 1}, "Did you mean 'baud'"),
    ],
)
def test_nonsense_is_refused_before_anything_opens(options: dict[str, Any], text: str) -> None:
    entry = RigEntry("hand", "right", "leap", {"port": "/dev/null", **options})
    with pytest.raises(ConfigError, match=text):
        entry.build()
