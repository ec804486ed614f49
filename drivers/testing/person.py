"""A person at the bench, where there is no program to do it."""

from typing import Any

import pytest

from dexhil.drivers.emulators import RemoteFaults
from dexhil.drivers.faults import Faults
from dexhil.drivers.registry import AnyDevice


class Person:
    """Somebody who pulls the cable when asked. Knows no other fault."""

    def __init__(self, device: AnyDevice) -> None:
        self._device = device

    def unplug(self) -> None:
        """Ask for the cable to be pulled, and wait until it is."""
        input(f"\nPull the cable of {self._device}, then press Enter: ")

    def clear(self) -> None:
        """Ask for the cable to be put back, and wait until it is."""
        input(f"\nPlug {self._device} in again, then press Enter: ")

    def __getattr__(self, name: str) -> Any:
        pytest.skip(f"a person cannot {name} {self._device}")


AnyFaults = Faults[Any] | RemoteFaults | Person  # Whatever can hurt a device.
