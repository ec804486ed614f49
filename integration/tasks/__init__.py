"""Simulated tasks, by name."""

from collections.abc import Callable

from dexhil.drivers.sim.world import World
from dexhil.integration.errors import TaskError
from dexhil.integration.tasks.plush import PlushConfig, PlushTask
from dexhil.integration.tasks.task import JUDGE_HZ, Task
from dexhil.integration.tasks.tissue import TissueConfig, TissueTask

__all__ = [
    "JUDGE_HZ",
    "TASKS",
    "PlushConfig",
    "PlushTask",
    "Task",
    "TissueConfig",
    "TissueTask",
    "make_task",
]

TASKS: dict[str, Callable[[World], Task]] = {"plush": PlushTask, "tissue": TissueTask}


def make_task(name: str, world: World | None) -> Task:
    """Return the task called ``name`` in ``world``.

    Raises:
        TaskError: There is no such task, or no simulated world to do it in.
    """
    if name not in TASKS:
        raise TaskError(f"No task is called {name!r}. Known: {', '.join(sorted(TASKS))}.")
    if world is None:
        raise TaskError(f"The task {name!r} is simulated; this rig file has no [world] table.")
    return TASKS[name](world)
