"""The benchmark of the cube's tracker runs, and this project's way is within its limits."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "cube.py"


def test_cube_prints_errors_within_the_limits_beside_those_of_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = importlib.util.spec_from_file_location("benchmark_cube", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Dataclasses look for their module there.
    spec.loader.exec_module(module)
    module.main(["--n", "3"])
    printed = capsys.readouterr().out
    assert printed.startswith("3 images")
    names = ("tracked", "smoothed", "each alone", "joint", "largest")
    rows = {
        name: [
            line.removeprefix(name).split()
            for line in printed.splitlines()
            if line.startswith(name)
        ]
        for name in names
    }
    for name in ("tracked", "smoothed", "each alone"):
        ((found, mm, mm99, _, degrees, degrees99, _, flips, *_),) = rows[name]
        assert found == "100.0%"
        assert float(mm) <= 1.0
        assert float(mm99) <= 5.0
        assert float(degrees) <= 0.3
        assert float(degrees99) <= 1.5
        assert flips == "0"
    for name in ("joint", "largest"):
        ((_, mm, *_),) = rows[name]
        assert float(mm) > float(rows["tracked"][0][1])
    assert printed.splitlines()[-1].split() == ["lost", "1", "2"]
