"""How an arm follows a hand, and what it does where it should not or cannot.

    python benchmarks/arm.py [--arms ur5e fr3 xarm7] [--seconds SECONDS]

A LEAP hand on each arm is led at 30 Hz, with half of the joints' speeds, by three ways from the
palm's pose to joints:

ours    dexhil.teleop.human.HumanArm, without the limiter that stands behind it
mink    mink.solve_ik with its limits of configuration and velocity, once per tick
DLS     damped least squares, then clipped to the limits of position and speed

follow    a hand that wanders at about 0.3 m/s: how far the palm is off, how late it comes (the
          shift in time at which its path fits best), and the largest acceleration of a joint
itself    the hand is led through the arm, and the table: the closest that two shapes come,
table     negative when they overlap. 10 mm are kept by ours, 5 mm by the limiter for anybody
tremble   beside a singularity (UR5e's wrist, the others' elbow) the hand trembles by 0.3 mm and
          2 mrad: the fastest joint
back      led out of reach, up, down and home again: how far from home it ends
time      of one tick
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from types import SimpleNamespace
from typing import Any, cast

import mink
import mujoco
import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.models.kinematics import Kinematics, load_kinematics
from dexhil.drivers.models.mjspec import to_mjspec
from dexhil.teleop import se3
from dexhil.teleop.human import HumanArm
from dexhil.teleop.ik import ArmIK
from dexhil.teleop.mapping import ArmMapping
from dexhil.teleop.safety import Workspace

RATE_HZ, SPEED_FRACTION, ACCELERATION = 30.0, 0.5, 20.0
HAND = load_kinematics("leap")
ARMS = ("ur5e", "fr3", "xarm7")
# Far from every limit [rad].
MIDDLE = {
    "ur5e": [0.0, -1.57, 1.57, -1.57, -1.57, 0.0],
    "fr3": [0.0, -0.3, 0.0, -2.2, 0.0, 2.0, 0.8],
    "xarm7": [0.0, 0.2, 0.0, 1.2, 0.0, 1.0, 0.0],
}
# One joint beside where the palm loses a direction, and the others far from every limit [rad].
BESIDE = {
    "ur5e": [0.0, -1.57, 1.57, -1.57, -0.02, 0.0],
    "fr3": [0.0, -0.3, 0.0, -0.62, 0.0, 2.0, 0.8],
    "xarm7": [0.0, 0.2, 0.0, 2.59, 0.0, 1.0, 0.0],
}
DAMPING = 0.05  # Of damped least squares.


class Ours:
    """The project's way."""

    def __init__(self, arm: Kinematics, ik: ArmIK) -> None:
        del arm
        self._ik, self._cube = ik, SimpleNamespace(trusted=None)
        workspace = Workspace(np.full(3, -5.0), np.full(3, 5.0), ik.fk)
        watch = cast("Any", self._cube)
        self._human = HumanArm(watch, ArmMapping(np.eye(4)), ik, workspace, 1.0 / RATE_HZ)

    def begin(self, joints: Vector) -> None:
        self._start = self._ik.fk(joints)
        self._show(np.eye(4))
        self._human.anchor(joints)

    def step(self, pose: se3.Pose, joints: Vector) -> Vector:
        self._show(se3.inverse(self._start) @ pose)
        return self._human.target(1.0, joints)

    def _show(self, cube: se3.Pose) -> None:
        orientation = se3.to_quaternion(cube[:3, :3])
        self._cube.trusted = SimpleNamespace(position=cube[:3, 3], orientation=orientation)


class Mink:
    """mink as its examples use it."""

    def __init__(self, arm: Kinematics, ik: ArmIK) -> None:
        del ik
        self.model, speeds = _model(arm), SPEED_FRACTION * arm.velocity_limits
        self._configuration = mink.Configuration(self.model)
        self._task = mink.FrameTask("palm", "site", 1.0, 1.0, lm_damping=1e-2)
        self._posture = mink.PostureTask(self.model, cost=1e-3)
        self._limits = [
            mink.ConfigurationLimit(self.model),
            mink.VelocityLimit(self.model, dict(zip(arm.joint_names, speeds, strict=True))),
        ]

    def begin(self, joints: Vector) -> None:
        self._configuration.update(joints)
        self._posture.set_target(joints)

    def step(self, pose: se3.Pose, joints: Vector) -> Vector:
        self._configuration.update(joints)
        self._task.set_target(mink.SE3.from_matrix(pose))
        tasks, dt_s = [self._task, self._posture], 1.0 / RATE_HZ
        velocity = mink.solve_ik(
            self._configuration, tasks, dt_s, solver="daqp", damping=1e-6, limits=self._limits
        )
        return np.asarray(self._configuration.integrate(velocity, dt_s))


class DampedLeastSquares:
    """What is written first: J' (J J' + d² I)^-1 e, clipped."""

    def __init__(self, arm: Kinematics, ik: ArmIK) -> None:
        del ik
        self._model = _model(arm)
        self._data = mujoco.MjData(self._model)
        self._low, self._high = arm.position_limits.T
        self._reach = SPEED_FRACTION * arm.velocity_limits / RATE_HZ
        self._jacobian = np.zeros((6, self._model.nv))

    def begin(self, joints: Vector) -> None:
        """Nothing is remembered."""

    def step(self, pose: se3.Pose, joints: Vector) -> Vector:
        data, jacobian = self._data, self._jacobian
        data.qpos[:] = joints
        mujoco.mj_kinematics(self._model, data)
        mujoco.mj_comPos(self._model, data)
        mujoco.mj_jacSite(self._model, data, jacobian[:3], jacobian[3:], 0)
        turn = pose[:3, :3] @ data.site_xmat[0].reshape(3, 3).T
        error = np.append(pose[:3, 3] - data.site_xpos[0], se3.log_rotation(turn))
        damped = jacobian @ jacobian.T + DAMPING**2 * np.eye(6)
        step = jacobian.T @ np.linalg.solve(damped, error)
        reached: Vector = np.clip(
            joints + np.clip(step, -self._reach, self._reach), self._low, self._high
        )
        return reached


WAYS: dict[str, Callable[[Kinematics, ArmIK], Any]] = {
    "ours": Ours,
    "mink": Mink,
    "DLS": DampedLeastSquares,
}


def _model(arm: Kinematics) -> mujoco.MjModel:
    spec, mount = to_mjspec(arm, actuated=False), HAND.extra["mount"]
    rotation = se3.to_quaternion(se3.from_rpy(mount["rpy"]))
    spec.body(arm.tips["flange"]).add_site(name="palm", pos=mount["position"], quat=rotation)
    return spec.compile()


@dataclass(slots=True)
class Run:
    """One way on one arm, led along poses."""

    ik: ArmIK
    way: Any

    def lead(self, start: Vector, poses: Iterator[se3.Pose]) -> tuple[Vector, Vector, Vector]:
        """Return joints (k + 1, n), the palm's errors [m] (k,) and times of a tick [s] (k,)."""
        self.way.begin(start)
        path, errors, times = [start], [], []
        for pose in poses:
            began = perf_counter()
            path.append(self.way.step(pose, path[-1]))
            times.append(perf_counter() - began)
            errors.append(se3.distance(self.ik.fk(path[-1]), pose)[0])
        return np.array(path), np.array(errors), np.array(times)


def wander(start: se3.Pose, seconds: float) -> Iterator[se3.Pose]:
    """Yield the poses of a hand that never rests: sines of 0.3 m/s and 0.8 rad/s at most."""
    for t in np.arange(1, round(seconds * RATE_HZ) + 1) / RATE_HZ:
        rest = 1.0 - np.exp(-2.0 * t)  # Begins from rest.
        way = 0.10 * np.sin([1.9 * t, 1.4 * t, 1.1 * t + 0.3]) * rest
        turn = 0.25 * np.sin([1.7 * t, 2.1 * t, 1.3 * t]) * rest
        yield start @ se3.make_pose(way, se3.exp_rotation(turn))


def straight(start: se3.Pose, way: tuple[float, float, float]) -> Iterator[se3.Pose]:
    """Yield the poses of 4 s at 0.3 m/s along ``way`` in the base frame."""
    for k in range(1, round(4.0 * RATE_HZ) + 1):
        pose = start.copy()
        pose[:3, 3] += 0.3 * k / RATE_HZ * np.array(way)
        yield pose


def out_and_back(start: se3.Pose) -> Iterator[se3.Pose]:
    """Yield the poses of a way out of reach, up, down, and home, with a rest there."""
    corners = [(0, 0, 0), (0.9, 0, 0), (0.9, 0, 0.9), (0.9, 0, -0.1), (0, 0, 0), (0, 0, 0)]
    for here, there in pairwise(np.array(corners)):
        for share in np.linspace(0.0, 1.0, 90):
            pose = start.copy()
            pose[:3, 3] += here + share * (there - here)
            yield pose


def tremble(start: se3.Pose) -> Iterator[se3.Pose]:
    """Yield the poses of a hand that trembles for 5 s."""
    rng = np.random.default_rng(0)
    for _ in range(round(5.0 * RATE_HZ)):
        turn = se3.exp_rotation(rng.normal(0.0, 2e-3, 3))
        yield start @ se3.make_pose(rng.normal(0.0, 3e-4, 3), turn)


def latency_s(palms: Vector, poses: Vector) -> float:
    """Return the shift of ``palms`` against ``poses``, both (k, 3) [m], that fits best [s]."""
    ticks = np.arange(len(poses))
    shifts = np.arange(-2.0, 6.0, 0.05)

    def misfit(shift: float) -> float:
        then = np.array([np.interp(ticks - shift, ticks, column) for column in poses.T]).T
        return float(np.square(palms - then)[10:-10].mean())

    return float(shifts[int(np.argmin([misfit(shift) for shift in shifts]))]) / RATE_HZ


def measure(arm: Kinematics, ik: ArmIK, name: str, seconds: float) -> str:
    """Return one line of the table."""
    run, home = Run(ik, WAYS[name](arm, ik)), np.array(arm.extra["home"])
    middle, start = np.array(MIDDLE[arm.model]), ik.fk(home)
    poses = list(wander(ik.fk(middle), seconds))
    path, errors, times = run.lead(middle, iter(poses))
    palms = np.array([ik.fk(joints)[:3, 3] for joints in path[1:]])
    late_s = latency_s(palms, np.array([pose[:3, 3] for pose in poses]))
    hardest = np.abs(np.diff(path, n=2, axis=0)).max() * RATE_HZ**2
    closest = []
    for way in ((-1.0, 0.0, -0.3), (0.0, 0.0, -1.0)):
        led, _, _ = run.lead(home, straight(start, way))
        closest.append(min(ik.collision.distance(joints, 0.1) for joints in led))
    beside = np.array(BESIDE[arm.model])
    shaken, _, _ = run.lead(beside, tremble(ik.fk(beside)))
    fastest = np.abs(np.diff(shaken, axis=0)).max() * RATE_HZ
    _, away, _ = run.lead(home, out_and_back(start))
    return (
        f"{arm.model:6} {name:5} {1e3 * errors.mean():8.2f} {1e3 * errors.max():7.2f}"
        f" {1e3 * late_s:7.1f} {hardest:8.1f} {1e3 * closest[0]:8.1f} {1e3 * closest[1]:7.1f}"
        f" {fastest:9.2f} {1e3 * away[-1]:7.1f}"
        f" {1e3 * times.mean():8.2f} {1e3 * np.percentile(times, 99):7.2f}"
    )


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seconds", type=float, default=60.0, help="of following")
    options = parser.parse_args(arguments)
    print(
        f"{'':12} {'follow':>8} {'':7} {'':7} {'':8} {'itself':>8} {'table':>7}"
        f" {'tremble':>9} {'back':>7} {'time':>8}\n"
        f"{'arm':6} {'way':5} {'mean mm':>8} {'max mm':>7} {'late ms':>7} {'rad/s²':>8}"
        f" {'mm':>8} {'mm':>7} {'rad/s':>9} {'mm':>7} {'mean ms':>8} {'p99 ms':>7}"
    )
    for model in options.arms:
        arm = load_kinematics(model)
        ik = ArmIK(
            arm,
            HAND.extra["mount"],
            speed_fraction=SPEED_FRACTION,
            acceleration=ACCELERATION,
            hand=HAND,
            table_height=0.0,
        )
        for name in WAYS:
            print(measure(arm, ik, name, options.seconds), flush=True)


if __name__ == "__main__":
    main()
