"""What a simulated arm and a simulated hand share: they are ports of one world."""

from typing import Any, TypedDict

from dexhil.drivers.arrays import Vector
from dexhil.drivers.clock import Clock
from dexhil.drivers.faults import Faults
from dexhil.drivers.joints import JointCommand
from dexhil.drivers.models.kinematics import Kinematics
from dexhil.drivers.sim.port import WATCHDOG_S, JointPort


class JointSample(TypedDict):
    """The fields of a ``JointObservation``."""

    stamp_s: float
    joint_positions: Vector
    joint_velocities: Vector
    joint_efforts: Vector


class PortHoles:
    """The holes of an actuator's driver, filled by a port. Stands before ``Arm`` or ``Hand``."""

    clock: Clock
    faults: Faults[Any]
    _port: JointPort

    def _attach(self, port: JointPort) -> None:
        self._port = port
        self.faults = Faults("joint_positions", "joint_velocities", "joint_efforts")

    def _sample(self) -> JointSample:
        stamp_s = self.clock.now_s()
        positions, velocities, efforts = self._port.read()
        return JointSample(
            stamp_s=stamp_s,
            joint_positions=positions,
            joint_velocities=velocities,
            joint_efforts=efforts,
        )

    def _open(self, timeout_s: float) -> None:
        del timeout_s  # It answers at once.
        self.faults.require_link()

    def _close(self) -> None:
        pass

    def _enable(self) -> None:
        self.faults.require_link()
        self._port.hold()

    def _disable(self) -> None:
        self._port.hold()

    def _write(self, command: JointCommand) -> None:
        self.faults.require_link()
        self._port.set_target(command.joint_positions)


def spec_fields(kinematics: Kinematics) -> dict[str, Any]:
    """Return the fields of a ``JointSpec`` that the table holds."""
    return {
        "model": kinematics.model,
        "joint_names": kinematics.joint_names,
        "position_limits": kinematics.position_limits,
        "velocity_limits": kinematics.velocity_limits,
        "watchdog_s": WATCHDOG_S,
        "kinematics": kinematics,
        "simulated": True,
    }
