"""Drivers that only a test knows, registered as an installed package would."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from dexhil.drivers import registry
from dexhil.drivers.camera import Camera
from dexhil.drivers.glove import Glove
from dexhil.drivers.hand import Hand
from dexhil.drivers.registry import AnyDevice
from dexhil.drivers.switch import Switch
from dexhil.drivers.tracker import Tracker

Register = Callable[..., None]
CONTRACTS = {
    "hand": Hand,
    "glove": Glove,
    "tracker": Tracker,
    "camera": Camera,
    "switch": Switch,
}


@dataclass(frozen=True)
class FakeEntry:
    """What ``registry`` needs from an entry point."""

    group: str
    name: str
    value: str
    loads: Callable[[], type]

    def load(self) -> type:
        return self.loads()


class FakeEntries(tuple[FakeEntry, ...]):
    """What ``importlib.metadata.entry_points`` returns."""

    __slots__ = ()

    @property
    def names(self) -> set[str]:
        return {entry.name for entry in self}


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Register:
    """Replace the installed drivers: ``register("hand", "acme", AcmeHand)``."""
    entries: list[FakeEntry] = []

    def entry_points(*, group: str, name: str | None = None) -> FakeEntries:
        return FakeEntries(e for e in entries if e.group == group and name in (None, e.name))

    monkeypatch.setattr(registry, "entry_points", entry_points)

    def add(
        kind: str,
        name: str,
        driver: type | None = None,
        *,
        value: str = "acme:Device",
        loads: Callable[[], type] | None = None,
    ) -> None:
        entries.append(
            FakeEntry(f"dexhil.{kind}", name, value, loads or (lambda: driver or object))
        )

    return add


@dataclass(frozen=True)
class Outcomes:
    """How many tests ended how."""

    passed: int
    skipped: int
    failed: int


@pytest.fixture
def run_suite(pytester: pytest.Pytester, register: Register) -> Callable[..., Outcomes]:
    """Test a driver as an outside package would: ``run_suite(AcmeHand, "-k", "x")``."""

    def run(driver: type[AnyDevice], *options: str) -> Outcomes:
        kind = next(kind for kind, contract in CONTRACTS.items() if issubclass(driver, contract))
        suite = f"{kind.capitalize()}Conformance"
        register(kind, "acme", driver)
        rig = pytester.makefile(".toml", rig=f'[{kind}.one]\ndriver = "acme"\n')
        test = pytester.makepyfile(
            f"from dexhil.drivers.testing import {suite}\n\nclass TestAcme({suite}):\n    pass\n"
        )
        arguments = ["--rig", str(rig), "-p", "no:cacheprovider", "-W", "error", *options]
        return Outcomes(*pytester.inline_run(str(test), *arguments).countoutcomes())

    return run
