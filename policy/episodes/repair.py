"""Put a damaged dataset right: what is whole is kept, what is not is set aside, never deleted.

The repaired dataset is built beside the damaged one out of links, checked, and then takes its
place by a rename; what it does not hold stays in a folder beside it, with the reasons.
"""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexhil.policy.episodes.assembly import Assembly, Piece, building, clear, pieces
from dexhil.policy.episodes.catalogue import Catalogue
from dexhil.policy.episodes.check import Progress, examine
from dexhil.policy.episodes.damage import Parts, Remains, Survey, describe
from dexhil.policy.episodes.errors import CorruptError, DatasetError
from dexhil.policy.episodes.findings import Finding
from dexhil.policy.episodes.footage import copy_start, sample_images
from dexhil.policy.episodes.layout import (
    Layout,
    read_json,
    storing,
    sync_path,
    write_json,
)
from dexhil.policy.episodes.metadata import read_tasks, stats_differ, stats_entry
from dexhil.policy.episodes.open_episode import HEADER
from dexhil.policy.episodes.schema import FILLED_BY_WRITER, OUTCOME, Features
from dexhil.policy.episodes.writer import DatasetWriter, lock


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What a repair did, or would do.

    Attributes:
        steps: In words; empty if there is nothing to repair.
        left: What is wrong still: no file is damaged, but their content contradicts itself.
        n_episodes: Episodes in the repaired dataset.
        set_aside: Folder of what the repaired dataset does not hold; ``None`` if nothing was done.
    """

    steps: tuple[str, ...]
    left: tuple[Finding, ...]
    n_episodes: int
    set_aside: Path | None = None


def repair(
    root: Path,
    *,
    apply: bool = False,
    drop: frozenset[int] = frozenset(),
    like: Path | None = None,
    deep: bool = False,
    progress: Progress = lambda _done, _of: None,
) -> Repair:
    """Keep what is whole of a dataset, recover what can be, set the rest aside.

    An interrupted episode is finished as the writer would. Of an episode whose video ends early,
    the frames that every camera has are kept, labelled neither success nor failure. Lost
    metadata, totals, tasks and statistics are made again. Later episodes move up.

    Args:
        root: Folder of the dataset.
        apply: Do it. Otherwise ``root`` stays as it is, and the steps say what would be done.
        drop: Episodes to set aside although they are whole.
        like: Dataset of the same rig, to take joint names from if ``info.json`` is lost.
        deep: Decode every video to find damage inside.
        progress: Told as it goes.

    Raises:
        DatasetError: If there is no dataset, it is open elsewhere, or not of a kind known here.
        StorageError: If the disk refuses a write. Nothing has changed then.
    """
    root = root.resolve()
    ready = root.with_name(f".{root.name}.repaired")
    if apply and Path.cwd().is_relative_to(root):
        raise DatasetError(f"{root}: is where you stand. Repair it from outside that folder.")
    with storing(root):
        if ready.exists() and not root.exists():  # Killed just before the last rename.
            ready.rename(root)
        if not root.exists():
            raise DatasetError(f"{root}: holds no dataset (there is no such folder).")
        with _locked(root):
            clear(ready)
            layout = Layout(root)
            info, why = describe(layout, like)
            survey = Survey(layout, Features.from_info(info["features"]), deep)
            remains = _look(survey, drop, progress)
            try:
                with building(ready) as folder:
                    steps = [f"info.json is written anew: {why}"] if why else []
                    steps += _rebuild(survey, info, remains, folder)
                    steps = steps or _summaries(layout, Layout(folder))
                    steps += _salvage(layout, Layout(folder), remains, drop)
                    report = examine(folder)
                set_aside = _swap(root, ready, steps) if apply and steps else None
            finally:
                clear(ready)
    return Repair(
        steps=tuple(steps),
        left=tuple(report.problems),
        n_episodes=report.n_episodes,
        set_aside=set_aside,
    )


def _look(survey: Survey, drop: frozenset[int], progress: Progress) -> list[Remains]:
    """Return what is left of each episode; nothing of those to drop."""
    remains: list[Remains] = []
    n = survey.count()
    for found in survey.remains():
        dropped = found.index in drop
        remains.append(Remains(index=found.index, why="as asked for") if dropped else found)
        progress(len(remains), n)
    unknown = sorted(drop - {found.index for found in remains})
    if unknown:
        raise DatasetError(f"{survey.layout.root}: has no episode {unknown[0]} to set aside.")
    return remains


def _rebuild(
    survey: Survey, info: Mapping[str, Any], remains: list[Remains], folder: Path
) -> list[str]:
    """Build the repaired dataset in ``folder``. Returns how its episodes differ."""
    steps: list[str] = []
    with _recovered(folder / ".recovered", info, remains, steps) as kept:
        rows = [piece.row for piece, _ in kept]
        assembly = Assembly(folder, info, rows, _numbered(survey.tasks), in_place_of=True)
        for piece, given in kept:
            assembly.add(piece, given)
        assembly.finish()
    return steps + _moved(remains)


@contextmanager
def _recovered(
    folder: Path, info: Mapping[str, Any], remains: list[Remains], steps: list[str]
) -> Iterator[list[tuple[Piece, dict[str, Any]]]]:
    """Yield the episodes to keep, with the columns to put in place of their own.

    Those of which a part is left are written anew to a dataset of their own in ``folder``.
    """
    features = Features.from_info(info["features"])
    anew: dict[int, int] = {}
    if any(found.parts for found in remains):
        folder.mkdir()
        catalogue = Catalogue(Layout(folder), features, info["fps"], info["robot_type"])
        for found in remains:
            if found.parts is not None:
                anew[found.index] = _write_anew(catalogue, folder, features, found.parts)
    written = pieces(folder) if anew else []
    kept: list[tuple[Piece, dict[str, Any]]] = []
    for found in remains:
        if found.piece is not None:
            kept.append((found.piece, {}))
        elif found.parts is not None:
            piece, parts = written[anew[found.index]], found.parts
            steps.append(f"episode {found.index}: {_what_is_kept(parts)}: {found.why}")
            outcome = [name for name in OUTCOME if parts.to_the_end and name in features]
            kept.append((piece, {name: parts.columns[name] for name in outcome}))
        else:
            steps.append(f"episode {found.index}: set aside: {found.why}")
    yield kept
    clear(folder)


def _what_is_kept(parts: Parts) -> str:
    if not parts.to_the_end:
        return f"its first {len(parts)} frames are kept, labelled neither success nor failure"
    label = "" if parts.success is not None else ", labelled neither success nor failure"
    return f"all {len(parts)} frames are kept and its metadata is written anew{label}"


def _write_anew(catalogue: Catalogue, folder: Path, features: Features, parts: Parts) -> int:
    names = {key: camera for camera, key in features.cameras.items()}
    videos, samples = {}, {}
    for key, path in parts.videos.items():
        videos[names[key]] = folder / f"{names[key]}.mp4"
        copy_start(path, len(parts), videos[names[key]])
        samples[names[key]] = sample_images(videos[names[key]], len(parts))
    columns = {n: v for n, v in parts.columns.items() if n not in FILLED_BY_WRITER}
    return catalogue.add(
        columns, task=parts.task, success=parts.success, videos=videos, samples=samples
    )


def _numbered(tasks: Mapping[int, str]) -> list[str]:
    """Return the words that can keep their numbers: those from 0 on without a hole."""
    words: list[str] = []
    while len(words) in tasks:
        words.append(tasks[len(words)])
    return words


def _moved(remains: list[Remains]) -> list[str]:
    kept = [found.index for found in remains if found.piece or found.parts]
    moved = [(old, new) for new, old in enumerate(kept) if old != new]
    if not moved:
        return []
    (old, new), n = moved[0], len(moved)
    more = f", and the {n - 1} after it move up as well" if n > 1 else ""
    return [f"episode {old} becomes {new}{more}"]


def _summaries(old: Layout, new: Layout) -> list[str]:
    """Return which summaries do not follow from the episodes, where no episode is to blame."""
    checks: dict[Path, Callable[[], bool]] = {
        old.info: lambda: read_json(old.info) == read_json(new.info),
        old.stats: lambda: _same_stats(read_json(old.stats), read_json(new.stats)),
        old.tasks: lambda: read_tasks(old.tasks) == read_tasks(new.tasks),
    }
    steps = []
    for path, is_same in checks.items():
        try:
            why = "" if is_same() else "it did not agree with the episodes"
        except CorruptError as error:
            why = str(error)
        if why:
            steps.append(f"{path.name} is written anew: {why}")
    return steps


def _same_stats(written: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return written.keys() == right.keys() and not any(
        stats_differ(written[name], stats_entry(entry)) for name, entry in right.items()
    )


def _salvage(
    layout: Layout, repaired: Layout, remains: list[Remains], drop: frozenset[int]
) -> list[str]:
    """Finish the episode that was open when the writer died, as a writer would."""
    # While a salvage goes on, what is staged is a second copy.
    journal = layout.salvage if layout.salvage.exists() else layout.staging
    if not journal.exists():
        return []
    leftovers = [f"{journal.name} is set aside: what is in it was recorded to the end"]
    if not (journal / HEADER).exists():
        return leftovers
    try:
        header = read_json(journal / HEADER)
    except CorruptError as error:
        return [f"the interrupted episode is set aside: {error}"]
    kept = {found.index for found in remains if found.piece or found.parts}
    if header["episode_index"] in kept | drop:
        return leftovers
    shutil.copytree(journal, repaired.salvage)
    write_json({**header, "episode_index": len(kept)}, repaired.salvage / HEADER)
    with DatasetWriter.reopen(repaired.root) as writer:
        return list(writer.repairs) or ["the interrupted episode is set aside: no frame is whole"]


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    descriptor = lock(root)
    try:
        yield
    finally:
        os.close(descriptor)


def _swap(root: Path, ready: Path, steps: list[str]) -> Path:
    """Put the repaired dataset in the place of the damaged one. Returns where that is."""
    folders = (root.with_name(f"{root.name}.set-aside-{n}") for n in itertools.count(1))
    aside = next(folder for folder in folders if not folder.exists())
    try:
        root.rename(aside)
        ready.rename(root)
    except BaseException:
        if not root.exists():
            aside.rename(root)
        raise
    sync_path(root.parent)
    _remove_links(aside, to=root)
    (aside / "why.txt").write_text("\n".join(steps) + "\n", encoding="utf-8")
    return aside


def _remove_links(folder: Path, *, to: Path) -> None:
    """Remove the files that are also in the folder ``to``: the same, not equal ones."""
    kept = {(s.st_dev, s.st_ino) for path in to.rglob("*") if (s := path.stat())}
    for path in sorted(folder.rglob("*"), reverse=True):
        status = path.stat()
        if path.is_dir():
            if not any(path.iterdir()):
                path.rmdir()
        elif (status.st_dev, status.st_ino) in kept:
            path.unlink()
