"""An experiment that is killed goes on where it was; nothing here trains or simulates."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dexhil.integration import cli
from dexhil.integration.errors import RunError
from dexhil.integration.experiment import run, work
from dexhil.integration.experiment.config import (
    ExperimentConfig,
    make_config,
    read_config,
)
from dexhil.integration.experiment.plan import Step, plan
from dexhil.integration.experiment.run import run_experiment, show_experiment
from dexhil.integration.experiment.work import RESULT
from dexhil.policy.flow import FlowPolicyConfig


class AtOnce(Executor):
    """Does what is submitted before anybody waits for it."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = Future[Any]()
        try:
            future.set_result(fn(*args, **kwargs))
        except (KeyboardInterrupt, BrokenProcessPool) as error:
            future.set_exception(error)
        return future


class Lab:
    """Stands in for the workers; keeps a list of the steps it did and dies when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.dies_after: int | None = None
        self.dies_by: type[BaseException] = KeyboardInterrupt
        monkeypatch.setattr(run, "do_step", self.do)
        monkeypatch.setattr(run, "workers", self.workers)

    @contextmanager
    def workers(self, _: int) -> Iterator[Executor]:
        yield AtOnce()

    def do(self, out: Path, _: ExperimentConfig, step: Step) -> dict[str, Any]:
        folder = out / step.name
        folder.mkdir(parents=True, exist_ok=True)
        if len(self.done) == self.dies_after:
            (folder / "half-done").touch()
            raise self.dies_by
        self.done.append(step.name)
        result = outcome(step)
        (folder / RESULT).write_text(json.dumps(result))
        return result


def outcome(step: Step) -> dict[str, Any]:
    """Return a result whose success depends on the arm: dexhil succeeds everywhere."""
    if step.kind == "train":
        return {
            "episodes": 2,
            "samples": 10,
            "intervention_share": 0.2,
            "shares": {"demonstration": 0.8, "intervention": 0.2},
            "weights": {"demonstration": 0.625, "intervention": 2.5},
            "weights_clipped": False,
            "effective_sample_size": 6.4,
            "first_losses": [1.0],
            "losses": [1.0, 0.5],
            "wall_s": 3.0,
            "cpu_s": 2.5,
        }
    dexhil = step.arm is not None and step.arm.name == "dexhil"
    attempt = {
        "seed": 1,
        "duration_s": 5.0,
        "alarm": None,
        "alarm_s": None,
        "taken_over": step.kind != "evaluate",
        "human_s": {"demonstrate": 4.0, "correct": 1.5}.get(step.kind, 0.0),
        "tries": 1,
    }
    outcomes = (True, dexhil)
    attempts = [{**attempt, "success": success} for success in outcomes]
    return {"attempts": attempts, "wall_s": 2.0, "cpu_s": 1.5}


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(monkeypatch)


def config(rig: Path, **changes: object) -> ExperimentConfig:
    small = {"arms": ("dexhil", "offline"), "rounds": 2, "starts": 2}
    return make_config(**{"rig": rig, **small, **changes})


def go(out: Path, settings: ExperimentConfig) -> dict[str, Any]:
    return run_experiment(out, settings, processes=2, console=Console(quiet=True))


@pytest.mark.parametrize("dies_by", [KeyboardInterrupt, BrokenProcessPool])
def test_killed_between_and_in_any_steps_it_resumes_and_repeats_nothing(
    rig: Path, tmp_path: Path, lab: Lab, dies_by: type[BaseException]
) -> None:
    lab.dies_by = dies_by
    names = [step.name for step in plan(config(rig))]
    for lab.dies_after in range(len(names)):
        with pytest.raises((KeyboardInterrupt, RunError)):
            go(tmp_path, config(rig))
        assert len(lab.done) == lab.dies_after
    lab.dies_after = None
    results = go(tmp_path, config(rig))
    assert sorted(lab.done) == sorted(names)
    assert results["steps_done"] == results["steps"] == len(names)
    lab.done.clear()
    assert go(tmp_path, config(rig)) == results
    assert lab.done == []


def test_a_dead_worker_is_told_by_its_step_and_what_to_do(
    rig: Path, tmp_path: Path, lab: Lab
) -> None:
    lab.dies_after, lab.dies_by = 1, BrokenProcessPool
    with pytest.raises(RunError, match=r"seed-0/.*: a worker process died.*same command goes on"):
        go(tmp_path, config(rig))


def test_results_are_there_as_far_as_it_came(rig: Path, tmp_path: Path, lab: Lab) -> None:
    lab.dies_after = 6
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, config(rig))
    results = show_experiment(tmp_path, console=Console(quiet=True))
    assert 0 < results["steps_done"] < results["steps"]
    assert results["rows"][0]["arm"] == "warm-up"
    assert "warm-up" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"starts": 3}, "starts was 2, now 3"),
        ({"task": "tissue", "batch": 64}, "task was plush, now tissue; batch was 256, now 64"),
        ({"policy": {"width": 32}}, "policy was {}, now {'width': 32}"),
    ],
)
def test_to_resume_with_other_settings_is_refused_and_the_difference_named(
    rig: Path, tmp_path: Path, lab: Lab, changes: dict[str, object], difference: str
) -> None:
    go(tmp_path, config(rig))
    lab.done.clear()
    with pytest.raises(RunError, match=f"other settings: {difference}\\. Go on with those"):
        go(tmp_path, config(rig, **changes))
    assert lab.done == []


@pytest.mark.usefixtures("lab")
def test_to_resume_after_the_rig_file_changed_is_refused(edited_rig: Any, tmp_path: Path) -> None:
    path = edited_rig("[world]", "# before\n[world]")
    go(tmp_path / "out", config(path))
    path.write_text(path.read_text() + "# after\n")
    with pytest.raises(RunError, match=r"the rig file was not what .* says now"):
        go(tmp_path / "out", config(path))


def test_arms_seeds_and_rounds_may_be_added_later(rig: Path, tmp_path: Path, lab: Lab) -> None:
    go(tmp_path, config(rig))
    before = set(lab.done)
    lab.done.clear()
    more = config(rig, arms=("dexhil", "offline", "iwr"), seeds=(0, 1), rounds=3)
    go(tmp_path, more)
    assert before.isdisjoint(lab.done)
    assert before | set(lab.done) == {step.name for step in plan(more)}


@pytest.mark.usefixtures("lab")
def test_a_damaged_result_is_named(rig: Path, tmp_path: Path) -> None:
    go(tmp_path, config(rig))
    (tmp_path / "seed-0/warm-up/policy" / RESULT).write_text("{")
    with pytest.raises(RunError, match=r"warm-up/policy/result\.json.*Remove .* to repeat"):
        go(tmp_path, config(rig))


@pytest.mark.usefixtures("lab")
def test_two_cannot_work_in_one_folder(rig: Path, tmp_path: Path) -> None:
    with run._alone(tmp_path), pytest.raises(RunError, match="another process works on this"):
        go(tmp_path, config(rig))
    go(tmp_path, config(rig))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (1, 1)}, r"seeds is \(1, 1\), allowed are one or more different"),
        ({"seeds": (100,)}, "seeds.0: Input should be less than or equal to 99"),
        ({"arms": ("dexhill",)}, "No arm is called 'dexhill'. Known: dexhil, dagger_filtered"),
        ({"starts": 0}, "starts: Input should be greater than or equal to 1"),
    ],
)
def test_a_setting_out_of_range_is_named(
    rig: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        config(rig, **changes)


def test_at_most_so_many_steps_are_in_hand_and_never_before_what_they_need(rig: Path) -> None:
    steps, in_hand, largest = plan(config(rig, seeds=(0, 1))), set[str](), 0
    done = set[str]()

    def begun(step: Step) -> None:
        nonlocal largest
        assert done.issuperset(step.needs)
        in_hand.add(step.name)
        largest = max(largest, len(in_hand))

    run.work_off(
        steps,
        done,
        pool=AtOnce(),
        processes=3,
        work=outcome,
        begun=begun,
        keep=lambda step, _: in_hand.remove(step.name),
    )
    assert largest == 3
    assert done == {step.name for step in steps}


# -- Numbers ---------------------------------------------------------------------


@pytest.mark.usefixtures("lab")
def test_the_results_count_what_the_steps_left(rig: Path, tmp_path: Path) -> None:
    results = go(tmp_path, config(rig, seeds=(0, 1)))
    rows = {(row["arm"], row["seed"], row["round"]): row for row in results["rows"]}
    last = rows["dexhil", 1, 2]
    assert (last["successes"], last["trials"], last["success"]) == (2, 2, [1, 1])
    # Two demonstrations of 4 s, and in two rounds two takeovers of 1.5 s each.
    assert last["human_s"] == 2 * 4.0 + 4 * 1.5
    # In the first round, which no arm owns, the lab lets one of two trials succeed.
    assert (rows["dexhil", 1, 1]["round_takeovers"], last["round_takeovers"]) == (1, 2)
    assert (last["weights"]["intervention"], last["first_losses"]) == (2.5, [1.0])
    assert rows["offline", 0, 2]["human_s"] == 3 * 2 * 4.0
    pooled = {(entry["arm"], entry["round"]): entry for entry in results["pooled"]}
    assert (pooled["dexhil", 2]["successes"], pooled["dexhil", 2]["trials"]) == (4, 4)
    assert (pooled["warm-up", 0]["successes"], pooled["warm-up", 0]["trials"]) == (2, 4)
    after = {entry["round"]: entry for entry in results["comparisons"]}
    assert {entry["arm"] for entry in results["comparisons"]} == {"offline"}
    assert (after[2]["difference"], after[2]["seeds"]) == (0.5, [0, 1])
    assert results["cost"]["evaluate"] == {"steps": 10, "wall_s": 20.0, "cpu_s": 15.0}


@pytest.mark.usefixtures("lab")
def test_the_table_has_the_form_of_the_paper_s(rig: Path, tmp_path: Path) -> None:
    console = Console(record=True, width=80, file=io.StringIO())
    run_experiment(tmp_path, config(rig, seeds=(0, 1)), processes=1, console=console)
    said = console.export_text()
    cells = [line.split()[:4] for line in said.splitlines()]
    assert ["dexhil", "2/4", "4/4", "4/4"] in cells
    assert ["offline", "2/4", "2/4", "2/4"] in cells
    assert "[15, 85]" in said
    assert "[51, 100]" in said
    page = (tmp_path / "report.html").read_text()
    assert "<td>13</td>" in page, "the paper's numbers stand beside"


# -- Processes --------------------------------------------------------------------


BOSS = """
import os, signal, time
from dexhil.integration.experiment.workers import workers
if __name__ == "__main__":
    with workers(1) as pool:
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 60.0).result()
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_at_once_with_whoever_they_work_for(tmp_path: Path, how: int) -> None:
    script = tmp_path / "boss.py"
    script.write_text(BOSS)
    command = [sys.executable, script]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as boss:
        assert boss.stdout is not None
        worker = Path(f"/proc/{boss.stdout.readline().strip() or 'none'}")
        if how == signal.SIGINT:  # A terminal sends it to everybody.
            os.killpg(boss.pid, how)
        else:
            boss.send_signal(how)
        _, said = boss.communicate(timeout=30.0)
    assert "AssertionError" not in said, "a worker leaves Ctrl-C to its boss"
    for _ in range(1000):
        # Whoever adopts it may be slow to bury it.
        if not worker.exists() or "State:\tZ" in (worker / "status").read_text():
            return
        time.sleep(0.01)
    raise AssertionError("the worker goes on")


# -- One step ---------------------------------------------------------------------


def test_what_a_killed_worker_left_of_a_step_is_thrown_away_and_its_result_comes_last(
    rig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = plan(config(rig))[0]
    folder = tmp_path / step.name
    (folder / "dataset").mkdir(parents=True)
    (folder / "dataset" / "half-done").touch()

    def demonstrate(out: Path, *_: object) -> dict[str, Any]:
        assert list((out / step.name).iterdir()) == []
        (out / step.name / "dataset").mkdir()
        return {"attempts": []}

    monkeypatch.setattr(work, "_demonstrate", demonstrate)
    result = work.do_step(tmp_path, config(rig), step)
    assert json.loads((folder / RESULT).read_text()) == result
    assert {path.name for path in folder.iterdir()} == {"dataset", RESULT}


def test_a_step_that_fails_is_named_and_leaves_no_result(
    rig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def demonstrate(*_: object) -> dict[str, Any]:
        raise RunError("The operator succeeded in only 1 of 9 demonstrations.")

    step = plan(config(rig))[0]
    monkeypatch.setattr(work, "_demonstrate", demonstrate)
    with pytest.raises(RunError, match=r"^seed-0/demonstrations: The operator succeeded in only 1"):
        work.do_step(tmp_path, config(rig), step)
    assert not (tmp_path / step.name / RESULT).exists()


@pytest.mark.parametrize(
    ("policy", "message"),
    [({"widht": 32}, "no setting widht"), ({"width": 0}, "greater than or equal to 1")],
)
def test_a_wrong_setting_of_the_policy_is_named(
    rig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: Any, message: str
) -> None:
    known = FlowPolicyConfig(observations={"observation.state": 19}, action_dim=13)
    monkeypatch.setattr(work.training, "dataset_policy_config", lambda *_: known)
    with pytest.raises(RunError, match=f"policy: .*{message}"):
        work._policy_config(config(rig, policy=policy), tmp_path)


# -- The command ------------------------------------------------------------------


def test_the_command_s_defaults_are_those_of_the_experiment(
    rig: Path, tmp_path: Path, lab: Lab
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["experiment", "dexhil", "--rig", str(rig), "--out", str(tmp_path)])
    assert stop.value.code == 0
    assert read_config(tmp_path) == make_config(rig=rig)
    assert lab.done
    with pytest.raises(SystemExit) as stop:
        cli.main(["experiment", "show", str(tmp_path)])
    assert stop.value.code == 0


def test_a_misspelt_arm_ends_the_command_in_one_sentence(
    rig: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["experiment", "dexhil", "--rig", str(rig), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stop:
        cli.main([*command, "--arms", "dexhill"])
    assert stop.value.code == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("RunError: Experiment: No arm is called 'dexhill'. Known: dexhil,")
    assert not (tmp_path / "out").exists()


def test_settings_of_the_policy_come_through_the_command(
    rig: Path, tmp_path: Path, lab: Lab
) -> None:
    command = ["experiment", "dexhil", "--rig", str(rig), "--out", str(tmp_path)]
    with pytest.raises(SystemExit):
        cli.main([*command, "--policy", "width", "512", "dropout", "0.1"])
    assert read_config(tmp_path).policy == {"width": 512, "dropout": 0.1}
    assert lab.done
