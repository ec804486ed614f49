"""What the LEAP hand does when its motors or their wire fail."""

import logging
import time

import numpy as np
import pytest

from dexhil.drivers.device import State
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.errors import ConnectError, StaleError
from dexhil.drivers.hand import HandCommand
from dexhil.drivers.hand.leap import LeapHand, explain
from tests.drivers.emulated.helpers import PATIENCE_S, until, until_fault
from tests.drivers.emulated.leap_suite import (
    FIRMWARE,
    OVERHEATING,
    OVERLOAD,
    TORQUE,
    TRIPPED,
    WATCHDOG,
    Make,
    poke_all,
    walk,
)

EMULATOR = "leap"


# -- Hardware errors -----------------------------------------------------------------------


def test_an_overloaded_motor_is_a_fault_that_recover_clears(
    enabled: LeapHand, emulator: EmulatorProcess
) -> None:
    emulator.tell("error", 5, OVERLOAD)
    assert "motor 5 (joint 5, middle) reports overload" in until_fault(enabled.observe)
    assert emulator.state()["torques"] == [False] * 16
    enabled.disconnect()
    with pytest.raises(ConnectError, match=r"motor 5 .* reports overload"):
        enabled.connect()
    enabled.recover()
    assert enabled.state is State.CONNECTED
    assert emulator.state()["errors"] == [0] * 16
    assert emulator.state()["torques"] == [False] * 16
    enabled.enable()
    walk(enabled, 5, 0.3)


def test_an_error_that_comes_back_is_said_to(make: Make, emulator: EmulatorProcess) -> None:
    emulator.tell("defect", 12, OVERHEATING)
    hand = make()
    with pytest.raises(ConnectError, match=r"motor 12 .* still reports overheating"):
        hand.recover()
    assert hand.state is State.DISCONNECTED


def test_hardware_errors_have_words() -> None:
    assert explain(OVERLOAD | OVERHEATING) == "overheating and overload"
    assert explain(1 << 6) == "hardware error 64"


def test_a_motor_that_restarted_is_a_fault(enabled: LeapHand, emulator: EmulatorProcess) -> None:
    emulator.tell("reboot", 9)
    assert "motor 9 (joint 9, ring)" in until_fault(enabled.observe)


def test_a_motor_without_torque_is_a_fault(enabled: LeapHand, emulator: EmulatorProcess) -> None:
    emulator.tell("poke", 9, TORQUE, 1, 0)
    assert "motor 9 (joint 9, ring) lost torque" in until_fault(enabled.observe)


@pytest.mark.parametrize("firmware", [45, 52])
def test_a_motor_that_falls_silent_is_named(
    make: Make, emulator: EmulatorProcess, firmware: int
) -> None:
    poke_all(emulator, FIRMWARE, 1, firmware)
    hand = make()
    hand.connect()
    hand.enable()
    emulator.tell("mute", 14)
    assert "motor 14 (joint 14, thumb) does not answer" in until_fault(hand.observe)
    others = [motor for motor in range(16) if motor != 14]
    until(lambda: not any(emulator.state()["torques"][motor] for motor in others))


def test_a_silent_motor_stays_named_when_it_is_asked_first(
    make: Make, emulator: EmulatorProcess
) -> None:
    hand = make()
    hand.connect()
    emulator.tell("mute", 14)
    until(lambda: any("motor 14" in reason for reason in hand.health().reasons))

    def look() -> None:
        assert "motor 14" in hand.health().reasons[0]
        hand.observe()

    until_fault(look)


# -- The motors' own watchdog --------------------------------------------------------------


def test_motors_stop_by_themselves_when_nobody_talks(
    enabled: LeapHand, emulator: EmulatorProcess
) -> None:
    goal = enabled.observe().joint_positions.copy()
    goal[15] += 1.8
    enabled.command(HandCommand(joint_positions=goal))
    emulator.faults.freeze()
    until(lambda: emulator.state()["watchdogs"] == [TRIPPED] * 16)
    state = emulator.state()
    assert state["torques"] == [True] * 16, "what it holds must not fall"
    np.testing.assert_allclose(state["positions"], state["targets"], atol=0.02)
    assert "no fresh sample" in until_fault(enabled.observe)
    emulator.faults.clear()
    enabled.disconnect()
    enabled.connect()
    enabled.enable()
    walk(enabled, 3, 0.3)


def test_motors_that_stopped_near_their_goals_go_on(
    enabled: LeapHand, emulator: EmulatorProcess, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        poke_all(emulator, WATCHDOG, 1, TRIPPED)
        until(lambda: emulator.state()["watchdogs"] == [15] * 16)
    assert "the motors stopped; they go on" in caplog.text
    walk(enabled, 3, 0.3)


def test_motors_that_stopped_far_from_their_goals_do_not_leap(
    enabled: LeapHand, emulator: EmulatorProcess
) -> None:
    here = enabled.observe().joint_positions
    goal = here.copy()
    goal[3] += 1.5

    def go() -> None:
        poke_all(emulator, WATCHDOG, 1, TRIPPED)
        enabled.command(HandCommand(joint_positions=goal))

    assert "stopped by themselves" in until_fault(go)


# -- A bad wire ----------------------------------------------------------------------------


@pytest.mark.parametrize("firmware", [45, 52])
@pytest.mark.parametrize(
    "fault", ["drop 0.1", "corrupt 0.2", "partial 0.1", "duplicate 0.3", "echo", "delay 0.01"]
)
def test_it_works_on_a_bad_wire(
    make: Make, emulator: EmulatorProcess, fault: str, firmware: int
) -> None:
    poke_all(emulator, FIRMWARE, 1, firmware)
    emulator.tell(*fault.split())
    hand = make()
    hand.connect(timeout_s=PATIENCE_S)
    hand.enable()
    walk(hand, 3, 0.4)
    np.testing.assert_allclose(
        np.delete(hand.observe().joint_positions, 3),
        np.delete(emulator.state()["positions"], 3),
        atol=0.02,
    )
    emulator.tell("clear")
    hand.disable()
    assert emulator.state()["out_of_range"] == 0


def test_the_answer_to_an_earlier_question_is_not_taken_for_fresh(
    make: Make, emulator: EmulatorProcess
) -> None:
    hand = make()
    hand.connect()
    emulator.faults.delay(0.05)  # Longer than the driver waits.
    time.sleep(0.5)
    with pytest.raises(StaleError):
        hand.observe(max_age_s=0.1)


def test_values_that_repeat_while_it_moves_are_a_fault(
    enabled: LeapHand, emulator: EmulatorProcess
) -> None:
    emulator.faults.repeat()
    time.sleep(0.5)
    enabled.observe()  # Standing still, the same values may well be true.
    goal = enabled.observe().joint_positions.copy()
    goal[3] += 1.0

    command = HandCommand(joint_positions=goal)
    assert "repeats the same values" in until_fault(lambda: enabled.command(command))


def test_positions_that_cannot_be_are_a_fault(enabled: LeapHand, emulator: EmulatorProcess) -> None:
    emulator.faults.nan()
    assert "its range is" in until_fault(enabled.observe)


def test_waiting_for_a_silent_hand_costs_little(
    make: Make, emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = make()
    hand.connect()
    emulator.faults.freeze()
    reads = 0
    read = hand._bus._port.readPort

    def count(length: int) -> bytes:
        nonlocal reads
        reads += 1
        return bytes(read(length))

    monkeypatch.setattr(hand._bus._port, "readPort", count)
    time.sleep(0.5)
    # The maker's port looks for bytes as often as it can, some 100 000 times.
    assert 0 < reads < 200
