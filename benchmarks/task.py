"""Whether the task is a task: who can do it, who cannot, and whether it lies still.

    python benchmarks/task.py [--task tissue] [--n STARTS] [--careless STARTS] [--rigs fr3_leap ...]

For each rig: successes of the simulated operator alone from random starts, with the 95 %
interval of Wilson, in the end and at the first try; first tries of an operator who is
careless in one way; and the farthest that the thing which the task is about gets from where it
is in 10 s without anybody touching it.
"""

import argparse
from dataclasses import replace
from itertools import islice
from math import degrees
from pathlib import Path

from dexhil.integration.bench import Bench
from dexhil.integration.operator import OperatorConfig, Role
from dexhil.integration.rounds import EVALUATION_SEEDS, seeds
from dexhil.integration.statistics import Rate
from dexhil.integration.tasks import TASKS, Task
from dexhil.teleop import se3

RIGS = Path(__file__).parent.parent / "rigs"
CAREFUL = OperatorConfig()
CARELESS = {
    "plush": {
        "closes early": replace(CAREFUL, closes_early=True),
        "aims 4 cm aside": replace(CAREFUL, aim_offset=(0.0, -0.04, 0.0)),
    },
    "tissue": {
        "closes early": replace(CAREFUL, closes_early=True),
        "aims 3 cm too high": replace(CAREFUL, aim_offset=(0.03, 0.0, 0.0)),
    },
}
STILL_S = 10.0
LOOK_EVERY_S = 0.1


def successes(path: Path, task: str, operator: OperatorConfig, n: int) -> tuple[Rate, Rate]:
    """Return how often an operator alone does the task from ``n`` starts: at all, at first try."""
    with Bench(path, task, operator=operator) as bench:
        starts = islice(seeds(EVALUATION_SEEDS, 0), n)
        done = [bench.attempt(seed, role=Role.DEMONSTRATE) for seed in starts]
    first = [attempt.success and attempt.tries == 1 for attempt in done]
    return Rate(sum(attempt.success for attempt in done), n), Rate(sum(first), n)


def drift(path: Path, task: str, n: int) -> tuple[float, float]:
    """Return the thing's largest drift in ``STILL_S``, over ``n`` starts [mm, deg]."""
    drifts = []
    with Bench(path, task) as bench:
        for seed in islice(seeds(EVALUATION_SEEDS, 0), n):
            bench.task.reset(seed)
            start = _thing(bench.task)
            for _ in range(round(STILL_S / LOOK_EVERY_S)):
                bench.world.settle(LOOK_EVERY_S)
                drifts.append(se3.distance(start, _thing(bench.task)))
    lengths, angles = zip(*drifts, strict=True)
    return 1e3 * max(lengths), degrees(max(angles))


def _thing(task: Task) -> se3.Pose:
    return se3.from_quaternion(*task.world.body_pose(task.thing))


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=sorted(TASKS), default="plush")
    parser.add_argument("--n", type=int, default=100, help="starts of the careful operator")
    parser.add_argument("--careless", type=int, default=25, help="starts of each careless one")
    parser.add_argument("--still", type=int, default=3, help="starts that are left alone")
    parser.add_argument(
        "--rigs", nargs="+", default=None, help="such as ur5e_leap; all if left out"
    )
    options = parser.parse_args(arguments)
    rigs = options.rigs or sorted(p.stem.removeprefix("sim_") for p in RIGS.glob("sim_*.toml"))
    careless = CARELESS[options.task]
    columns = ("operator", "at the first try", *careless)
    print(f"{'rig':13}" + "".join(f" {column:24}" for column in columns) + "    drift in 10 s")
    aims = ("> 95 %", "", *("fails at the first try" for _ in careless))
    print(f"{'aim':13}" + "".join(f" {aim:24}" for aim in aims) + "  <= 1 mm, <= 1 deg")
    for rig in rigs:
        path = RIGS / f"sim_{rig}.toml"
        rates = [*successes(path, options.task, CAREFUL, options.n)]
        for config in careless.values():
            rates.append(successes(path, options.task, config, options.careless)[1])
        length_mm, angle_deg = drift(path, options.task, options.still)
        print(
            f"{rig:13}" + "".join(f" {rate!s:24}" for rate in rates),
            f" {length_mm:.3f} mm, {angle_deg:.3f} deg",
            flush=True,
        )


if __name__ == "__main__":
    main()
