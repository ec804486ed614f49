"""The emulator that a test module names with ``EMULATOR``, and the drivers that talk to it.

A suite that stands behind ``Emulated`` brings a ``process`` of its own.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.registry import AnyDevice, RigEntry


@pytest.fixture(scope="module")
def process(request: pytest.FixtureRequest) -> Iterator[EmulatorProcess]:
    """One process for the whole module."""
    with EmulatorProcess(request.module.EMULATOR) as process:
        yield process


@pytest.fixture
def emulator(process: EmulatorProcess) -> EmulatorProcess:
    """The process, as if it had just started."""
    process.tell("reset")
    return process


@pytest.fixture
def make(emulator: EmulatorProcess) -> Iterator[Callable[..., AnyDevice]]:
    """Build a driver as a rig file with these options would: ``make(side="left")``."""
    with ExitStack() as stack:

        def build(process: EmulatorProcess = emulator, **options: Any) -> AnyDevice:
            table = {**process.options, **options}
            device = RigEntry(process.kind, process.name, process.driver, table).build()
            stack.callback(device.disconnect)
            return device

        yield build


@pytest.fixture
def enabled(make: Callable[..., Any]) -> Any:
    """The driver, ready to move."""
    device = make()
    device.connect()
    device.enable()
    return device
