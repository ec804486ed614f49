"""``dexhil retarget bench``: our methods and the peer's, on one clip, in one process and table."""

import importlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.models.kinematics import Kinematics, Side
from dexhil.integration.errors import RunError
from dexhil.integration.retargeting import peer
from dexhil.integration.retargeting.clips import load_clip, load_hand, plausible_frames
from dexhil.integration.retargeting.contest import (
    GLITCH_FRAMES,
    Answers,
    Contestant,
    Endurance,
    Latency,
    Recovery,
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
PERIOD_S: Final = 0.01
"""Of a control loop, for ``paced``."""
PEER_ALPHA: Final = 0.2
"""Of the peer's filter in its configuration files."""
SIZES: Final = (0.8, 1.2)
"""People that are tried besides the clip's own, against it."""
SEED: Final = 1
_WIDTH: Final = 240

PeerMethod = Literal["vector", "dexpilot"]
PEERS: Final[dict[PeerMethod, str]] = {"vector": "peer's vector", "dexpilot": "peer's DexPilot"}
"""Their names in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        hand: Of the robot.
        method: Ours or the peer's.
        filter: After it.
        scores: On the clip.
        latency: Medians over the runs; ``None`` for a row that only differs by its filter.
        ratios: The peer's p99 by ours in the same run, median over the runs, by the peer's method.
        errors: Our wrist and pair error by the peer's of the row this one is as smooth as.
        recovery: From wrong frames.
        endurance: In a long run.
        sizes: Wrist error of a smaller and a larger person by that of the clip's, calibrated.
    """

    hand: str
    method: str
    filter: str = "off"
    scores: Scores
    latency: Latency | None = None
    ratios: Mapping[str, float] = field(default_factory=dict)
    errors: tuple[float, float] | None = None
    recovery: Recovery | None = None
    endurance: Endurance | None = None
    sizes: tuple[float, float] | None = None


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
    methods: tuple[Method, ...] = ("solver",),
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
    # Long lines are read more easily than columns cut off at the window's edge.
    window, console.width = console.width, max(console.width, _WIDTH)
    console.print(table(rows, title))
    console.width = window
    if not peer.installed():
        console.print(f"The peer is not installed: pip install {peer.PACKAGE}", soft_wrap=True)
    if out is not None:
        _write(out, rows, title)
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


def table(rows: list[Row], title: str) -> Table:
    """Return all rows as one table. Columns that nothing was measured for are left out."""
    drawn = Table(
        title=Text(title),
        caption=Text(_CAPTION),
        box=None,
        title_justify="left",
        caption_justify="left",
    )
    for name in ("hand", "method", "filter"):
        drawn.add_column(name, no_wrap=True)
    columns = [(head, [text(row) for row in rows]) for head, text in _COLUMNS.items()]
    columns = [(head, texts) for head, texts in columns if any(texts)]
    for head, _ in columns:
        drawn.add_column(head, justify="right", no_wrap=True)
    for number, row in enumerate(rows):
        texts = [column[number] for _, column in columns]
        last = number + 1 == len(rows) or rows[number + 1].hand != row.hand
        drawn.add_row(row.hand, row.method, row.filter, *texts, end_section=last)
    return drawn


_CAPTION: Final = """wrist, pair: errors of tips from the wrist, from the thumb; gap of pinches [mm]
ok, false: pinches closed, and touches where there should be none; fist: closure of fists
step, max: 99th percentile and largest joint step [rad]; lag [frames]
FF, Th: frames in which fingers, or thumb and finger, overlap
p50, p99, max: time per frame [ms]; cpu: 99th percentile of the processor's time [ms]
vec, pilot: the peer's p99 by ours in the same run
of peer: wrist and pair error by those of the peer that the filter makes the row as smooth as
off, back: frames off after single wrong frames, and how many until nothing is (-1: never)
sizes: wrist error of a person 20 % smaller and larger, after calibration, by the clip's own
long, max, > 2 ms: p99 and largest time of a long run [ms], frames above 2 ms; grown: memory"""


def _millimetres(value: float) -> str:
    return "-" if math.isnan(value) else f"{1e3 * value:.1f}"


def _share(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _ratio(row: Row, rival: PeerMethod) -> str:
    return f"{row.ratios[PEERS[rival]]:.0f}x" if PEERS[rival] in row.ratios else ""


_COLUMNS: Final[dict[str, Callable[[Row], str]]] = {
    "wrist": lambda row: _millimetres(row.scores.wrist),
    "pair": lambda row: _millimetres(row.scores.pair),
    "gap": lambda row: _millimetres(row.scores.pinch_gap),
    "ok %": lambda row: _share(row.scores.pinch_ok),
    "false %": lambda row: _share(row.scores.false_pinch),
    "fist": lambda row: "-" if math.isnan(row.scores.fist) else f"{row.scores.fist:.2f}",
    "jerk": lambda row: f"{row.scores.jerk:.3f}",
    "step": lambda row: f"{row.scores.step99:.3f}",
    "max": lambda row: f"{row.scores.step_max:.3f}",
    "lag": lambda row: f"{row.scores.lag}",
    "FF %": lambda row: _share(row.scores.overlap_fingers),
    "Th %": lambda row: _share(row.scores.overlap_thumb),
    "p50": lambda row: f"{1e3 * row.latency.p50_s:.3f}" if row.latency else "",
    "p99": lambda row: f"{1e3 * row.latency.p99_s:.3f}" if row.latency else "",
    "max ": lambda row: f"{1e3 * row.latency.max_s:.3f}" if row.latency else "",
    "cpu": lambda row: f"{1e3 * row.latency.worked99_s:.3f}" if row.latency else "",
    "vec": lambda row: _ratio(row, "vector"),
    "pilot": lambda row: _ratio(row, "dexpilot"),
    "of peer": lambda row: f"{row.errors[0]:.2f} {row.errors[1]:.2f}" if row.errors else "",
    "off %": lambda row: _share(row.recovery.share_off) if row.recovery else "",
    "back": lambda row: f"{row.recovery.frames}" if row.recovery else "",
    "sizes": lambda row: f"{row.sizes[0]:.2f} {row.sizes[1]:.2f}" if row.sizes else "",
    "long": lambda row: f"{1e3 * row.endurance.latency.p99_s:.3f}" if row.endurance else "",
    "max  ": lambda row: f"{1e3 * row.endurance.latency.max_s:.3f}" if row.endurance else "",
    "> 2 ms": lambda row: f"{row.endurance.over_2_ms}" if row.endurance else "",
    "grown kB": lambda row: (
        f"{row.endurance.grown_bytes / 1e3:.0f} {row.endurance.kept_bytes / 1e3:.1f}"
        if row.endurance
        else ""
    ),
}


def _write(path: Path, rows: list[Row], title: str) -> None:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [plain(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    path.parent.mkdir(parents=True, exist_ok=True)
    report = {"title": title, "rows": [plain(asdict(row)) for row in rows]}
    path.write_text(json.dumps(report, indent=1), encoding="utf-8")
