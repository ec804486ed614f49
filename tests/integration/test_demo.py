"""The demo in small: everything it promises is there."""

import json
from pathlib import Path

import av
import pytest
from rich.console import Console

from dexhil.integration.demo import QUICK, run_demo
from dexhil.policy.checkpoint import Checkpoint
from dexhil.policy.episodes import DatasetReader, check

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(240)
def test_the_demo_leaves_datasets_checkpoints_film_report_and_result(tmp_path: Path) -> None:
    console = Console(record=True, width=120)
    result = run_demo(tmp_path, seed=1, console=console, size=QUICK)

    assert len(DatasetReader(tmp_path / "demonstrations")) == QUICK.demonstrations
    assert check(tmp_path / "demonstrations") == []
    assert check(tmp_path / "takeovers") == []
    first, second = (Checkpoint.load(tmp_path / name) for name in ("warm-up", "round-1"))
    assert second.training["rounds"] == 2
    assert second.config == first.config

    assert json.loads((tmp_path / "result.json").read_text()) == json.loads(json.dumps(result))
    names = [stage["name"] for stage in result["stages"]]
    assert names == ["warm-up", "round 1"]
    assert result["stages"][1]["intervention_share"] > 0
    assert {row[0] for row in result["timing"]} == {"policy", "arm", "hand"}

    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for stage in result["stages"]:
        assert f"{stage['successes']} of {stage['trials']} starts" in page
    assert "data:video/mp4;base64," in page
    with av.open(str(tmp_path / "takeover.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) > 40
    assert "report.html" in console.export_text()


def test_the_demo_rig_is_the_one_in_rigs() -> None:
    shipped = ROOT / "integration" / "demo_rig.toml"
    assert shipped.read_text() == (ROOT / "rigs" / "sim_fr3_inspire.toml").read_text()
