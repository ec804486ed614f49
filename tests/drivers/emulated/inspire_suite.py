"""What an RH56 must do, whatever it is connected through."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dexhil.drivers.device import State
from dexhil.drivers.emulators import EmulatorProcess, RemoteFaults
from dexhil.drivers.errors import ConnectError, FaultError, StaleError
from dexhil.drivers.hand import Hand
from dexhil.drivers.testing import HandConformance
from dexhil.drivers.testing.motions import walk
from tests.drivers.emulated.helpers import until, until_fault, until_there

INDEX, THUMB_BEND = 3, 4


class InspireConformance(HandConformance):
    """What an RH56 must do besides, whatever it is connected through."""

    # -- What it reports -------------------------------------------------------------------

    def test_connecting_writes_nothing(self, joints: Any, process: EmulatorProcess) -> None:
        joints.clock.sleep(0.2)
        state = process.state()
        assert state["n_commands"] == 0
        assert state["speeds"] == [1000.0] * 6

    def test_every_sample_has_forces_and_currents(self, joints: Hand) -> None:
        for array in (joints.observe().finger_forces, joints.observe().motor_currents):
            assert array is not None
            assert array.shape == (6,)
            assert (abs(array) < 1.0).all()

    @pytest.mark.moves
    def test_a_finger_in_the_way_is_felt(self, joints: Hand, process: EmulatorProcess) -> None:
        process.tell("block", INDEX, 600)
        joints.enable()
        goal = joints.observe().joint_positions.copy()
        goal[INDEX] = 1.2
        walk(joints, goal, timeout_s=1.5)
        joints.clock.sleep(0.1)
        forces = joints.observe().finger_forces
        assert forces is not None
        assert forces[INDEX] > 1.0
        assert (np.delete(forces, INDEX) < 0.1).all()
        # It may not press harder than it was told to.
        assert forces[INDEX] < 5.0 + 0.1

    @pytest.mark.moves
    def test_positions_are_those_of_the_hand(self, joints: Hand, process: EmulatorProcess) -> None:
        joints.enable()
        walk(joints, np.array([0.2, 0.4, 0.6, 0.8, 0.3, 1.0]))
        np.testing.assert_allclose(
            joints.observe().joint_positions, process.state()["positions"], atol=0.01
        )
        assert process.state()["out_of_range"] == 0

    # -- Stopping --------------------------------------------------------------------------

    @pytest.mark.moves
    def test_a_disabled_hand_is_told_to_stay(self, joints: Hand, process: EmulatorProcess) -> None:
        # It has no switch and no watchdog: without a new target a finger would go on pushing.
        process.tell("block", INDEX, 600)
        joints.enable()
        goal = joints.observe().joint_positions.copy()
        goal[INDEX] = 1.2
        walk(joints, goal, timeout_s=1.5)
        assert process.state()["targets"][INDEX] > 1.1
        joints.disable()
        state = process.state()
        np.testing.assert_allclose(state["targets"], state["positions"], atol=0.01)
        assert state["positions"][INDEX] < 0.6

    @pytest.mark.moves
    @pytest.mark.expects_fault
    def test_angles_that_are_none_move_no_finger_when_it_is_switched_off(
        self, joints: Hand, process: EmulatorProcess, faults: RemoteFaults
    ) -> None:
        joints.enable()
        before = process.state()["positions"]
        faults.nan()
        until(lambda: not joints.health().ok)
        joints.clock.sleep(0.4)  # It faults and switches off.
        with pytest.raises(FaultError):
            joints.observe()
        joints.disconnect()
        joints.clock.sleep(0.3)
        np.testing.assert_allclose(process.state()["positions"], before, atol=0.02)

    @pytest.mark.moves
    def test_limits_are_written_before_it_moves(
        self, joints: Hand, process: EmulatorProcess
    ) -> None:
        joints.enable()
        state = process.state()
        assert state["force_limits"] == [510.0] * 6  # 5 N
        assert state["speeds"] == [1000.0] * 6

    # -- Its own errors --------------------------------------------------------------------

    @pytest.mark.moves
    @pytest.mark.expects_fault
    def test_an_error_is_a_fault_that_names_the_finger(
        self, joints: Hand, process: EmulatorProcess
    ) -> None:
        joints.enable()
        process.tell("error", INDEX, 1)
        until(lambda: not joints.health().ok)
        with pytest.raises(FaultError, match=r"index reports overtemperature at 35 °C; free the"):
            joints.observe()
        assert joints.state is State.FAULTED

    @pytest.mark.expects_fault
    def test_a_bad_status_is_a_fault_too(self, joints: Hand, process: EmulatorProcess) -> None:
        process.tell("status", THUMB_BEND, 5)
        until_fault(joints.observe, match="thumb_bend reports overcurrent")

    def test_a_latched_error_is_cleared_only_on_request(
        self, device: Hand, process: EmulatorProcess
    ) -> None:
        process.tell("error", INDEX, 0)
        process.tell("error", THUMB_BEND, 2)
        with pytest.raises(
            ConnectError, match=r"index reports stall at .*, thumb_bend reports overcurrent"
        ):
            device.connect()
        device.recover()
        assert device.state is State.CONNECTED
        device.enable()

    # -- A bad line ------------------------------------------------------------------------

    @pytest.mark.moves
    @pytest.mark.parametrize("fault", ["drop", "duplicate"])
    def test_it_gets_there_over_a_bad_line(
        self, joints: Hand, faults: RemoteFaults, process: EmulatorProcess, fault: str
    ) -> None:
        self.moves_well_enough(joints, lambda: getattr(faults, fault)(0.1), process)

    def moves_well_enough(
        self, joints: Hand, hurt: Callable[[], None], process: EmulatorProcess
    ) -> None:
        """Check that it reaches a goal and never says that it is elsewhere than it is."""
        joints.enable()
        hurt()
        goal = np.clip(joints.observe().joint_positions + 0.3, *joints.spec.position_limits.T)
        until_there(joints, goal, process)

    @pytest.mark.expects_fault
    def test_an_answer_that_comes_late_is_not_taken_for_a_fresh_one(
        self, joints: Hand, faults: RemoteFaults
    ) -> None:
        faults.delay(0.04)
        joints.clock.sleep(0.15)
        stamp_s = joints.observe().stamp_s
        joints.clock.sleep(0.3)
        assert joints.observe().stamp_s == stamp_s
        with pytest.raises(StaleError):
            joints.observe(max_age_s=0.2)
