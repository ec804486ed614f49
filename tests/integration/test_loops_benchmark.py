"""The benchmark of the loops runs with everything in it, and counts what it says it counts."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "loops.py"


@pytest.mark.alone
def test_loops_prints_what_either_way_of_keeping_time_makes_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = importlib.util.spec_from_file_location("benchmark_loops", BENCHMARK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.main(["--duration", "1", "--block", "1"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for way in ("ours", "sleep"):
        for loop, rate_hz in (("policy", 20), ("arm", 30), ("hand", 90)):
            (words,) = [line for line in lines if line[:2] == [way, loop] and len(line) == 8]
            ticks, missed = (int(word) for word in words[2:4])
            # The control loop ends a block between its ticks, ten a second, or when it can.
            assert ticks + missed >= rate_hz * 0.9
            assert ticks > 0
        samples = [line[1] for line in lines if line[0:1] == [way] and len(line) == 5]
        assert {"arm", "hand", "glove", "tracker", "policy", "opencv", "second"} <= set(samples)
        (drove,) = [line for line in lines if line[:2] == [way, "drove"]]
        assert "HUMAN" in drove
