"""Pull a napkin out of its box, gripped between thumb and fingertips by friction alone.

The sheet stands out of the box's slot, whose lips hold it by dry friction. Success:
more than half of its length is out. It stays where it is let go, so nobody needs to
hold it there.
"""

from dataclasses import dataclass
from math import cos, sin

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.sim.world import World
from dexhil.integration.tasks.task import SETTLE_S, in_palm
from dexhil.teleop.ik import ArmIK

# Of the scene ``"tissue"``.
LENGTH_M = 0.22
LIPS_M = 0.12  # Height of the box.
# Home is for a thing on the table; above the box the arm waits so much higher.
_RAISED_M = 0.18


@dataclass(frozen=True, slots=True, kw_only=True)
class TissueConfig:
    """How hard the task is.

    Attributes:
        spread: Half-width of the box's starts around ``centre`` along x and y [m].
        turn: Half-width of the slot's headings around straight across [rad].
        familiar: Share of ``spread`` and ``turn`` that demonstrations show.
        centre: Middle of the box's starts on the table, in the world [m].
        start_noise: Standard deviation of the arm's start, above its home [rad].
        perception_noise: Standard deviation of the detected edge's position [m].
        time_limit_s: Longest autonomous attempt [s].
    """

    spread: tuple[float, float] = (0.06, 0.12)
    turn: float = 0.3
    familiar: float = 0.25
    centre: tuple[float, float] = (0.66, 0.0)
    start_noise: float = 0.02
    perception_noise: float = 0.002
    time_limit_s: float = 10.0


class TissueTask:
    """The napkin in the box of the scene ``"tissue"``."""

    name = "tissue"
    prompt = "Pull out a napkin"
    thing = "edge"
    environment_names: tuple[str, ...] = (
        *("edge_in_palm.x", "edge_in_palm.y", "edge_in_palm.z"),
        *("edge_in_base.x", "edge_in_base.y", "edge_in_base.z"),
        "slot_in_base.heading",
    )

    def __init__(self, world: World, config: TissueConfig | None = None) -> None:
        self.world = world
        self.config = config or TissueConfig()
        self.time_limit_s = self.config.time_limit_s
        self._rng = np.random.default_rng(0)
        self._half_out = False
        self._start = _raised_home(world)

    def reset(self, seed: int, *, familiar: bool = False) -> None:
        """Put the box at a random place and heading, the arm above it, the hand open."""
        rng = self._rng = np.random.default_rng(seed)
        start = self._start + self.config.start_noise * rng.normal(size=self._start.size)
        self.world.reset(arm_positions=start)
        share = self.config.familiar if familiar else 1.0
        offset = share * rng.uniform(-1.0, 1.0, 2) * self.config.spread
        heading = share * rng.uniform(-1.0, 1.0) * self.config.turn
        place = np.array([*(np.array(self.config.centre) + offset), 0.0])
        self.world.place("box", place, np.array([cos(heading / 2), 0.0, 0.0, sin(heading / 2)]))
        self.world.settle(SETTLE_S)
        self._half_out = False

    @property
    def edge_position(self) -> Vector:
        """Middle of the sheet's upper edge in the world [m]. Shape (3,)."""
        return self.world.body_pose("edge")[0]

    @property
    def heading(self) -> float:
        """By how much the slot is turned about the vertical [rad]."""
        w, _, _, z = self.world.body_pose("box")[1]
        return float(2.0 * np.arctan2(z, w))

    @property
    def out(self) -> float:
        """How much of the sheet is out of the box [m]."""
        return float(self.world.body_pose("sheet")[0][2]) + LENGTH_M - LIPS_M

    def perceive(self) -> Vector:
        """Return the edge in the palm and the base frame [m], and the slot's heading [rad].

        Shape (7,). What a detector sees in the base frame, and what that and the arm's own
        joints say.
        """
        seen = self.edge_position + self.config.perception_noise * self._rng.normal(size=3)
        return np.concatenate([in_palm(self.world, seen), seen, [self.heading]])

    def update(self) -> None:
        self._half_out = self._half_out or self.out > LENGTH_M / 2

    @property
    def succeeded(self) -> bool:
        return self._half_out


def _raised_home(world: World) -> Vector:
    """Return the arm's home with the palm higher, [rad]. Shape (n,)."""
    ik = ArmIK(world.arm.kinematics, world.hand.kinematics.extra["mount"], speed_fraction=1.0)
    joints = np.array(world.arm.kinematics.extra["home"])
    goal = ik.fk(joints)
    goal[2, 3] += _RAISED_M
    for _ in range(30):
        joints = ik.solve(goal, joints, 0.05)
    return joints
