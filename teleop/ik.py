"""The palm's pose to the arm's joints and back, by mink's differential inverse kinematics."""

from collections.abc import Mapping
from typing import Any, cast

import mink
import mujoco
import numpy as np

from dexhil.drivers.models.kinematics import Kinematics
from dexhil.drivers.models.mjspec import to_mjspec
from dexhil.teleop.barriers import UNBOUNDED, Barriers, best_step, way_to
from dexhil.teleop.collision import Collision, add_shapes
from dexhil.teleop.errors import KinematicsError
from dexhil.teleop.pursuit import Step
from dexhil.teleop.se3 import Pose, Vector, from_rpy, make_pose, to_quaternion

# A palm at 0.3 m/s and 30 Hz is followed to 0.5 mm by one iteration, 0.04 mm by two and
# 0.02 mm by three, on UR5e and FR3 alike; each takes as long as the first.
_ITERATIONS = 2
_CLOSE_M, _CLOSE_RAD = 1e-5, 1e-4  # Nothing a person can see is left to gain.
_POSTURE_COST = 1e-3  # Against 1 of the pose: decides only what the pose leaves open.
_LM_DAMPING = 1e-2  # Grows with the error, so a pose out of reach cannot whip the arm.
_DAMPING = 1e-6
# Singular values of the palm's Jacobian (m and rad per rad) below which a direction is damped, and
# how much in the end. In their home poses UR5e, FR3 and xArm7 have none below 0.16. A tremble of
# 0.3 mm and 2 mrad beside a UR5e's wrist singularity moves its joints by up to 0.05 rad a tick
# without damping, all that their speed allows, and by 0.01 rad with it.
_SINGULAR = 0.07
_SINGULAR_DAMPING = 0.07
# An arm that is pulled out of reach must not fold the other way when it comes back, from where it
# would not find home: its elbow stays this far from straight [rad], for 0.3 % of its reach.
_ELBOW_BENT = 0.15
_SEEN_M = 0.1  # How far ahead collisions are seen.
_DEEPEST_M = 1.0  # mink tells distances above minus this, and not those below.
# Towards walls and collisions any part of the arm can brake at this many metres per radian of its
# joints' acceleration, in any pose that is of use.
_LEVER_M = 0.2
# The arm goes on arcs, the solver on their tangents, and boxes rock from corner to corner: a step
# along a wall ends beyond it by up to half the angle squared times this radius, and the next step
# comes back by as much.
_REACH_M = 1.0

Box = tuple[Vector, Vector]


class ArmIK:
    """Forward and inverse kinematics of one arm, with the hand's palm at its flange.

    Not for two threads at once: it owns one MuJoCo state.

    Args:
        arm: The arm's table.
        mount: ``{"position": [m], "rpy": [rad]}`` of the palm in the flange frame; a
            hand's ``kinematics.extra["mount"]``.
        speed_fraction: Share of the joints' largest speeds that a solution may use.
        acceleration: Largest of a joint [rad/s²].
        hand: The hand's table, for collisions; an arm without a hand when ``None``.
        table_height: Of a table's top above the arm's base [m]; no table when ``None``.
        margin: Distance between shapes that a command must leave [m]; see `Collision`.

    Attributes:
        collision: Distances of the arm to itself, its hand and the table.
        position_limits: Lower and upper, in the arm's order of joints [rad]. Shape (n, 2).
        speeds: Largest that a solution uses [rad/s]. Shape (n,).
        acceleration: As given [rad/s²].

    Raises:
        KinematicsError: The table names no flange, or the acceleration is not positive.
    """

    def __init__(
        self,
        arm: Kinematics,
        mount: Mapping[str, Any],
        *,
        speed_fraction: float = 1.0,
        acceleration: float = 20.0,
        hand: Kinematics | None = None,
        table_height: float | None = None,
        margin: float = 0.005,
    ) -> None:
        if "flange" not in arm.tips:
            raise KinematicsError(f"{arm.model}: the table's tips name no flange.")
        if not acceleration > 0.0:
            raise KinematicsError(
                f"{arm.model}: the acceleration is {acceleration:g} rad/s², must be above 0."
            )
        model = _model_of(arm, mount, hand, table_height)
        self._model = arm.model
        self._configuration = mink.Configuration(model)
        self._data = mujoco.MjData(model)
        self._palm = model.site("palm").id
        self._joints = np.array([int(model.joint(name).qposadr[0]) for name in arm.joint_names])
        self.position_limits = arm.position_limits
        self.acceleration = acceleration
        self.speeds: Vector = speed_fraction * arm.velocity_limits
        self._order = np.argsort(self._joints)
        self._low, self._high = arm.position_limits.T
        elbow = arm.extra.get("elbow")
        self._elbow = None if elbow is None else arm.joint_names.index(elbow["joint"])
        self._straight = 0.0 if elbow is None else float(elbow["straight"])
        self._task = mink.FrameTask(
            "palm", "site", position_cost=1.0, orientation_cost=1.0, lm_damping=_LM_DAMPING
        )
        self._posture = mink.PostureTask(model, cost=_POSTURE_COST)
        self._tasks = [self._task, self._posture]
        self.collision = Collision(model, arm, margin=margin)
        self._avoidance = mink.CollisionAvoidanceLimit(
            model,
            [([a], [b]) for a, b in self.collision.pairs],
            gain=1.0,
            minimum_distance_from_collisions=-_DEEPEST_M,
            collision_detection_distance=_SEEN_M,
        )

    def fk(self, joint_positions: Vector) -> Pose:
        """Return ``pose_palm_in_base`` (4, 4) of joints [rad] (n,)."""
        data = self._data
        data.qpos[self._joints] = joint_positions
        mujoco.mj_kinematics(self._configuration.model, data)
        return make_pose(data.site_xpos[self._palm], data.site_xmat[self._palm].reshape(3, 3))

    def solve(
        self,
        pose_palm_in_base: Pose,
        joint_positions: Vector,
        dt_s: float,
        *,
        posture: Vector | None = None,
        box: Box | None = None,
    ) -> Vector:
        """Return joints nearer to a pose, at most ``dt_s`` of motion away.

        Called at every tick from the joints of the last one, it follows a moving
        pose; a pose out of reach, or behind something, is approached and then waited at.
        Acceleration does not bound it: `Pursuit` and `steer` follow it within that.

        Args:
            pose_palm_in_base: Where the palm should be. Shape (4, 4).
            joint_positions: Where to start [rad]. Shape (n,).
            dt_s: Time the arm has [s].
            posture: What joints that the pose leaves open tend to, so that a seventh joint does
                not drift; where they start when ``None`` [rad]. Shape (n,).
            box: Lower and upper corner of the palm's box in the arm's base frame [m].
                Shapes (3,).

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
        start = self._update(np.clip(joint_positions, self._low, self._high))
        self._posture.set_target(start if posture is None else posture[self._order])
        self._task.set_target(mink.SE3.from_matrix(pose_palm_in_base))
        low, high = self._limits_from(joint_positions)
        reach = dt_s / _ITERATIONS * self.speeds[self._order]
        if self._arrived():
            return np.clip(joint_positions, self._low, self._high)
        damping = self._singular_damping()
        barriers = self._barriers(dt_s, box, _ITERATIONS * float(reach.max()))
        for _ in range(_ITERATIONS):
            problem = mink.build_ik(self._configuration, self._tasks, 1.0, _DAMPING, limits=[])
            q = self._configuration.q
            most, least = np.minimum(high - q, reach), np.maximum(low - q, -reach)
            step = best_step(
                problem.P + damping,
                problem.q,
                [(least, most, barriers), (least, most, barriers.at_most_closed())],
            )
            barriers = barriers.after(step)
            self._configuration.integrate_inplace(step, 1.0)
            if self._arrived():
                break
        solution = self._configuration.q[self._joints]
        return np.asarray(np.clip(solution, self._low, self._high), dtype=np.float64)

    def steer(
        self, joint_positions: Vector, step: Step, dt_s: float, box: Box | None = None
    ) -> Vector:
        """Return the joints after the step nearest to ``step`` that walls and collisions leave.

        Args:
            joint_positions: Where it starts [rad]. Shape (n,).
            step: What is wanted. Beyond its limits goes only the way to standing still, where
                braking within them would be too late.
            dt_s: Time the step takes [s].
            box: As in `solve`.

        Returns:
            [rad]. Shape (n,).

        Raises:
            KinematicsError: No step is allowed.
        """
        self._update(joint_positions)
        barriers = self._barriers(dt_s, box, float(np.abs(step.wanted).max()))
        wanted, least, most = (v[self._order] for v in (step.wanted, step.least, step.most))
        if barriers.allow(wanted):
            return joint_positions + step.wanted
        closed = barriers.at_most_closed()
        bounds = [
            (least, most, barriers),
            (least, most, closed),
            (np.minimum(least, 0.0), np.maximum(most, 0.0), closed),
        ]
        found = best_step(np.eye(wanted.size), -wanted, bounds)
        result: Vector = joint_positions + found[self._joints]
        return result

    def _arrived(self) -> bool:
        error = self._task.compute_error(self._configuration)
        return bool(np.abs(error[:3]).max() < _CLOSE_M and np.abs(error[3:]).max() < _CLOSE_RAD)

    def _limits_from(self, joint_positions: Vector) -> tuple[Vector, Vector]:
        """Return the position limits, and those of an elbow that stays bent [rad]. Shapes (n,)."""
        low: Vector = self._low.copy()
        high: Vector = self._high.copy()
        if self._elbow is not None:
            joint, straight = self._elbow, self._straight
            angle = joint_positions[joint]
            if angle > straight:
                low[joint] = max(low[joint], min(angle, straight + _ELBOW_BENT))
            else:
                high[joint] = min(high[joint], max(angle, straight - _ELBOW_BENT))
        return low[self._order], high[self._order]

    def _update(self, joint_positions: Vector) -> Vector:
        """Move the model, and return the joints in its order [rad]. Shape (n,)."""
        positions: Vector = joint_positions[self._order]
        self._configuration.update(positions)
        return positions

    def _barriers(self, dt_s: float, box: Box | None, angle: float) -> Barriers:
        """Return what the next step must not pass through.

        Args:
            dt_s: Time the step takes [s].
            box: As in `solve`.
            angle: The most that a joint turns in it [rad].
        """
        change = _LEVER_M * self.acceleration * dt_s**2
        back = 0.5 * _REACH_M * angle**2
        # mink would bound a step, a length, by a speed. In a unit of time they are the same.
        ahead = self._avoidance.compute_qp_inequalities(self._configuration, 1.0)
        gradients, room = cast("Vector", ahead.G), cast("Vector", ahead.h)
        near = np.isfinite(room)
        rows, room = gradients[near], room[near] - _DEEPEST_M - self.collision.keep
        if box is None:
            return Barriers(rows, np.full(room.size, -UNBOUNDED), way_to(room, change, back))
        data, walls = self._configuration.data, np.zeros((3, rows.shape[1]))
        mujoco.mj_jacSite(self._configuration.model, data, walls, None, self._palm)
        palm = data.site_xpos[self._palm]
        ways = way_to(np.concatenate([room, box[1] - palm, palm - box[0]]), change, back)
        least = np.append(np.full(room.size, -UNBOUNDED), -ways[-3:])
        return Barriers(np.vstack([rows, walls]), least, ways[:-3])

    def _singular_damping(self) -> Vector:
        """Return the cost of motion in the directions that the palm is losing. Shape (n, n).

        Damping that grows as a singular value falls below a threshold (Nakamura and Hanafusa
        1986), and of that direction alone (Chiaverini 1997): the others are followed as before.
        """
        jacobian = self._task.compute_jacobian(self._configuration)
        _, values, directions = np.linalg.svd(jacobian, full_matrices=False)
        lost = np.maximum(0.0, 1.0 - (values / _SINGULAR) ** 2)
        weights = _SINGULAR_DAMPING**2 * lost
        damping: Vector = directions.T * weights @ directions
        return damping


def _model_of(
    arm: Kinematics, mount: Mapping[str, Any], hand: Kinematics | None, table_height: float | None
) -> mujoco.MjModel:
    spec = to_mjspec(arm, actuated=False)
    palm = make_pose(mount["position"], from_rpy(mount["rpy"]))
    spec.body(arm.tips["flange"]).add_site(
        name="palm", pos=palm[:3, 3], quat=to_quaternion(palm[:3, :3])
    )
    add_shapes(spec, arm, mount, hand, table_height)
    for geom in spec.geoms:  # Else mink would leave out an arm that touches only the scene.
        geom.contype = geom.conaffinity = 1
    return spec.compile()
