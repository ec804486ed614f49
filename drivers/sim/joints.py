"""What a simulated arm and a simulated hand share: they are ports of one world."""

from typing import Any, TypedDict

from dexhil.drivers.arrays import Vector
from dexhil.drivers.clock import Clock
from dexhil.drivers.faults import Faults
from dexhil.drivers.joints import JointCommand
from dexhil.drivers.sim.port import JointPort


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
