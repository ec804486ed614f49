"""What a simulated operator knows about pulling out a napkin: to see, to plan, to doubt."""

from collections.abc import Callable
from math import cos, sin
from typing import Final

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.clock import Clock
from dexhil.integration.operator.operator import Operator, Role
from dexhil.integration.operator.person import Person, pinch_posture
from dexhil.integration.operator.plan import OperatorConfig, Plan, Stage
from dexhil.integration.operator.plush import grasp_rotation
from dexhil.integration.operator.watch import Doubt, Eyes, View, robot_postures
from dexhil.integration.tasks.tissue import TissueTask
from dexhil.retarget.build import AnyRetargeter
from dexhil.retarget.human import HumanHand
from dexhil.teleop import se3
from dexhil.teleop.takeover import Mode

# Three tips hold the sheet: one finger alone lets it turn about the pinch.
FINGERS: Final = ("index", "middle")
# Found by trial; the same for every hand, for retargeting makes them meet alike.
_PITCH, _TURN = 0.3, 0.3  # Of the fingers below, and of the hand to the right of, straight [rad].
_NEARLY_CLOSED = 8  # Of `CLOSURES`.
# After a takeover the robot's fingers come to where the person's are only while those move, and
# a pinch wants them there: so the hand is flexed once, as far as this closure.
_FLEX = 0.7
_DEEP_M = 0.02  # Of the pinch below the sheet's edge.
_CLEAR_M = 0.09  # How far above that the open hand's fingertips pass over the sheet.
_THUMB_M = (
    0.02  # How far short the open hand comes down, for its thumb is straight under the pinch.
)
_PULL_M = 0.12

_UP_M = 0.015  # What the edge rises by when the sheet is being pulled.
_DOWN_M = 0.02  # A hand that has been as low as this above the edge was there to grip it.
_BESIDE_M, _BENT_M = 0.05, 0.035
_CLOSED = 0.6


class TissueEyes(Eyes):
    """Sees the sheet's edge, and which way the slot lies.

    Attributes:
        grasp_point: Where in the palm frame the tips meet, where the sheet should be [m].
    """

    def __init__(
        self, task: TissueTask, retargeter: AnyRetargeter, hand: HumanHand, rng: np.random.Generator
    ) -> None:
        pinch = pinch_posture(hand, *FINGERS)
        postures = robot_postures(task.world, retargeter, hand, pinch)
        super().__init__(task.world, postures, rng)
        self._task = task
        tips = retargeter.model.tips(postures[_NEARLY_CLOSED])
        self.grasp_point = 0.5 * (tips[0] + tips[1 : 1 + len(FINGERS)].mean(axis=0))

    def _thing(self) -> Vector:
        return self._task.edge_position

    def _heading(self) -> float:
        return self._task.heading


class TissueOperator(Operator):
    """A person at the tissue task."""

    def __init__(
        self,
        task: TissueTask,
        person: Person,
        eyes: TissueEyes,
        *,
        role: Role,
        mode: Callable[[], Mode],
        clock: Clock,
        rng: np.random.Generator,
        config: OperatorConfig | None = None,
    ) -> None:
        config = config or OperatorConfig()
        person.posture = pinch_posture(person.hand, *FINGERS)
        view = eyes.look(None, 0.0)
        super().__init__(
            person,
            eyes,
            view,
            doubt=TissueDoubt(view, eyes.grasp_point, task.time_limit_s),
            plan=_Plan(eyes, view, config, rng),
            role=role,
            mode=mode,
            clock=clock,
            rng=rng,
            config=config,
        )


def pinch_rotation(heading: float) -> Matrix:
    """Return the palm in the world for a slot turned by ``heading`` [rad]: the tips either side."""
    about_z = se3.exp_rotation(np.array([0.0, 0.0, heading + _TURN]))
    rotation: Matrix = about_z @ grasp_rotation(_PITCH)
    return rotation


class _Plan(Plan):
    """From above either side of the sheet, then straight up with it."""

    closing_rate = 0.7

    def __init__(
        self, eyes: TissueEyes, view: View, config: OperatorConfig, rng: np.random.Generator
    ) -> None:
        super().__init__(pinch_rotation(view.heading), eyes.grasp_point, config, rng)
        # Of the sheet, from the thumb's side to the fingers'.
        self._across = np.array([cos(view.heading), sin(view.heading), 0.0])

    def begin(self, view: View, closure: float, now_s: float) -> None:
        super().begin(view, closure, now_s)
        self._flexed = False

    def _goal(self, view: View, now_s: float) -> tuple[Vector, float, float]:
        elapsed_s = now_s - self._entered_s
        palm, up = view.palm[:3, 3], np.array([0.0, 0.0, 1.0])
        around = view.thing - _DEEP_M * up - self._rotation @ self._aim
        above = around + _CLEAR_M * up - _THUMB_M * self._across
        on_the_way = 1.0 if self._config.closes_early else 0.0
        # First up, then over: fingers that come from the side bend the sheet.
        over = above if palm[2] > above[2] - 0.02 else np.array([*self._intent[:2, 3], above[2]])
        turned = float(np.linalg.norm(se3.log_rotation(self._rotation @ view.palm[:3, :3].T)))
        match self._stage:
            case Stage.OPEN:
                # Up, away from what the fingers held, and fingers that agree with the robot's.
                self._flexed = self._flexed or self._closure >= _FLEX
                if self._flexed and (self._closure < 0.1 or self._config.closes_early):
                    self._enter(Stage.APPROACH, now_s)
                return over, 0.22, 0.0 if self._flexed else _FLEX
            case Stage.APPROACH:
                if np.linalg.norm(palm - above) < 0.015 and turned < 0.12:
                    # From here on not to follow the sheet that the fingers push about.
                    self._spot = around
                    self._enter(Stage.DESCEND, now_s)
                return over, 0.22, on_the_way
            case Stage.DESCEND:
                short = self._spot - _THUMB_M * self._across
                if np.linalg.norm(palm - short) < 0.010 or elapsed_s > 2.5:
                    self._enter(Stage.CLOSE, now_s)
                return short, 0.10, on_the_way
            case Stage.CLOSE:
                if self._closure >= 1.0 and elapsed_s > 1.1:
                    self._edge_height = float(view.thing[2])
                    self._enter(Stage.LIFT, now_s)
                return self._spot, 0.10, 1.0
            case Stage.LIFT:
                behind = view.thing[2] < self._edge_height + _UP_M
                if elapsed_s > (0.9 if behind else 1.8):
                    self._try(now_s)
                return self._spot + _PULL_M * up, 0.12, 1.0


class TissueDoubt(Doubt):
    """Doubts whether the sheet comes."""

    def __init__(self, start: View, in_hand: Vector, time_limit_s: float) -> None:
        super().__init__(start, in_hand, time_limit_s)
        self._was_down = False

    def _reasons(self, view: View, now_s: float) -> list[str]:
        above = view.palm[:3, :3] @ (self._in_hand - view.thing_in_palm)
        self._was_down = self._was_down or float(above[2]) < _DOWN_M
        raised = float(view.thing[2] - self._start[2])
        beside = float(np.linalg.norm(above)) > _BESIDE_M
        bent = float(np.linalg.norm((view.thing - self._start)[:2])) > _BENT_M
        reasons = {
            "slipped": beside and raised > _UP_M,
            "bent": beside and bent,
            "missed": beside and self._was_down and view.closure > _CLOSED,
            "stalled": now_s > self._late_s and raised < _UP_M,
        }
        return [reason for reason, seen in reasons.items() if seen]
