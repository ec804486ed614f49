"""What the commands of ``dexhil dataset`` do and say."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from dexhil.drivers.models.kinematics import Side
from dexhil.integration.dataset import lerobot, rerun_export, summary
from dexhil.integration.errors import RunError
from dexhil.policy.episodes.check import Progress, examine
from dexhil.policy.episodes.findings import Finding, Report
from dexhil.policy.episodes.merge import merge
from dexhil.policy.episodes.repair import repair

Profile = Literal["lerobot", "rerun"]

_MOST_FINDINGS = 20  # Of a kind; a screen.


def check_dataset(root: Path, *, deep: bool, as_json: bool, console: Console) -> None:
    """Say what is wrong with a dataset.

    Raises:
        RunError: Something is.
    """
    if not root.is_dir():
        raise RunError(f"{root}: there is no such folder.")
    with _progress("checked", show=not as_json) as progress:
        report = examine(root, deep=deep, progress=progress)
    if as_json:
        console.out(json.dumps(_as_json(report), indent=2), highlight=False)
    else:
        _say(console, f"{root}: {report.n_episodes} episodes, {report.n_frames} frames.")
        _list(console, "", report.problems)
        _list(console, "warning: ", report.warnings)
        for text in report.left_out:
            _say(console, f"not checked: {text}")
    if report.problems:
        raise RunError(
            f"{root}: {_count(report.problems)}. What can be put right, and how, says: "
            f"dexhil dataset repair {root}"
        )
    if not as_json:
        _say(
            console, "All is well." if not report.warnings else "Nothing a training stumbles over."
        )


def repair_dataset(
    root: Path,
    *,
    apply: bool,
    drop: Sequence[int],
    like: Path | None,
    deep: bool,
    console: Console,
) -> None:
    """Put a dataset right, or say how that would be done.

    Raises:
        RunError: Something is wrong that no repair can put right.
    """
    with _progress("looked at") as progress:
        done = repair(
            root, apply=apply, drop=frozenset(drop), like=like, deep=deep, progress=progress
        )
    for step in done.steps:
        _say(console, f"- {step}")
    if not done.steps:
        _say(console, f"{root}: nothing to repair.")
    elif done.set_aside is None:
        _say(
            console, f"Nothing was changed. To do this, {done.n_episodes} episodes remain: --apply"
        )
    else:
        _say(console, f"{root}: repaired, {done.n_episodes} episodes.")
        _say(console, f"What it does not hold any more is in {done.set_aside}; delete it at will.")
    if done.left:
        _list(console, "", done.left)
        raise RunError(
            f"{root}: {_count(done.left)} in what was recorded, not in the files. "
            "--set-aside takes their episodes out."
        )


def merge_datasets(roots: Sequence[Path], *, out: Path, console: Console) -> None:
    """Put several datasets into a new one."""
    with _progress("merged") as progress:
        merged = merge(roots, out, progress=progress)
    for root, names in merged.added.items():
        if names:
            _say(console, f"{root} had no {', '.join(names)}: marked as absent.")
    _say(console, f"Wrote {out}: {merged.n_episodes} episodes, {merged.n_frames} frames.")


def export_dataset(
    root: Path,
    *,
    out: Path,
    profile: Profile,
    outcome: bool,
    is_intervention: bool,
    without: Sequence[str],
    episodes: Sequence[int],
    side: Side | None,
    console: Console,
) -> None:
    """Write a dataset in another form.

    Raises:
        RunError: An option does not belong to the profile.
    """
    if profile == "lerobot" and (episodes or side):
        raise RunError("--episodes and --side belong to --profile rerun; lerobot exports all.")
    if profile == "rerun" and (is_intervention or without or not outcome):
        raise RunError("--is-intervention, --without and --no-outcome belong to --profile lerobot.")
    with _progress("exported") as progress:
        if profile == "lerobot":
            n = lerobot.export(
                root,
                out,
                outcome=outcome,
                is_intervention=is_intervention,
                without=without,
                progress=progress,
            )
        else:
            shown = _to_show(root, side, console)
            n_wanted = len(episodes) or len(shown)
            for n, _ in enumerate(rerun_export.export(shown, out, episodes), start=1):
                progress(n, n_wanted)
    _say(console, f"Wrote {out}: {n} episodes.")


def view_episode(
    root: Path, *, episode: int, out: Path | None, side: Side | None, console: Console
) -> None:
    """Open the viewer with an episode, or write a file for it.

    Raises:
        RunError: There is no such episode, or it cannot be shown.
    """
    if out is not None and out.suffix != ".rrd":
        raise RunError(f"--out is {out}, must end in .rrd.")
    _to_show(root, side, console).show(episode, out)
    if out is not None:
        _say(console, f"Wrote {out}.")


def show_dataset(root: Path, *, all_episodes: bool, console: Console) -> None:
    """Print what is in a dataset."""
    with _progress("read") as progress:
        lines = summary.read(root, progress)
    summary.show(root, lines, console, all_episodes=all_episodes)


def _to_show(root: Path, side: Side | None, console: Console) -> rerun_export.Episodes:
    """Open a dataset for the viewer, and say so if its robot cannot be shown."""
    episodes = rerun_export.Episodes(root, side)
    if episodes.shapeless is not None:
        _say(console, episodes.shapeless)
    return episodes


def _as_json(report: Report) -> dict[str, object]:
    return {
        "root": str(report.root),
        "ok": not report.problems,
        "n_episodes": report.n_episodes,
        "n_frames": report.n_frames,
        "problems": [{"episode": f.episode, "text": f.text} for f in report.problems],
        "warnings": [{"episode": f.episode, "text": f.text} for f in report.warnings],
        "not_checked": report.left_out,
    }


def _list(console: Console, kind: str, findings: Sequence[Finding]) -> None:
    for finding in findings[:_MOST_FINDINGS]:
        _say(console, f"{kind}{finding}")
    if len(findings) > _MOST_FINDINGS:
        more = f"{len(findings) - _MOST_FINDINGS} more; check --json lists all"
        _say(console, f"{kind}... {more}")


def _count(findings: Sequence[Finding]) -> str:
    return f"{len(findings)} problem{'' if len(findings) == 1 else 's'}"


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _progress(name: str, *, show: bool = True) -> Iterator[Progress]:
    """Show a bar while it lasts; what is yielded takes steps done and their number."""
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True, disable=not show) as bars:
        task = bars.add_task(name, total=None)
        yield lambda done, of: bars.update(task, completed=done, total=of)
