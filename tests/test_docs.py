"""docs/devices.md says what is true: rig tables build, options exist, no driver is left out."""

import re
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, cast

import pytest

from dexhil.drivers.registry import KINDS, available, load, read_rig
from dexhil.integration import cli

ROOT = Path(__file__).resolve().parents[1]
DEVICES = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
TABLES = re.findall(r"```toml\n(.*?)```", DEVICES, flags=re.DOTALL)
# Heading, then everything up to the next heading of any level.
SECTIONS = {
    (kind, driver): text
    for kind, driver, text in re.findall(
        r"^### (\w+) `(\w+)`.*?\n(.*?)(?=^##|\Z)", DEVICES, flags=re.DOTALL | re.MULTILINE
    )
}
DRIVERS = [(kind, driver) for kind in KINDS for driver in available(kind) if driver != "sim"]
ROW = re.compile(r"^\| `(\w+)` \| (.*?) \|", flags=re.MULTILINE)


@pytest.mark.parametrize("table", TABLES)
def test_every_rig_table_builds(table: str, tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    path.write_text(table, encoding="utf-8")
    entries = read_rig(path).devices
    assert entries
    for entry in entries:
        entry.build()


@pytest.mark.parametrize(("kind", "driver"), DRIVERS)
def test_every_driver_has_a_section_with_a_rig_table_of_its_own(kind: str, driver: str) -> None:
    section = SECTIONS[kind, driver]
    tables = re.findall(r"```toml\n(.*?)```", section, flags=re.DOTALL)
    named = [each["driver"] for table in tables for each in tomllib.loads(table)[kind].values()]
    assert set(named) == {driver}
    if driver != "replay":
        assert "Tested against an emulator, never on hardware." in " ".join(section.split())


def test_no_section_is_about_a_driver_that_does_not_exist() -> None:
    assert set(SECTIONS) == set(DRIVERS)


@pytest.mark.parametrize(("kind", "driver"), DRIVERS)
def test_options_and_defaults_are_those_of_the_driver(kind: str, driver: str) -> None:
    documented = dict(ROW.findall(SECTIONS[kind, driver]))
    options = fields(cast("Any", load(kind, driver)).config_type)
    assert list(documented) == [option.name for option in options]
    for option in options:
        said = documented[option.name]
        if option.default is MISSING and option.default_factory is MISSING:
            assert said == "required", option.name
        elif option.default is None:
            assert said == "none", option.name
        elif said.startswith("`"):
            assert tomllib.loads(f"value = {said.strip('`')}")["value"] == option.default


def test_every_dexhil_command_exists() -> None:
    commands = re.findall(r"\bdexhil ([a-z]+) (?:--|\w)", "\n".join(_code()))
    assert {"emulate", "doctor", "recover"} <= set(commands)
    for command in commands:
        assert hasattr(cli, command), command


def test_every_extra_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = re.findall(r"pip install 'dexhil\[(\w+)\]'", DEVICES)
    assert set(extras) <= project["optional-dependencies"].keys()
    drivers = {driver for _, driver in DRIVERS}
    assert drivers & project["optional-dependencies"].keys() <= set(extras)


def test_every_file_pointed_to_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", DEVICES):
        if not target.startswith("http"):
            assert (ROOT / "docs" / target).exists(), target


def _code() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", DEVICES, flags=re.DOTALL)
    return [*blocks, *re.findall(r"`(dexhil [^`]+)`", DEVICES)]
