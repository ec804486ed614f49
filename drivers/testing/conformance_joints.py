"""What arms and hands must do. Motion stays small where a joint's range allows it."""

from typing import ClassVar

import numpy as np
import pytest

from dexhil.drivers.arm import Arm
from dexhil.drivers.device import State
from dexhil.drivers.errors import CommandError, FaultError, LifecycleError
from dexhil.drivers.hand import Hand
from dexhil.drivers.registry import AnyDevice
from dexhil.drivers.testing.conformance import DeviceConformance, until_fault
from dexhil.drivers.testing.motions import (
    ARRIVED,
    PERIOD_S,
    STEP,
    STILL,
    AnyJoints,
    far,
    moved,
    positions,
    to,
    walk,
)
from dexhil.drivers.testing.person import AnyFaults


class JointConformance(DeviceConformance):
    """What a device of commanded joints must do."""

    device_type: ClassVar[type[AnyJoints]]

    @pytest.fixture
    def joints(self, connected: AnyDevice) -> AnyJoints:
        assert isinstance(connected, self.device_type)
        return connected

    # -- Lifecycle -------------------------------------------------------------

    def test_connecting_does_not_enable(self, joints: AnyJoints) -> None:
        assert joints.state is State.CONNECTED
        with pytest.raises(LifecycleError, match="needs to be enabled, is connected"):
            joints.command(to(joints, positions(joints)))

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
            joints.command(to(joints, positions(joints)))

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
        joints.command(to(joints, far(joints)))
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
            goal = moved(joints, start, joint, STEP)
            sent = walk(joints, goal)
            np.testing.assert_allclose(
                positions(joints), sent, atol=ARRIVED, err_msg=joints.spec.joint_names[joint]
            )

    @pytest.mark.moves
    def test_velocity_is_the_rate_of_position_and_below_its_limit(self, joints: AnyJoints) -> None:
        joints.enable()
        start = positions(joints)
        goal = start
        for joint in range(joints.spec.n_joints):
            goal = moved(joints, goal, joint, STEP)
        previous = joints.observe()
        travelled = np.zeros(joints.spec.n_joints)
        for _ in range(10):
            joints.command(to(joints, goal))
            joints.clock.sleep(PERIOD_S)
            sample = joints.observe()
            elapsed_s = sample.stamp_s - previous.stamp_s
            travelled += 0.5 * (sample.joint_velocities + previous.joint_velocities) * elapsed_s
            steps = np.abs(sample.joint_positions - previous.joint_positions)
            # Servos overshoot a moving target a little, and an encoder's count is 1.5e-3 rad.
            assert (steps <= 1.3 * joints.spec.velocity_limits * elapsed_s + 3e-3).all()
            previous = sample
        distances = previous.joint_positions - start
        assert np.abs(distances).max() > STILL, "it did not move, so this proves nothing"
        np.testing.assert_allclose(travelled, distances, atol=0.3 * STEP)

    @pytest.mark.moves
    def test_it_holds_when_commands_stop(self, joints: AnyJoints) -> None:
        joints.enable()
        goal = far(joints)
        joints.command(to(joints, goal))
        joints.clock.sleep(2 * joints.spec.watchdog_s)
        halted = positions(joints)
        joints.clock.sleep(joints.spec.watchdog_s)
        np.testing.assert_allclose(positions(joints), halted, atol=STILL)
        assert np.abs(halted - goal).max() > ARRIVED, "it arrived instead of holding"

    @pytest.mark.moves
    def test_disabling_stops_it_at_once(self, joints: AnyJoints) -> None:
        joints.enable()
        goal = far(joints)
        before = positions(joints)
        joints.command(to(joints, goal))
        joints.disable()
        joints.clock.sleep(joints.spec.watchdog_s)
        np.testing.assert_allclose(positions(joints), before, atol=STILL)

    @pytest.mark.moves
    def test_disconnecting_while_enabled_makes_it_safe(self, joints: AnyJoints) -> None:
        joints.enable()
        goal = far(joints)
        before = positions(joints)
        joints.command(to(joints, goal))
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
        here = to(joints, positions(joints))
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
        goal = far(joints)
        joints.command(to(joints, goal))
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
            joints.command(to(joints, target))
        assert joints.state is State.ENABLED

    @pytest.mark.moves
    def test_wrong_shapes_are_refused(self, joints: AnyJoints) -> None:
        joints.enable()
        here = positions(joints)
        for wrong in (here[:-1], np.append(here, 0.0), here[None], np.array(0.0)):
            with pytest.raises(CommandError, match=r"has shape .* expected"):
                joints.command(to(joints, wrong))

    @pytest.mark.moves
    def test_the_limited_command_is_returned(self, joints: AnyJoints) -> None:
        joints.enable()
        here = np.clip(positions(joints), *joints.spec.position_limits.T)
        for joint in range(joints.spec.n_joints):
            for limit, beyond in zip(joints.spec.position_limits[joint], (-0.1, 0.1), strict=True):
                target, allowed = here.copy(), here.copy()
                target[joint], allowed[joint] = limit + beyond, limit
                sent = joints.command(to(joints, target))
                assert isinstance(sent, joints.command_type)
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


class ArmConformance(JointConformance):
    """What an arm must do as well."""

    kind = "arm"
    device_type = Arm

    def test_the_flange_is_a_link(self, device: AnyDevice) -> None:
        kinematics = device.spec.kinematics
        assert kinematics.tips["flange"] in {joint.child for joint in kinematics.joints}


class HandConformance(JointConformance):
    """What a dexterous hand must do as well."""

    kind = "hand"
    device_type = Hand

    def test_the_side_is_known_before_connecting(self, device: AnyDevice) -> None:
        assert device.spec.side in ("left", "right")

    def test_fingertip_forces_are_one_vector_per_finger_or_none(self, joints: AnyJoints) -> None:
        forces = joints.observe().fingertip_forces
        if forces is not None:
            assert forces.shape == (len(joints.spec.kinematics.tips), 3)
            assert np.isfinite(forces).all()
