"""Which policy drives: one here, or one that is served elsewhere, which may die while it drives."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from dexhil.drivers.clock import MonotonicClock
from dexhil.integration import cli, policies
from dexhil.integration.errors import RunError
from dexhil.integration.live import make_session
from dexhil.integration.policies import PolicyChoice, on_bench, process_for
from dexhil.integration.rig import build_rig
from dexhil.policy.checkpoint import Checkpoint
from dexhil.policy.episodes import Features
from dexhil.policy.flow import FlowPolicy, FlowPolicyConfig
from dexhil.policy.remote import RemotePolicy, load_remote
from dexhil.policy.remote.config import Served
from dexhil.policy.remote.packing import pack
from dexhil.policy.runner import Runner
from dexhil.teleop.schedule import run_threads
from dexhil.teleop.takeover import Event, Mode
from tests.policy.openpi import openpi, run_openpi
from tests.policy.remote_servers import FEATURES, actions, fake, served, shown, wait

JOINTS, STATE = 13, 19  # Of an FR3 with an Inspire hand.


@contextmanager
def serving(checkpoint: Path, *arguments: str) -> Iterator[str]:
    """Run ``dexhil serve``; yield the address that it prints."""
    program = "from dexhil.integration.cli import main; main()"
    command = [sys.executable, "-c", program, "serve", "--checkpoint", str(checkpoint), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            yield next(word.rstrip(",") for word in said.split() if word.startswith("ws://"))
            process.send_signal(signal.SIGTERM)
            assert process.wait(20.0) == 130, "it does not end like Ctrl-C"
        finally:
            process.kill()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    config = FlowPolicyConfig(observations={"observation.state": STATE}, action_dim=JOINTS)
    tensors = FlowPolicy(config).state_dict()
    Checkpoint(config=config, tensors=tensors).save(folder)
    return folder


@pytest.fixture(scope="module")
def url(checkpoint: Path) -> Iterator[str]:
    with serving(checkpoint, "--port", "0") as url:
        yield url


SEEN = {"observation.state": np.linspace(-1.0, 1.0, STATE)}


def test_a_checkpoint_that_is_served_answers_as_it_does_here(checkpoint: Path, url: str) -> None:
    here = Runner.load(checkpoint)
    expected = [here.infer(SEEN), here.infer(SEEN)]
    joints = [f"j{i}" for i in range(JOINTS - 6)]
    features = Features.for_rig(arm_joints=joints, hand_joints=["a", "b", "c", "d", "e", "f"])
    with RemotePolicy(load_remote(url), features) as policy:
        assert policy.execute_steps == here.execute_steps
        for _ in range(2):
            policy.reset()
            for chunk in expected:
                np.testing.assert_array_equal(policy.infer(SEEN), chunk)


@openpi
def test_openpis_own_client_is_served_like_ours(checkpoint: Path, url: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "seen.npz", **SEEN)
    program = """
        client = WebsocketClientPolicy(sys.argv[1])
        assert client.get_server_metadata()["dexhil"]["action_dim"] == 13
        seen = {**np.load(sys.argv[2]), "prompt": "lift"}
        answers = [client.infer(seen) for _ in range(2)]
        assert answers[1]["server_timing"]["infer_ms"] > 0.0
        np.save(sys.argv[3], [answer["actions"] for answer in answers])
        try:
            client.infer({"state": np.zeros(3)})
        except RuntimeError as error:
            assert "needs an array 'observation.state'; the request has 'state'" in str(error)
        else:
            raise AssertionError("it was served")
    """
    run_openpi(program, url, tmp_path / "seen.npz", tmp_path / "actions.npy")
    here = Runner.load(checkpoint)
    expected = [here.infer(SEEN), here.infer(SEEN)]
    np.testing.assert_array_equal(np.load(tmp_path / "actions.npy"), expected)


@pytest.mark.parametrize("cameras", [(), ("front",)])
def test_a_bench_has_the_cameras_that_a_remote_policy_wants_and_tells_it_the_task(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cameras: tuple[str, ...]
) -> None:
    told: list[Any] = []

    def answer(connection: Any, request: Any) -> None:
        told.append(request)
        connection.send(pack(actions()))

    @contextmanager
    def bench(_: Path, task: str, *, cameras: bool) -> Iterator[Any]:
        names = SimpleNamespace(prompt=f"do {task}", environment_names=("x", "y"))
        rate = SimpleNamespace(policy_rate_hz=20.0)
        yield SimpleNamespace(rig=None, task=names, config=rate, cameras=cameras)

    monkeypatch.setattr(policies, "Bench", bench)
    monkeypatch.setattr(policies, "rig_features", lambda *_: FEATURES)
    entries = [f'[[observation]]\nkey = "{name}"\ncamera = "{name}"' for name in cameras]
    state = '[[observation]]\nkey = "state"\nnumbers = ["x", "arm.a"]'
    with fake(answer) as url:
        file = tmp_path / "remote.toml"
        file.write_text("\n".join([f'url = "{url}"', state, *entries]), encoding="utf-8")
        with on_bench(Path(), "fold", PolicyChoice(remote=str(file))) as (made, policy):
            policy.infer(shown(0.5))
    assert cast("Any", made).cameras == bool(cameras)
    assert [request["prompt"] for request in told] == ["do fold"] * 2
    np.testing.assert_array_equal(told[1]["state"], [7.0, 0.5])


class Stay:
    """Stays where it is, and counts how often it is asked to."""

    asked = 0

    def reset(self) -> None: ...

    def infer(self, observation: Mapping[str, Any]) -> Any:
        self.asked += 1
        return np.tile(observation["observation.state"][:JOINTS], (16, 1))


ABOUT = Served(
    observations={"observation.state": STATE}, cameras=(), action_dim=JOINTS, execute_steps=8
)


def test_a_server_that_dies_while_it_drives_leaves_the_robot_held_until_somebody_starts_it_again(
    edited_rig: Callable[[str, str], Path],
) -> None:
    # Nothing but the server is to be lost, however busy this machine is.
    patient = "\n".join(f"{what}_max_age_s = 30.0" for what in ("robot", "switch", "policy"))
    real = build_rig(
        edited_rig("[teleop]", f"[teleop]\n{patient}"), MonotonicClock(), cameras=False
    )
    stop, stay = Flag(), Stay()
    with ExitStack() as stack:
        with served(stay, about=ABOUT) as url:
            process = process_for(real, PolicyChoice(remote=url), task="stay")
            stack.enter_context(process)
        stack.enter_context(real.running())
        session = make_session(real, policy=process)
        session.begin()
        runtime = Thread(target=run_threads, args=(session.loops(), stop))
        runtime.start()
        try:
            for _ in range(2):
                with served(stay, about=ABOUT, port=int(url.rpartition(":")[2])):
                    wait(lambda: process.problem is None)
                    assert session.mode is Mode.HOLD, "nobody started it"
                    stay.asked = 0
                    session.set_event(Event.START)
                    wait(lambda: session.mode is Mode.POLICY and stay.asked)
                wait(lambda: session.mode is Mode.HOLD)
                assert url in session.drive.reason
        finally:
            stop.set()
            runtime.join()


@pytest.mark.parametrize("which", [(), ("--checkpoint", "a", "--remote", "ws://b")])
@pytest.mark.parametrize("command", ["evaluate", "run"])
def test_none_and_two_policies_are_refused(
    capsys: pytest.CaptureFixture[str], rig: Path, command: str, which: tuple[str, ...]
) -> None:
    more = ["--record", "data"] if command == "run" else []
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--rig", str(rig), *more, *which])
    assert stop.value.code == 1
    assert "Name one policy: --checkpoint FOLDER, or" in " ".join(capsys.readouterr().err.split())


def test_what_has_to_be_installed_to_reach_a_server_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dexhil.integration.policies.find_spec", lambda _: None)
    with pytest.raises(RunError, match=r"pip install 'dexhil\[remote\]'"):
        PolicyChoice(remote="ws://gpu:8000").check()
    PolicyChoice(checkpoint=Path("policy")).check()
