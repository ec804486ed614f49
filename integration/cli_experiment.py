"""``dexhil experiment ...``: ways of learning compared in simulation."""

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console


def dexhil(
    rig: Path,
    out: Path,
    task: str = "plush",
    arms: tuple[str, ...] = ("dexhil", "dagger_filtered", "dagger", "offline"),
    seeds: tuple[int, ...] = (0,),
    rounds: int = 3,
    demonstrations: int = 30,
    per_round: int = 10,
    most_trials: int = 100,
    starts: int = 100,
    familiar: bool = False,
    watched: bool = False,
    cameras: tuple[str, ...] = (),
    steps: int = 2000,
    round_steps: int = 1000,
    batch: int = 256,
    learning_rate: float = 1e-3,
    round_learning_rate: float = 1e-3,
    policy: dict[str, float] | None = None,
    processes: int | None = None,
) -> None:
    """DexHiL's experiment: a warm-up, rounds of takeovers, and what else could have been done.

    Stopped by whatever, the same command goes on where it was, and repeats nothing. Arms, seeds
    and rounds may be added later.

    Args:
        rig: Rig file with a simulated world.
        out: Folder for datasets, checkpoints, results.json and report.html.
        task: Simulated task.
        arms: dexhil, dagger_filtered, dagger, dagger_weighted, offline, iwr, sirius, hg_dagger;
            dexhil@0.25 gives interventions a quarter of the loss instead of half.
        seeds: Each has its own demonstrations, network and trials.
        rounds: After the warm-up.
        demonstrations: Of the warm-up.
        per_round: Successful takeovers, or more demonstrations, that a round adds.
        most_trials: A round ends after so many trials, however few takeovers they needed.
        starts: Of every evaluation; the same for all.
        familiar: Demonstrate from familiar starts only.
        watched: Count needless alarms in evaluations as well; takes several times as long.
        cameras: Cameras that the policy shall look through.
        steps: Gradient steps of the warm-up.
        round_steps: Gradient steps of every round.
        batch: Samples per gradient step.
        learning_rate: Peak of the warm-up's.
        round_learning_rate: Peak of every round's.
        policy: Settings of the policy and their values, such as: width 512 depth 4.
        processes: Steps to do at a time; one per core if left out.
    """
    from dexhil.integration.experiment.config import make_config
    from dexhil.integration.experiment.run import run_experiment
    from dexhil.integration.experiment.workers import cores

    config = make_config(
        rig=rig,
        task=task,
        arms=arms,
        seeds=seeds,
        rounds=rounds,
        demonstrations=demonstrations,
        per_round=per_round,
        most_trials=most_trials,
        starts=starts,
        familiar=familiar,
        watched=watched,
        cameras=cameras,
        steps=steps,
        round_steps=round_steps,
        batch=batch,
        learning_rate=learning_rate,
        round_learning_rate=round_learning_rate,
        policy=policy or {},
    )
    run_experiment(out, config, processes=processes or cores(), console=Console())


def show(out: Annotated[Path, tyro.conf.Positional]) -> None:
    """Tell the results of an experiment as far as they are there; write its report.html anew.

    Args:
        out: Its folder.
    """
    from dexhil.integration.experiment.run import show_experiment

    show_experiment(out, console=Console())


Job = Annotated[
    Annotated[None, tyro.conf.subcommand(name="dexhil", constructor=dexhil)]
    | Annotated[None, tyro.conf.subcommand(name="show", constructor=show)],
    tyro.conf.OmitArgPrefixes,
    tyro.conf.OmitSubcommandPrefixes,
]
