"""What ``dexhil teleop`` does, and ``record`` and ``run`` where a person presses the buttons."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
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
    policy_process,
    retargeter_of,
)
from dexhil.integration.recorder import Recorder, open_dataset
from dexhil.integration.retargeting.users import User, find_user, load_user
from dexhil.integration.rig import Rig, build_rig
from dexhil.integration.view.live import View, Viewing, watching
from dexhil.policy.episodes import EpisodeWriter
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
        stack.enter_context(rig.running())
        writer = None if record is None else stack.enter_context(open_dataset(record, rig))
        sink = None
        if writer is not None:
            writer.begin_episode(task)
            sink = Recorder(writer, demonstration=True)
        session = make_session(
            rig, sink=together(sink, watcher), retargeter=retargeter, user=person
        )
        first = Event.TAKE_OVER if rig.switch.spec.simulated else None
        table = stack.enter_context(LiveView(console, notes=lambda: _notes(writer, watcher)))
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
    checkpoint: Path | None = None,
    seed: int = 0,
) -> None:
    """A person at a real rig, who presses the buttons; the policy thinks in a process."""
    rig, person = _open(rig_path), _person(user)
    retargeter = retargeter_of(rig, person)
    with ExitStack() as stack:
        policy = None
        if checkpoint is not None:  # Before the robot is switched on: loading takes a while.
            policy = stack.enter_context(policy_process(rig, checkpoint, seed=seed))
        watcher = stack.enter_context(watching(rig, viewing, console))
        stack.enter_context(rig.running())
        writer = stack.enter_context(open_dataset(out, rig))
        table = stack.enter_context(LiveView(console, notes=lambda: _notes(writer, watcher)))
        tally = live_attempts(
            rig,
            writer,
            wanted,
            tally=resume(out, wanted) if writer.n_episodes else None,
            policy=policy,
            retargeter=retargeter,
            user=person,
            console=console,
            show=_shows(table, watcher),
            watcher=watcher,
        )
    console.print(f"{tally.counted} of {wanted.n} wanted; this time {tally}. Recorded in {out}.")


# -- Parts ---------------------------------------------------------------------


def _open(rig_path: Path, replacing: RigEntry | None = None) -> Rig:
    """Build a rig on the simulated clock if nothing in it is real."""
    rig = build_rig(rig_path, SimClock(), replacing=replacing)
    if all(device.spec.simulated for device in rig.devices):
        return rig
    return build_rig(rig_path, MonotonicClock(), replacing=replacing)


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
    console.print(f"{stretch.duration_s:.1f} s of driving; ended: {stretch.ended}{where}")
