"""Rigs and checkpoints that integration tests share."""

from pathlib import Path

import pytest

from dexhil.teleop import realtime

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _others_run_beside(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Physics of one test that went before everything would starve the emulators of another."""
    if request.node.get_closest_marker("alone") is None:
        monkeypatch.setattr(realtime, "_schedule", lambda *_: False)
        monkeypatch.setattr(realtime, "claim_priority", lambda _: True)


@pytest.fixture
def rig() -> Path:
    return ROOT / "rigs" / "sim_fr3_inspire.toml"


@pytest.fixture
def edited_rig(rig: Path, tmp_path: Path):
    """Return the rig file with one text replaced."""

    def edit(old: str, new: str) -> Path:
        text = rig.read_text(encoding="utf-8")
        assert old in text
        path = tmp_path / "edited.toml"
        path.write_text(text.replace(old, new), encoding="utf-8")
        return path

    return edit
