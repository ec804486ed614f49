"""What arms and hands must do. Motion stays small where a joint's range allows it.

The largest move turns one joint for about the watchdog time at full speed. Of an
arm that is the last joint, which turns the hand in place.
"""

from typing import Any, ClassVar

import numpy as np
import pytest

from dexhil.drivers.arm import Arm, ArmCommand
from dexhil.drivers.arrays import Vector
from dexhil.drivers.device import State
from dexhil.drivers.errors import CommandError, FaultError, LifecycleError
from dexhil.drivers.hand import Hand, HandCommand
from dexhil.drivers.joints import JointActuator, JointCommand
from dexhil.drivers.registry import AnyDevice
from dexhil.drivers.testing.conformance import AnyFaults, DeviceConformance, until_fault

AnyJoints = JointActuator[Any, Any, Any]

PERIOD_S = 0.02  # Between commands; every runtime here is at least as fast [s].
STEP = 0.15  # A move that shows and endangers nothing [rad].
ARRIVED = 0.05  # Joints sag this much under gravity [rad].
STILL = 0.02  # Joints settle this much after they were told to hold [rad].


class JointConformance(DeviceConformance):
    """What a device of commanded joints must do."""

    device_type: ClassVar[type[AnyJoints]]
    command_type: ClassVar[type[JointCommand]]

    @pytest.fixture
    def joints(self, connected: AnyDevice) -> AnyJoints:
        assert isinstance(connected, self.device_type)
        return connected

    # -- Lifecycle -------------------------------------------------------------

    def test_connecting_does_not_enable(self, joints: AnyJoints) -> None:
        assert joints.state is State.CONNECTED
        with pytest.raises(LifecycleError, match="needs to be enabled, is connected"):
            joints.command(self.to(positions(joints)))

    @pytest.mark.moves
    def test_enabling_needs_a_connection_and_happens_once(self, device: AnyDevice) -> None:
        assert isinstance(device, self.device_type)
        with pytest.raises(LifecycleError, match="not connected"):
            device.enable()
        device.connect()
        device.enable()
        assert device.state is State.ENABLED
        with pytest.raises(LifecycleError, match="needs to be connected, is enabled"):
            device.enable()

    @pytest.mark.moves
    def test_disable_is_allowed_in_any_state(self, device: AnyDevice) -> None:
        assert isinstance(device, self.device_type)
        device.disable()
        device.connect()
        device.disable()
        device.enable()
        device.disable()
        device.disable()
        assert device.state is State.CONNECTED

    @pytest.mark.moves
    def test_commands_after_disabling_are_refused(self, joints: AnyJoints) -> None:
        joints.enable()
        joints.disable()
        with pytest.raises(LifecycleError, match="needs to be enabled"):
            joints.command(self.to(positions(joints)))

    # -- Motion ----------------------------------------------------------------

    def test_connecting_does_not_move(self, joints: AnyJoints) -> None:
        before = positions(joints)
        joints.clock.sleep(0.2)
        np.testing.assert_allclose(positions(joints), before, atol=STILL)

    @pytest.mark.moves
    def test_enabling_does_not_move(self, joints: AnyJoints) -> None:
        before = positions(joints)
        joints.enable()
        joints.clock.sleep(0.2)
        np.testing.assert_allclose(positions(joints), before, atol=STILL)

    @pytest.mark.moves
    def test_enabling_again_does_not_resume_the_old_target(self, joints: AnyJoints) -> None:
        joints.enable()
        joints.command(self.to(self.far(joints)))
        joints.disable()
        before = positions(joints)
        joints.enable()
        joints.clock.sleep(joints.spec.watchdog_s)
        np.testing.assert_allclose(positions(joints), before, atol=STILL)

    @pytest.mark.moves
    def test_each_joint_goes_where_it_is_told_and_no_other_does(self, joints: AnyJoints) -> None:
        joints.enable()
        start = positions(joints)
        for joint in range(joints.spec.n_joints):
            goal = self.moved(joints, start, joint, STEP)
            sent = self.walk(joints, goal)
            np.testing.assert_allclose(
                positions(joints), sent, atol=ARRIVED, err_msg=joints.spec.joint_names[joint]
            )

    @pytest.mark.moves
    def test_velocity_is_the_rate_of_position_and_below_its_limit(self, joints: AnyJoints) -> None:
        joints.enable()
        start = positions(joints)
        goal = start
        for joint in range(joints.spec.n_joints):
            goal = self.moved(joints, goal, joint, STEP)
        previous = joints.observe()
        travelled = np.zeros(joints.spec.n_joints)
        for _ in range(10):
            joints.command(self.to(goal))
            joints.clock.sleep(PERIOD_S)
            sample = joints.observe()
            elapsed_s = sample.stamp_s - previous.stamp_s
            travelled += 0.5 * (sample.joint_velocities + previous.joint_velocities) * elapsed_s
            steps = np.abs(sample.joint_positions - previous.joint_positions)
            # Servos overshoot a moving target a little.
            assert (steps <= 1.3 * joints.spec.velocity_limits * elapsed_s + 1e-3).all()
            previous = sample
        moved = previous.joint_positions - start
        assert np.abs(moved).max() > STILL, "it did not move, so this proves nothing"
        np.testing.assert_allclose(travelled, moved, atol=0.3 * STEP)

    @pytest.mark.moves
    def test_it_holds_when_commands_stop(self, joints: AnyJoints) -> None:
        joints.enable()
        goal = self.far(joints)
        joints.command(self.to(goal))
        joints.clock.sleep(2 * joints.spec.watchdog_s)
        halted = positions(joints)
        joints.clock.sleep(joints.spec.watchdog_s)
        np.testing.assert_allclose(positions(joints), halted, atol=STILL)
        assert np.abs(halted - goal).max() > ARRIVED, "it arrived instead of holding"

    @pytest.mark.moves
    def test_disabling_stops_it_at_once(self, joints: AnyJoints) -> None:
        joints.enable()
        goal = self.far(joints)
        before = positions(joints)
        joints.command(self.to(goal))
        joints.disable()
        joints.clock.sleep(joints.spec.watchdog_s)
        np.testing.assert_allclose(positions(joints), before, atol=STILL)

    @pytest.mark.moves
    def test_disconnecting_while_enabled_makes_it_safe(self, joints: AnyJoints) -> None:
        joints.enable()
        goal = self.far(joints)
        before = positions(joints)
        joints.command(self.to(goal))
        joints.disconnect()
        joints.clock.sleep(joints.spec.watchdog_s)
        joints.connect()
        assert joints.state is State.CONNECTED
        np.testing.assert_allclose(positions(joints), before, atol=STILL)

    @pytest.mark.moves
    @pytest.mark.expects_fault
    def test_pulling_the_cable_is_a_fault_at_the_next_command(
        self, joints: AnyJoints, faults: AnyFaults
    ) -> None:
        joints.enable()
        here = self.to(positions(joints))
        faults.unplug()
        with pytest.raises(FaultError, match="Disconnect, clear the cause, connect again"):
            until_fault(joints, lambda: joints.command(here))
        assert joints.state is State.FAULTED
        faults.clear()
        with pytest.raises(FaultError):
            joints.command(here)
        with pytest.raises(FaultError):
            joints.enable()
        joints.disable()
        assert joints.state is State.FAULTED

    @pytest.mark.moves
    def test_without_its_cable_it_stops_within_twice_the_watchdog(
        self, joints: AnyJoints, faults: AnyFaults
    ) -> None:
        joints.enable()
        goal = self.far(joints)
        joints.command(self.to(goal))
        faults.unplug()
        joints.clock.sleep(2 * joints.spec.watchdog_s)
        faults.clear()
        joints.disconnect()
        joints.connect()
        halted = positions(joints)
        joints.clock.sleep(joints.spec.watchdog_s)
        np.testing.assert_allclose(positions(joints), halted, atol=STILL)
        assert np.abs(halted - goal).max() > ARRIVED, "it arrived instead of holding"
        assert joints.state is State.CONNECTED

    # -- Commands --------------------------------------------------------------

    @pytest.mark.moves
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_non_finite_targets_are_refused_by_name(self, joints: AnyJoints, bad: float) -> None:
        joints.enable()
        target = positions(joints)
        target[-1] = bad
        with pytest.raises(CommandError, match=f"not finite at {joints.spec.joint_names[-1]}"):
            joints.command(self.to(target))
        assert joints.state is State.ENABLED

    @pytest.mark.moves
    def test_wrong_shapes_are_refused(self, joints: AnyJoints) -> None:
        joints.enable()
        here = positions(joints)
        for wrong in (here[:-1], np.append(here, 0.0), here[None], np.array(0.0)):
            with pytest.raises(CommandError, match=r"has shape .* expected"):
                joints.command(self.to(wrong))

    @pytest.mark.moves
    def test_the_limited_command_is_returned(self, joints: AnyJoints) -> None:
        joints.enable()
        here = np.clip(positions(joints), *joints.spec.position_limits.T)
        for joint in range(joints.spec.n_joints):
            for limit, beyond in zip(joints.spec.position_limits[joint], (-0.1, 0.1), strict=True):
                target, allowed = here.copy(), here.copy()
                target[joint], allowed[joint] = limit + beyond, limit
                sent = joints.command(self.to(target))
                assert isinstance(sent, self.command_type)
                np.testing.assert_array_equal(sent.joint_positions, allowed)
        joints.disable()

    # -- Arrays ----------------------------------------------------------------

    def test_arrays_have_the_promised_shape_and_dtype(self, joints: AnyJoints) -> None:
        sample = joints.observe()
        for array in (sample.joint_positions, sample.joint_velocities, sample.joint_efforts):
            if array is not None:
                assert array.shape == (joints.spec.n_joints,)
                assert array.dtype == np.float64
                assert np.isfinite(array).all()

    def test_it_is_within_its_limits(self, joints: AnyJoints) -> None:
        low, high = joints.spec.position_limits.T
        here = positions(joints)
        assert (here >= low - ARRIVED).all()
        assert (here <= high + ARRIVED).all()

    def test_the_spec_agrees_with_its_kinematics(self, device: AnyDevice) -> None:
        spec = device.spec
        assert spec.kinematics.kind == self.kind
        assert spec.joint_names == spec.kinematics.joint_names
        assert len(set(spec.joint_names)) == spec.n_joints > 0
        low, high = spec.position_limits.T
        assert (low < high).all()
        assert (spec.velocity_limits > 0).all()
        assert spec.watchdog_s > 0

    # -- Moves -----------------------------------------------------------------

    def to(self, target: Vector) -> JointCommand:
        """Return the command that goes to ``target``."""
        return self.command_type(joint_positions=target)

    def walk(self, joints: AnyJoints, goal: Vector, timeout_s: float = 2.0) -> Vector:
        """Command ``goal`` until it is reached or time is up. Returns what was sent."""
        sent = goal
        for _ in range(round(timeout_s / PERIOD_S)):
            sent = joints.command(self.to(goal)).joint_positions
            joints.clock.sleep(PERIOD_S)
            if np.abs(positions(joints) - sent).max() < 0.2 * ARRIVED:
                break
        return sent

    def moved(self, joints: AnyJoints, start: Vector, joint: int, distance: float) -> Vector:
        """Return ``start`` with one joint moved towards its farther limit."""
        low, high = joints.spec.position_limits[joint]
        goal: Vector = np.clip(start, *joints.spec.position_limits.T)
        upwards = high - goal[joint] > goal[joint] - low
        goal[joint] += min(distance, 0.4 * (high - low)) * (1 if upwards else -1)
        return goal

    def free_joint(self, joints: AnyJoints) -> int:
        """Return the joint that may move far: the one that needs longest for its range."""
        ranges = np.ptp(joints.spec.position_limits, axis=1)
        return int(np.argmax(ranges / joints.spec.velocity_limits))

    def far(self, joints: AnyJoints) -> Vector:
        """Return a target that the watchdog stops short of, stepping back first to make room."""
        joint = self.free_joint(joints)
        low, high = joints.spec.position_limits[joint]
        reach = joints.spec.velocity_limits[joint] * joints.spec.watchdog_s
        goal: Vector = np.clip(positions(joints), *joints.spec.position_limits.T)
        if max(high - goal[joint], goal[joint] - low) < 1.5 * reach:
            goal[joint] = low
            goal = self.walk(joints, goal).copy()
        room = high - goal[joint]
        if room >= goal[joint] - low:
            goal[joint] += min(1.5 * reach, room)
        else:
            goal[joint] -= 1.5 * reach
        if abs(goal[joint] - positions(joints)[joint]) < reach + 2 * ARRIVED:
            pytest.fail(
                f"{joints}: joint {joints.spec.joint_names[joint]} crosses its range within "
                f"the watchdog time of {joints.spec.watchdog_s:g} s, so this proves nothing"
            )
        return goal


def positions(joints: AnyJoints) -> Vector:
    """Where the joints are, as an array of the caller's own."""
    here: Vector = joints.observe().joint_positions.copy()
    return here


class ArmConformance(JointConformance):
    """What an arm must do as well."""

    kind = "arm"
    device_type = Arm
    command_type = ArmCommand

    def free_joint(self, joints: AnyJoints) -> int:
        """Return the last joint: it turns the hand in place."""
        return len(joints.spec.joint_names) - 1

    def test_the_flange_is_a_link(self, device: AnyDevice) -> None:
        kinematics = device.spec.kinematics
        assert kinematics.tips["flange"] in {joint.child for joint in kinematics.joints}


class HandConformance(JointConformance):
    """What a dexterous hand must do as well."""

    kind = "hand"
    device_type = Hand
    command_type = HandCommand

    def test_the_side_is_known_before_connecting(self, device: AnyDevice) -> None:
        assert device.spec.side in ("left", "right")

    def test_fingertip_forces_are_one_vector_per_finger_or_none(self, joints: AnyJoints) -> None:
        forces = joints.observe().fingertip_forces
        if forces is not None:
            assert forces.shape == (len(joints.spec.kinematics.tips), 3)
            assert np.isfinite(forces).all()
