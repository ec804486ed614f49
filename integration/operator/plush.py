"""What a simulated operator knows about grasping the toy: to see, to plan, to doubt a policy."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from math import cos, sin

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.clock import Clock
from dexhil.integration.operator.person import RATE_HZ, Person, grasp_posture
from dexhil.integration.operator.watch import Doubt, View
from dexhil.integration.tasks.plush import PlushTask
from dexhil.retarget.build import AnyRetargeter
from dexhil.retarget.human import HumanHand
from dexhil.teleop import se3
from dexhil.teleop.takeover import Mode

TICK_S = 1.0 / RATE_HZ
CLOSURES = np.linspace(0.0, 1.0, 11)
_HALF_CLOSED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Grip:
    """How to grasp with one robot hand. Found by trial, as a person finds it with a new hand.

    Attributes:
        deeper: From where half-closed fingertips and thumb face each other to where the
            toy's centre is grasped best, in the palm frame [m].
        pitch: How far the fingers dip below the horizontal [rad].
        retreat: From the grasp to where the open hand is clear of the toy, backwards
            in the palm frame [m].
    """

    deeper: tuple[float, float, float] = (-0.022, 0.003, -0.008)
    pitch: float = 0.45
    retreat: tuple[float, float, float] = (0.07, 0.0, 0.03)


GRIPS = {
    "inspire": Grip(deeper=(-0.032, -0.012, -0.017)),  # Its four fingers reach past the toy.
    "leap": Grip(retreat=(0.12, 0.0, 0.05)),  # Its fingers are long.
}


def grasp_rotation(pitch: float) -> Matrix:
    """Return the palm in the world: facing down, fingers forward, dipping by ``pitch`` [rad]."""
    c, s = cos(pitch), sin(pitch)
    return np.array([[-s, 0.0, c], [0.0, 1.0, 0.0], [-c, 0.0, -s]])


class Role(Enum):
    """What the operator is here for."""

    DEMONSTRATE = auto()  # Drive from the first moment.
    SUPERVISE = auto()  # Let the policy try; take over when it is about to fail.
    WATCH = auto()  # Let the policy try; note when one would have taken over.


class Stage(Enum):
    """Where a grasp is."""

    OPEN = auto()  # Open the hand, out of the way.
    APPROACH = auto()  # Above and behind the toy.
    DESCEND = auto()  # Around the toy.
    CLOSE = auto()
    LIFT = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorConfig:
    """How well the operator sees, thinks and grasps.

    Attributes:
        reaction_s: Shortest and longest time from seeing trouble to the pedal [s].
        sight_noise: Standard deviation of the seen toy and palm per axis [m].
        aim_noise: Standard deviation of where in the hand the toy is wanted [m].
        aim_offset: Constant error of that aim in the palm frame [m]; careless if large.
        closes_early: Close the hand on the way to the toy; careless if true.
    """

    reaction_s: tuple[float, float] = (0.2, 0.5)
    sight_noise: float = 0.003
    aim_noise: float = 0.004
    aim_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    closes_early: bool = False


class Eyes:
    """Looks at the simulated scene with a person's accuracy, and at the robot hand's posture.

    Attributes:
        grip: How to grasp with this robot hand.
        grasp_point: Where in the palm frame the toy's centre should be to be grasped [m].
    """

    def __init__(
        self, task: PlushTask, retargeter: AnyRetargeter, hand: HumanHand, rng: np.random.Generator
    ) -> None:
        self._task, self._rng = task, rng
        retargeter.reset(np.array(task.world.hand.kinematics.extra["open"]))
        postures = []
        for closure in CLOSURES:
            keypoints = hand.keypoints(grasp_posture(closure))
            for _ in range(6):  # Let the warm-started solver settle.
                joints = retargeter.retarget(keypoints)
            postures.append(joints)
        self._postures = np.array(postures)
        tips = retargeter.model.tips(self._postures[_HALF_CLOSED])
        self.grip = GRIPS.get(task.world.hand.kinematics.model, Grip())
        self.grasp_point: Vector = 0.5 * (tips[0] + tips[1:4].mean(axis=0)) + self.grip.deeper

    def look(self, last: View | None, noise: float) -> View:
        """Return the scene, blended with the ``last`` look."""
        world = self._task.world
        toy = self._task.toy_position + noise * self._rng.normal(size=3)
        palm = se3.from_quaternion(*world.palm_pose())
        palm[:3, 3] += noise * self._rng.normal(size=3)
        distance = np.abs(self._postures - world.hand.read()[0]).sum(axis=1)
        closure = float(CLOSURES[int(distance.argmin())])
        if last is None:
            return View(palm, toy, closure)
        palm[:3, 3] = last.palm[:3, 3] + 0.35 * (palm[:3, 3] - last.palm[:3, 3])
        return View(palm, last.toy + 0.35 * (toy - last.toy), closure)


class PlushOperator:
    """A person at the plush task. Calls nothing but the ``Person`` it is.

    Attributes:
        role: What it is here for.
        alarm: Why it wanted to take over, once it did.
        alarm_s: When, on the clock.
        driving_s: How long it has driven the robot so far [s].
    """

    def __init__(
        self,
        task: PlushTask,
        person: Person,
        eyes: Eyes,
        *,
        role: Role,
        mode: Callable[[], Mode],
        clock: Clock,
        rng: np.random.Generator,
        config: OperatorConfig | None = None,
    ) -> None:
        self._person, self._eyes = person, eyes
        self.role, self._mode, self._clock, self._rng = role, mode, clock, rng
        self._config = config or OperatorConfig()
        self._start_s = clock.now_s()
        self._view = eyes.look(None, 0.0)
        self._table_height = float(self._view.toy[2])
        self._doubt = Doubt(self._view, eyes.grasp_point, task.time_limit_s)
        self._press_s: float | None = None
        self._plan = _Plan(eyes, self._config, rng)
        self._was_driving = False
        self.alarm: str | None = None
        self.alarm_s: float | None = None
        self.driving_s = 0.0

    def tick(self) -> None:
        """Look, think, move and let the devices see it; to be called at 90 Hz."""
        self._view = self._eyes.look(self._view, self._config.sight_noise)
        driving = self._mode() is Mode.HUMAN
        if driving:
            if not self._was_driving:
                closure, height = self._person.closure, self._table_height
                self._plan.begin(self._view, closure, height, self._now_s)
            motion, closure = self._plan.step(self._view, self._now_s)
            self._person.carry(motion)
            self._person.closure = closure
            self.driving_s += TICK_S
        else:
            # Off duty the hand copies the robot's, so that it starts from there.
            lag = np.clip(self._view.closure - self._person.closure, -2 * TICK_S, 2 * TICK_S)
            self._person.closure += float(lag)
            self._supervise()
        self._was_driving = driving
        self._person.tick()

    @property
    def _now_s(self) -> float:
        return self._clock.now_s() - self._start_s

    @property
    def tries(self) -> int:
        """How many grasps it has begun."""
        return self._plan.tries

    def _supervise(self) -> None:
        """Press the pedal when it is time to."""
        if self._press_s is None:
            if self.role is Role.DEMONSTRATE:
                self._press_s = self._now_s + 0.2
            elif self._mode() is Mode.POLICY:
                self._watch()
        elif self._now_s >= self._press_s:
            self._person.press("takeover")
            self._press_s = self._now_s + 1.0  # Try again if it was refused or lost.

    def _watch(self) -> None:
        """Make up one's mind about the policy."""
        reason = self._doubt.look(self._view, self._now_s)
        if reason is not None and self.alarm is None:
            self.alarm, self.alarm_s = reason, self._now_s
            if self.role is Role.SUPERVISE:
                self._press_s = self._now_s + self._rng.uniform(*self._config.reaction_s)


class _Plan:
    """The grasp as a sequence of stages, in terms of where the palm should go."""

    def __init__(self, eyes: Eyes, config: OperatorConfig, rng: np.random.Generator) -> None:
        self._grasp_point, self._config, self._rng = eyes.grasp_point, config, rng
        self._rotation = grasp_rotation(eyes.grip.pitch)
        self._retreat = np.array(eyes.grip.retreat)
        self._aim = self._new_aim()
        self._lead: deque[Vector] = deque(maxlen=12)
        self.tries = 0

    def _new_aim(self) -> Vector:
        aim = self._grasp_point + self._config.aim_offset
        return aim + self._config.aim_noise * self._rng.normal(size=3)

    def begin(self, view: View, closure: float, table_height: float, now_s: float) -> None:
        """Start from how things are.

        Args:
            view: What is seen.
            closure: Of the person's hand.
            table_height: Of the toy's centre when it stands on the table [m].
            now_s: Since the attempt began [s].
        """
        self._table_height = table_height
        self._intent = view.palm.copy()
        self._closure = closure
        self._bias = np.zeros(3)
        self._lead.clear()
        self._try(now_s)

    def _try(self, now_s: float) -> None:
        """Begin a grasp, with another aim if one has failed."""
        if self.tries > 0:
            self._aim = self._new_aim()
        self.tries += 1
        self._enter(Stage.OPEN, now_s)

    def _enter(self, stage: Stage, now_s: float) -> None:
        self._stage, self._entered_s = stage, now_s

    def step(self, view: View, now_s: float) -> tuple[Matrix, float]:
        """Return the palm's wanted motion in its own frame for this tick, and the closure."""
        goal, speed, closing = self._goal(view, now_s)
        # What the eye sees the palm miss by, now that it has had time to follow.
        self._lead.append(self._intent[:3, 3].copy())
        missed = self._lead[0] - view.palm[:3, 3]
        self._bias += 2.0 * TICK_S * (np.clip(missed, -0.03, 0.03) - self._bias)
        before = self._intent.copy()
        self._intent[:3, 3] += _limited(goal + self._bias - before[:3, 3], speed * TICK_S)
        turn = se3.log_rotation(self._rotation @ before[:3, :3].T)
        self._intent[:3, :3] = se3.exp_rotation(_limited(turn, 0.8 * TICK_S)) @ before[:3, :3]
        self._closure += float(np.clip(closing - self._closure, -2.0 * TICK_S, 1.4 * TICK_S))
        return se3.inverse(before) @ self._intent, self._closure

    def _goal(self, view: View, now_s: float) -> tuple[Vector, float, float]:
        """Return where the palm should be [m], how fast [m/s], and the closure wanted."""
        elapsed_s = now_s - self._entered_s
        palm, around = view.palm[:3, 3], view.toy - self._rotation @ self._aim
        above = around - self._rotation @ self._retreat
        on_the_way = 1.0 if self._config.closes_early else 0.0
        # First up, then over: fingers that sweep along the table knock the toy over.
        over = above if palm[2] > above[2] - 0.02 else np.array([*self._intent[:2, 3], above[2]])
        match self._stage:
            case Stage.OPEN:
                if self._closure < 0.15:
                    self._enter(Stage.APPROACH, now_s)
                away = self._intent[:3, 3] + np.array([0.0, 0.0, 0.03])
                return (away if self._closure > 0.35 else over), 0.22, 0.0
            case Stage.APPROACH:
                if np.linalg.norm(palm - above) < 0.03:
                    self._enter(Stage.DESCEND, now_s)
                return over, 0.22, on_the_way
            case Stage.DESCEND:
                if np.linalg.norm(palm - around) < 0.012 or elapsed_s > 2.5:
                    # Not to follow the toy that the fingers draw in.
                    self._spot = around
                    self._enter(Stage.CLOSE, now_s)
                return around, 0.13, on_the_way
            case Stage.CLOSE:
                if self._closure >= 1.0 and elapsed_s > 1.1:
                    self._enter(Stage.LIFT, now_s)
                return self._spot, 0.13, 1.0
            case Stage.LIFT:
                if elapsed_s > 1.2 and view.toy[2] < self._table_height + 0.03:
                    self._try(now_s)
                return self._spot + np.array([0.0, 0.0, 0.16]), 0.16, 1.0


def _limited(step: Vector, length: float) -> Vector:
    """Return ``step``, shortened to ``length`` if it is longer."""
    norm = float(np.linalg.norm(step))
    return step if norm <= length else step * (length / norm)
