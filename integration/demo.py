"""The whole job on a simulated rig: demonstrate, train, take over, train again, compare."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dexhil.drivers.clock import MonotonicClock
from dexhil.integration import training
from dexhil.integration.bench import Attempt, Bench
from dexhil.integration.demo_report import write_report
from dexhil.integration.film import Shot, save_film, save_filmstrip
from dexhil.integration.live import drive, make_session
from dexhil.integration.operator import Role
from dexhil.integration.recorder import open_dataset
from dexhil.integration.rig import build_rig
from dexhil.integration.rounds import Evaluation, correct, demonstrate, evaluate
from dexhil.integration.tasks import make_task
from dexhil.policy.checkpoint import Checkpoint
from dexhil.policy.runner import Runner
from dexhil.policy.trainer import TrainResult, train
from dexhil.teleop.frame import Frame
from dexhil.teleop.takeover import Event

RIG = Path(str(files("dexhil.integration").joinpath("demo_rig.toml")))
TIMED_S = 4.0
FILM_CAMERA, FILM_WIDTH, FILM_HEIGHT = "scene", 320, 240


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSize:
    """How much the demo does.

    Attributes:
        demonstrations: Successful ones, from familiar starts only.
        takeovers: Successful ones in the round.
        steps: Gradient steps of the warm-up.
        round_steps: Gradient steps of the round.
        starts: Of each evaluation, from all starts.
    """

    demonstrations: int = 5
    takeovers: int = 15
    steps: int = 600
    round_steps: int = 1200
    starts: int = 50


QUICK = DemoSize(demonstrations=3, takeovers=2, steps=60, round_steps=60, starts=4)


def run_demo(
    out: Path, *, seed: int, console: Console, size: DemoSize | None = None
) -> dict[str, Any]:
    """Do everything, print a table and write ``report.html`` and ``result.json``.

    Args:
        out: Folder; datasets and checkpoints of an earlier demo in it are replaced.
        seed: Of the whole run.
        console: Where bars and the table go.
        size: How much to do.

    Returns:
        What ``result.json`` holds.
    """
    size = size or DemoSize()
    start_s = time.monotonic()
    for name in ("demonstrations", "takeovers", "warm-up", "round-1"):
        shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    console.print(
        "A simulated arm and hand learn to lift a toy: first from demonstrations in a small "
        "part of the table,\nthen from a person's takeovers wherever the policy fails."
    )
    with Bench(RIG) as bench, _bars(console) as bars:
        demonstrations = _demonstrate(bench, out, size, seed, bars)
        warm_up = _train(out, "warm-up", size.steps, seed=seed, bars=bars)
        before = _evaluate(bench, warm_up.checkpoint, size.starts, "evaluation", bars)
        trials = _correct(bench, out, warm_up.checkpoint, size, seed=seed, bars=bars)
        improved = _train(
            out, "round-1", size.round_steps, seed=seed, bars=bars, init=warm_up.checkpoint
        )
        after = _evaluate(bench, improved.checkpoint, size.starts, "evaluation again", bars)
    _film(out, warm_up.checkpoint, trials, seed)
    result = {
        "seed": seed,
        "rig": bench.rig.robot_type,
        "task": bench.task.name,
        "size": asdict(size),
        "stages": [_stage("warm-up", before, warm_up), _stage("round 1", after, improved)],
        "trials": [asdict(trial) for trial in trials],
        "human_s": {
            "demonstrations": sum(attempt.human_s for attempt in demonstrations),
            "takeovers": sum(trial.human_s for trial in trials),
        },
        "timing": _timing(improved.checkpoint, seed),
        "wall_s": time.monotonic() - start_s,
    }
    (out / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    write_report(out, result)
    _print(console, result, out)
    return result


# -- Steps ---------------------------------------------------------------------

Bars = Callable[[str, int], Callable[[], None]]


@contextmanager
def _bars(console: Console) -> Iterator[Bars]:
    columns = (
        TextColumn("{task.description:>17}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:

        def start(name: str, total: int) -> Callable[[], None]:
            bar = progress.add_task(name, total=total)
            return lambda: progress.advance(bar)

        yield start


def _demonstrate(bench: Bench, out: Path, size: DemoSize, seed: int, bars: Bars) -> list[Attempt]:
    done = bars("demonstrations", size.demonstrations)
    with open_dataset(out / "demonstrations", bench.rig, bench.task.environment_names) as writer:
        return demonstrate(
            bench,
            writer,
            size.demonstrations,
            run=seed,
            progress=lambda attempt: done() if attempt.success else None,
        )


def _correct(
    bench: Bench, out: Path, checkpoint: Checkpoint, size: DemoSize, *, seed: int, bars: Bars
) -> list[Attempt]:
    done = bars("takeovers", size.takeovers)
    with open_dataset(out / "takeovers", bench.rig, bench.task.environment_names) as writer:
        return correct(
            bench,
            Runner(checkpoint, seed=seed),
            writer,
            size.takeovers,
            run=seed,
            progress=lambda trial: done() if trial.success and trial.taken_over else None,
        )


def _train(
    out: Path, name: str, steps: int, *, seed: int, bars: Bars, init: Checkpoint | None = None
) -> TrainResult:
    """Train on all data so far (Eq. 9), from the round before if there was one (Eq. 12)."""
    done = bars(f"training {name}", steps)
    episodes = training.demonstrations(out / "demonstrations")
    if init is not None:
        episodes += training.corrections([out / "takeovers"])
    config = training.dataset_policy_config(out / "demonstrations")
    result = train(episodes, config, steps=steps, seed=seed, init=init, progress=lambda _: done())
    result.checkpoint.save(out / name)
    if result.interrupted:
        raise KeyboardInterrupt
    return result


def _evaluate(
    bench: Bench, checkpoint: Checkpoint, starts: int, name: str, bars: Bars
) -> Evaluation:
    done = bars(name, starts)
    policy = Runner(checkpoint)
    return evaluate(bench, policy, starts, watched=True, progress=lambda _: done())


def _film(out: Path, checkpoint: Checkpoint, trials: Sequence[Attempt], seed: int) -> None:
    """Repeat one takeover, which the simulated clock makes the same again, with a camera on."""
    chosen = next((t for t in trials if t.taken_over and t.success), trials[0])
    with Bench(RIG) as bench:
        world, shots = bench.world, list[Shot]()

        class Camera:
            def write(self, frame: Frame) -> None:
                image = world.render(FILM_CAMERA, FILM_WIDTH, FILM_HEIGHT)
                time_s = len(shots) / bench.config.policy_rate_hz
                shots.append(Shot(time_s=time_s, mode=frame.mode, image=image))

        policy = Runner(checkpoint, seed=seed)
        bench.attempt(chosen.seed, role=Role.SUPERVISE, policy=policy, sink=Camera())
        save_film(shots, out / "takeover.mp4", int(bench.config.policy_rate_hz))
        save_filmstrip(shots, out / "takeover.png")


def _timing(checkpoint: Checkpoint, seed: int) -> list[tuple[str, str, str, str, int]]:
    """Run the same loops in real time, each in its thread, and tell how they kept it."""
    rig = build_rig(RIG, MonotonicClock(), cameras=False)
    task = make_task("plush", rig.world)
    with rig.running():
        task.reset(seed)
        session = make_session(rig, policy=Runner(checkpoint), perception=task.perceive)
        stretch = drive(rig, session, first=Event.START, duration_s=TIMED_S)
    return [
        (
            name,
            f"{stats.ticks / stretch.duration_s:.1f} Hz",
            f"{stats.period_s[0] * 1e3:.1f} / {stats.period_s[1] * 1e3:.1f} ms",
            f"{stats.lateness_s[1] * 1e3:.2f} ms",
            stats.misses,
        )
        for name, stats in stretch.loops.items()
    ]


def _stage(name: str, evaluation: Evaluation, result: TrainResult) -> dict[str, Any]:
    rate, weights = evaluation.rate, result.weights
    false_alarms = evaluation.false_alarms
    blocks = np.array_split(np.array(result.losses), min(100, len(result.losses)))
    return {
        "name": name,
        "successes": rate.successes,
        "trials": rate.trials,
        "success": rate.value,
        "interval": rate.interval,
        "false_alarms": None
        if false_alarms is None
        else [false_alarms.successes, false_alarms.trials],
        "intervention_share": weights.share,
        "intervention_weight": weights.intervention,
        "other_weight": weights.other,
        "effective_sample_size": weights.effective_sample_size,
        "samples": len(weights.values),
        "losses": [float(block.mean()) for block in blocks],
    }


def _print(console: Console, result: dict[str, Any], out: Path) -> None:
    table = Table("policy", "success", "95 % interval", "interventions in the data", box=None)
    for stage in result["stages"]:
        low, high = stage["interval"]
        table.add_row(
            stage["name"],
            f"{stage['successes']}/{stage['trials']}",
            f"{low:.0%} to {high:.0%}",
            f"{stage['intervention_share']:.0%}, weighted ×{stage['intervention_weight']:.2f}",
        )
    console.print(table)
    console.print(
        f"{result['human_s']['takeovers']:.0f} s of driving in the round, "
        f"{result['wall_s']:.0f} s in all. Open {out / 'report.html'}."
    )
