"""What is in a dataset, at a glance: episodes, time, outcomes, corrections, rate, size."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dexhil.policy.episodes import DatasetReader
from dexhil.policy.episodes.check import Progress
from dexhil.policy.episodes.pace import Pace

_MOST_ROWS = 30  # A screen; the rest on request.


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One episode.

    Attributes:
        index: Its number.
        task: What the robot was asked to do.
        n_frames: Its frames.
        duration_s: By its real stamps, or by frames and rate where it has none [s].
        success: Whether the robot did it; ``None`` if nobody said.
        interventions: Share of the frames in which a person corrected; ``None`` if not recorded.
        true_fps: Frames per second by the real stamps; ``None`` without.
    """

    index: int
    task: str
    n_frames: int
    duration_s: float
    success: bool | None
    interventions: float | None
    true_fps: float | None


def read(root: Path, progress: Progress = lambda _done, _of: None) -> list[Line]:
    """Return a line for each episode.

    Raises:
        DatasetError: If there is no dataset, or it is damaged.
    """
    reader = DatasetReader(root)
    lines = []
    for entry in reader.episodes:
        columns = reader.episode(entry.index).columns
        pace = Pace.of(columns.get("t_mono"))
        marked = columns.get("intervention")
        rate_hz = pace.true_fps if pace and pace.true_fps else reader.fps
        lines.append(
            Line(
                index=entry.index,
                task=entry.task,
                n_frames=entry.length,
                duration_s=entry.length / rate_hz,
                success=entry.success,
                interventions=None if marked is None else float(np.mean(marked)),
                true_fps=None if pace is None else pace.true_fps,
            )
        )
        progress(entry.index + 1, len(reader))
    return lines


def show(root: Path, lines: list[Line], console: Console, *, all_episodes: bool) -> None:
    """Print the dataset as a whole, and its episodes."""
    console.print(_whole(root, DatasetReader(root), lines))
    shown = lines if all_episodes else lines[-_MOST_ROWS:]
    if len(shown) < len(lines):
        console.print(f"The last {len(shown)} episodes; --all-episodes lists {len(lines)}:")
    console.print(_table(shown))


def _whole(root: Path, reader: DatasetReader, lines: list[Line]) -> Table:
    table = Table(box=None, show_header=False)
    seconds = sum(line.duration_s for line in lines)
    n_frames = sum(line.n_frames for line in lines)
    tasks = Counter(line.task for line in lines)
    verdicts = Counter(line.success for line in lines)
    table.add_row("robot", escape(f"{reader.robot_type}, {reader.fps} frames per second declared"))
    table.add_row("episodes", f"{len(lines)}, {n_frames} frames, {seconds / 60.0:.1f} min")
    table.add_row("tasks", escape(", ".join(f"{task} ({n})" for task, n in tasks.most_common())))
    table.add_row(
        "outcome",
        f"{verdicts[True]} success, {verdicts[False]} failure, {verdicts[None]} without label",
    )
    table.add_row("corrections", _corrections(lines, n_frames))
    table.add_row("true rate", _rates(lines))
    table.add_row("cameras", escape(", ".join(reader.features.cameras)) or "none")
    table.add_row("on disk", _sizes(root))
    return table


def _corrections(lines: list[Line], n_frames: int) -> str:
    marked = [line for line in lines if line.interventions]
    if all(line.interventions is None for line in lines):
        return "not recorded"
    share = sum(line.n_frames * (line.interventions or 0.0) for line in marked) / max(n_frames, 1)
    return f"{share:.1%} of the frames, in {len(marked)} episodes"


def _rates(lines: list[Line]) -> str:
    rates = [line.true_fps for line in lines if line.true_fps is not None]
    if not rates:
        return "unknown: there are no real stamps"
    low, middle, high = np.quantile(rates, (0.0, 0.5, 1.0))
    return f"{middle:.2f} Hz in the middle, {low:.2f} to {high:.2f}"


def _sizes(root: Path) -> str:
    sizes = Counter[str]()
    for path in root.rglob("*"):
        if path.is_file():
            sizes[path.relative_to(root).parts[0]] += path.stat().st_size
    parts = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.most_common())
    return escape(f"{sizes.total() / 1e6:.1f} MB: {parts}")


def _table(lines: list[Line]) -> Table:
    table = Table(
        "episode", "task", "frames", r"time \[s]", "success", "corrected", "true rate", box=None
    )
    for line in lines:
        table.add_row(
            str(line.index),
            escape(line.task),
            str(line.n_frames),
            f"{line.duration_s:.1f}",
            {True: "yes", False: "no", None: "–"}[line.success],
            "–" if line.interventions is None else f"{line.interventions:.0%}",
            "–" if line.true_fps is None else f"{line.true_fps:.2f} Hz",
        )
    return table
