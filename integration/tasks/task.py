"""What a task is: a scene, a start, something to see, and a verdict."""

from typing import Protocol

from dexhil.drivers.arrays import Vector


class Task(Protocol):
    """A task in a simulated world.

    Attributes:
        name: Of the task, e.g. ``"plush"``.
        prompt: What the robot is asked to do, in words.
        time_limit_s: A policy that has not succeeded by then has failed [s].
        environment_names: What the numbers of ``perceive`` mean.
    """

    @property
    def name(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def time_limit_s(self) -> float: ...
    @property
    def environment_names(self) -> tuple[str, ...]: ...

    def reset(self, seed: int, *, familiar: bool = False) -> None:
        """Put robot and objects at the start that belongs to ``seed``.

        Args:
            seed: Of the start, and of what is random in perception.
            familiar: Stay within the part of the starts that demonstrations show.
        """

    def perceive(self) -> Vector:
        """Return what an object detector would report. Shape (len(environment_names),)."""

    def update(self) -> None:
        """Judge the present moment; to be called at ``JUDGE_HZ``."""

    @property
    def succeeded(self) -> bool:
        """Whether the task has been done."""


JUDGE_HZ = 30
