"""What a person at the terminal sees of a session, and that nobody waits for it."""

import io
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from dexhil.drivers.clock import SimClock
from dexhil.integration import cli, driving
from dexhil.integration.attempts import Tally, Wanted
from dexhil.integration.console import LiveView, render
from dexhil.integration.live import Stretch, drive, make_session
from dexhil.integration.rig import Rig, build_rig
from dexhil.integration.view.live import Viewing
from dexhil.teleop.session import Session
from dexhil.teleop.takeover import Event


@pytest.fixture(scope="module")
def simulated() -> Rig:
    return build_rig(
        Path(__file__).parents[2] / "rigs" / "sim_fr3_inspire.toml", SimClock(), cameras=False
    )


def drawn(session: Session, **options: str) -> str:
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(render(session.status(), **options))
    return console.export_text()


def row(text: str, label: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.strip().startswith(label + " ")]
    return line.split()[1:]


def test_a_look_tells_who_drives_how_often_a_person_did_and_how_old_samples_are(
    simulated: Rig,
) -> None:
    with simulated.running():
        session = make_session(simulated)
        drive(simulated, session, duration_s=1.0)
        drive(simulated, session, first=Event.TAKE_OVER, duration_s=1.0)
        # ``drive`` has let go, so that this is what follows a takeover and its end.
        text = drawn(session, notes="episode 3, 20 frames")
    assert "HOLD" in text
    assert "the attempt is over" in text
    assert "a person drove 100% of this attempt, 100% of this session" in text
    assert "limits hit: none" in text
    assert "episode 3, 20 frames" in text
    assert "success  failure" in text
    loops, ages = text[: text.index("sample of")], text[text.index("sample of") :]
    rate, *late, missed, _busy = row(loops, "hand")
    assert rate == "90.0"
    assert late == ["0.0", "/", "0.0", "/", "0.0"]
    assert missed == "0"
    assert row(ages, "policy") == ["–", "–", "/", "–", "/", "–"], "there is none"
    assert float(row(ages, "glove")[0]) < 100.0


def test_what_was_refused_is_said(simulated: Rig) -> None:
    with simulated.running():
        session = make_session(simulated)
        session.begin()
        session.set_event(Event.START)
        assert "refused: there is no policy to start." in drawn(session)


def test_a_log_gets_a_line_per_change_and_no_more(simulated: Rig) -> None:
    said = io.StringIO()
    with simulated.running(), LiveView(Console(file=said, width=60)) as view:
        session = make_session(simulated)
        drive(simulated, session, first=Event.TAKE_OVER, duration_s=1.0, show=view.show)
        view.show(session)
    lines = said.getvalue().splitlines()
    assert [line.split()[2] for line in lines] == ["HUMAN", "HOLD"]
    assert lines[1].endswith("the attempt is over")


def test_a_switch_that_dies_while_everybody_waits_is_said_once(simulated: Rig) -> None:
    said = io.StringIO()
    with simulated.running(), LiveView(Console(file=said, width=60)) as view:
        session = make_session(simulated)
        simulated.switch.observe()
        simulated.switch.faults.freeze()  # type: ignore[attr-defined]
        drive(simulated, session, duration_s=2.0, show=view.show)
        picture = drawn(session)
        simulated.switch.faults.clear()  # type: ignore[attr-defined]
    waiting, dead = said.getvalue().splitlines()[:2]
    assert "nobody can drive" not in waiting
    assert "nobody can drive: SimSwitch 'pedal': newest sample is" in dead
    assert said.getvalue().count("nobody can drive") <= 2  # While waiting, and when it is over.
    assert "nobody can drive: SimSwitch 'pedal'" in " ".join(picture.split())
    assert float(row(picture[picture.index("sample of") :], "switch")[0]) > 1900.0


def test_a_terminal_is_drawn_on_by_a_thread_that_ends_with_the_view(simulated: Rig) -> None:
    shown = io.StringIO()
    terminal = Console(file=shown, width=100, force_terminal=True)
    before, drew = threading.active_count(), threading.Event()

    def notes() -> str:
        drew.set()
        return "recording"

    with simulated.running():
        session = make_session(simulated)
        session.begin()
        with LiveView(terminal, notes=notes) as view:
            view.show(session)
            assert drew.wait(20.0)
            assert threading.active_count() == before + 1
        assert threading.active_count() == before
    assert "HOLD" in shown.getvalue()
    assert "recording" in shown.getvalue()


# -- A terminal that takes nothing ------------------------------------------------------------


class Stalled(io.StringIO):
    """What is written to it waits, until somebody presses Ctrl-Q."""

    def __init__(self) -> None:
        super().__init__()
        self.waits, self.goes_on = threading.Event(), threading.Event()
        self.gave_up = False

    def write(self, text: str) -> int:
        self.waits.set()
        self.gave_up = not self.goes_on.wait(5.0) or self.gave_up
        return super().write(text)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_nobody_waits_for_a_terminal_that_takes_nothing_not_even_the_end(
    simulated: Rig, monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    monkeypatch.setattr("dexhil.integration.console.LEAVE_S", 0.05)
    monkeypatch.setattr("dexhil.integration.console.REFRESH_S", 0.001)
    stalled = Stalled()
    with simulated.running():
        session = make_session(simulated)
        session.begin()
        with LiveView(Console(file=stalled, force_terminal=is_terminal, width=60)) as view:
            view.show(session)
            assert stalled.waits.wait(20.0)
            view.say("Was it a success?")
            session.set_event(Event.TAKE_OVER)
            view.show(session)
    (left,) = [each for each in threading.enumerate() if each.name == "live view"]
    stalled.goes_on.set()
    left.join()
    assert not stalled.gave_up
    assert "Was it a success?" in stalled.getvalue()


def test_a_loop_that_logs_does_not_wait_for_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    stalled, log = Stalled(), logging.getLogger("dexhil.teleop.authority")
    with cli._logging(Console(file=stalled, width=60)):
        log.warning("%s refused: %s", "START", "there is no policy [to start].")
        assert stalled.waits.wait(20.0)
        log.warning("HUMAN -> HOLD")
        assert stalled.getvalue() == ""
        stalled.goes_on.set()
    assert not stalled.gave_up
    assert [" ".join(line.split()) for line in stalled.getvalue().splitlines()] == [
        "WARNING START refused: there is no policy [to start].",
        "WARNING HUMAN -> HOLD",
    ]
    assert logging.getLogger().handlers == []


def teleop(root: Path) -> None:
    driving.teleop(
        Path("rig.toml"),
        glove=None,
        user=None,
        record=root,
        duration_s=1.0,
        task="wave",
        viewing=Viewing(),
    )


def attempts(root: Path) -> None:
    wanted = Wanted(task="wave", n=1, corrected=False)
    driving.attempts(Path("rig.toml"), root, wanted, user=None, viewing=Viewing())


@pytest.mark.parametrize("command", [teleop, attempts])
def test_the_robot_is_switched_off_before_anything_waits_for_disk_or_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: Callable[[Path], None]
) -> None:
    story: list[str] = []

    def told(name: str, value: object = None) -> Callable[..., AbstractContextManager[Any]]:
        @contextmanager
        def during(*_: object, **__: object) -> Iterator[Any]:
            story.append(f"{name} begins")
            yield value
            story.append(f"{name} ends")

        return during

    def does(value: object) -> Callable[..., Any]:
        return lambda *_, **__: value

    rig = SimpleNamespace(
        running=told("robot"), switch=SimpleNamespace(spec=SimpleNamespace(simulated=False))
    )
    writer = SimpleNamespace(
        repairs=[], n_episodes=0, n_frames=0, begin_episode=does(None), discard_episode=does(None)
    )
    ended = Stretch(
        duration_s=1.0, driven_s=0.0, ended="", success=None, interrupted=False, loops={}
    )
    for name, stand_in in {
        "_open": does(rig),
        "retargeter_of": does(None),
        "watching": told("viewer"),
        "open_dataset": told("dataset", writer),
        "LiveView": told("terminal", SimpleNamespace(show=does(None), say=does(None))),
        "make_session": does(SimpleNamespace(verdict=None)),
        "drive": does(ended),
        "live_attempts": does(Tally()),
    }.items():
        monkeypatch.setattr(driving, name, stand_in)
    command(tmp_path)
    assert story[3:5] == ["robot begins", "robot ends"]
    assert len(story) == 8
