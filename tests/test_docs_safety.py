"""docs/safety.md says what is true: its tests exist, and its numbers are the defaults."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from dexhil.teleop.config import TeleopConfig

ROOT = Path(__file__).resolve().parents[1]
SHEET = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
PROOFS = sorted(set(re.findall(r"`(test_\w+\.py)::(\w+)`", SHEET)))
NUMBERS = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", SHEET, flags=re.MULTILINE)


@pytest.mark.parametrize(("file", "name"), PROOFS)
def test_every_proof_is_a_test(file: str, name: str) -> None:
    (path,) = (ROOT / "tests").rglob(file)
    text = path.read_text(encoding="utf-8")
    assert f"def {name}(" in text or f"\n{name} = " in text


def test_every_number_is_a_default() -> None:
    defaults = {option.name: str(option.default) for option in fields(TeleopConfig)}
    assert len(NUMBERS) > 20
    for option, said in NUMBERS:
        assert defaults[option] == said, option


def test_every_bound_of_the_runtime_is_in_the_sheet() -> None:
    bounds = {
        option.name
        for option in fields(TeleopConfig)
        if option.name.endswith(("_max_age_s", "_rad", "_speed", "_rate", "frozen_s", "_per_s"))
        and option.name != "bleed_rate"
    }
    assert bounds <= {option for option, _ in NUMBERS}
