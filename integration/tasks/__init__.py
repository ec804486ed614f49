"""Simulated tasks, by name."""

from dexhil.drivers.sim.world import World
from dexhil.integration.errors import TaskError
from dexhil.integration.tasks.plush import JUDGE_HZ, PlushConfig, PlushTask

__all__ = ["JUDGE_HZ", "TASKS", "PlushConfig", "PlushTask", "make_task"]

TASKS = {"plush": PlushTask}


def make_task(name: str, world: World | None) -> PlushTask:
    """Return the task called ``name`` in ``world``.

    Raises:
        TaskError: There is no such task, or no simulated world to do it in.
    """
    if name not in TASKS:
        raise TaskError(f"No task is called {name!r}. Known: {', '.join(sorted(TASKS))}.")
    if world is None:
        raise TaskError(f"The task {name!r} is simulated; this rig file has no [world] table.")
    return TASKS[name](world)
