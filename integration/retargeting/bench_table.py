"""The table of ``dexhil retarget bench``: what a row holds, how it is printed and written."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dexhil.integration.retargeting.contest import Endurance, Latency, Recovery
from dexhil.retarget.score import Scores

PeerMethod = Literal["vector", "dexpilot"]
PEERS: Final[dict[PeerMethod, str]] = {"vector": "peer's vector", "dexpilot": "peer's DexPilot"}
"""Their names in the table."""

_WIDTH: Final = 240


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


def show(rows: list[Row], title: str, console: Console) -> None:
    """Print all rows as one table."""
    # Long lines are read more easily than columns cut off at the window's edge.
    window, console.width = console.width, max(console.width, _WIDTH)
    console.print(_table(rows, title))
    console.width = window


def _table(rows: list[Row], title: str) -> Table:
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


def write(rows: list[Row], title: str, path: Path) -> None:
    """Write everything measured as JSON; null where there is no figure."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [plain(inner) for inner in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    path.parent.mkdir(parents=True, exist_ok=True)
    report = {"title": title, "rows": [plain(asdict(row)) for row in rows]}
    path.write_text(json.dumps(report, indent=1), encoding="utf-8")
