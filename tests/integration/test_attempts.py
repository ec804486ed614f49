"""Attempts on a rig whose buttons are pressed by a script."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from dexhil.drivers.clock import Clock, MonotonicClock, SimClock
from dexhil.drivers.switch.sim import SimSwitch
from dexhil.integration.attempts import Tally, Wanted, live_attempts, resume
from dexhil.integration.recorder import open_dataset
from dexhil.integration.rig import Rig, build_rig
from dexhil.policy.episodes import DatasetReader, Source
from dexhil.teleop.actions import Policy
from dexhil.teleop.session import Session
from dexhil.teleop.takeover import Mode

DRIVE_S = 0.25


class Script:
    """An operator who, prompt after prompt, presses the next buttons of a list."""

    def __init__(self, rig: Rig, story: Sequence[tuple[str, ...]]) -> None:
        self._rig, self._story = rig, iter(story)
        self._buttons: Iterator[str] = iter(())
        self._next_s = 0.0
        self.modes: set[Mode] = set()

    def show(self, session: Session) -> None:
        """Be called by the running attempt ten times a second, and press something."""
        self.modes.add(session.mode)
        if session.drive.reason == "not started" and not session.verdict:
            self._buttons = iter(next(self._story))
            self.press(next(self._buttons))
        elif session.mode is not Mode.HOLD and self._rig.clock.now_s() > self._next_s:
            self.press(next(self._buttons, ""))

    def press(self, button: str) -> None:
        """Press a button, which may be Ctrl-C, and look on for a while."""
        self._next_s = self._rig.clock.now_s() + DRIVE_S
        if button == "ctrl-c":
            raise KeyboardInterrupt
        if button:
            switch = cast("SimSwitch", self._rig.switch)
            switch.press(button)
            switch.release(button)


def answering(script: Script, answer: str) -> Callable[[str], None]:
    """Return an operator who presses something when asked for a label."""

    def say(text: str) -> None:
        if "Was it a success?" in text:
            script.press(answer)

    return say


@pytest.fixture
def attempt(rig: Path, tmp_path: Path) -> Callable[..., tuple[Tally, Script]]:
    """Return a function that makes attempts by a story, into one dataset."""

    def run(
        story: Sequence[tuple[str, ...]],
        *,
        clock: Clock | None = None,
        policy: Policy | None = None,
        answer: str = "",
        **options: Any,
    ) -> tuple[Tally, Script]:
        what: dict[str, Any] = {"task": "wave", "n": 1, "corrected": policy is not None}
        wanted = Wanted(**what | options)
        built = build_rig(rig, clock or SimClock(), cameras=False)
        with built.running(), open_dataset(tmp_path, built) as writer:
            script = Script(built, story)
            made = live_attempts(
                built,
                writer,
                wanted,
                tally=resume(tmp_path, wanted) if writer.n_episodes else None,
                policy=policy,
                say=answering(script, answer),
                show=script.show,
            )
        return made, script

    return run


def labels(root: Path) -> list[bool | None]:
    reader = DatasetReader(root)
    return [reader.episode(index).success for index in range(len(reader))]


class Still:
    """A policy that leaves the robot where it is: 7 joints of the arm, 6 of the hand."""

    execute_steps = 4

    def reset(self) -> None:
        """Nothing to forget."""

    def infer(self, observation: Any) -> Any:
        return np.tile(observation["observation.state"][:13], (4, 1))


def test_people_on_real_threads_redo_fail_and_succeed(attempt: Any, tmp_path: Path) -> None:
    story = [("takeover", "redo"), ("takeover", "failure"), ("takeover", "success")]
    tally, script = attempt(story, clock=MonotonicClock())
    assert (tally.successes, tally.failures, tally.redone, tally.aborted) == (1, 1, 1, False)
    assert script.modes == {Mode.HOLD, Mode.HUMAN}
    assert labels(tmp_path) == [False, True]


def test_a_series_goes_on_where_the_dataset_ends(attempt: Any, tmp_path: Path) -> None:
    attempt([("takeover", "failure"), ("takeover", "success")])
    tally, _ = attempt([("takeover", "success")], n=2)
    assert (tally.found, tally.counted, tally.successes) == (1, 2, 1)
    assert labels(tmp_path) == [False, True, True]
    reader = DatasetReader(tmp_path)
    for episode in (reader.episode(index) for index in range(3)):
        assert episode.columns["source"][0] != Source.HOLD, "waiting is no part of an attempt"
        assert episode.columns["source"][-1] != Source.HOLD, "nor is what comes after"
        assert not episode.intervention.any(), "nobody but the person drives"
        assert episode.task == "wave"


def test_abort_forgets_the_attempt_and_ends_the_series(attempt: Any, tmp_path: Path) -> None:
    tally, _ = attempt([("takeover", "success"), ("takeover", "abort")], n=5)
    assert tally.aborted
    assert (tally.counted, len(DatasetReader(tmp_path))) == (1, 1)


def test_a_success_of_the_policy_alone_is_kept_but_does_not_count(
    attempt: Any, tmp_path: Path
) -> None:
    story = [("start", "success"), ("start", "takeover_hand", "success")]
    tally, script = attempt(story, policy=Still())
    assert (tally.counted, tally.successes) == (1, 2)
    assert script.modes == set(Mode)
    alone, corrected = (DatasetReader(tmp_path).episode(i) for i in range(2))
    assert not alone.intervention.any()
    assert corrected.intervention.any()
    assert corrected.columns["authority.hand"].max() > 0.0
    assert corrected.columns["authority.arm"].max() == 0.0
    assert resume(tmp_path, Wanted(task="wave", n=9, corrected=True)).found == 1
    assert resume(tmp_path, Wanted(task="wave", n=9, corrected=False)).found == 2
    assert resume(tmp_path, Wanted(task="fold", n=9, corrected=False)).found == 0


@pytest.mark.parametrize(
    ("answer", "kept"), [("success", [True]), ("failure", [False]), ("redo", []), ("", [None])]
)
def test_an_attempt_that_ran_out_of_time_is_labelled_by_the_answer(
    attempt: Any, tmp_path: Path, answer: str, kept: list[bool | None]
) -> None:
    story = [("takeover",), ("takeover", "abort")]
    tally, _ = attempt(story, answer=answer, attempt_s=1.0, answer_s=0.4)
    assert labels(tmp_path) == kept
    assert tally.aborted == (answer != "success")


def test_time_runs_from_the_moment_somebody_drives(attempt: Any, tmp_path: Path) -> None:
    waiting = [("",)] * 30  # Looks, ten a second.
    attempt([*waiting, ("takeover",)], attempt_s=1.0, answer="success")
    assert len(DatasetReader(tmp_path).episode(0)) == pytest.approx(20, abs=3)


@pytest.mark.parametrize(
    ("story", "answer", "kept"),
    [
        ([("takeover", "ctrl-c")], "", [None]),
        ([("takeover",)], "ctrl-c", [None]),
        ([("ctrl-c",)], "", []),
    ],
)
def test_ctrl_c_keeps_the_attempt_so_far(
    attempt: Any, tmp_path: Path, story: Any, answer: str, kept: list[bool | None]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        attempt(story, answer=answer, attempt_s=1.0)
    assert labels(tmp_path) == kept


def test_what_was_pressed_before_anybody_drove_is_no_attempt(attempt: Any, tmp_path: Path) -> None:
    tally, _ = attempt([("success",), ("takeover", "success")])
    assert tally.successes == 1
    assert labels(tmp_path) == [True]
