"""``dexhil retarget bench``: our methods and the peer's, on one clip, in one process and table."""

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.models.kinematics import Kinematics, Side
from dexhil.integration.errors import RunError
from dexhil.integration.retargeting import peer
from dexhil.integration.retargeting.bench_table import PEERS, PeerMethod, Row, show, write
from dexhil.integration.retargeting.clips import load_clip, load_hand, plausible_frames
from dexhil.integration.retargeting.contest import (
    GLITCH_FRAMES,
    Answers,
    Contestant,
    Latency,
    as_smooth_as,
    endure,
    glitched,
    moving_average,
    play,
    recovery,
)
from dexhil.integration.retargeting.peer import Peer
from dexhil.retarget.build import Method, make_retargeter
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.human import HumanProportions
from dexhil.retarget.score import Scores, score
from dexhil.retarget.synthetic import make_clip

HANDS: Final = ("leap", "allegro", "inspire", "shadow")
METHODS: Final[tuple[Method, ...]] = ("both",)
PERIOD_S: Final = 0.01
"""Of a control loop, for ``paced``."""
PEER_ALPHA: Final = 0.2
"""Of the peer's filter in its configuration files."""
SIZES: Final = (0.8, 1.2)
"""People that are tried besides the clip's own, against it."""
SEED: Final = 1


@dataclass(frozen=True, slots=True)
class _Entry:
    """Somebody who takes part, and how to get a fresh one for a person."""

    name: str
    make: Callable[[HumanProportions], Contestant]
    ours: bool


def bench(
    *,
    hands: Iterable[str] = HANDS,
    keypoints: Path | None = None,
    methods: tuple[Method, ...] = METHODS,
    side: Side = "right",
    runs: int = 3,
    paced: bool = False,
    filtered: bool = False,
    robust: bool = False,
    stock: bool = False,
    endurance: int = 0,
    frames: int | None = None,
    out: Path | None = None,
    console: Console | None = None,
) -> list[Row]:
    """Compare our methods with the peer's on one clip and print the table.

    Args:
        hands: Names of hands.
        keypoints: A clip from a file; a synthetic person with a glove if not given.
        methods: Ours.
        side: Of the clip and of the hands.
        runs: How often times are taken; the table has the medians.
        paced: Whether frames come every 10 ms, as in a control loop, or back to back.
        filtered: Whether to compare at the smoothness of the peer's filter, too.
        robust: Whether to try wrong frames and other people, too.
        stock: Whether to show the peer with the scale of its files, too.
        endurance: Frames of a long run of our methods; 0 for none.
        frames: How much of the clip; all of it if not given, 1,200 if synthetic.
        out: Where to write everything as JSON.
        console: Where to print.

    Raises:
        RunError: A hand, the clip or a number is wrong.
    """
    if runs < 1 or endurance < 0 or (frames is not None and frames < 30):
        raise RunError(
            f"{runs} runs of {frames} frames, endurance {endurance}: at least 1 run, "
            "30 frames and 0 needed."
        )
    console = console or Console()
    robots = [load_hand(name, side) for name in hands]
    for kinematics, method in product(robots, methods):
        _require(kinematics, method)
    clip = load_clip(keypoints) if keypoints is not None else make_clip(SEED, frames or 1200)
    if side == "left" and keypoints is None:
        clip = clip * (1.0, -1.0, 1.0)
    clip = clip[:frames]
    clip = clip[plausible_frames(clip, side)]
    if peer.installed():
        # Both sides get one core.
        importlib.import_module("torch").set_num_threads(1)
    rows: list[Row] = []
    for kinematics in robots:
        console.print(f"{kinematics.model} ...", style="dim")
        entries = _entries(kinematics, methods, stock)
        answers, latencies = _play(entries, clip, runs, PERIOD_S if paced else None)
        rows += _rows(
            entries, answers, latencies, clip, kinematics, robust=robust, endurance=endurance
        )
        if filtered:
            rows += _filtered(entries, answers, clip, kinematics)
    title = f"{len(clip)} frames of {keypoints or 'a synthetic person'}, " + (
        f"one every {1e3 * PERIOD_S:g} ms" if paced else "back to back"
    )
    show(rows, title, console)
    if not peer.installed():
        console.print(f"The peer is not installed: pip install {peer.PACKAGE}", soft_wrap=True)
    if out is not None:
        write(rows, title, out)
    return rows


def _require(kinematics: Kinematics, method: Method) -> None:
    try:
        make_retargeter(kinematics, method=method)
    except RetargetError as error:
        raise RunError(str(error)) from error


def _entries(kinematics: Kinematics, methods: tuple[Method, ...], stock: bool) -> list[_Entry]:
    def ours(method: Method) -> Callable[[HumanProportions], Contestant]:
        return lambda human: make_retargeter(kinematics, method=method, human=human)

    def theirs(method: PeerMethod, calibrated: bool) -> Callable[[HumanProportions], Contestant]:
        return lambda human: Peer(
            kinematics, method=method, human=human if calibrated else None, alpha=None
        )

    entries = [_Entry(method, ours(method), True) for method in methods]
    if peer.installed() and kinematics.model in peer.HANDS:
        entries += [_Entry(name, theirs(method, True), False) for method, name in PEERS.items()]
        if stock:
            entries += [
                _Entry(f"{name}, stock", theirs(method, False), False)
                for method, name in PEERS.items()
            ]
    return entries


def _play(
    entries: list[_Entry], clip: Matrix, runs: int, period_s: float | None
) -> tuple[list[Answers], list[list[Latency]]]:
    """Return the answers, which are the same in every run, and for each run all latencies."""
    human = HumanProportions.measure(clip)
    latencies = []
    for _ in range(runs):
        answers = play([entry.make(human) for entry in entries], clip, period_s=period_s)
        latencies.append([Latency.of(answer.spent_s, answer.worked_s) for answer in answers])
    return answers, latencies


def _rows(
    entries: list[_Entry],
    answers: list[Answers],
    latencies: list[list[Latency]],
    clip: Matrix,
    kinematics: Kinematics,
    *,
    robust: bool,
    endurance: int,
) -> list[Row]:
    """Return the rows without filters."""
    rows = []
    for column, (entry, answer) in enumerate(zip(entries, answers, strict=True)):
        scores = score(answer.targets, clip, kinematics, valid=answer.valid)
        row = _row(column, scores, kinematics, entries, latencies)
        if robust:
            row = _tried(row, entry, clip, kinematics)
        if endurance and entry.ours:
            fresh = entry.make(HumanProportions.measure(clip))
            row = replace(row, endurance=endure(fresh, clip, endurance))
        rows.append(row)
    return rows


def _row(
    column: int,
    scores: Scores,
    kinematics: Kinematics,
    entries: list[_Entry],
    latencies: list[list[Latency]],
) -> Row:
    mine = [run[column] for run in latencies]
    ratios = {
        other.name: float(np.median([run[k].p99_s / run[column].p99_s for run in latencies]))
        for k, other in enumerate(entries)
        if entries[column].ours and other.name in PEERS.values()
    }
    return Row(
        hand=kinematics.model,
        method=entries[column].name,
        scores=scores,
        latency=Latency(
            p50_s=float(np.median([one.p50_s for one in mine])),
            p99_s=float(np.median([one.p99_s for one in mine])),
            max_s=float(np.median([one.max_s for one in mine])),
            worked99_s=float(np.median([one.worked99_s for one in mine])),
        ),
        ratios=ratios,
    )


def _filtered(
    entries: list[_Entry], answers: list[Answers], clip: Matrix, kinematics: Kinematics
) -> list[Row]:
    """Return the peer's rows with its filter, and ours with a filter that makes them as smooth."""
    rows = []
    for rival, theirs in zip(entries, answers, strict=True):
        if rival.ours:
            continue
        goal = score(moving_average(theirs.targets, PEER_ALPHA), clip, kinematics)
        rows.append(
            Row(
                hand=kinematics.model,
                method=rival.name,
                filter=f"average {PEER_ALPHA:g}",
                scores=goal,
            )
        )
        for entry, mine in zip(entries, answers, strict=True):
            if not entry.ours or rival.name not in PEERS.values():
                continue
            config, targets = as_smooth_as(goal, mine.targets, clip, kinematics)
            scores = score(targets, clip, kinematics)
            rows.append(
                Row(
                    hand=kinematics.model,
                    method=entry.name,
                    filter=f"as {rival.name}, {config.min_cutoff_hz:.0f} Hz",
                    scores=scores,
                    errors=(scores.wrist / goal.wrist, scores.pair / goal.pair),
                )
            )
    return rows


def _tried(row: Row, entry: _Entry, clip: Matrix, kinematics: Kinematics) -> Row:
    """Return the row with what wrong frames and other people do."""
    human = HumanProportions.measure(clip)
    there_and_back = np.concatenate((clip, clip[::-1]))
    long = there_and_back[np.arange(GLITCH_FRAMES) % len(there_and_back)]
    disturbed, wrong = glitched(long)
    (clean,), (other,) = (play([entry.make(human)], frames) for frames in (long, disturbed))
    ratios = []
    for size in SIZES:
        person = size * clip
        (answer,) = play([entry.make(HumanProportions.measure(person))], person)
        scores = score(answer.targets, person, kinematics, valid=answer.valid)
        ratios.append(scores.wrist / row.scores.wrist)
    return replace(
        row,
        recovery=recovery(clean.targets, other.targets, wrong),
        sizes=(ratios[0], ratios[1]),
    )
