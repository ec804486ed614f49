"""What ``dexhil teleop`` does, and ``record`` and ``run`` where a person presses the buttons."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dexhil.drivers.clock import MonotonicClock, SimClock
from dexhil.drivers.errors import ConfigError
from dexhil.drivers.registry import RigEntry
from dexhil.integration.attempts import Wanted, live_attempts, resume
from dexhil.integration.console import LiveView
from dexhil.integration.live import (
    Stretch,
    drive,
    make_session,
    retargeter_of,
)
from dexhil.integration.recorder import Recorder, open_dataset
from dexhil.integration.retargeting.users import User, find_user, load_user
from dexhil.integration.rig import Rig, build_rig
from dexhil.integration.view.live import View, Viewing, watching
from dexhil.policy.episodes import EpisodeWriter
from dexhil.policy.process import ProcessPolicy
from dexhil.teleop.authority import Verdict
from dexhil.teleop.frame import together
from dexhil.teleop.session import Session
from dexhil.teleop.takeover import Event

console = Console()


def teleop(
    rig_path: Path,
    *,
    glove: str | None,
    user: str | None,
    record: Path | None,
    duration_s: float,
    task: str,
    viewing: Viewing,
) -> None:
    """Drive by glove and tracker."""
    rig = _open(rig_path, replacing=None if glove is None else _glove(glove))
    person = _person(user)
    retargeter = retargeter_of(rig, person)
    with ExitStack() as stack:
        watcher = stack.enter_context(watching(rig, viewing, console))
        # Before the robot is switched on: salvaging takes a while; and closed after it is off.
        writer = None if record is None else stack.enter_context(open_dataset(record, rig))
        tell_repairs(writer)
        table = stack.enter_context(LiveView(console, notes=lambda: _notes(writer, watcher)))
        stack.enter_context(rig.running())
        sink = None
        if writer is not None:
            writer.begin_episode(task)
            sink = Recorder(writer, demonstration=True)
        session = make_session(
            rig, sink=together(sink, watcher), retargeter=retargeter, user=person
        )
        first = _first(rig)
        stretch = drive(
            rig, session, first=first, duration_s=duration_s, show=_shows(table, watcher)
        )
        if writer is not None:
            _finish(writer, stretch, session.verdict)
    _tell(stretch, record)


def attempts(
    rig_path: Path,
    out: Path,
    wanted: Wanted,
    *,
    user: str | None,
    viewing: Viewing,
    make_policy: Callable[[Rig], ProcessPolicy] | None = None,
) -> None:
    """A person at a real rig, who presses the buttons; the policy thinks in a process."""
    rig, person = _open(rig_path), _person(user)
    retargeter = retargeter_of(rig, person)
    with ExitStack() as stack:
        # All that takes a while, before the robot is switched on and after it is off.
        policy = None
        if make_policy is not None:
            policy = stack.enter_context(make_policy(rig))
        watcher = stack.enter_context(watching(rig, viewing, console))
        writer = stack.enter_context(open_dataset(out, rig))
        tell_repairs(writer)
        tally = resume(out, wanted) if writer.n_episodes else None
        table = stack.enter_context(LiveView(console, notes=lambda: _notes(writer, watcher)))
        stack.enter_context(rig.running())
        tally = live_attempts(
            rig,
            writer,
            wanted,
            tally=tally,
            policy=policy,
            retargeter=retargeter,
            user=person,
            say=table.say,
            show=_shows(table, watcher),
            watcher=watcher,
        )
    console.print(f"{tally.counted} of {wanted.n} wanted; this time {tally}. Recorded in {out}.")


def tell_repairs(writer: EpisodeWriter | None) -> None:
    """Print what opening a dataset put right in it."""
    for repair in () if writer is None else writer.repairs:
        console.print(f"[yellow]dataset:[/] {escape(repair)}")


# -- Parts ---------------------------------------------------------------------


def _open(rig_path: Path, replacing: RigEntry | None = None) -> Rig:
    """Build a rig on the simulated clock if nothing in it is real."""
    rig = build_rig(rig_path, SimClock(), replacing=replacing)
    if all(device.spec.simulated for device in rig.devices):
        return rig
    return build_rig(rig_path, MonotonicClock(), replacing=replacing)


def _first(rig: Rig) -> Event | None:
    """Return what begins where nobody can press the switch and nothing is there to be hurt."""
    if not rig.switch.spec.simulated:
        return None
    return Event.TAKE_OVER if rig.arm.spec.simulated and rig.hand.spec.simulated else None


def _glove(text: str) -> RigEntry:
    driver, _, path = text.partition(":")
    if driver != "replay" or not path:
        raise ConfigError(f"--glove {text!r}: write replay:FILE.npy.")
    return RigEntry("glove", "replay", "replay", {"path": path})


def _person(name: str | None) -> User | None:
    return None if name is None else load_user(find_user(name))


def _notes(writer: EpisodeWriter | None, watcher: View | None) -> str:
    recorded = (
        ""
        if writer is None
        else f"recording: episode {writer.n_episodes}, {writer.n_frames} frames"
    )
    return "    ".join(filter(None, (recorded, "" if watcher is None else watcher.note())))


def _shows(table: LiveView, watcher: View | None) -> Callable[[Session], None]:
    """Return what shows a session to everybody who watches."""

    def show(session: Session) -> None:
        table.show(session)
        if watcher is not None:
            watcher.show(session)

    return show


def _finish(writer: EpisodeWriter, stretch: Stretch, verdict: Verdict | None) -> None:
    """Keep the episode with the operator's verdict, unless it is none or was to be forgotten."""
    if verdict in {"redo", "abort"} or writer.n_frames == 0:
        writer.discard_episode()
    else:
        writer.end_episode(stretch.success)


def _tell(stretch: Stretch, record: Path | None) -> None:
    table = Table("loop", "ticks", "missed", "period p50 / p99 [ms]", "late p99 [ms]", box=None)
    for name, stats in stretch.loops.items():
        period = f"{stats.period_s[0] * 1e3:.1f} / {stats.period_s[1] * 1e3:.1f}"
        table.add_row(
            name, str(stats.ticks), str(stats.misses), period, f"{stats.lateness_s[1] * 1e3:.2f}"
        )
    console.print(table)
    where = "" if record is None else f" Recorded in {record}."
    console.print(f"{stretch.driven_s:.1f} s of driving; ended: {stretch.ended}{where}")
