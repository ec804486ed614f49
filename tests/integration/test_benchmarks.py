"""Every benchmark of this room runs and prints a table of numbers."""

import importlib.util
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dexhil.integration import cli_retarget

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def module_of(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Dataclasses and processes look for their module there.
    spec.loader.exec_module(module)
    return module


def main_of(name: str) -> Callable[[list[str]], None]:
    main: Callable[[list[str]], None] = module_of(name).main
    return main


def table(text: str, label: str) -> list[list[str]]:
    """The lines that begin with ``label``, without it, as words."""
    lines = [line for line in text.splitlines() if line.startswith(label)]
    return [line.removeprefix(label).split() for line in lines]


def test_simulation_prints_speeds_and_where_the_time_goes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main_of("simulation")(["--n", "1", "--rigs", "fr3_inspire", "--no-cameras"])
    printed = capsys.readouterr().out
    *speeds, parts = table(printed, "fr3_inspire")
    assert len(speeds) == 3
    assert all(float(speed[-2].removesuffix("x")) > 0.0 for speed in speeds)
    *spent, together = (float(word) for word in parts)
    assert min(spent) > 0.0
    assert sum(spent) == pytest.approx(together, abs=0.1 * len(spent))


def test_takeover_prints_jumps_within_the_aim_beside_those_of_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main_of("takeover")(["--n", "3", "--paces", "1", "--rigs", "ur5e_leap"])
    printed = capsys.readouterr().out
    assert printed.startswith("3 takeovers")
    largest = {
        (change, jump): float(table(printed, f"takeover, {change:12} {jump}")[0][2])
        for change in ("ours", "hard switch", "1 s slide")
        for jump in ("hand rad", "arm mm", "arm deg")
    }
    for jump, aim in (("hand rad", 0.005), ("arm mm", 0.5), ("arm deg", 0.2)):
        assert largest["ours", jump] <= aim
        assert largest["hard switch", jump] > aim
        assert largest["1 s slide", jump] > aim


def test_takeover_on_threads_prints_latencies_and_jumps_within_the_aim(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main_of("takeover")(["--threads", "--n", "2", "--paces", "2"])
    printed = capsys.readouterr().out
    for part in ("arm", "hand"):
        (words,) = table(printed, f"press to first command {part} ms")
        assert float(words[0]) > 0.0
    for change in ("takeover, ours", "hand back, ours"):
        for jump, aim in (("hand rad", 0.005), ("arm mm", 0.5), ("arm deg", 0.2)):
            assert float(table(printed, f"{change:22} {jump}")[0][2]) <= aim


@pytest.mark.parametrize("task", ["plush", "tissue"])
def test_task_prints_rates_and_drift(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--n", "1", "--careless", "1", "--still", "1"]
    main_of("task")(["--task", task, *few, "--rigs", "ur5e_leap"])
    (words,) = table(capsys.readouterr().out, "ur5e_leap")
    rates = [word for word in words if "/" in word]
    assert [rate.split("/")[1] for rate in rates] == ["1"] * 4
    length_mm, angle_deg = (float(words[i]) for i in (-4, -2))
    assert 0.0 <= length_mm <= 1.0
    assert 0.0 <= angle_deg <= 1.0


def test_parsers_are_fed_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main_of("parsers")(["--n", "3000", "--jobs", "1"])
    printed = capsys.readouterr().out
    assert stop.value.code == 0, printed
    assert "16 parsers, 0 failed" in printed
    (words,) = table(printed, "eb90")
    assert int(words[0].replace(",", "")) >= 3000


def test_a_parser_that_raises_or_lies_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("parsers")
    healthy = module.targets()["eb90"]

    def raising() -> Callable[[bytes], list[object]]:
        return lambda data: [1 // (len(data) % 7)]

    bad = {
        "raises": module.Target(raising, [b"12345"], lambda _: True),
        "lies": module.Target(healthy.new, healthy.healthy, lambda _: False),
        "deaf": module.Target(lambda: lambda _: [], healthy.healthy, lambda _: True),
    }
    monkeypatch.setattr(module, "targets", lambda: bad)
    assert "ZeroDivisionError" in module.examine("raises", 2000, 0).crash
    assert module.examine("lies", 2000, 0).wrong > 0
    assert "does not understand a healthy frame" in module.examine("deaf", 2000, 0).crash


def test_rates_prints_a_line_per_device(capsys: pytest.CaptureFixture[str]) -> None:
    main_of("rates")(["--devices", "leap", "manus", "--seconds", "1", "--skip-together"])
    printed = capsys.readouterr().out
    for device, wanted in (("leap", 90), ("manus", 60)):
        (words,) = table(printed, device)
        assert int(words[0]) == wanted
        assert float(words[1]) > 0


def test_retargeting_is_measured_as_the_command_does(monkeypatch: pytest.MonkeyPatch) -> None:
    module, asked = module_of("retarget"), dict[str, Any]()
    monkeypatch.setattr(module, "bench", lambda **options: asked.update(options))
    monkeypatch.setattr(sys, "argv", ["retarget"])
    module.main()
    assert asked["methods"] == inspect.signature(cli_retarget.bench).parameters["methods"].default


@pytest.mark.alone  # A device that another test starves is rightly held.
def test_the_fault_matrix_tells_who_holds_and_who_does_not(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cells = tmp_path / "cells.json"
    arguments = ["--drivers", "leap", "quest", "--faults", "unplug", "twice", "p-stop", "--jobs=1"]
    with pytest.raises(SystemExit) as stop:
        main_of("fault_matrix")([*arguments, "--out", str(cells)])
    printed = capsys.readouterr().out
    assert stop.value.code == 0, printed
    assert "4 cells tested, 0 with a problem" in printed
    (words,) = table(printed, "leap        ")
    assert words[0] == "fault"
    assert words[2:] == ["works", "(e)"]
    assert len(json.loads(cells.read_text())) == 6


def test_a_driver_that_goes_on_regardless_has_a_problem_in_the_matrix() -> None:
    module = module_of("fault_matrix")
    watch = module.Watch.__new__(module.Watch)
    watch.faulted_s, watch.set_points = None, []
    watch.stamps = [100.0 + 0.01 * i for i in range(200)]
    watch.looks = [(stamp_s + 0.005, stamp_s) for stamp_s in watch.stamps]
    assert module.judge(watch, 100.5, 0.1) == ("works", 0.0)
    watch.looks = [(now_s, min(stamp_s, 100.6)) for now_s, stamp_s in watch.looks]
    verdict, after_s = module.judge(watch, 100.5, 0.1)
    assert verdict == "held"
    assert after_s == pytest.approx(0.1)


def test_arm_prints_who_follows_and_who_collides(capsys: pytest.CaptureFixture[str]) -> None:
    main_of("arm")(["--arms", "fr3", "--seconds", "3"])
    printed = capsys.readouterr().out
    rows = {way: table(printed, f"fr3    {way}")[0] for way in ("ours", "mink", "DLS")}
    mean_mm, max_mm, late_ms, hardest, itself_mm, table_mm, *_ = map(float, rows["ours"])
    assert mean_mm <= max_mm < 1.0
    assert abs(late_ms) <= 2.0
    assert hardest <= 20.0
    assert min(itself_mm, table_mm) >= 5.0
    assert all(float(rows[way][4]) < 0.0 and float(rows[way][5]) < 0.0 for way in ("mink", "DLS"))
