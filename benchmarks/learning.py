"""Does a round of takeovers help? The demo's learning part over several seeds.

Prints one table: success of the warm-up policy and of the policy after one round, on
the same starts, and what a policy reaches that is trained on many demonstrations (the
limit of the learner). Every seed draws its own demonstrations, takeovers and network.

    python benchmarks/learning.py                     # 5 seeds, half an hour on two cores
    python benchmarks/learning.py --seeds 0 --quick   # a minute, figures mean nothing
"""

import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from dexhil.integration import training
from dexhil.integration.bench import Bench
from dexhil.integration.demo import QUICK, RIG, DemoSize, run_demo
from dexhil.integration.recorder import open_dataset
from dexhil.integration.rounds import demonstrate, evaluate
from dexhil.integration.statistics import Rate
from dexhil.policy.runner import Runner
from dexhil.policy.trainer import train


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to run."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Of whole demos."""
    many: int = 120
    """Demonstrations, from all starts, of the policy that shows what the learner can do."""
    many_steps: int = 2500
    """Its gradient steps."""
    processes: int = 2
    """Demos at a time, one core each."""
    out: Path | None = None
    """Where to write the figures as JSON."""
    quick: bool = False
    """Check that it runs; the figures then mean nothing."""


def one_demo(seed: int, size: DemoSize) -> dict[str, Any]:
    """Run the demo with ``seed`` and return its result."""
    with tempfile.TemporaryDirectory() as folder:
        return run_demo(Path(folder), seed=seed, console=Console(quiet=True), size=size)


def many_demonstrations(n: int, steps: int, starts: int) -> Rate:
    """Return how a policy does that was shown ``n`` demonstrations from all starts."""
    with tempfile.TemporaryDirectory() as folder, Bench(RIG) as bench:
        names = bench.task.environment_names
        with open_dataset(Path(folder), bench.rig, names) as writer:
            demonstrate(bench, writer, n, run=99, familiar=False)
        episodes = training.demonstrations(Path(folder))
        result = train(episodes, training.dataset_policy_config(Path(folder)), steps=steps, seed=0)
        return evaluate(bench, Runner(result.checkpoint), starts).rate


def main(options: Options) -> None:
    """Run everything and print the table."""
    size = QUICK if options.quick else DemoSize()
    pool = ProcessPoolExecutor(options.processes, mp_context=get_context("spawn"))
    with pool:
        many = size.demonstrations if options.quick else options.many
        steps = size.steps if options.quick else options.many_steps
        gate = pool.submit(many_demonstrations, many, steps, size.starts)
        results = list(pool.map(partial(one_demo, size=size), options.seeds))
        limit = gate.result()
    report(results, limit, many, options.out)


def report(results: Sequence[dict[str, Any]], limit: Rate, many: int, out: Path | None) -> None:
    """Print the table and write the file."""
    table = Table(
        "seed", "warm-up", "after one round", "takeovers", "a person drove", "false alarms"
    )
    for result in results:
        before, after = result["stages"]
        taken = sum(trial["taken_over"] for trial in result["trials"])
        alarms = before["false_alarms"]
        table.add_row(
            str(result["seed"]),
            f"{before['successes']}/{before['trials']}",
            f"{after['successes']}/{after['trials']}",
            f"{taken} in {len(result['trials'])} trials",
            f"{result['human_s']['takeovers']:.0f} s",
            "–" if alarms is None else f"{alarms[0]} of {alarms[1]} successes",
        )
    before, after = (pooled(results, stage) for stage in (0, 1))
    table.add_row("all", str(before), str(after))
    Console().print(table)
    better = sum(r["stages"][1]["successes"] > r["stages"][0]["successes"] for r in results)
    print(f"Better after the round: {better} of {len(results)} seeds.")
    print(f"Trained on {many} demonstrations from all starts: {limit}")
    if out is not None:
        figures = {"demos": results, "many_demonstrations": [limit.successes, limit.trials]}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def pooled(results: Sequence[dict[str, Any]], stage: int) -> Rate:
    """Return the success of one stage over all seeds, as if starts were independent."""
    return Rate(
        sum(result["stages"][stage]["successes"] for result in results),
        sum(result["stages"][stage]["trials"] for result in results),
    )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
