"""A policy in another process: what it is asked and answers, and every way it can end."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from dexhil.policy import process_main
from dexhil.policy.errors import PolicyError
from dexhil.policy.memory import Pictures
from dexhil.policy.process import ProcessPolicy
from dexhil.policy.process_main import Job, Request

SHAPES = {"observation.images.front": (4, 6, 3), "observation.images.wrist": (2, 2, 3)}
PICTURES = {
    "observation.images.front": np.full((4, 6, 3), 7, np.uint8),
    "observation.images.wrist": np.full((2, 2, 3), 5, np.uint8),
}
PARROT = """
    import os
    import time
    import numpy as np
    from dexhil.policy.errors import LostError

    class Parrot:
        '''Says what it saw: the state, the sum of the front picture, and how often it was reset.'''

        execute_steps = 3
        cameras = ("observation.images.front",)

        def __init__(self, horizon=4, think_s=0.0, says=None, away=None):
            self.horizon, self.think_s, self.says, self.resets = horizon, think_s, says, 0
            self.away = away

        def reset(self):
            self.resets += 1

        def tend(self):
            if self.away is not None and os.path.exists(self.away):
                raise LostError("it flew away.")

        def infer(self, observation):
            self.tend()
            time.sleep(self.think_s)
            if self.says is not None:
                raise RuntimeError(self.says)
            assert "observation.images.wrist" not in observation
            seen = observation["observation.images.front"].sum()
            row = np.concatenate([observation["observation.state"], [seen, self.resets]])
            return np.tile(row, (self.horizon, 1))
"""


@pytest.fixture(autouse=True)
def _parrot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parrot.py").write_text(textwrap.dedent(PARROT))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def parrot(**options: Any) -> ProcessPolicy:
    return ProcessPolicy("parrot:Parrot", options, SHAPES)


def wait(until: Callable[[], Any]) -> Any:
    give_up_s = time.monotonic() + 20.0
    while not (value := until()):
        assert time.monotonic() < give_up_s, "it never happened"
        time.sleep(0.002)
    return value


def observation(state: float = 0.5) -> dict[str, np.ndarray[Any, Any]]:
    return {"observation.state": np.array([state, -state]), **PICTURES}


def test_a_policy_elsewhere_answers_what_it_was_asked_and_forgets_with_each_epoch() -> None:
    with parrot() as policy:
        assert policy.execute_steps == 3
        assert policy.cameras == ("observation.images.front",)
        for epoch, resets in ((7, 1), (7, 1), (8, 2)):
            assert not policy.busy
            policy.ask(observation(), epoch=epoch, stamp_s=12.5)
            assert policy.busy
            answer = wait(policy.take)
            assert (answer.epoch, answer.stamp_s) == (epoch, 12.5)
            np.testing.assert_array_equal(answer.chunk, [[0.5, -0.5, 7.0 * 72, resets]] * 4)
        assert policy.take() is None, "an answer is given once"
        assert policy.problem is None
    assert policy.problem == "policy process: it was closed."


def test_neither_asking_nor_closing_waits_for_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dexhil.policy.process._EXIT_S", 0.1)
    with parrot(think_s=1000.0) as policy:
        policy.ask(observation(), epoch=1, stamp_s=0.0)
        assert policy.take() is None
        assert policy.busy


def test_a_killed_policy_says_so() -> None:
    with parrot() as policy:
        assert policy.pid is not None
        os.kill(policy.pid, signal.SIGKILL)
        assert wait(lambda: policy.problem) == "policy process: it ended with exit code -9."
        policy.ask(observation(), epoch=1, stamp_s=0.0)  # Nobody is there; nothing is raised.
        assert policy.take() is None


def test_a_stopped_policy_gives_no_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dexhil.policy.process.SILENT_S", 0.3)
    with parrot() as policy:
        assert policy.pid is not None
        os.kill(policy.pid, signal.SIGSTOP)
        assert "no sign of life for 0." in wait(lambda: policy.problem)
        os.kill(policy.pid, signal.SIGCONT)
        wait(lambda: policy.problem is None)


def test_a_policy_that_thinks_forever_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dexhil.policy.process.ANSWER_S", 0.2)
    monkeypatch.setattr("dexhil.policy.process._EXIT_S", 0.1)
    with parrot(think_s=1000.0) as policy:
        policy.ask(observation(), epoch=1, stamp_s=0.0)
        assert policy.problem is None
        assert "no answer for" in wait(lambda: policy.problem)


def test_an_answer_that_nobody_takes_is_no_problem_however_long_it_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dexhil.policy.process.ANSWER_S", 0.0)  # All that is owed is too late.
    with parrot() as policy:
        policy.ask(observation(), epoch=1, stamp_s=0.0)
        wait(lambda: policy.problem is None)
        assert policy.busy
        assert policy.take() is not None
        assert not policy.busy


def test_a_policy_that_thought_for_long_gives_a_sign_of_life_before_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = Job(factory="", options={}, shapes={}, parent=os.getpid())
    request = Request(epoch=1, stamp_s=0.0, numbers={}, pictures=())
    received: list[Any] = [("open", job), ("ask", request)]
    silent_s: dict[str, float] = {}

    class Thinking:
        execute_steps = 1

        def reset(self) -> None:
            pass

        def infer(self, _: Any) -> Any:
            pictures._beat[0] -= 1000.0
            return np.zeros((1, 1))

    class Pipe:
        def recv(self) -> Any:
            return received.pop(0)

        def poll(self, _: float) -> bool:
            if not received:
                raise EOFError
            return True

        def send(self, message: Any) -> None:
            silent_s[message[0]] = pictures.silent_s()

    monkeypatch.setattr(process_main, "_make", lambda _: Thinking())
    monkeypatch.setattr(os, "nice", lambda _: 0)
    memory = Pictures.make({})
    pictures = Pictures({}, memory)
    process_main._Server(cast("Connection", Pipe()), memory).run()
    os.close(memory)
    assert silent_s["answer"] < 500.0


def test_a_process_that_is_started_again_owes_nothing() -> None:
    policy = parrot(think_s=1000.0)
    with policy:
        policy.ask(observation(), epoch=1, stamp_s=0.0)
        assert policy.pid is not None
        os.kill(policy.pid, signal.SIGKILL)
        wait(lambda: policy.problem)
    with policy:
        assert not policy.busy
        assert policy.problem is None


def test_what_a_policy_raises_is_read_by_a_person() -> None:
    with parrot(says="it was trained with a camera 'wrist'") as policy:
        policy.ask(observation(), epoch=1, stamp_s=0.0)
        expected = "policy process: RuntimeError: it was trained with a camera 'wrist'."
        assert wait(lambda: policy.problem) == expected


def test_a_policy_that_is_lost_owes_nothing_and_is_a_problem_until_it_is_back(
    tmp_path: Path,
) -> None:
    away = tmp_path / "away"
    with parrot(away=away) as policy:
        for epoch in (1, 2):
            assert policy.problem is None
            policy.ask(observation(), epoch=epoch, stamp_s=0.0)
            assert wait(policy.take).epoch == epoch
            away.touch()
            assert wait(lambda: policy.problem) == "policy: it flew away."
            policy.ask(observation(), epoch=-1, stamp_s=0.0)
            wait(lambda: not policy.busy)
            assert policy.take() is None
            away.unlink()
            wait(lambda: policy.problem is None)


@pytest.mark.parametrize(
    ("factory", "options", "reason"),
    [
        ("parrot:Cockatoo", {}, "no attribute 'Cockatoo'"),
        ("parrot:Parrot", {"wings": 2}, "unexpected keyword argument 'wings'"),
        ("no_such_module:Parrot", {}, "No module named 'no_such_module'"),
        ("os:abort", {}, "ended with exit code -6"),
    ],
)
def test_a_policy_that_cannot_be_made_is_refused_with_the_reason(
    factory: str, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(PolicyError, match=reason):
        ProcessPolicy(factory, options, SHAPES).start()


def test_a_policy_that_is_not_started_is_a_problem() -> None:
    assert parrot().problem == "policy process: it was not started."


def test_the_process_ends_with_the_program_that_asks_however_that_ends() -> None:
    program = """
        import os, signal
        from dexhil.policy.process import ProcessPolicy
        policy = ProcessPolicy("parrot:Parrot", {})
        policy.start()
        print(policy.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, check=False
    )
    child = Path(f"/proc/{int(ran.stdout)}")
    wait(lambda: not child.exists())


def test_whoever_asks_needs_no_torch() -> None:
    modules = "dexhil.policy.process, dexhil.policy.remote, dexhil.policy.remote.server"
    program = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
