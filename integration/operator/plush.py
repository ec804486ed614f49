"""What a simulated operator knows about grasping the toy: to see, to plan, to doubt a policy."""

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, sin

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.clock import Clock
from dexhil.integration.operator.operator import Operator, Role
from dexhil.integration.operator.person import Person, grasp_posture
from dexhil.integration.operator.plan import OperatorConfig, Plan, Stage
from dexhil.integration.operator.watch import Doubt, Eyes, View, robot_postures
from dexhil.integration.tasks.plush import PlushTask
from dexhil.retarget.build import AnyRetargeter
from dexhil.retarget.human import HumanHand
from dexhil.teleop.takeover import Mode

_HALF_CLOSED = 4
_UP_M, _LOW_M = 0.03, 0.015  # Lift that counts as up, and as still on the table.
_PUSHED_M, _BESIDE_M = 0.07, 0.10
_CLOSED = 0.6


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


class PlushEyes(Eyes):
    """Sees the toy.

    Attributes:
        grip: How to grasp with this robot hand.
        grasp_point: Where in the palm frame the toy's centre should be to be grasped [m].
    """

    def __init__(
        self, task: PlushTask, retargeter: AnyRetargeter, hand: HumanHand, rng: np.random.Generator
    ) -> None:
        postures = robot_postures(task.world, retargeter, hand, grasp_posture)
        super().__init__(task.world, postures, rng)
        self._task = task
        tips = retargeter.model.tips(postures[_HALF_CLOSED])
        self.grip = GRIPS.get(task.world.hand.kinematics.model, Grip())
        self.grasp_point = 0.5 * (tips[0] + tips[1:4].mean(axis=0)) + self.grip.deeper

    def _thing(self) -> Vector:
        return self._task.toy_position


class PlushOperator(Operator):
    """A person at the plush task."""

    def __init__(
        self,
        task: PlushTask,
        person: Person,
        eyes: PlushEyes,
        *,
        role: Role,
        mode: Callable[[], Mode],
        clock: Clock,
        rng: np.random.Generator,
        config: OperatorConfig | None = None,
    ) -> None:
        config = config or OperatorConfig()
        view = eyes.look(None, 0.0)
        super().__init__(
            person,
            eyes,
            view,
            doubt=PlushDoubt(view, eyes.grasp_point, task.time_limit_s),
            plan=_Plan(eyes, config, rng, table_height=float(view.thing[2])),
            role=role,
            mode=mode,
            clock=clock,
            rng=rng,
            config=config,
        )


class _Plan(Plan):
    """From behind and above around the toy, then up.

    Args:
        eyes: Know how to grasp.
        config: How well it aims.
        rng: Draws the aim of each try.
        table_height: Of the toy's centre when it stands on the table [m].
    """

    def __init__(
        self,
        eyes: PlushEyes,
        config: OperatorConfig,
        rng: np.random.Generator,
        *,
        table_height: float,
    ) -> None:
        super().__init__(grasp_rotation(eyes.grip.pitch), eyes.grasp_point, config, rng)
        self._retreat = np.array(eyes.grip.retreat)
        self._table_height = table_height

    def _goal(self, view: View, now_s: float) -> tuple[Vector, float, float]:
        """Return where the palm should be [m], how fast [m/s], and the closure wanted."""
        elapsed_s = now_s - self._entered_s
        palm, around = view.palm[:3, 3], view.thing - self._rotation @ self._aim
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
                if elapsed_s > 1.2 and view.thing[2] < self._table_height + 0.03:
                    self._try(now_s)
                return self._spot + np.array([0.0, 0.0, 0.16]), 0.16, 1.0


class PlushDoubt(Doubt):
    """Doubts whether the toy gets up."""

    def __init__(self, start: View, in_hand: Vector, time_limit_s: float) -> None:
        super().__init__(start, in_hand, time_limit_s)
        self._was_up = False

    def _reasons(self, view: View, now_s: float) -> list[str]:
        lift = float(view.thing[2] - self._start[2])
        self._was_up = self._was_up or lift > _UP_M
        if lift > _LOW_M:
            return []
        beside = float(np.linalg.norm(view.thing_in_palm - self._in_hand)) > _BESIDE_M
        moved = float(np.linalg.norm((view.thing - self._start)[:2]))
        reasons = {
            "dropped": self._was_up,
            "pushed": beside and moved > _PUSHED_M,
            "missed": beside and view.closure > _CLOSED,
            "stalled": now_s > self._late_s,
        }
        return [reason for reason, seen in reasons.items() if seen]
