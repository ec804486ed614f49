"""The PSYONIC Ability Hand: the real driver against an emulator on a pseudo-terminal."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dexhil.drivers.device import State
from dexhil.drivers.emulators import EmulatorProcess, RemoteFaults
from dexhil.drivers.errors import ConnectError, StaleError
from dexhil.drivers.hand import Hand, HandCommand
from dexhil.drivers.hand.ability import AbilityHand, AbilityHandConfig
from dexhil.drivers.testing import Emulated, HandConformance
from dexhil.drivers.testing.motions import walk
from tests.drivers.emulated.helpers import until, until_fault, until_there

MIDDLE, THUMB_ROTATOR = 1, 5


class TestAbility(Emulated, HandConformance):
    emulator = "ability"

    # -- What it reports -------------------------------------------------------------------

    def test_connecting_only_asks(self, joints: Hand, process: EmulatorProcess) -> None:
        joints.clock.sleep(0.2)
        state = process.state()
        assert state["n_commands"] == 0
        assert state["listens"]

    def test_every_sample_has_currents_and_touch(self, joints: Hand) -> None:
        currents, touch = joints.observe().motor_currents, joints.observe().touch
        assert currents is not None
        assert touch is not None
        assert currents.shape == (6,)
        assert (currents < 0.2).all()
        np.testing.assert_array_equal(touch, np.zeros(30))

    def test_a_touch_is_felt_where_it_is(self, joints: Hand, process: EmulatorProcess) -> None:
        process.tell("touch", 8, 2000)
        joints.clock.sleep(0.2)
        touch = joints.observe().touch
        assert touch is not None
        assert touch[8] == pytest.approx(4.85, abs=0.1)  # By the maker's fit.
        assert not np.delete(touch, 8).any()

    @pytest.mark.moves
    def test_positions_are_those_of_the_hand(self, joints: Hand, process: EmulatorProcess) -> None:
        joints.enable()
        goal = np.array([0.2, 0.4, 0.6, 0.8, 1.0, -1.5])
        walk(joints, goal)
        until(lambda: bool(abs(joints.observe().joint_positions - goal).max() < 0.01))
        np.testing.assert_allclose(process.state()["positions"], goal, atol=0.01)
        assert process.state()["out_of_range"] == 0

    # -- Stopping --------------------------------------------------------------------------

    @pytest.mark.moves
    def test_a_disabled_hand_is_only_asked(self, joints: Hand, process: EmulatorProcess) -> None:
        joints.enable()
        joints.disable()
        n_commands = process.state()["n_commands"]
        joints.clock.sleep(0.1)
        assert process.state()["n_commands"] == n_commands
        assert process.state()["listens"]

    @pytest.mark.moves
    @pytest.mark.expects_fault
    def test_without_its_driver_the_hand_stands_still_by_itself(
        self, joints: Hand, faults: RemoteFaults, process: EmulatorProcess
    ) -> None:
        joints.enable()
        joints.command(HandCommand(joint_positions=np.array([1.7, 1.7, 1.7, 1.7, 1.7, -1.7])))
        faults.drop(1.0)
        until(lambda: not process.state()["enabled"])
        assert process.state()["n_timeouts"] == 1
        assert not process.state()["listens"]
        until_fault(joints.observe, match="no fresh sample for")

    # -- Its own stops ---------------------------------------------------------------------

    @pytest.mark.expects_fault
    def test_a_motor_that_the_hand_stopped_is_a_fault_that_names_it(
        self, joints: Hand, process: EmulatorProcess
    ) -> None:
        process.tell("stopped", 1 << MIDDLE | 1 << THUMB_ROTATOR)
        until_fault(joints.observe, match="stopped middle, thumb_rotator itself, too hot or")
        assert joints.state is State.FAULTED

    def test_a_hand_with_a_stopped_motor_does_not_connect(
        self, device: Hand, process: EmulatorProcess
    ) -> None:
        process.tell("stopped", 1 << MIDDLE)
        with pytest.raises(ConnectError, match="stopped middle itself"):
            device.connect()

    # -- A bad line ------------------------------------------------------------------------

    @pytest.mark.moves
    @pytest.mark.parametrize("fault", ["drop", "duplicate", "corrupt", "partial", "echo"])
    def test_it_gets_there_over_a_bad_line(
        self, joints: Hand, faults: RemoteFaults, process: EmulatorProcess, fault: str
    ) -> None:
        joints.enable()
        getattr(faults, fault)(*([] if fault == "echo" else [0.1]))
        goal = process.state()["positions"] + np.array([0.5, 0.5, 0.5, 0.5, 0.5, -0.5])
        until_there(joints, goal, process)

    @pytest.mark.expects_fault
    def test_an_answer_that_comes_late_is_not_taken_for_a_fresh_one(
        self, joints: Hand, faults: RemoteFaults
    ) -> None:
        faults.delay(0.03)
        joints.clock.sleep(0.15)
        stamp_s = joints.observe().stamp_s
        joints.clock.sleep(0.3)
        assert joints.observe().stamp_s == stamp_s

    @pytest.mark.expects_fault
    def test_lost_encoders_are_no_positions(self, joints: Hand, faults: RemoteFaults) -> None:
        faults.nan()
        joints.clock.sleep(0.3)
        assert (abs(joints.observe().joint_positions) < 1.75).all()
        with pytest.raises(StaleError):
            joints.observe(max_age_s=0.1)


@pytest.fixture
def tolerant() -> Iterator[tuple[AbilityHand, EmulatorProcess]]:
    with EmulatorProcess("ability") as process:
        config = AbilityHandConfig(**process.options, tolerate_stops=True)
        hand = AbilityHand(config, name="tolerant")
        yield hand, process
        hand.disconnect()


def test_a_stop_can_be_tolerated_and_a_disabled_hand_is_told_to_stay(
    tolerant: tuple[AbilityHand, EmulatorProcess],
) -> None:
    hand, process = tolerant
    process.tell("stopped", 1 << MIDDLE)
    hand.connect()
    hand.enable()
    goal = np.array([0.8, 0.8, 0.8, 0.8, 0.8, -0.8])
    walk(hand, goal, timeout_s=1.0)
    here = hand.observe().joint_positions
    assert abs(here[MIDDLE] - 0.3) < 0.02
    np.testing.assert_allclose(np.delete(here, MIDDLE), np.delete(goal, MIDDLE), atol=0.02)
    assert process.state()["targets"][MIDDLE] == pytest.approx(0.8, abs=0.01)
    hand.disable()
    assert process.state()["targets"][MIDDLE] == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"address": 256}, "address is 256, allowed 0 to 255"),
        ({"speed": 0.0}, "speed is 0, allowed above 0 to 1"),
        ({"watchdog_s": -0.1}, "watchdog_s is -0.1 s, must be above 0"),
        ({"watchdog_s": float("inf")}, "up to 1 s"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AbilityHandConfig(port="/dev/ttyUSB0", **options)
