"""What a simulated task is to whoever runs attempts at it."""

from typing import Protocol

from dexhil.drivers.arrays import Vector
from dexhil.drivers.sim.world import World
from dexhil.teleop.se3 import from_quaternion

JUDGE_HZ = 30  # How often ``update`` is to be called.
SETTLE_S = 0.1  # What physics gets after a start was set up.


class Task(Protocol):
    """A scene with random starts, something to see in it, and a verdict.

    Attributes:
        name: As on the command line; also of the scene.
        prompt: What a policy is told to do.
        environment_names: Of the numbers that ``perceive`` returns.
        thing: Name of the body that the task is about.
        time_limit_s: Longest autonomous attempt [s].
        world: Where it happens.
    """

    name: str
    prompt: str
    environment_names: tuple[str, ...]
    thing: str
    time_limit_s: float
    world: World

    def reset(self, seed: int, *, familiar: bool = False) -> None:
        """Set up the start that belongs to ``seed``.

        Args:
            seed: Of the start, and of the noise that the task sees with.
            familiar: Start within what demonstrations show.
        """

    def perceive(self) -> Vector:
        """Return what a detector would tell. Shape (len(environment_names),)."""

    def update(self) -> None:
        """Look and judge; to be called at ``JUDGE_HZ``."""

    @property
    def succeeded(self) -> bool:
        """Whether the task is done."""


def in_palm(world: World, point: Vector) -> Vector:
    """Return a point of the world in the palm frame [m]. Shape (3,)."""
    palm = from_quaternion(*world.palm_pose())
    seen: Vector = palm[:3, :3].T @ (point - palm[:3, 3])
    return seen
