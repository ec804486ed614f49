"""The DexHand021 against its emulator."""

import time
from typing import Any, ClassVar

import numpy as np
import pytest

from dexhil.drivers.device import State
from dexhil.drivers.emulators import EmulatorProcess, RemoteFaults
from dexhil.drivers.errors import DeviceError, FaultError
from dexhil.drivers.hand import Hand, HandCommand
from dexhil.drivers.hand.dexhand021 import DexHand021Config
from dexhil.drivers.registry import RigEntry
from dexhil.drivers.testing import HandConformance
from dexhil.drivers.testing.emulated import Emulated
from tests.drivers.emulated.helpers import (
    BAD_BUS,
    until,
    until_fault,
    until_garbage_is_a_fault,
)

WAIT_S = 5.0  # Generous: this machine may be busy.
STEP = 0.15  # [rad].


def until_limp(process: EmulatorProcess) -> None:
    until(lambda: not process.state()["enabled"], "a motor still holds")


def reach(hand: Hand, joint: int, goal: float) -> None:
    """Command one joint until it is there."""
    target = hand.observe().joint_positions.copy()
    target[joint] = goal
    give_up_s = time.monotonic() + WAIT_S
    while abs(hand.observe().joint_positions[joint] - goal) > 0.05:
        assert time.monotonic() < give_up_s, "it did not arrive"
        hand.command(HandCommand(joint_positions=target))
        hand.clock.sleep(0.02)


def connect_again_and_again(hand: Hand) -> None:
    for _ in range(20):
        hand.connect()
        hand.clock.sleep(0.2)
        hand.observe()
        hand.disconnect()


class TestDexHand021(Emulated, HandConformance):
    emulator = "dexhand021"

    def test_every_board_is_commanded_and_none_beyond_its_range(
        self, connected: Hand, process: EmulatorProcess
    ) -> None:
        connected.enable()
        before = process.state()["n_commands"]
        for limit in connected.spec.position_limits.T:
            for _ in range(20):
                connected.command(HandCommand(joint_positions=limit))
                connected.clock.sleep(0.02)
        state = process.state()
        assert state["out_of_range"] == 0
        # 100 rounds of six in a second; a busy machine leaves out what it cannot do in time.
        assert state["n_commands"] - before > 6 * 8

    @pytest.mark.parametrize("end", ["disable", "disconnect"])
    def test_every_end_makes_it_let_go(
        self, connected: Hand, process: EmulatorProcess, end: str
    ) -> None:
        connected.enable()
        until(lambda: process.state()["enabled"], "it never held")
        getattr(connected, end)()
        until_limp(process)

    # -- What it feels ------------------------------------------------------------------------

    def test_touch_is_the_normal_force_of_each_fingertip_thumb_first(
        self, connected: Hand, process: EmulatorProcess
    ) -> None:
        process.tell("press", 0, 2.5)
        process.tell("press", 4, 1.0)

        def pressed() -> bool:
            touch = connected.observe().touch
            return touch is not None and np.allclose(touch, [2.5, 0, 0, 0, 1.0], atol=0.1)

        until(pressed, "nothing is felt")
        # Their direction in the palm is not published.
        assert connected.observe().fingertip_forces is None

    def test_without_fingertip_sensors_there_is_no_touch(
        self, device: Hand, process: EmulatorProcess
    ) -> None:
        process.tell("no_tactile")
        device.connect()
        assert device.observe().touch is None

    def test_motor_currents_are_in_amperes(self, connected: Hand) -> None:
        currents = connected.observe().motor_currents
        assert currents is not None
        assert currents.shape == (12,)
        assert np.abs(currents).max() < 1.0

    # -- What its boards report ---------------------------------------------------------------

    @pytest.mark.expects_fault
    @pytest.mark.parametrize(
        ("board", "code", "text"),
        [
            (2, 0x01, "ff_dip: current overload; recover it"),
            (0, 0x22, "th_dip: Hall sensor error, th_mcp: Hall sensor error"),
            (5, 0x40, "lf_mcp: stall; free the finger .* clear_stalls = true"),
        ],
    )
    def test_an_error_of_a_board_is_a_fault_until_a_person_recovers_it(
        self, connected: Hand, process: EmulatorProcess, board: int, code: int, text: str
    ) -> None:
        connected.enable()
        process.tell("error", board, code)
        until_fault(connected.observe, match=text)
        until_limp(process)
        connected.recover()
        assert process.state()["errors"] == [0] * 6
        assert connected.state is State.CONNECTED
        connected.enable()
        reach(connected, 2 * board, 0.4)

    @pytest.mark.expects_fault
    def test_a_hand_with_a_latched_error_says_why_as_soon_as_it_repeats_it(
        self, device: Hand, process: EmulatorProcess
    ) -> None:
        process.tell("error", 3, 0x10)
        with pytest.raises(DeviceError, match="mf_mcp: current overload"):
            connect_again_and_again(device)

    def test_stalls_are_cleared_if_asked_for(self, process: EmulatorProcess) -> None:
        process.tell("reset")
        options = {**process.options, "clear_stalls": True}
        entry = RigEntry(kind="hand", name="gripping", driver="dexhand021", options=options)
        hand = entry.build()
        assert isinstance(hand, Hand)
        with hand:
            hand.enable()
            process.tell("error", 2, 0x04)
            until(lambda: process.state()["errors"] == [0] * 6, "the stall was not cleared")
            reach(hand, 4, 0.5)
            assert hand.state is State.ENABLED

    def test_a_board_that_restarts_is_asked_to_report_again(
        self, connected: Hand, process: EmulatorProcess
    ) -> None:
        process.tell("reboot", 4)
        before_s = connected.clock.now_s()
        until(lambda: connected.observe().stamp_s > before_s + 0.3, "it stayed silent")

    # -- A bad bus ----------------------------------------------------------------------------

    @pytest.mark.parametrize("trouble", BAD_BUS)
    def test_it_moves_on_a_bad_bus(
        self, device: Hand, process: EmulatorProcess, trouble: tuple[str, Any]
    ) -> None:
        process.tell(*trouble)
        device.connect()
        device.enable()
        reach(device, 5, 0.6)
        assert process.state()["out_of_range"] == 0
        process.tell("clear")  # So that the end is heard.

    @pytest.mark.expects_fault
    def test_repeated_angles_are_no_angles_while_it_moves(
        self, connected: Hand, faults: RemoteFaults
    ) -> None:
        connected.enable()
        faults.repeat()
        with pytest.raises(FaultError, match="repeats the same values"):
            reach(connected, 2, 2.0)

    @pytest.mark.expects_fault
    def test_sensors_at_the_end_of_their_range_are_a_fault_and_never_seen(
        self, connected: Hand, faults: RemoteFaults
    ) -> None:
        connected.enable()
        faults.nan()
        assert "reports 5.72 rad" in until_garbage_is_a_fault(connected)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"speed": 0.0}, "speed is 0"),
        ({"watchdog_s": -1.0}, "watchdog_s is -1 s"),
        ({"watchdog_s": float("inf")}, "watchdog_s is inf s"),
    ],
)
def test_a_configuration_without_sense_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        DexHand021Config(**options)


class TestLeftDexHand021(Emulated):
    emulator = "dexhand021"
    options: ClassVar[dict[str, Any]] = {"side": "left"}

    def test_a_left_hand_moves(self, device: Hand, process: EmulatorProcess) -> None:
        process.tell("left")
        with device:
            assert device.spec.side == "left"
            device.enable()
            reach(device, 5, 0.5)

    def test_a_right_hand_is_not_taken_for_a_left_one(
        self, device: Hand, process: EmulatorProcess
    ) -> None:
        assert process.state()["n_commands"] == 0
        with pytest.raises(DeviceError):
            device.connect(timeout_s=0.5)
        assert process.state()["n_commands"] == 0
