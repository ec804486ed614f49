"""How a simulated operator moves: one stage of its skill after the other."""

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.integration.operator.person import RATE_HZ
from dexhil.integration.operator.watch import View
from dexhil.teleop import se3

TICK_S = 1.0 / RATE_HZ


class Stage(Enum):
    """Where a grasp is."""

    OPEN = auto()  # Open the hand, out of the way.
    APPROACH = auto()  # To where the open hand is clear of the thing.
    DESCEND = auto()  # Around the thing.
    CLOSE = auto()
    LIFT = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorConfig:
    """How well the operator sees, thinks and grasps.

    Attributes:
        reaction_s: Shortest and longest time from seeing trouble to the pedal [s].
        sight_noise: Standard deviation of the seen thing and palm per axis [m].
        aim_noise: Standard deviation of where in the hand the thing is wanted [m].
        aim_offset: Constant error of that aim in the palm frame [m]; careless if large.
        closes_early: Close the hand on the way to the thing; careless if true.
    """

    reaction_s: tuple[float, float] = (0.2, 0.5)
    sight_noise: float = 0.003
    aim_noise: float = 0.004
    aim_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    closes_early: bool = False


class Plan(ABC):
    """A grasp as a sequence of stages, in terms of where the palm should go.

    Args:
        rotation: Of the palm in the world. Shape (3, 3).
        grasp_point: Where in the palm frame the thing should be [m]. Shape (3,).
        config: How well it aims.
        rng: Draws the aim of each try.

    Attributes:
        tries: How many grasps it has begun.
    """

    closing_rate = 1.4
    """How fast the hand closes [1/s]."""

    def __init__(
        self,
        rotation: Matrix,
        grasp_point: Vector,
        config: OperatorConfig,
        rng: np.random.Generator,
    ) -> None:
        self._rotation = rotation
        self._grasp_point, self._config, self._rng = grasp_point, config, rng
        self._aim = self._new_aim()
        self._lead: deque[Vector] = deque(maxlen=12)
        self.tries = 0

    def _new_aim(self) -> Vector:
        aim = self._grasp_point + self._config.aim_offset
        return aim + self._config.aim_noise * self._rng.normal(size=3)

    def begin(self, view: View, closure: float, now_s: float) -> None:
        """Start from how things are.

        Args:
            view: What is seen.
            closure: Of the person's hand.
            now_s: Since the attempt began [s].
        """
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
        self._closure += float(
            np.clip(closing - self._closure, -2.0 * TICK_S, self.closing_rate * TICK_S)
        )
        return se3.inverse(before) @ self._intent, self._closure

    @abstractmethod
    def _goal(self, view: View, now_s: float) -> tuple[Vector, float, float]:
        """Return where the palm should be [m], how fast [m/s], and the closure wanted."""


def _limited(step: Vector, length: float) -> Vector:
    """Return ``step``, shortened to ``length`` if it is longer."""
    norm = float(np.linalg.norm(step))
    return step if norm <= length else step * (length / norm)
