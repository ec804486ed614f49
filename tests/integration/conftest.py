"""Rigs and checkpoints that integration tests share."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


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
