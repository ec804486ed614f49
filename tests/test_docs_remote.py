"""docs/remote.md says what is true: its files fit a rig, its options and defaults are those."""

import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from dexhil.drivers.clock import SimClock
from dexhil.integration import cli
from dexhil.integration.recorder import rig_features
from dexhil.integration.rig import build_rig
from dexhil.policy.remote import RemoteConfig, load_remote
from dexhil.policy.remote.config import API_KEY_ENV, Entry
from dexhil.policy.remote.translation import Translation

ROOT = Path(__file__).resolve().parents[1]
REMOTE = (ROOT / "docs" / "remote.md").read_text(encoding="utf-8")
FILES = re.findall(r"```toml\n(.*?)```", REMOTE, flags=re.DOTALL)
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \|", flags=re.MULTILINE)


def test_every_file_fits_a_rig_as_it_is_shipped(tmp_path: Path) -> None:
    features = rig_features(build_rig(ROOT / "rigs" / "sim_ur5e_leap.toml", SimClock()))
    assert len(FILES) == 2
    for text in FILES:
        (tmp_path / "remote.toml").write_text(text, encoding="utf-8")
        told = Translation(load_remote(str(tmp_path / "remote.toml")), features, "lift")
        told.request(told.blank(), reset=True)


@pytest.mark.parametrize(("kind", "table"), [(RemoteConfig, 0), (Entry, 1)])
def test_options_and_defaults_are_those_of_the_code(kind: Any, table: int) -> None:
    documented = dict(ROW.findall(REMOTE.split("| key | default |")[table + 1].split("\n\n")[0]))
    options = [each for each in fields(kind) if each.name != "_"]
    assert list(documented) == [option.name for option in options]
    for option in options:
        said = documented[option.name]
        if option.default is MISSING:
            assert said == "required", option.name
        elif option.default is None:
            assert said == "none", option.name
        else:
            literal = {"true": True, "false": False, "[]": ()}
            value = literal.get(said.strip("`"), said.strip('`"'))
            assert str(value) == str(option.default), option.name


def test_every_command_exists_and_the_variable_is_the_one() -> None:
    for command in re.findall(r"^ +dexhil (\w+)", REMOTE, flags=re.MULTILINE):
        assert hasattr(cli, command), command
    assert API_KEY_ENV in REMOTE
