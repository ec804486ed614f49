"""What a person's commands do, in which order: the robot is on only while somebody drives."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dexhil.integration import commands, driving
from dexhil.integration.attempts import Tally, Wanted
from dexhil.integration.bench import Bench
from dexhil.integration.view.live import Viewing
from dexhil.policy.episodes import DatasetError

NOTHING_WATCHED: dict[str, Any] = {"user": None, "viewing": Viewing()}
WANTED = Wanted(task="lift", n=1, corrected=False)


class Day:
    """A rig and a dataset that note when they are opened and closed, and who drives meanwhile."""

    n_episodes = 3
    n_frames = 1
    repairs = ("removed file-003.mp4: [3] was not finished",)

    def __init__(self, refusal: DatasetError | None = None) -> None:
        self.notes: list[str] = []
        self._refusal = refusal

    @contextmanager
    def running(self) -> Iterator[None]:
        self.notes.append("robot on")
        yield
        self.notes.append("robot off")

    @contextmanager
    def open_dataset(self, *_: object) -> Iterator["Day"]:
        if self._refusal is not None:
            raise self._refusal
        self.notes.append("dataset open")
        yield self
        self.notes.append("dataset closed")

    def begin_episode(self, _: str) -> None: ...
    def end_episode(self, _: bool | None) -> None: ...

    def resume(self, *_: object) -> Tally:
        self.notes.append("counted")
        return Tally()

    def drive(self, *_: object, **__: object) -> Any:
        self.notes.append("driven")
        return SimpleNamespace(loops={}, driven_s=1.0, ended="done", success=None)

    def live_attempts(self, *_: object, **__: object) -> Tally:
        self.notes.append("driven")
        return Tally()


def teleop() -> None:
    given: dict[str, Any] = {"glove": None, "record": Path("data"), "task": "lift"}
    driving.teleop(Path("rig.toml"), duration_s=1.0, **given, **NOTHING_WATCHED)


def attempts() -> None:
    driving.attempts(Path("rig.toml"), Path("data"), WANTED, **NOTHING_WATCHED)


def live_through(day: Day, monkeypatch: pytest.MonkeyPatch, command: Any) -> None:
    """Run a command on that rig and dataset."""
    for name in ("open_dataset", "resume", "drive", "live_attempts"):
        monkeypatch.setattr(driving, name, getattr(day, name))
    monkeypatch.setattr(driving, "_open", lambda *_, **__: day)
    monkeypatch.setattr(driving, "_first", lambda _: None)
    monkeypatch.setattr(driving, "retargeter_of", lambda *_: None)
    monkeypatch.setattr(driving, "make_session", lambda *_, **__: SimpleNamespace(verdict=None))
    table = nullcontext(SimpleNamespace(say=print))
    monkeypatch.setattr(driving, "LiveView", lambda *_, **__: table)
    command()


@pytest.mark.parametrize("command", [teleop, attempts])
def test_the_robot_waits_for_no_dataset_while_it_is_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: Any
) -> None:
    day = Day()
    live_through(day, monkeypatch, command)
    robot = [note for note in day.notes if note != "counted"]
    assert robot == ["dataset open", "robot on", "driven", "robot off", "dataset closed"]
    assert "counted" not in day.notes[day.notes.index("robot on") :]
    assert day.repairs[0] in capsys.readouterr().out


@pytest.mark.parametrize("command", [teleop, attempts])
def test_a_dataset_that_cannot_be_opened_leaves_the_robot_off(
    monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    day = Day(DatasetError("of another rig"))
    with pytest.raises(DatasetError, match="of another rig"):
        live_through(day, monkeypatch, command)
    assert day.notes == []


def test_what_opening_a_dataset_put_right_is_told_on_a_simulated_rig_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "open_dataset", lambda *_: Day())
    bench = SimpleNamespace(rig=None, task=SimpleNamespace(environment_names=()))
    commands._open_for(cast("Bench", bench), Path("data"))
    assert Day.repairs[0] in capsys.readouterr().out
