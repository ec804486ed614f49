"""The palm's pose to the arm's joints and back, by mink's differential inverse kinematics."""

from collections.abc import Mapping
from ctypes import c_int
from typing import Any

import daqp
import mink
import mujoco
import numpy as np

from dexhil.drivers.models.kinematics import Kinematics
from dexhil.drivers.models.mjspec import to_mjspec
from dexhil.teleop.errors import KinematicsError
from dexhil.teleop.se3 import Pose, Vector, from_rpy, make_pose, to_quaternion

# A palm at 0.3 m/s and 30 Hz is followed to 0.5 mm by one iteration, 0.04 mm by two and
# 0.02 mm by three, on UR5e and FR3 alike; each takes as long as the first.
_ITERATIONS = 2
_CLOSE_M, _CLOSE_RAD = 1e-5, 1e-4  # Nothing a person can see is left to gain.
_POSTURE_COST = 1e-3  # Against 1 of the pose: decides only what the pose leaves open.
_LM_DAMPING = 1e-2  # Grows with the error, so a pose out of reach cannot whip the arm.
_DAMPING = 1e-6


class ArmIK:
    """Forward and inverse kinematics of one arm, with the hand's palm at its flange.

    Not for two threads at once: it owns one MuJoCo state.

    Args:
        arm: The arm's table.
        mount: ``{"position": [m], "rpy": [rad]}`` of the palm in the flange frame; a
            hand's ``kinematics.extra["mount"]``.
        speed_fraction: Share of the joints' largest speeds that a solution may use.

    Raises:
        KinematicsError: The table names no flange.
    """

    def __init__(
        self, arm: Kinematics, mount: Mapping[str, Any], *, speed_fraction: float = 1.0
    ) -> None:
        if "flange" not in arm.tips:
            raise KinematicsError(f"{arm.model}: the table's tips name no flange.")
        spec = to_mjspec(arm, actuated=False)
        palm = make_pose(mount["position"], from_rpy(mount["rpy"]))
        spec.body(arm.tips["flange"]).add_site(
            name="palm", pos=palm[:3, 3], quat=to_quaternion(palm[:3, :3])
        )
        model = spec.compile()
        self._model = arm.model
        self._configuration = mink.Configuration(model)
        self._data = mujoco.MjData(model)
        self._palm = model.site("palm").id
        self._joints = np.array([int(model.joint(name).qposadr[0]) for name in arm.joint_names])
        self._low, self._high = arm.position_limits.T
        self._task = mink.FrameTask(
            "palm", "site", position_cost=1.0, orientation_cost=1.0, lm_damping=_LM_DAMPING
        )
        self._posture = mink.PostureTask(model, cost=_POSTURE_COST)
        self._tasks = [self._task, self._posture]
        # Positions and speeds bound each joint by itself: a box, which the solver takes as it
        # is. As mink's general limits the same bounds would cost half of a solve.
        order = np.argsort(self._joints)
        self._lower, self._upper = arm.position_limits[order].T
        self._speeds = speed_fraction * arm.velocity_limits[order]
        self._no_rows = np.zeros((0, model.nv))
        self._inequality = np.zeros(model.nv, dtype=c_int)

    def fk(self, joint_positions: Vector) -> Pose:
        """Return ``pose_palm_in_base`` (4, 4) of joints [rad] (n,)."""
        data = self._data
        data.qpos[self._joints] = joint_positions
        mujoco.mj_kinematics(self._configuration.model, data)
        return make_pose(data.site_xpos[self._palm], data.site_xmat[self._palm].reshape(3, 3))

    def solve(self, pose_palm_in_base: Pose, joint_positions: Vector, dt_s: float) -> Vector:
        """Return joints nearer to a pose, at most ``dt_s`` of motion away.

        Called at every tick from the joints of the last one, it follows a moving
        pose; a pose out of reach is approached and then waited at.

        Args:
            pose_palm_in_base: Where the palm should be. Shape (4, 4).
            joint_positions: Where to start [rad]. Shape (n,).
            dt_s: Time the arm has [s].

        Returns:
            Joints within the position limits [rad]. Shape (n,).

        Raises:
            KinematicsError: The pose or the joints are not finite, or no step is allowed.
        """
        if not (np.isfinite(pose_palm_in_base).all() and np.isfinite(joint_positions).all()):
            raise KinematicsError(
                f"{self._model}: inverse kinematics needs a finite pose and finite joints, "
                f"got {pose_palm_in_base[:3, 3]} m from {joint_positions} rad."
            )
        start = np.zeros(self._configuration.model.nq)
        start[self._joints] = np.clip(joint_positions, self._low, self._high)
        self._configuration.update(start)
        self._posture.set_target(start)
        self._task.set_target(mink.SE3.from_matrix(pose_palm_in_base))
        step_s = dt_s / _ITERATIONS
        for _ in range(_ITERATIONS):
            error = self._task.compute_error(self._configuration)
            if np.abs(error[:3]).max() < _CLOSE_M and np.abs(error[3:]).max() < _CLOSE_RAD:
                break
            self._configuration.integrate_inplace(self._step(step_s), 1.0)
        solution = self._configuration.q[self._joints]
        return np.asarray(np.clip(solution, self._low, self._high), dtype=np.float64)

    def _step(self, dt_s: float) -> Vector:
        """Return the best motion of the joints in ``dt_s`` within their limits [rad]. Shape (n,).

        Raises:
            KinematicsError: No step is allowed.
        """
        problem = mink.build_ik(self._configuration, self._tasks, dt_s, damping=_DAMPING, limits=[])
        q, reach = self._configuration.q, dt_s * self._speeds
        most = np.minimum(self._upper - q, reach)
        least = np.maximum(self._lower - q, -reach)
        step, _, flag, _ = daqp.solve(
            problem.P, problem.q, self._no_rows, most, least, self._inequality
        )
        if flag <= 0:
            raise KinematicsError(
                f"{self._model}: inverse kinematics found no step (DAQP says {flag})."
            )
        return np.asarray(step, dtype=np.float64)
