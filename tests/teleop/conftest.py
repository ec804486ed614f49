"""A robot that goes where it is told, and a person made of sines."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from dexhil.drivers.arm import Arm, ArmObservation, ArmSpec
from dexhil.drivers.clock import SimClock
from dexhil.drivers.faults import Faults
from dexhil.drivers.glove.sim import SimGlove, SimGloveConfig
from dexhil.drivers.hand import Hand, HandObservation, HandSpec
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.drivers.switch.sim import SimSwitch, SimSwitchConfig
from dexhil.drivers.tracker.sim import SimTracker, SimTrackerConfig
from dexhil.teleop.config import TeleopConfig
from dexhil.teleop.ik import ArmIK
from dexhil.teleop.schedule import Loop, run_events
from dexhil.teleop.se3 import exp_rotation, to_quaternion
from dexhil.teleop.session import Session
from dexhil.teleop.takeover import Mode

UR5E = load_kinematics("ur5e")
HOME = np.array([0.0, -1.57, 1.57, -1.57, -1.57, 0.0])  # Far from every limit [rad].
MOUNT = {"position": [0.0, 0.0, 0.1], "rpy": [0.0, 0.0, 0.3]}
N_HAND = 16


class _Perfect:
    """What the fake arm and hand share: they are where they were told to be."""

    def __init__(self, clock, spec, observation_type, home):
        super().__init__(name="fake", clock=clock)
        self._spec = spec
        self._observation_type = observation_type
        self.positions = np.array(home, dtype=float)
        self.sent: list[tuple[float, np.ndarray]] = []
        self.faults = Faults("joint_positions")

    @property
    def spec(self):
        return self._spec

    def _open(self, timeout_s):
        pass

    def _close(self):
        pass

    def _read(self):
        return self.faults.apply(
            self._observation_type(
                stamp_s=self.clock.now_s(),
                joint_positions=self.positions,
                joint_velocities=np.zeros_like(self.positions),
            )
        )

    def _enable(self):
        pass

    def _disable(self):
        pass

    def _write(self, command):
        self.faults.require_link()
        self.positions = command.joint_positions
        self.sent.append((self.clock.now_s(), command.joint_positions))


class FakeArm(_Perfect, Arm):
    """An arm."""


class FakeHand(_Perfect, Hand):
    """A hand."""


class LinearRetargeter:
    """Reads the joints straight off the keypoints, so that tests know the answer."""

    def retarget(self, keypoints):
        return np.clip(keypoints.ravel()[3 : 3 + N_HAND] * 5.0, 0.0, 1.5)

    def reset(self, joint_positions):
        del joint_positions


class ConstantPolicy:
    """Wants one pose, and counts what is asked of it."""

    execute_steps = 4

    def __init__(self, action):
        self.action = action
        self.resets = self.inferences = 0
        self.observations = []

    def reset(self):
        self.resets += 1

    def infer(self, observation):
        self.inferences += 1
        self.observations.append(observation)
        return np.tile(self.action, (8, 1))


class Bench:
    """One session on fake devices, with an operator who never holds still."""

    def __init__(self, clock=None, policy=lambda _: None, seed=0, cameras=None, ik=None, **options):
        self.clock = clock or SimClock()
        self.arm = FakeArm(
            self.clock,
            ArmSpec(
                model="ur5e",
                joint_names=UR5E.joint_names,
                position_limits=UR5E.position_limits,
                velocity_limits=UR5E.velocity_limits,
                watchdog_s=0.2,
                kinematics=UR5E,
                simulated=True,
            ),
            ArmObservation,
            HOME,
        )
        self.hand = FakeHand(
            self.clock,
            HandSpec(
                model="fake",
                side="right",
                joint_names=tuple(f"joint{i}" for i in range(N_HAND)),
                position_limits=np.tile([0.0, 1.5], (N_HAND, 1)),
                velocity_limits=np.full(N_HAND, 8.0),
                watchdog_s=0.2,
                kinematics=UR5E,
                simulated=True,
            ),
            HandObservation,
            np.full(N_HAND, 0.3),
        )
        self.home = np.concatenate([HOME, self.hand.positions])
        self.glove = SimGlove(SimGloveConfig(), name="right", clock=self.clock)
        self.tracker = SimTracker(SimTrackerConfig(), name="cube", clock=self.clock)
        self.switch = SimSwitch(SimSwitchConfig(), name="pedal", clock=self.clock)
        self.frames = []
        self.config = TeleopConfig(**options)
        self.ik = ik or ArmIK(UR5E, MOUNT, speed_fraction=self.config.arm_speed_fraction)
        self.policy = policy(self.home)
        for device in (self.arm, self.hand, self.glove, self.tracker, self.switch):
            device.connect()
        self.arm.enable()
        self.hand.enable()
        self.session = Session(
            arm=self.arm,
            hand=self.hand,
            glove=self.glove,
            tracker=self.tracker,
            switch=self.switch,
            cameras=cameras,
            retargeter=LinearRetargeter(),
            ik=self.ik,
            config=self.config,
            clock=self.clock,
            policy=self.policy,
            sink=SimpleNamespace(write=self.frames.append),
        )
        self._rng = np.random.default_rng(seed)
        self.operator = Loop("operator", 90, self.operate)
        self.operate()
        self.session.begin()

    def operate(self):
        """Show a person in motion: 0.3 m/s of wrist, 2 rad/s of fingers, with tremble."""
        t = self.clock.now_s()
        tremble = self._rng.normal(0.0, 1e-4, (21, 3))
        keypoints = 0.15 + 0.1 * np.sin(4.0 * t + np.arange(63).reshape(21, 3)) + tremble
        self.glove.show(keypoints)
        turn = exp_rotation([0.3 * np.sin(2.0 * t), 0.2 * np.sin(1.3 * t), 0.4 * np.sin(1.7 * t)])
        position = 0.1 * np.sin(3.0 * t + np.arange(3)) + self._rng.normal(0.0, 1e-4, 3)
        self.tracker.show(position, to_quaternion(turn))

    def run(self, duration_s=np.inf, until=None):
        loops = [self.operator, *self.session.loops()]
        run_events(loops, self.clock, duration_s=duration_s, until=until)

    def press(self, button):
        self.switch.press(button)
        self.switch.release(button)

    def commands(self):
        return np.array([q for _, q in self.arm.sent]), np.array([q for _, q in self.hand.sent])


@pytest.fixture
def make_bench() -> Callable[..., Bench]:
    return Bench


@pytest.fixture
def constant_policy():
    return ConstantPolicy


@pytest.fixture
def driving(make_bench, constant_policy):
    """Return a function that makes a bench with a policy or a person at work for a while."""

    def start(button, duration_s=0.613, **options):
        bench = make_bench(policy=lambda home: constant_policy(home + 0.1), **options)
        bench.press(button)
        bench.run(duration_s)
        assert bench.session.mode is {"takeover": Mode.HUMAN, "start": Mode.POLICY}[button]
        return bench

    return start
