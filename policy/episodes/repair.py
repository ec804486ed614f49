"""Put a damaged dataset right: what is whole is kept, what is not is set aside, never deleted.

The repaired dataset is built beside the damaged one out of links, checked, and then takes its
place by a rename; what it does not hold stays in a folder beside it, with the reasons. To say what
would be done, it is built among temporary files, where nothing is written beside the dataset.
"""

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from dexhil.policy.episodes.assembly import (
    Assembly,
    Keep,
    Piece,
    building,
    clear,
    link,
    pieces,
    refer,
)
from dexhil.policy.episodes.catalogue import Catalogue
from dexhil.policy.episodes.check import Progress, examine
from dexhil.policy.episodes.damage import UNKNOWN_TASK, Parts, Remains, Survey, describe
from dexhil.policy.episodes.errors import CorruptError, DatasetError
from dexhil.policy.episodes.findings import Finding
from dexhil.policy.episodes.footage import copy_start, sample_images
from dexhil.policy.episodes.layout import (
    Layout,
    place_of,
    read_json,
    storing,
    sync_path,
    write_json,
)
from dexhil.policy.episodes.metadata import read_tasks, stats_differ, stats_entry
from dexhil.policy.episodes.open_episode import HEADER
from dexhil.policy.episodes.schema import FILLED_BY_WRITER, OUTCOME, Features
from dexhil.policy.episodes.writer import DatasetWriter, lock

_RECOVERED: Final = ".recovered"  # Episodes of which a part is left, written anew.


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What a repair did, or would do.

    Attributes:
        steps: In words; empty if there is nothing to repair.
        left: What is wrong still: no file is damaged, but their content contradicts itself.
            Episodes have the numbers that they have in the dataset as it lies there now.
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
        like: Dataset of the same rig, to take joint names and robot type from if ``info.json``
            is lost, or was and has none since.
        deep: Decode every video to find damage inside.
        progress: Told as it goes.

    Raises:
        DatasetError: If there is no dataset, it is open elsewhere, not of a kind known here, or
            not of the same rig as ``like``.
        StorageError: If the disk refuses a read or a write. Nothing has changed then.
    """
    root = root.resolve()
    ready = root.with_name(f".{root.name}.repaired")
    with storing(root):
        if ready.exists() and not root.exists():  # Killed just before the last rename.
            ready.rename(root)
        if not root.exists():
            raise DatasetError(f"{root}: holds no dataset (there is no such folder).")
        if apply:
            _require_replaceable(root)
        with _locked(root):
            layout = Layout(root)
            info, why = describe(layout, like)
            survey = Survey(layout, Features.from_info(info["features"]), deep)
            remains = _look(survey, drop, progress)
            try:
                with _workplace(ready, apply=apply) as folder:
                    steps = [f"info.json is written anew: {why}"] if why else []
                    steps += _rebuild(survey, info, remains, folder, link if apply else refer)
                    steps = steps or _summaries(layout, Layout(folder))
                    steps += _salvage(layout, Layout(folder), remains, drop)
                    report = examine(folder)
                    clear(folder / _RECOVERED)
                set_aside = _swap(root, ready, steps) if apply and steps else None
            finally:
                if apply:
                    clear(ready)
    numbers = range(report.n_episodes) if set_aside else _kept(remains)
    return Repair(
        steps=tuple(steps),
        left=tuple(_as_it_lies(found, folder, root, numbers) for found in report.problems),
        n_episodes=report.n_episodes,
        set_aside=set_aside,
    )


def _require_replaceable(root: Path) -> None:
    if Path.cwd().is_relative_to(root):
        raise DatasetError(f"{root}: is where you stand. Repair it from outside that folder.")
    if not os.access(root.parent, os.W_OK):
        raise DatasetError(
            f"{root.parent}: this user may not write there, but the repaired dataset is built "
            f"there to take the place of {root.name}. Allow it, or copy the dataset to where "
            "you may write and repair that. Nothing was changed."
        )


@contextmanager
def _workplace(ready: Path, *, apply: bool) -> Iterator[Path]:
    """Yield an empty folder to build in: it becomes ``ready``, or vanishes where that is no use."""
    if apply:
        clear(ready)
        with building(ready) as folder:
            yield folder
        return
    with tempfile.TemporaryDirectory(prefix="dexhil-repair-") as name, storing(Path(name)):
        yield Path(name)


def _as_it_lies(finding: Finding, built: Path, root: Path, numbers: Sequence[int]) -> Finding:
    """Return what was found in the dataset as it was built, in terms of the one in ``root``.

    There, its episodes have these ``numbers``, in order.
    """
    text, episode = finding.text.replace(str(built), str(root)), finding.episode
    if episode is not None and episode < len(numbers):
        number = numbers[episode]
        text = text.replace(_file_name(episode), _file_name(number))
        return replace(finding, episode=number, text=text)
    if episode is not None:  # It has no number yet.
        return replace(finding, episode=None, text=f"the interrupted episode: {text}")
    return replace(finding, text=text)


def _file_name(episode: int) -> str:
    chunk, file = place_of(episode)
    return f"chunk-{chunk:03d}/file-{file:03d}"


def _kept(remains: Sequence[Remains]) -> list[int]:
    """Return which episodes the repaired dataset holds, in the order that they have there."""
    return [found.index for found in remains if found.piece or found.parts]


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
    survey: Survey, info: Mapping[str, Any], remains: list[Remains], folder: Path, keep: Keep
) -> list[str]:
    """Build the repaired dataset in ``folder``. Returns how its episodes differ."""
    kept, steps = _recovered(folder / _RECOVERED, info, remains)
    rows, tasks = [piece.row for piece, _ in kept], _numbered(survey.tasks)
    assembly = Assembly(folder, info, rows, tasks, tables=keep, videos=keep)
    for piece, given in kept:
        assembly.add(piece, given)
    assembly.finish()
    return steps + _moved(remains)


def _recovered(
    folder: Path, info: Mapping[str, Any], remains: list[Remains]
) -> tuple[list[tuple[Piece, dict[str, Any]]], list[str]]:
    """Return the episodes to keep, each with columns to put in place of its own, and what it takes.

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
    steps: list[str] = []
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
    return kept, steps


def _what_is_kept(parts: Parts) -> str:
    label = "" if parts.success is not None else ", labelled neither success nor failure"
    label += f', its task is called "{UNKNOWN_TASK}"' if parts.task == UNKNOWN_TASK else ""
    if not parts.to_the_end:
        return f"its first {len(parts)} frames are kept{label}"
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
    moved = [(old, new) for new, old in enumerate(_kept(remains)) if old != new]
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
    kept = _kept(remains)
    if header["episode_index"] in {*kept, *drop}:
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
