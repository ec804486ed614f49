"""Every fault is drilled once on a simulated rig; and a runtime that is worse does not pass."""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dexhil.integration.drill import simulated
from dexhil.integration.drill.drill import Outcome, check_data, run
from dexhil.integration.drill.series import Series, run_series
from dexhil.integration.drill.simulated import SimStage
from dexhil.integration.drill.tape import Tape
from dexhil.integration.recorder import Recorder
from dexhil.teleop.authority import Authority
from dexhil.teleop.config import TeleopConfig
from dexhil.teleop.follower import Follower
from dexhil.teleop.safety import Limited, Limiter

ROOT = Path(__file__).parents[2]
RIG = ROOT / "rigs" / "sim_ur5e_leap.toml"


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """One drill of each fault."""
    series = Series(kind="simulated", rig=RIG, drills=[(name, 3) for name in simulated.FAULTS])
    return {outcome.fault: outcome for outcome in run_series(series)}


@pytest.mark.parametrize("fault", simulated.FAULTS)
def test_whatever_breaks_the_robot_is_held_and_taken_again_and_nothing_is_lost(
    outcomes: dict[str, Outcome], fault: str
) -> None:
    outcome = outcomes[fault]
    assert outcome.problems == []
    assert (outcome.detected_s is not None) is simulated.FAULTS[fault].holds
    assert 0.0 < outcome.step <= 1.0 + 1e-6
    assert outcome.episode is not None


def test_the_same_seed_gives_the_same_drill(outcomes: dict[str, Outcome]) -> None:
    (again,) = run_series(Series(kind="simulated", rig=RIG, drills=[("cube flipped", 3)]))
    # But for the rounding of a clock that began earlier.
    before = outcomes["cube flipped"]
    assert (again.who, again.reason) == (before.who, before.reason)
    assert again.detected_s == pytest.approx(before.detected_s, abs=1e-6)
    assert again.outside_m == pytest.approx(before.outside_m, abs=1e-6)


# -- A drill must be able to fail ------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("drills") / "data"


@pytest.fixture(scope="module")
def stage(root: Path) -> Iterator[SimStage]:
    with SimStage.opened(RIG, root) as opened:
        yield opened


@pytest.fixture
def problems(stage: SimStage) -> Callable[..., str]:
    """Runs a drill and returns what is wrong with it."""

    def drill(fault: str, seed: int = 0) -> str:
        outcome = Outcome(fault=fault, rig="ur5e_leap", kind="simulated", seed=seed)
        run(stage, simulated.FAULTS[fault], outcome)
        return "; ".join(outcome.problems)

    return drill


def test_a_runtime_that_trusts_old_samples_does_not_pass(tmp_path: Path) -> None:
    with SimStage.opened(RIG, tmp_path / "data", glove_max_age_s=60.0) as stage:
        outcome = Outcome(fault="glove stale", rig="", kind="simulated", seed=0)
        run(stage, simulated.FAULTS["glove stale"], outcome)
    assert "not noticed within" in outcome.problems[0]


def test_a_runtime_that_does_not_hold_does_not_pass(
    problems: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Authority, "doubt", lambda *_: None)
    assert "not noticed within" in problems("glove NaN")


def test_a_runtime_that_says_nothing_useful_does_not_pass(
    problems: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    doubt = Authority.doubt
    monkeypatch.setattr(Authority, "doubt", lambda self, _: doubt(self, "something is wrong"))
    assert "does not say what broke" in problems("camera stale")


def test_a_runtime_that_creeps_while_it_holds_does_not_pass(
    problems: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    obey = Follower._obey
    monkeypatch.setattr(
        Follower, "_obey", lambda self, drive, command: obey(self, drive, command + 1e-9)
    )
    said = problems("policy dead")
    assert "arm was told something else" in said
    assert "moved in the very tick in which it was to be held" in said
    assert "went on by itself" in said


def test_a_runtime_that_hesitates_does_not_pass(
    problems: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    doubt = Authority.doubt
    unheard: list[str] = []

    def late(self: Authority, reason: str) -> None:
        if len(unheard) > 6:
            doubt(self, reason)
        unheard.append(reason)

    monkeypatch.setattr(Authority, "doubt", late)
    assert "noticed after" in problems("arm p-stop", 1)


def test_a_runtime_that_goes_on_by_itself_does_not_pass(
    stage: SimStage, problems: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clear = stage.clear

    def mend_and_go_on() -> None:
        clear()
        stage.press("start")

    monkeypatch.setattr(stage, "clear", mend_and_go_on)
    assert "went on by itself once it was mended" in problems("cube teleports")


def test_a_runtime_that_is_too_fast_does_not_pass(
    problems: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hurry(self: Limiter, target: Any, last: Any, *_: Any) -> Limited:
        return Limited(last + 1.01 * self._max_step * np.sign(target - last))

    monkeypatch.setattr(Limiter, "limit", hurry)
    assert "a step of 1.010 of what is allowed" in problems("stop stuck")


@pytest.mark.parametrize("joint", [4.0, np.nan, np.inf])
def test_a_command_out_of_range_does_not_pass(stage: SimStage, joint: float) -> None:
    tape = Tape.of("arm", stage.rig.arm.spec, stage.config)
    tape.note(0.0, np.zeros(6))
    assert tape.violations() == []
    tape.note(0.1, np.array([0.0, 0.0, joint, 0.0, 0.0, 0.0]))
    assert "rad out of range" in tape.violations()[0]


def test_a_runtime_whose_palm_leaves_its_box_does_not_pass(
    stage: SimStage, problems: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = TeleopConfig(workspace_low=(0.0, 0.0, 0.0), workspace_high=(0.1, 0.1, 0.1))
    monkeypatch.setattr(stage, "palm", _OtherBox(stage.palm, small))
    assert "mm outside its box" in problems("stop stuck")


def test_a_runtime_that_comes_too_near_to_itself_does_not_pass(
    stage: SimStage, problems: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "config", replace(stage.config, arm_margin=0.2))
    assert "mm from what it must not touch" in problems("stop stuck")


class _OtherBox:
    """Judges by another box than the one that was kept."""

    def __init__(self, palm: Any, config: TeleopConfig) -> None:
        self._palm, self._config = palm, config

    def outside_m(self, tape: Any, _: TeleopConfig) -> float:
        return float(self._palm.outside_m(tape, self._config))


def test_a_jump_when_it_is_taken_again_does_not_pass(
    problems: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    obey = Follower._obey
    stretches: dict[int, int] = {}

    def jump(self: Follower, drive: Any, command: Any) -> None:
        part = id(self)
        if stretches.get(part) != drive.stretches[0]:
            stretches[part] = drive.stretches[0]
            command = command + 1e-3
        obey(self, drive, command)

    monkeypatch.setattr(Follower, "_obey", jump)
    assert "jumped by 1.00e-03 rad when it was taken again" in problems("switch silent")


def test_frames_that_are_lost_or_changed_do_not_pass(
    stage: SimStage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, n = Recorder.write, [0]

    def forgetful(self: Recorder, frame: Any) -> None:
        n[0] += 1
        if n[0] % 10:
            write(self, frame)

    changed = Outcome(fault="stop stuck", rig="ur5e_leap", kind="simulated", seed=2)
    run(stage, simulated.FAULTS["stop stuck"], changed)
    assert changed.episode is not None
    others = stage.frames
    others.executed[3] = others.executed[3] + 1e-3
    outcome = Outcome(fault="stop stuck", rig="ur5e_leap", kind="simulated", seed=0)
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "write", forgetful)
        run(stage, simulated.FAULTS["stop stuck"], outcome)
    assert outcome.problems == []
    assert outcome.episode is not None
    lost = Outcome(fault="stop stuck", rig="ur5e_leap", kind="simulated", seed=1, episode=None)
    kept = {outcome.episode: stage.frames, changed.episode: others}
    check_data(root, [outcome, lost, changed], kept)
    assert changed.problems == ["the rows hold other commands than were executed"]
    frames = len(stage.frames.stamps_s)
    assert f"{frames - frames // 10} rows of {frames} frames" in outcome.problems
    assert lost.problems == ["the attempt was lost"]


# -- The benchmark, and the rig with wires -----------------------------------------------------


def test_the_benchmark_prints_the_matrix_and_fails_where_a_drill_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = importlib.util.spec_from_file_location(
        "benchmark_fault_drill", ROOT / "benchmarks" / "fault_drill.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    arguments = ["--n", "1", "--kinds", "simulated", "--rigs", "ur5e_leap", "--jobs", "1"]
    arguments += ["--faults", "glove NaN", "--out", str(tmp_path / "out.json")]

    def drilled() -> tuple[Any, list[str], str]:
        with pytest.raises(SystemExit) as ended:
            module.main(arguments)
        printed = capsys.readouterr().out
        (row,) = [line for line in printed.splitlines() if line.startswith("glove NaN")]
        return ended.value.code, row.split()[2:], printed

    code, words, _ = drilled()
    (written,) = json.loads((tmp_path / "out.json").read_text())
    assert (code, words[0]) == (0, "1/1")
    assert float(words[1]) == round(1e3 * written["detected_s"])
    monkeypatch.setattr(Authority, "doubt", lambda *_: None)
    code, words, printed = drilled()
    assert (code, words[0]) == (1, "0/1")
    assert "not noticed" in printed


@pytest.mark.alone
def test_a_rig_of_real_drivers_is_held_recovered_and_taken_again() -> None:
    drills = [("arm p-stop", 0)]
    (outcome,) = run_series(Series(kind="emulated", rig=Path("emulated"), drills=drills))
    # How soon, only a machine with nothing else to do can tell.
    assert [text for text in outcome.problems if " ms" not in text] == []
    assert outcome.detected_s is not None
    assert "protective stop" in outcome.reason
