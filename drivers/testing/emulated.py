"""The suites against an emulator: the real driver and its real client library, no hardware.

    class TestLeap(Emulated, HandConformance):
        emulator = "leap"

One process serves the whole class and is reset before every test. Its knobs are the
``faults`` of the suites, so that nothing is left out.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from dexhil.drivers.emulators import EmulatorProcess, RemoteFaults
from dexhil.drivers.registry import AnyDevice, RigEntry
from dexhil.drivers.testing.plugin import lent


class Emulated:
    """Stands before the suite of a kind.

    Attributes:
        emulator: Name under ``dexhil.emulator``.
        driver: Name of the driver; the emulator's own choice when empty.
        options: Further options of the rig file's table.
    """

    emulator: ClassVar[str]
    driver: ClassVar[str] = ""
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(scope="class")
    @classmethod
    def process(cls) -> Iterator[EmulatorProcess]:
        """The emulator's process."""
        with EmulatorProcess(cls.emulator) as process:
            yield process

    @pytest.fixture
    def faults(self, process: EmulatorProcess) -> RemoteFaults:
        """The knobs of the emulator."""
        return process.faults

    @pytest.fixture
    def device(
        self, request: pytest.FixtureRequest, process: EmulatorProcess
    ) -> Iterator[AnyDevice]:
        """A device that is not connected yet. Checked for hidden faults afterwards."""
        process.tell("reset")
        entry = RigEntry(
            kind=process.kind,
            name="emulated",
            driver=self.driver or process.driver,
            options={**process.options, **self.options},
        )
        device = entry.build()
        with lent(device, request):
            yield device
