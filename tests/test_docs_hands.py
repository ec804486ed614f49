"""docs/hands.md says what the kinematic tables say."""

import re
from pathlib import Path

import pytest

from dexhil.drivers.models.kinematics import load_kinematics

HANDS = (Path(__file__).resolve().parents[1] / "docs" / "hands.md").read_text(encoding="utf-8")
SECTIONS = dict(
    re.findall(r"^### .*?\(`(\w+)`.*?\n(.*?)(?=^### |\Z)", HANDS, re.DOTALL | re.MULTILINE)
)
ROW = re.compile(r"^\| `(\S+)` \| `(\S+)` \| .*? \| (\S+) … (\S+) \|", re.MULTILINE)


@pytest.mark.parametrize("hand", ["leap", "allegro", "inspire", "shadow", "ability", "dexhand021"])
def test_every_commanded_joint_is_documented_in_order_with_its_limits(hand: str) -> None:
    kinematics = load_kinematics(hand)
    rows = ROW.findall(SECTIONS[hand])
    assert [name for name, *_ in rows] == list(kinematics.joint_names)
    for (name, urdf, low, high), limits in zip(rows, kinematics.position_limits, strict=True):
        assert urdf == kinematics.joint(name).urdf_name
        assert (float(low), float(high)) == pytest.approx(tuple(limits), rel=3e-4)
