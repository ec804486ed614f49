"""What a person at the terminal sees of a session, and that nobody waits for it."""

import io
import threading
from pathlib import Path

import pytest
from rich.console import Console

from dexhil.drivers.clock import SimClock
from dexhil.integration.console import LiveView, render
from dexhil.integration.live import drive, make_session
from dexhil.integration.rig import Rig, build_rig
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
        # ``drive`` has let go, so that this is what follows a takeover and a stop.
        text = drawn(session, notes="episode 3, 20 frames")
    assert "HOLD" in text
    assert "stopped by the operator" in text
    assert "a person drove 100% of this attempt, 50% of this session" in text
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
    assert lines[1].endswith("stopped by the operator")


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
