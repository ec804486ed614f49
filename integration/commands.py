"""What each ``dexhil`` command does. The command line itself is in ``cli.py``."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from dexhil.drivers.models.kinematics import Side
from dexhil.drivers.registry import read_rig
from dexhil.integration import doctor as health
from dexhil.integration import driving
from dexhil.integration.attempts import Wanted
from dexhil.integration.bench import Attempt, Bench
from dexhil.integration.emulation import emulate as run_emulators
from dexhil.integration.errors import RunError
from dexhil.integration.policies import PolicyChoice, on_bench, process_for
from dexhil.integration.recorder import open_dataset
from dexhil.integration.rounds import correct, demonstrate
from dexhil.integration.rounds import evaluate as evaluate_attempts
from dexhil.integration.view.live import Viewing, watching
from dexhil.policy.episodes import EpisodeWriter

Weighting = Literal["dexhil", "uniform"]

console = Console()


def devices() -> None:
    """Print every driver."""
    table = Table("kind", "driver", "loads", "comes with", "why not", box=None)
    for driver in health.drivers():
        loads = "[green]yes[/]" if driver.problem is None else "[red]no[/]"
        said = (escape(driver.package), escape(driver.problem or ""))
        table.add_row(driver.kind, driver.name, loads, *said)
    console.print(table)


def doctor(rig: Path | None) -> None:
    """Print every check.

    Raises:
        RunError: Something is not fit.
    """
    table = Table("", "check", "measured", box=None)
    bad = 0
    for finding in health.examine(rig):
        bad += not finding.ok
        mark = "[green]ok[/]" if finding.ok else "[red]✗[/]"
        table.add_row(mark, escape(finding.name), escape(finding.measured))
    console.print(table)
    if bad:
        raise RunError(f"{bad} check(s) failed; the table says what to do.")


def emulate(names: Sequence[str], *, rig: Path | None) -> None:
    """Run emulators until Ctrl-C."""
    run_emulators(names, rig=rig, console=Console(stderr=True))


def recover(rig_path: Path, *, device: str) -> None:
    """Recover one device of a rig.

    Raises:
        RunError: The rig has no such device.
    """
    entries = {f"{entry.kind}.{entry.name}": entry for entry in read_rig(rig_path).devices}
    if device not in entries:
        raise RunError(f"{rig_path} has no device {device!r}. It has: {', '.join(entries)}.")
    recovered = entries[device].build()
    try:
        recovered.recover()
        console.print(f"{recovered} is recovered and answers. It is not enabled.")
    finally:
        recovered.disconnect()


def calibrate(
    *,
    glove: str,
    hand: str,
    user: str,
    side: Side,
    out: Path | None,
    force: bool,
    pose_s: float,
) -> None:
    """Guide a person through six poses and keep what they show."""
    from dexhil.integration.retargeting import calibrate as guide

    guide.calibrate(
        glove=glove,
        hand=hand,
        user=user,
        side=side,
        out=out,
        force=force,
        pose_s=pose_s,
        console=console,
    )


def record(
    rig_path: Path,
    *,
    out: Path,
    episodes: int,
    task: str,
    cameras: bool,
    seed: int,
    user: str | None,
    attempt_s: float,
    viewing: Viewing,
) -> None:
    """Record demonstrations by a simulated operator, or by a person on a real rig."""
    if read_rig(rig_path).world is None:
        wanted = Wanted(task=task, n=episodes, corrected=False, attempt_s=attempt_s)
        driving.attempts(rig_path, out, wanted, user=user, viewing=viewing)
        return
    _refuse_user(user)
    with (
        Bench(rig_path, task, cameras=cameras) as bench,
        _watched(bench, viewing),
        _open_for(bench, out) as writer,
        _progress("demonstrations", episodes) as done,
    ):
        attempts = demonstrate(bench, writer, episodes, run=seed, progress=_ticks(done, _succeeded))
    driven_s = sum(attempt.human_s for attempt in attempts)
    console.print(
        f"{episodes} demonstrations of {len(attempts)} tries in {out}, {driven_s:.0f} s of driving."
    )


def train_policy(
    demonstration_root: Path,
    *,
    out: Path,
    corrections: Sequence[Path],
    init: Path | None,
    steps: int,
    weighting: Weighting,
    cameras: Sequence[str],
    seed: int,
) -> None:
    """Train and save a checkpoint."""
    from dexhil.integration import training
    from dexhil.policy.checkpoint import Checkpoint
    from dexhil.policy.trainer import train

    start = None if init is None else Checkpoint.load(init)
    config = (
        training.dataset_policy_config(demonstration_root, cameras)
        if start is None
        else start.config
    )
    episodes = training.demonstrations(demonstration_root, config.cameras)
    episodes += training.corrections(corrections, config.cameras)
    with _progress("training", steps) as done:
        result = train(
            episodes,
            config,
            steps=steps,
            seed=seed,
            init=start,
            weighting=weighting,
            progress=lambda _: done(),
        )
    result.checkpoint.save(out)
    w = result.weights
    console.print(
        f"{len(episodes)} episodes, {w.share:.1%} of samples are interventions, weighted "
        f"{w.intervention:.2f} against {w.other:.2f}; loss {result.losses[-1]:.3f}. Saved in {out}."
    )
    if result.interrupted:
        raise RunError(f"Stopped after {len(result.losses)} of {steps} steps; {out} holds those.")


def run_policy(
    rig_path: Path,
    *,
    choice: PolicyChoice,
    record: Path,
    takeovers: int,
    task: str,
    seed: int,
    user: str | None,
    attempt_s: float,
    viewing: Viewing,
) -> None:
    """Let a policy drive with a person ready to take over."""
    if read_rig(rig_path).world is None:
        wanted = Wanted(task=task, n=takeovers, corrected=True, attempt_s=attempt_s)
        driving.attempts(
            rig_path,
            record,
            wanted,
            user=user,
            make_policy=partial(process_for, choice=choice, task=task, seed=seed),
            viewing=viewing,
        )
        return
    _refuse_user(user)
    with (
        on_bench(rig_path, task, choice, seed=seed) as (bench, policy),
        _watched(bench, viewing),
        _open_for(bench, record) as writer,
        _progress("successful takeovers", takeovers) as done,
    ):
        attempts = correct(
            bench,
            policy,
            writer,
            takeovers,
            run=seed,
            progress=_ticks(done, _corrected),
        )
    table = Table("seed", "took over because", "after [s]", "drove [s]", "success", box=None)
    for a in attempts:
        after = "" if a.alarm_s is None else f"{a.alarm_s:.1f}"
        row = (str(a.seed), a.alarm or "–", after, f"{a.human_s:.1f}", "yes" if a.success else "no")
        table.add_row(*row)
    console.print(table)


def evaluate_policy(
    rig_path: Path, *, choice: PolicyChoice, starts: int, task: str, watched: bool
) -> None:
    """Count autonomous successes."""
    with (
        on_bench(rig_path, task, choice) as (bench, policy),
        _progress("starts", starts) as done,
    ):
        result = evaluate_attempts(
            bench, policy, starts, watched=watched, progress=lambda _: done()
        )
    console.print(f"Success: {result.rate}")
    if watched:
        false, missed = result.false_alarms, result.missed_alarms
        console.print(
            f"Takeovers that would not have been needed: {false or 'no success to judge'}"
        )
        console.print(f"Failures that nobody saw coming: {missed or 'no failure to judge'}")


def demo(out: Path, *, seed: int, quick: bool) -> None:
    """Run the whole loop in simulation."""
    from dexhil.integration.demo import QUICK, run_demo

    run_demo(out, seed=seed, console=console, size=QUICK if quick else None)


# -- Parts ---------------------------------------------------------------------


def _open_for(bench: Bench, root: Path) -> EpisodeWriter:
    writer = open_dataset(root, bench.rig, bench.task.environment_names)
    driving.tell_repairs(writer)
    return writer


def _refuse_user(name: str | None) -> None:
    if name is not None:
        raise RunError(f"--user {name}: on a simulated rig a simulated operator wears the glove.")


@contextmanager
def _watched(bench: Bench, viewing: Viewing) -> Iterator[None]:
    """Show the attempts on a bench, if wanted."""
    names = bench.task.environment_names
    with watching(bench.rig, viewing, console, names) as watcher:
        bench.watcher = watcher
        yield


def _succeeded(attempt: Attempt) -> bool:
    return attempt.success


def _corrected(attempt: Attempt) -> bool:
    return attempt.success and attempt.taken_over


@contextmanager
def _progress(name: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar; what is yielded moves it on by one."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(name, total=total)
        yield lambda: bars.advance(task)


def _ticks(
    done: Callable[[], None], counts: Callable[[Attempt], bool]
) -> Callable[[Attempt], None]:
    """Return a listener that moves a bar on for every attempt that ``counts``."""
    return lambda attempt: done() if counts(attempt) else None
