"""From what the steps left to one table, complete or not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

import dexhil
from dexhil.integration.experiment.config import ExperimentConfig
from dexhil.integration.experiment.plan import Kind, Step
from dexhil.integration.statistics import Rate, paired_bootstrap

REFERENCE = "dexhil"  # The arm that all others are compared with.
WARM_UP = "warm-up"  # In the place of an arm's name.

_TIMES = ("wall_s", "cpu_s")

Done = Mapping[str, Mapping[str, Any]]
Row = dict[str, Any]


def gather(config: ExperimentConfig, steps: Sequence[Step], done: Done) -> dict[str, Any]:
    """Return the results as far as they are there.

    Args:
        config: The experiment.
        steps: All of it.
        done: Results by the name of their step.
    """
    named = {step.name: step for step in steps}
    rows = [
        _row(step, named, done)
        for step in steps
        if step.kind == "evaluate" and step.name in done and step.policy in done
    ]
    settings = {name: value for name, value in asdict(config).items() if name != "rig"}
    return {
        "version": dexhil.__version__,
        "config": {"rig": config.rig.name, **settings},
        "steps_done": len(done),
        "steps": len(steps),
        "rows": rows,
        "pooled": _pooled(config, rows),
        "comparisons": list(_comparisons(config, rows)),
        "cost": _cost(steps, done),
    }


def _row(step: Step, named: Mapping[str, Step], done: Done) -> Row:
    """Return one line: a policy, how it does, and what it cost and was trained on."""
    success = [bool(attempt["success"]) for attempt in done[step.name]["attempts"]]
    rate = Rate(sum(success), len(success))
    assert step.policy is not None  # noqa: S101
    training = named[step.policy]
    collected = [*training.demonstrations, *training.corrections]
    latest = done[collected[-1]]["attempts"]
    learnt = {k: v for k, v in done[step.policy].items() if k not in _TIMES}
    return {
        "arm": step.arm.name if step.arm else WARM_UP,
        "seed": step.seed,
        "round": step.round,
        "successes": rate.successes,
        "trials": rate.trials,
        "interval": rate.interval,
        "success": [int(each) for each in success],
        "human_s": sum(a["human_s"] for name in collected for a in done[name]["attempts"]),
        "round_human_s": sum(a["human_s"] for a in latest),
        "round_trials": len(latest),
        "round_takeovers": sum(a["taken_over"] and a["success"] for a in latest)
        if training.corrections
        else 0,
        "alarms": _alarms(done[step.name]["attempts"]),
        **learnt,
    }


def _alarms(attempts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count alarms of an operator who merely watched; all zero where nobody did."""
    return {
        "in_successes": sum(a["success"] and a["alarm"] is not None for a in attempts),
        "in_failures": sum(not a["success"] and a["alarm"] is not None for a in attempts),
    }


def _pooled(config: ExperimentConfig, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return success over all seeds, by arm and round, as if starts were independent."""
    pooled = []
    for arm in (WARM_UP, *config.arms):
        for number in range(config.rounds + 1):
            of = [row for row in rows if (row["arm"], row["round"]) == (arm, number)]
            if of:
                rate = Rate(sum(row["successes"] for row in of), sum(row["trials"] for row in of))
                pooled.append(
                    {
                        "arm": arm,
                        "round": number,
                        "seeds": [row["seed"] for row in of],
                        "successes": rate.successes,
                        "trials": rate.trials,
                        "interval": rate.interval,
                        "human_s": sum(row["human_s"] for row in of) / len(of),
                    }
                )
    return pooled


def _comparisons(config: ExperimentConfig, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Compare the reference with every other arm, over the seeds that both have finished."""
    success = {(row["arm"], row["round"], row["seed"]): row["success"] for row in rows}
    for arm in config.arms:
        for number in range(1, config.rounds + 1):
            both = [
                seed
                for seed in config.seeds
                if {(REFERENCE, number, seed), (arm, number, seed)} <= success.keys()
            ]
            if both and arm != REFERENCE:
                ours, theirs = (
                    [success[name, number, seed] for seed in both] for name in (REFERENCE, arm)
                )
                difference = paired_bootstrap(ours, theirs)
                yield {
                    "arm": arm,
                    "round": number,
                    "seeds": both,
                    "difference": difference.value,
                    "interval": difference.interval,
                }


def _cost(steps: Sequence[Step], done: Done) -> dict[str, dict[str, float]]:
    """Return how long steps took in all, by what they do; CPU time has no share of other work."""
    cost = {}
    for kind in get_args(Kind):
        results = [done[s.name] for s in steps if s.kind == kind and s.name in done]
        if results:
            totals = {name: sum(result[name] for result in results) for name in _TIMES}
            cost[kind] = {"steps": len(results), **totals}
    return cost


def print_results(console: Console, results: Mapping[str, Any]) -> None:
    """Print the table as the paper has it, success by round for every arm, and differences."""
    config = results["config"]
    last = config["rounds"]
    table = Table(box=None)
    table.add_column("arm", no_wrap=True)
    rounds = (f"R{number}" for number in range(1, last + 1))
    for column in ("warm-up", *rounds, f"{REFERENCE}\nbetter by", "human\nmin"):
        table.add_column(column)
    for line in table_lines(results):
        table.add_row(*line)
    console.print(table, highlight=False)
    n = len(config["seeds"])
    drawn = "seeds and starts" if n > 1 else "starts only: more seeds are needed"
    console.print(
        f"Successes of {n} × {config['starts']} starts, 95 % intervals (Wilson) in percent. "
        f"Differences after R{last} in points, 95 % intervals of a paired bootstrap over {drawn}. "
        "Minutes that a person drove, per seed, demonstrations included.",
        highlight=False,
    )


def table_lines(results: Mapping[str, Any]) -> list[list[str]]:
    """Return the lines of the table: arm, success by round, difference, minutes of a person."""
    config = results["config"]
    pooled = {(entry["arm"], entry["round"]): entry for entry in results["pooled"]}
    last = config["rounds"]
    against = {entry["arm"]: entry for entry in results["comparisons"] if entry["round"] == last}
    lines = []
    for arm in config["arms"]:
        cells = [pooled.get((WARM_UP, 0)), *(pooled.get((arm, r)) for r in range(1, last + 1))]
        human_s = cells[-1]["human_s"] if cells[-1] else None
        lines.append(
            [
                arm,
                *(_cell(cell) for cell in cells),
                _difference(against[arm]) if arm in against else "",
                "" if human_s is None else f"{human_s / 60:.1f}",
            ]
        )
    return lines


def _cell(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "–"
    low, high = (100 * bound for bound in entry["interval"])
    return f"{entry['successes']}/{entry['trials']}\n[{low:.0f}, {high:.0f}]"


def _difference(entry: Mapping[str, Any]) -> str:
    low, high = (100 * bound for bound in entry["interval"])
    return f"{100 * entry['difference']:+.0f}\n[{low:+.0f}, {high:+.0f}]"
