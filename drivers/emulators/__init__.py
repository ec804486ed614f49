"""The far ends of the wires, one process each.

A driver and its real client library meet something that talks back, lies and dies like a
device, where there is no hardware.

An emulator encodes what we read in a protocol's documents. It proves that a driver does
what those documents say, never that a device does.
"""

from dexhil.drivers.emulators.emulator import Emulator
from dexhil.drivers.emulators.knobs import Knobs
from dexhil.drivers.emulators.process import EmulatorProcess, RemoteFaults

__all__ = ["Emulator", "EmulatorProcess", "Knobs", "RemoteFaults"]
