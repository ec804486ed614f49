"""The benchmark of filters prints lag beside smoothness."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "filters.py"


def test_each_filter_has_a_row_and_more_lag_is_less_jerk(
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = importlib.util.spec_from_file_location("benchmark_filters", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(["--hands", "inspire", "--frames", "200"])
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["clip", "hand", "filter", "lag"]
    assert len(lines) == 2 * len(module.CONFIGS)
    for clip in ("glove", "camera"):
        rows = [line.split() for line in lines if line.startswith(clip)]
        figures = {row[2]: (int(row[3]), float(row[7])) for row in rows if row[2] != "average"}
        lags, jerks = zip(*(figures[name] for name in module.FILTERS), strict=True)
        assert sorted(lags) == list(lags)
        assert sorted(jerks, reverse=True) == list(jerks)
        assert lags[0] == 0
