"""``dexhil retarget train``: a learned map for a hand, or for one person on it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from dexhil.drivers.models.kinematics import Side
from dexhil.integration.errors import RunError
from dexhil.integration.retargeting.clips import load_clip, load_hand, plausible_frames
from dexhil.integration.retargeting.files import replacing


def train(
    *,
    hand: str,
    out: Path,
    clip: Path | None = None,
    side: Side = "right",
    seed: int = 0,
    steps: int = 1500,
    console: Console | None = None,
) -> None:
    """Train a map and write its weights, whole or not at all.

    Args:
        hand: Name of a hand, or file of its table.
        out: Weights file, .npz. They serve the right hand and the left.
        clip: A person's keypoints, .npy (frames, 21, 3) [m]; synthetic people only if not given.
        side: Which hand the clip shows.
        seed: Of everything random.
        steps: Gradient steps of each of the two stages.
        console: Where to show how it goes.

    Raises:
        RunError: A file or an option is wrong, or PyTorch is not installed.
        RetargetError: The loss ran away.
    """
    console = console or Console()
    if out.suffix != ".npz":
        raise RunError(f"--out is {out}, must end in .npz.")
    if steps < 1:
        raise RunError(f"--steps is {steps}, must be at least 1.")
    kinematics, frames = load_hand(hand), None
    if clip is not None:
        frames = load_clip(clip)
        frames = frames[plausible_frames(frames, side)]
        if side == "left":
            frames = frames * (1.0, -1.0, 1.0)  # Weights are those of a right hand.
    try:
        import torch  # noqa: PLC0415 - an extra

        from dexhil.retarget.training.train import train_two_stage  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise RunError("Training needs PyTorch. Try: pip install 'dexhil[train]'.") from error
    torch.set_num_threads(1)  # The networks are too small to gain from more.
    try:
        # Opened before the work of minutes begins.
        with replacing(out) as partial, partial.open("wb") as file, _bars(console) as show:
            arrays = train_two_stage(kinematics, clip=frames, seed=seed, steps=steps, progress=show)
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise RunError(f"Cannot write {out} ({error}).") from error
    console.print(
        f"Wrote {escape(str(out))}. Try it: dexhil retarget run --weights {escape(str(out))} ...",
        highlight=False,
        soft_wrap=True,
    )


@contextlib.contextmanager
def _bars(console: Console) -> Iterator[Callable[[str, int, int, float], None]]:
    """Yield what to tell of every step: stage, steps done, steps in all, loss."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3g}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, step: int, steps: int, loss: float) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=steps, loss=loss)
            bars.update(tasks[stage], completed=step, loss=loss)

        yield show
