"""Grasp a plush toy and lift it off the table, held by friction alone.

Success: the toy's centre is 4 cm above its start and the toy does not touch the
table, for one second without a break. Nothing is welded to the hand.
"""

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.sim.world import World
from dexhil.integration.tasks.task import JUDGE_HZ, SETTLE_S, in_palm

LIFT_M = 0.04
HOLD_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlushConfig:
    """How hard the task is.

    Attributes:
        spread: Half-width of the toy's starts around ``centre`` along x and y [m].
        familiar: The same for familiar starts, those that demonstrations show [m].
        centre: Middle of the toy's starts on the table, in the world [m].
        start_noise: Standard deviation of the arm's start around home [rad].
        perception_noise: Standard deviation of the detected toy position [m].
        time_limit_s: Longest autonomous attempt [s].
    """

    spread: tuple[float, float] = (0.11, 0.2)
    familiar: tuple[float, float] = (0.02, 0.03)
    centre: tuple[float, float] = (0.7, 0.0)
    start_noise: float = 0.02
    perception_noise: float = 0.002
    time_limit_s: float = 10.0


class PlushTask:
    """The plush toy on the table of the scene ``"plush"``."""

    name = "plush"
    prompt = "Grab that yellow plushie"
    thing = "toy"
    environment_names: tuple[str, ...] = (
        *("toy_in_palm.x", "toy_in_palm.y", "toy_in_palm.z"),
        *("toy_in_base.x", "toy_in_base.y", "toy_in_base.z"),
    )

    def __init__(self, world: World, config: PlushConfig | None = None) -> None:
        self.world = world
        self.config = config or PlushConfig()
        self.time_limit_s = self.config.time_limit_s
        self._rng = np.random.default_rng(0)
        self._start_height = 0.0
        self._held_ticks = 0

    def reset(self, seed: int, *, familiar: bool = False) -> None:
        """Put the toy at a random place and heading, the arm near its home, the hand open."""
        rng = self._rng = np.random.default_rng(seed)
        home = np.array(self.world.arm.kinematics.extra["home"])
        self.world.reset(arm_positions=home + self.config.start_noise * rng.normal(size=home.size))
        spread = self.config.familiar if familiar else self.config.spread
        offset = rng.uniform(-1.0, 1.0, 2) * spread
        heading = rng.uniform(-pi, pi)
        place = np.array([*(np.array(self.config.centre) + offset), self._rest_height()])
        self.world.place("toy", place, np.array([cos(heading / 2), 0.0, 0.0, sin(heading / 2)]))
        self.world.settle(SETTLE_S)
        self._start_height = float(self.toy_position[2])
        self._held_ticks = 0

    def _rest_height(self) -> float:
        """Height of the toy's centre in the scene file, standing on the table [m]."""
        return float(self.world.body_pose("toy")[0][2])

    @property
    def toy_position(self) -> Vector:
        """Centre of the toy in the world [m]. Shape (3,)."""
        return self.world.body_pose("toy")[0]

    @property
    def toy_lift(self) -> float:
        """How far the toy is above its start [m]."""
        return float(self.toy_position[2]) - self._start_height

    @property
    def lifted(self) -> bool:
        """Whether the toy hangs clear of the table."""
        return self.toy_lift > LIFT_M and not self.world.touching("toy", "table")

    def perceive(self) -> Vector:
        """Return the toy's centre in the palm frame, then in the base frame [m]. Shape (6,).

        What a detector sees in the base frame, and what that and the arm's own joints say.
        """
        noise = self.config.perception_noise * self._rng.normal(size=3)
        seen = self.toy_position + noise
        return np.concatenate([in_palm(self.world, seen), seen])

    def update(self) -> None:
        self._held_ticks = self._held_ticks + 1 if self.lifted else 0

    @property
    def succeeded(self) -> bool:
        return self._held_ticks >= HOLD_S * JUDGE_HZ
