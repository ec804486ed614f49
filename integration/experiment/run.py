"""Runs an experiment, or what is left of it."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from dexhil.integration.errors import RunError
from dexhil.integration.experiment.config import (
    ExperimentConfig,
    claim,
    read_config,
    replace_json,
)
from dexhil.integration.experiment.plan import Step, plan
from dexhil.integration.experiment.report import write_report
from dexhil.integration.experiment.results import gather, print_results
from dexhil.integration.experiment.work import RESULT, do_step
from dexhil.integration.experiment.workers import workers
from dexhil.integration.statistics import Rate
from dexhil.policy.episodes import DatasetError
from dexhil.policy.episodes.writer import lock

Results = dict[str, dict[str, Any]]  # By name of the step.


def run_experiment(
    out: Path, config: ExperimentConfig, *, processes: int, console: Console
) -> dict[str, Any]:
    """Do every step of an experiment that is not done yet, and tell the results.

    Args:
        out: Its folder. What an interrupted run finished there is not repeated.
        config: The experiment.
        processes: Steps to do at a time, one core each.
        console: Where the bar and the table go.

    Returns:
        What ``results.json`` holds.

    Raises:
        RunError: The folder belongs to another experiment, or a step fails.
    """
    if processes < 1:
        raise RunError(f"Experiment: processes is {processes}, allowed is 1 or more.")
    steps = plan(config)
    with _alone(out):
        claim(out, config)
        done = finished(out, steps)
        if done:
            console.print(f"{len(done)} of {len(steps)} steps are done already.")
        with _bar(console, len(steps), len(done)) as bar, workers(processes) as pool:

            def keep(step: Step, result: dict[str, Any]) -> None:
                done[step.name] = result
                if step.kind == "evaluate":
                    replace_json(out / "results.json", gather(config, steps, done))
                bar.finished(step, result)

            work_off(
                steps,
                set(done),
                pool=pool,
                processes=processes,
                work=partial(do_step, out, config),
                begun=bar.begun,
                keep=keep,
            )
        results = gather(config, steps, done)
        replace_json(out / "results.json", results)
    _tell(out, results, console)
    return results


def show_experiment(out: Path, *, console: Console) -> dict[str, Any]:
    """Tell the results of an experiment as far as they are there; it may be running.

    Args:
        out: Its folder.
        console: Where the table goes.

    Returns:
        What ``results.json`` holds, or will hold.

    Raises:
        RunError: There is no experiment, or it is damaged.
    """
    config = read_config(out)
    steps = plan(config)
    results = gather(config, steps, finished(out, steps))
    _tell(out, results, console)
    return results


def _tell(out: Path, results: dict[str, Any], console: Console) -> None:
    write_report(out, results)
    print_results(console, results)
    console.print(f"In {out}: results.json, report.html, and what every step left.")


def finished(out: Path, steps: Sequence[Step]) -> Results:
    """Return what the finished ones among ``steps`` gave, by name.

    Raises:
        RunError: A result is damaged.
    """
    done: Results = {}
    for step in steps:
        file = out / step.name / RESULT
        if file.exists():
            try:
                done[step.name] = json.loads(file.read_bytes())
            except (OSError, ValueError) as error:
                raise RunError(
                    f"{file}: cannot read it ({error}). Remove {file.parent} to repeat that step."
                ) from error
    return done


def work_off(
    steps: Sequence[Step],
    done: set[str],
    *,
    pool: Executor,
    processes: int,
    work: Callable[[Step], dict[str, Any]],
    begun: Callable[[Step], None],
    keep: Callable[[Step, dict[str, Any]], None],
) -> None:
    """Have ``pool`` do what is not ``done``: of the steps that can be done, the first first.

    Args:
        steps: All, each after those that it needs.
        done: Names of those that are done; grows.
        pool: Who works.
        processes: How many steps at a time.
        work: Does one.
        begun: Told of every step that begins.
        keep: Told of every step that is done.

    Raises:
        RunError: A step failed, or the process that did it died.
    """
    waiting = [step for step in steps if step.name not in done]
    running: dict[Future[dict[str, Any]], Step] = {}
    while waiting or running:
        ready = [step for step in waiting if done.issuperset(step.needs)]
        for step in ready[: processes - len(running)]:
            running[pool.submit(work, step)] = step
            waiting.remove(step)
            begun(step)
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            step = running.pop(future)
            try:
                result = future.result()
            except BrokenProcessPool as error:
                raise RunError(
                    f"{step.name}: a worker process died, perhaps for want of memory. The same "
                    "command goes on from here; fewer --processes need less."
                ) from error
            done.add(step.name)
            keep(step, result)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Refuse to work in a folder in which somebody else does."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = lock(out)
    except OSError as error:
        raise RunError(f"{out}: cannot work there ({error}).") from error
    except DatasetError as error:
        raise RunError(f"{out}: another process works on this experiment.") from error
    try:
        yield
    finally:
        os.close(descriptor)


class _Bar:
    """Steps done, what is in hand, and above it a line for every evaluation."""

    def __init__(self, progress: Progress, total: int, done: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total, completed=done)
        self._in_hand: list[str] = []

    def begun(self, step: Step) -> None:
        self._in_hand.append(step.name)
        self._show()

    def finished(self, step: Step, result: dict[str, Any]) -> None:
        self._in_hand.remove(step.name)
        if step.kind == "evaluate":
            successes = [attempt["success"] for attempt in result["attempts"]]
            rate = Rate(sum(successes), len(successes))
            name = step.name.removesuffix("/evaluation").replace("/", ", ").replace("-", " ")
            self._progress.console.print(f"{escape(name)}: {escape(str(rate))}", highlight=False)
        self._progress.advance(self._task)
        self._show()

    def _show(self) -> None:
        self._progress.update(self._task, description=escape(", ".join(self._in_hand)))


@contextmanager
def _bar(console: Console, total: int, done: int) -> Iterator[_Bar]:
    names = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # Gives way in a narrow terminal.
    columns = (
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", table_column=names),
    )
    with Progress(*columns, console=console, expand=True) as progress:
        yield _Bar(progress, total, done)
