"""A simulated operator for each task, acting only where a person acts."""

from collections.abc import Callable

import numpy as np

from dexhil.drivers.clock import Clock
from dexhil.integration.errors import TaskError
from dexhil.integration.operator.operator import Operator, Role
from dexhil.integration.operator.person import Person
from dexhil.integration.operator.plan import OperatorConfig
from dexhil.integration.operator.plush import PlushEyes, PlushOperator
from dexhil.integration.operator.tissue import TissueEyes, TissueOperator
from dexhil.integration.tasks import PlushTask, Task, TissueTask
from dexhil.retarget.build import AnyRetargeter
from dexhil.teleop.takeover import Mode

__all__ = ["Operator", "OperatorConfig", "Role", "make_operator"]


def make_operator(
    task: Task,
    person: Person,
    retargeter: AnyRetargeter,
    *,
    role: Role,
    mode: Callable[[], Mode],
    clock: Clock,
    rng: np.random.Generator,
    config: OperatorConfig,
) -> Operator:
    """Return whoever knows how to do ``task``.

    Args:
        task: To do.
        person: The operator's body.
        retargeter: Tells what the robot's hand makes of a posture.
        role: What the operator is here for.
        mode: Who drives right now.
        clock: Of the attempt, which begins now.
        rng: Draws all that is random about the operator.
        config: How well it does all that.

    Raises:
        TaskError: Nobody knows how to.
    """
    match task:
        case PlushTask():
            plush = PlushEyes(task, retargeter, person.hand, rng)
            return PlushOperator(
                task, person, plush, role=role, mode=mode, clock=clock, rng=rng, config=config
            )
        case TissueTask():
            tissue = TissueEyes(task, retargeter, person.hand, rng)
            return TissueOperator(
                task, person, tissue, role=role, mode=mode, clock=clock, rng=rng, config=config
            )
    raise TaskError(f"No simulated operator knows how to do the task {task.name!r}.")
