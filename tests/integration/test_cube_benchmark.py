"""The benchmark of the cube's tracker runs, and this project's way is within its limits."""

import importlib.util
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dexhil.teleop.cube import Intrinsics

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def _loaded(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Dataclasses look for their module there.
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def module() -> Any:
    return _loaded(BENCHMARKS / "cube.py")


def test_cube_prints_errors_within_the_limits_beside_those_of_others(
    module: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert module.main(["--n", "3"]) == 0
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
    *_, lost, phantoms = printed.splitlines()
    assert lost.split() == ["lost", "1", "2"]
    assert re.fullmatch("phantoms +0 in 4 images without a cube", phantoms)


GOOD = {"frames": 100, "mm": [0.2] * 99, "degrees": [0.1] * 99, "lost": [2]}


@pytest.mark.parametrize(
    ("way", "change", "message"),
    [
        ("tracked", {"mm": [0.2] * 85}, "% not found: 15.00, allowed 10"),
        ("tracked", {"mm": [], "degrees": []}, "mm median: nan, allowed 1"),
        ("tracked", {"mm": [0.2] * 97 + [9.0] * 2}, "mm 99th: 9.00, allowed 5"),
        ("tracked", {"degrees": [0.1] * 98 + [11.0]}, "flips: 1.00, allowed 0"),
        ("tracked", {"phantoms": 1}, "phantoms: 1.00, allowed 0"),
        ("smoothed", {"degrees": [0.1] * 98 + [11.0]}, "flips of the filter: 1.00, allowed 0"),
        ("smoothed", {"lost": [2, 3]}, "images until lost by the filter: 3.00, allowed 2"),
    ],
)
def test_one_flip_or_phantom_is_beyond_the_limits(
    module: Any, way: str, change: dict[str, Any], message: str
) -> None:
    scores = {name: module.Score(**GOOD) for name in ("tracked", "smoothed")}
    assert module.beyond(scores) == []
    scores[way] = module.Score(**{**GOOD, **change})
    assert message in module.beyond(scores)


def test_a_benchmark_beyond_its_limits_ends_with_1(
    module: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {name: module.Score(**GOOD) for name in ("tracked", "smoothed")}
    monkeypatch.setattr(module, "run", lambda *_: scores)
    assert module.main(["--n", "1"]) == 0
    scores["tracked"].phantoms = 3
    assert module.main(["--n", "1"]) == 1
    assert "BEYOND      phantoms: 3.00, allowed 0" in capsys.readouterr().out


def test_a_cube_seen_where_there_is_none_is_counted(module: Any) -> None:
    fooled: Any = SimpleNamespace(
        update=lambda *_: SimpleNamespace(), filter=SimpleNamespace(lost_reason=None)
    )
    scores = {name: module.Score() for name in ("tracked", "smoothed")}
    frames = iter([(k / 30.0, None, None) for k in range(module.EMPTY)])
    module.wave(fooled, None, frames, {}, scores)
    assert scores["tracked"].phantoms == module.EMPTY
    assert scores["smoothed"].lost == [module.EMPTY + 1]


def test_a_calibrated_cube_is_known_several_times_as_well_as_a_printed_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = _loaded(BENCHMARKS / "cube_calibration.py")
    # Small pictures, and no hand: what takes long is painting.
    monkeypatch.setattr(module, "INTRINSICS", Intrinsics.nominal(640, 360))
    monkeypatch.setattr(module, "SAMPLES", 2)
    monkeypatch.setattr(module, "print_palm", lambda *_: None)
    module.main(["--n", "1", "--turned", "22", "--swing", "0"])
    printed = capsys.readouterr().out
    corners_mm = {
        name: float(mm) for name, mm in re.findall(r"^(\w.*?) +(\S+) mm ", printed, re.MULTILINE)
    }
    assert corners_mm["exactly"] == 0.0
    assert 0.0 < corners_mm["calibrated"] < 0.3 * corners_mm["as printed"]
