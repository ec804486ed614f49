"""The joints of one robot in the world, as its controller would offer them."""

from collections.abc import Callable
from threading import RLock

import mujoco
import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.models.kinematics import Kinematics

# Robots hold still when commands stop coming for this long: 3 periods of a 20 Hz policy.
WATCHDOG_S = 0.15


class JointPort:
    """Walks its joints' set point to the target, never faster than the joints may move.

    The set point is what the position servos of the simulated joints follow. A
    target that is not renewed for ``WATCHDOG_S`` is given up: the set point stays.

    Attributes:
        kinematics: Of the robot.
        names: Joints, in the order of every array here.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        kinematics: Kinematics,
        *,
        prefix: str,
        catch_up: Callable[[], None],
        lock: RLock,
    ) -> None:
        self.kinematics = kinematics
        self.names = kinematics.joint_names
        self._data = data
        self._catch_up = catch_up
        self._lock = lock
        joints = [model.joint(prefix + name) for name in self.names]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._qvel = np.array([joint.dofadr[0] for joint in joints])
        first = model.actuator(prefix + self.names[0]).id
        self._actuators = slice(first, first + len(self.names))
        self._set_point: Vector = data.ctrl[self._actuators]  # The servos read this very memory.
        self._position_limits = kinematics.position_limits.T
        self._velocity_limits = kinematics.velocity_limits
        self._followers = [
            (
                model.joint(prefix + joint.name).qposadr[0],
                self.names.index(joint.mimic[0]),
                *joint.mimic[1:],
            )
            for joint in kinematics.joints
            if joint.mimic is not None
        ]
        self._target = self._set_point.copy()
        self._commanded_s = -np.inf

    def read(self) -> tuple[Vector, Vector, Vector]:
        """Return positions [rad], velocities [rad/s] and efforts [N·m]. Shapes (n,)."""
        with self._lock:
            self._catch_up()
            data = self._data
            efforts = data.actuator_force[self._actuators].copy()
            return data.qpos[self._qpos], data.qvel[self._qvel], efforts

    def set_target(self, positions: Vector) -> None:
        """Head for ``positions`` [rad], shape (n,), or the nearest the joints can reach."""
        with self._lock:
            self._catch_up()
            self._target = np.clip(positions, *self._position_limits)
            self._commanded_s = self._data.time

    def hold(self) -> None:
        """Head nowhere: stay at the present set point."""
        with self._lock:
            self._catch_up()
            self._stay()

    # -- What the world calls ------------------------------------------------

    def place(self, positions: Vector) -> None:
        """Put the joints at ``positions`` [rad] at once, at rest, and hold there."""
        self._data.qpos[self._qpos] = positions
        for address, driver, multiplier, offset in self._followers:
            self._data.qpos[address] = offset + multiplier * positions[driver]
        self._set_point[:] = positions
        self._stay()

    def walk(self, duration_s: float) -> None:
        """Move the set point by what ``duration_s`` allows."""
        if self._data.time - self._commanded_s > WATCHDOG_S:
            self._stay()
            return
        reach = self._velocity_limits * duration_s
        step = self._target - self._set_point
        self._set_point += np.minimum(np.maximum(step, -reach, out=step), reach, out=step)

    def _stay(self) -> None:
        self._target[:] = self._set_point
        self._commanded_s = -np.inf
