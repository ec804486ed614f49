"""The ``dexhil`` command."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from queue import SimpleQueue
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

from dexhil.drivers.errors import DeviceError
from dexhil.drivers.models.kinematics import Side
from dexhil.integration import (
    cli_cube,
    cli_dataset,
    cli_experiment,
    cli_retarget,
    commands,
    driving,
)
from dexhil.integration.errors import RunError
from dexhil.integration.policies import PolicyChoice
from dexhil.integration.view.live import Viewing as ViewingOptions
from dexhil.policy.episodes import DatasetError
from dexhil.policy.errors import PolicyError
from dexhil.retarget.errors import RetargetError
from dexhil.teleop.errors import TeleopError

OUR_ERRORS = (DeviceError, RetargetError, TeleopError, DatasetError, PolicyError, RunError)

Rig = Annotated[Path, tyro.conf.arg(help="Rig file: which devices, and how to reach them.")]
Seed = Annotated[int, tyro.conf.arg(help="Of everything random. The same seed, the same result.")]

WELCOME = "Take over a dexterous robot, correct it, and make its policy better. First: dexhil demo."

User = str | None
Viewing = Annotated[ViewingOptions, tyro.conf.arg(name="")]
NO_VIEW = ViewingOptions()
Policy = Annotated[PolicyChoice, tyro.conf.arg(name="")]
NO_POLICY = PolicyChoice()

app = tyro.extras.SubcommandApp()


@app.command
def devices() -> None:
    """List every driver, and why it cannot be loaded, if it cannot."""
    commands.devices()


@app.command
def doctor(rig: Path | None = None) -> None:
    """Check this machine, and a rig if named. Connects devices, moves nothing.

    Args:
        rig: Rig file to check as well.
    """
    commands.doctor(rig)


@app.command
def emulate(
    names: Annotated[tuple[str, ...], tyro.conf.Positional], rig: Path | None = None
) -> None:
    """Emulate devices for the real drivers to talk to. Prints what a rig file needs.

    Args:
        names: Which: leap, inspire, allegro, ur, manus, opencv, ... none to list them.
        rig: Rig file to write, which leads to the emulators.
    """
    commands.emulate(names, rig=rig)


@app.command
def recover(rig: Rig, device: Annotated[str, tyro.conf.Positional]) -> None:
    """Clear what a device latched: a protective stop, an overloaded motor. Moves nothing.

    Args:
        rig: Rig file.
        device: Its name there, e.g. arm.main. Look at the robot first.
    """
    commands.recover(rig, device=device)


@app.command
def calibrate(
    glove: str,
    hand: str,
    user: str,
    side: Side = "right",
    out: Path | None = None,
    force: bool = False,
    pose_s: float = 1.8,
) -> None:
    """Learn a person's hand in a glove: six poses, about ten seconds.

    Args:
        glove: A driver with its defaults (quest, manus, ...), replay:FILE.npy, or a rig file.
        hand: Robot hand to try it on: leap, allegro, inspire, ...
        user: Who wears the glove.
        side: Which hand.
        out: File to write; ~/.config/dexhil/users/USER.toml when left out.
        force: Overwrite another person's file.
        pose_s: Time for one pose [s]. Raise it for slow hands.
    """
    commands.calibrate(
        glove=glove, hand=hand, user=user, side=side, out=out, force=force, pose_s=pose_s
    )


@app.command
def retarget(job: cli_retarget.Job) -> None:
    """Human hands to robot hands, without a robot: run, view, bench, train."""


@app.command
def dataset(job: cli_dataset.Job) -> None:
    """Look after what was recorded: check, repair, merge, export, view, show."""


@app.command
def experiment(job: cli_experiment.Job) -> None:
    """Compare ways of learning over seeds, in simulation: dexhil, show."""


@app.command
def cube(job: cli_cube.Job) -> None:
    """The marker cube by which an arm is driven: print, intrinsics, calibrate, show."""


@app.command
def teleop(
    rig: Rig,
    glove: str | None = None,
    user: User = None,
    record: Path | None = None,
    duration_s: float = 60.0,
    task: str = "teleoperation",
    viewing: Viewing = NO_VIEW,
) -> None:
    """Drive the robot by glove and tracker. Simulated rigs run faster than real time.

    Args:
        rig: Rig file.
        glove: Replace the rig's glove: ``replay:FILE.npy`` plays recorded keypoints (N, 21, 3).
        user: Who wears it, see ``dexhil calibrate``. Another person's hand is refused.
        record: Folder of the dataset to write or extend.
        duration_s: Stop after this long [s].
        task: What the robot is asked to do, for the recording.
        viewing: Whether to look at it in the Rerun viewer.
    """
    driving.teleop(
        rig,
        glove=glove,
        user=user,
        record=record,
        duration_s=duration_s,
        task=task,
        viewing=viewing,
    )


@app.command
def record(
    rig: Rig,
    out: Path,
    episodes: int = 30,
    task: str = "plush",
    cameras: bool = False,
    seed: Seed = 0,
    user: User = None,
    attempt_s: float = 120.0,
    viewing: Viewing = NO_VIEW,
) -> None:
    """Record demonstrations. On a simulated rig a simulated operator gives them.

    Args:
        rig: Rig file.
        out: Folder of the dataset to write or extend.
        episodes: Successful demonstrations wanted; a real rig goes on where the dataset ends.
        task: Simulated task, or what a person shall do on a real rig.
        cameras: Render and record the simulated rig's cameras; takes several times as long.
        seed: Of starts and operator.
        user: Who wears the glove of a real rig, see ``dexhil calibrate``.
        attempt_s: Longest attempt on a real rig [s].
        viewing: Whether to look at it in the Rerun viewer.
    """
    commands.record(
        rig,
        out=out,
        episodes=episodes,
        task=task,
        cameras=cameras,
        seed=seed,
        user=user,
        attempt_s=attempt_s,
        viewing=viewing,
    )


@app.command
def train(
    demonstrations: Path,
    out: Path,
    corrections: tuple[Path, ...] = (),
    init: Path | None = None,
    steps: int = 1000,
    weighting: commands.Weighting = "dexhil",
    cameras: tuple[str, ...] = (),
    seed: Seed = 0,
) -> None:
    """Train a policy, from scratch or from the round before.

    Args:
        demonstrations: Dataset of demonstrations.
        out: Folder for the checkpoint.
        corrections: Datasets of takeovers; of each trial the last takeover to its end is used.
        init: Checkpoint of the round before, to start from.
        steps: Gradient steps.
        weighting: ``dexhil`` gives interventions half of the loss, ``uniform`` does not.
        cameras: Recorded cameras that the policy shall look through as well.
        seed: Of initialisation and batches.
    """
    commands.train_policy(
        demonstrations,
        out=out,
        corrections=corrections,
        init=init,
        steps=steps,
        weighting=weighting,
        cameras=cameras,
        seed=seed,
    )


@app.command
def run(
    rig: Rig,
    record: Path,
    policy: Policy = NO_POLICY,
    takeovers: int = 10,
    task: str = "plush",
    seed: Seed = 0,
    user: User = None,
    attempt_s: float = 120.0,
    viewing: Viewing = NO_VIEW,
) -> None:
    """Let a policy drive, with a person ready to take over.

    Args:
        rig: Rig file.
        record: Folder of the dataset that takes the trials with takeovers.
        policy: Which drives.
        takeovers: Successful takeovers wanted; a real rig goes on where the dataset ends.
        task: Simulated task, or what the robot is asked to do on a real rig.
        seed: Of starts and operator.
        user: Who wears the glove of a real rig, see ``dexhil calibrate``.
        attempt_s: Longest attempt on a real rig [s].
        viewing: Whether to look at it in the Rerun viewer.
    """
    commands.run_policy(
        rig,
        choice=policy,
        record=record,
        takeovers=takeovers,
        task=task,
        seed=seed,
        user=user,
        attempt_s=attempt_s,
        viewing=viewing,
    )


@app.command
def evaluate(
    rig: Rig,
    policy: Policy = NO_POLICY,
    starts: int = 50,
    task: str = "plush",
    watched: bool = False,
) -> None:
    """Count how often a policy succeeds alone, on starts that never change.

    Args:
        rig: Rig file with a simulated world.
        policy: Which drives.
        starts: How many starts.
        task: Simulated task.
        watched: Also count how often an operator would have taken over without need.
    """
    commands.evaluate_policy(rig, choice=policy, starts=starts, task=task, watched=watched)


@app.command
def serve(checkpoint: Path, host: str = "127.0.0.1", port: int = 8000, seed: Seed = 0) -> None:
    """Serve a policy to other programs and machines, in openpi's protocol. Until Ctrl-C.

    Args:
        checkpoint: Folder of the policy.
        host: Address to listen at: this machine only; 0.0.0.0 for all its networks.
        port: To listen at; 0 for one that is free.
        seed: Of the policy's noise.
    """
    from dexhil.integration import serving

    serving.serve(checkpoint, host=host, port=port, seed=seed, console=commands.console)


@app.command
def demo(out: Path = Path("runs/demo"), seed: Seed = 0, quick: bool = False) -> None:
    """Teleoperate, record, train, take over, improve: the whole loop in simulation.

    Args:
        out: Folder for datasets, checkpoints, report.html and result.json.
        seed: Of the whole run.
        quick: A minute instead of several; the figures then mean nothing.
    """
    commands.demo(out, seed=seed, quick=quick)


def main(arguments: list[str] | None = None) -> None:
    """Run one command. A user's mistake ends in one sentence and exit status 1."""
    # Networks this small are slower on two threads than on one. Torch asks when it is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    console = Console(stderr=True)
    _end_like_ctrl_c()

    def command() -> None:
        with _logging(console):
            app.cli(prog="dexhil", description=WELCOME, args=arguments)

    sys.exit(_guarded(command, console))


@contextmanager
def _logging(console: Console) -> Iterator[None]:
    """Show the log from a thread: no loop that has something to say waits for a terminal."""
    records = SimpleQueue[Any]()
    shown = QueueListener(records, RichHandler(console=console, show_path=False, show_time=False))
    handler = QueueHandler(records)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler])
    shown.start()
    try:
        yield
    finally:  # By now every device is switched off: the rest of the log may take its time.
        logging.getLogger().removeHandler(handler)
        shown.stop()


def _end_like_ctrl_c() -> None:
    """Have ``kill`` and a lost SSH connection end us like Ctrl-C: devices are switched off."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # What nohup ignores stays ignored.
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def _guarded(command: Callable[[], object], console: Console) -> int:
    try:
        command()
    except OUR_ERRORS as error:
        console.print(
            f"[bold red]{type(error).__name__}:[/] {escape(str(error))}",
            highlight=False,
            soft_wrap=True,
        )
        return 1
    except KeyboardInterrupt:
        console.print("Stopped. What was finished is kept.")
        return 130
    return 0
