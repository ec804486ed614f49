"""A running session as a person at the terminal sees it: who drives, why not, and how well."""

import math
import queue
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from dexhil.teleop.authority import Drive
from dexhil.teleop.session import Session
from dexhil.teleop.status import Status
from dexhil.teleop.takeover import Mode

REFRESH_S = 0.25  # A table takes some milliseconds of the interpreter that loops need, too.
LEAVE_S = 1.0  # A terminal that takes nothing for so long is left alone.
KEYS = "start  takeover  release  stop  success  failure  redo  abort"
_BANDS = {Mode.HOLD: "black on yellow", Mode.POLICY: "white on blue", Mode.HUMAN: "black on green"}


class LiveView:
    """Shows sessions while its ``with`` block lasts, and never makes anybody wait.

    On a terminal, it draws a table four times a second; elsewhere, such as in a log, there is
    one line per change of driver. A thread does all the writing, so that a terminal that takes
    nothing, be it Ctrl-S or a lost connection, stops neither a loop nor the way to switching
    the robot off. When the block ends, the thread is left to itself if it still waits.

    Args:
        console: Where.
        notes: Says more in a line, e.g. what the recorder does; asked at each drawing.
        keys: Reminder of the buttons.
    """

    def __init__(
        self, console: Console, *, notes: Callable[[], str] = lambda: "", keys: str = KEYS
    ) -> None:
        self._console = console
        self._notes, self._keys = notes, keys
        self._session: Session | None = None
        self._said: tuple[Drive, str | None, tuple[str, ...]] | None = None
        self._start_s: float | None = None
        self._lines = queue.SimpleQueue[str]()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._stop.clear()
        self._thread = threading.Thread(target=self._write, name="live view", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join(LEAVE_S)

    def show(self, session: Session) -> None:
        """Show this session from now on. Takes microseconds; for ``drive(show=...)``."""
        self._session = session
        if not self._console.is_terminal:
            self._log(session)

    def say(self, text: str) -> None:
        """Print a line, above the table if there is one. Takes microseconds."""
        self._lines.put(text)

    def _log(self, session: Session) -> None:
        drive, refused = session.drive, session.refused
        doubts = session.doubts if drive.mode is Mode.HOLD else {}
        # Whose doubt, not which: the age that it tells grows all the time.
        said = (drive, refused, tuple(doubts))
        if self._said == said:
            return
        self._said = said
        if self._start_s is None:
            self._start_s = drive.since_s
        words = [f"{drive.since_s - self._start_s:8.1f} s  {name(drive)}", drive.reason]
        if refused is not None:
            words.append(f"refused: {refused}")
        words += [
            f"nobody can drive: {doubt}" for doubt in doubts.values() if doubt != drive.reason
        ]
        self.say("  ".join(filter(None, words)))

    # -- The thread that waits for the terminal so that nobody else has to ---------------------

    def _write(self) -> None:
        live = Live(console=self._console, auto_refresh=False, transient=True)
        try:
            while not self._stop.wait(REFRESH_S):
                self._print()
                if self._session is not None and self._console.is_terminal:
                    live.start()
                    picture = render(self._session.status(), self._notes(), self._keys)
                    live.update(picture, refresh=True)
            self._print()
        finally:
            live.stop()

    def _print(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._console.print(escape(self._lines.get_nowait()), soft_wrap=True)


def name(drive: Drive) -> str:
    """Return who drives, in capitals, with the part if it is one only."""
    parts = f" {' '.join(drive.parts)}" if len(drive.parts) == 1 else ""
    return f"{drive.mode.name}{parts}"


def render(status: Status, notes: str = "", keys: str = KEYS) -> RenderableType:
    """Return one look at a session for a terminal."""
    drive, steps = status.drive, status.steps
    band = Text.assemble(
        (f"  {name(drive):11}", f"bold {_BANDS[drive.mode]}"),
        f"  {status.stamp_s - drive.since_s:5.1f} s  {drive.reason}",
    )
    lines = [
        f"a person drove {_percent(steps.attempt_human, steps.attempt)} of this attempt, "
        f"{_percent(steps.session_human, steps.session)} of this session",
        f"authority: arm {status.share_arm:.0%}, hand {status.share_hand:.0%}    "
        f"limits hit: {', '.join(sorted(status.limits)) or 'none'}",
    ]
    if status.late_answers:
        lines.append(f"answers of the policy dropped as too late: {status.late_answers}")
    lines += [notes] if notes else []
    refused = [Text(f"refused: {status.refused}", "bold red")] if status.refused else []
    if drive.mode is Mode.HOLD:
        doubts = (doubt for doubt in status.doubts.values() if doubt != drive.reason)
        refused += [Text(f"nobody can drive: {doubt}", "bold red") for doubt in doubts]
    return Group(
        band,
        *refused,
        *(Text(line) for line in lines),
        _loops(status),
        _ages(status),
        Text(keys, "dim"),
    )


def _loops(status: Status) -> Table:
    table = Table("loop", "rate [Hz]", "late p50 / p99 / max [ms]", "missed", "busy p99 [ms]")
    for loop, stats in status.loops.items():
        period_s = stats.period_s.median
        table.add_row(
            loop,
            "–" if math.isnan(period_s) or period_s <= 0.0 else f"{1.0 / period_s:.1f}",
            _ms(stats.lateness_s),
            Text(str(stats.misses), "bold red" if stats.misses else ""),
            _ms([stats.busy_s.p99]),
        )
    return _plain(table)


def _ages(status: Status) -> Table:
    table = Table("sample of", "age now [ms]", "when used p50 / p99 / max [ms]")
    for device, age_s in status.ages_s.items():
        table.add_row(device, _ms([age_s]), _ms(status.used_s[device]))
    return _plain(table)


def _plain(table: Table) -> Table:
    table.box = None
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _ms(durations_s: Iterable[float]) -> str:
    return " / ".join(f"{s * 1e3:.1f}" if math.isfinite(s) else "–" for s in durations_s)


def _percent(n: int, of: int) -> str:
    return f"{n / of:.0%}" if of else "–"
