"""The LEAP hand against its emulator."""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dynamixel_sdk as sdk  # type: ignore[import-untyped]
import numpy as np
import pytest

from dexhil.drivers.device import State
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.errors import ConfigError, ConnectError, FaultError, StaleError
from dexhil.drivers.hand import HandCommand
from dexhil.drivers.hand.leap import LeapHand, LeapHandConfig, explain, to_ticks
from dexhil.drivers.registry import RigEntry
from dexhil.drivers.testing import HandConformance
from dexhil.drivers.testing.emulated import Emulated
from dexhil.drivers.wire import dynamixel as wire
from dexhil.drivers.wire.capture import read_capture

TICK = 2 * np.pi / 4096  # [rad]
MODEL, FIRMWARE, DRIVE_MODE, MODE, TORQUE, WATCHDOG = 0, 6, 10, 11, 64, 98
TRIPPED = 255
OVERLOAD, OVERHEATING = 1 << 5, 1 << 2
PATIENCE_S = 15.0  # Longer than anything here takes on a busy machine [s].

Make = Callable[..., LeapHand]


class TestLeap(Emulated, HandConformance):
    emulator = "leap"


@pytest.fixture(scope="module")
def process() -> Iterator[EmulatorProcess]:
    with EmulatorProcess("leap") as process:
        yield process


@pytest.fixture
def emulator(process: EmulatorProcess) -> EmulatorProcess:
    process.tell("reset")
    return process


@pytest.fixture
def make(emulator: EmulatorProcess) -> Iterator[Make]:
    made: list[LeapHand] = []

    def build(**options: Any) -> LeapHand:
        config = LeapHandConfig(**{**emulator.options, **options})
        made.append(LeapHand(config, name="emulated"))
        return made[-1]

    yield build
    for hand in made:
        hand.disconnect()


@pytest.fixture
def enabled(make: Make) -> LeapHand:
    hand = make()
    hand.connect()
    hand.enable()
    return hand


def poke_all(emulator: EmulatorProcess, address: int, size: int, value: int) -> None:
    for motor in range(16):
        emulator.tell("poke", motor, address, size, value)


def until(true: Callable[[], object]) -> None:
    """Wait until ``true`` is."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < give_up_s, "it never happened"
        time.sleep(0.01)


def walk(hand: LeapHand, joint: int, distance: float) -> None:
    """Move one joint by ``distance`` [rad] and wait until it is there."""
    goal = hand.observe().joint_positions.copy()
    goal[joint] += distance

    def arrived() -> bool:
        hand.command(HandCommand(joint_positions=goal))
        return bool(abs(hand.observe().joint_positions[joint] - goal[joint]) < 0.02)

    until(arrived)


def wait_for_fault(act: Callable[[], object]) -> str:
    """Repeat ``act`` until it raises a fault, and return what that says."""
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s:
        try:
            act()
        except FaultError as error:
            return str(error)
        time.sleep(0.01)
    raise AssertionError("it never faulted")


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


# -- Hardware errors -----------------------------------------------------------------------


def test_an_overloaded_motor_is_a_fault_that_recover_clears(
    enabled: LeapHand, emulator: EmulatorProcess
) -> None:
    emulator.tell("error", 5, OVERLOAD)
    assert "motor 5 (joint 5, middle) reports overload" in wait_for_fault(enabled.observe)
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
    assert "motor 9 (joint 9, ring)" in wait_for_fault(enabled.observe)


def test_a_motor_without_torque_is_a_fault(enabled: LeapHand, emulator: EmulatorProcess) -> None:
    emulator.tell("poke", 9, TORQUE, 1, 0)
    assert "motor 9 (joint 9, ring) lost torque" in wait_for_fault(enabled.observe)


@pytest.mark.parametrize("firmware", [45, 52])
def test_a_motor_that_falls_silent_is_named(
    make: Make, emulator: EmulatorProcess, firmware: int
) -> None:
    poke_all(emulator, FIRMWARE, 1, firmware)
    hand = make()
    hand.connect()
    hand.enable()
    emulator.tell("mute", 14)
    assert "motor 14 (joint 14, thumb) does not answer" in wait_for_fault(hand.observe)
    others = [motor for motor in range(16) if motor != 14]
    assert not any(emulator.state()["torques"][motor] for motor in others)


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

    wait_for_fault(look)


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
        ({"side": "left"}, "right"),
        ({"bauds": 1}, "Did you mean 'baud'"),
    ],
)
def test_nonsense_is_refused_before_anything_opens(options: dict[str, Any], text: str) -> None:
    entry = RigEntry("hand", "right", "leap", {"port": "/dev/null", **options})
    with pytest.raises(ConfigError, match=text):
        entry.build()


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
    assert "no fresh sample" in wait_for_fault(enabled.observe)
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

    assert "stopped by themselves" in wait_for_fault(go)


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
    assert "repeats the same values" in wait_for_fault(lambda: enabled.command(command))


def test_positions_that_cannot_be_are_a_fault(enabled: LeapHand, emulator: EmulatorProcess) -> None:
    emulator.faults.nan()
    assert "its range is" in wait_for_fault(enabled.observe)


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
