"""Every benchmark of this room runs and prints a table of numbers."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def main_of(name: str) -> Callable[[list[str]], None]:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Dataclasses look for their module there.
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[spec.name]
    main: Callable[[list[str]], None] = module.main
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
    main_of("takeover")(["--n", "3", "--rigs", "ur5e_leap"])
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


def test_task_prints_rates_and_drift(capsys: pytest.CaptureFixture[str]) -> None:
    main_of("task")(["--n", "1", "--careless", "1", "--still", "1", "--rigs", "ur5e_leap"])
    (words,) = table(capsys.readouterr().out, "ur5e_leap")
    rates = [word for word in words if "/" in word]
    assert [rate.split("/")[1] for rate in rates] == ["1"] * 4
    length_mm, angle_deg = (float(words[i]) for i in (-4, -2))
    assert 0.0 <= length_mm <= 1.0
    assert 0.0 <= angle_deg <= 1.0
