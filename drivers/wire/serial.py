"""Serial ports, pseudo-terminals included."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import serial

from dexhil.drivers.wire.wire import Wire

CHUNK = 4096
WRITE_S = 0.5  # A port that takes nothing for this long is stuck [s].


class SerialWire(Wire):
    """A serial port, 8N1.

    Args:
        port: Path of the port, e.g. ``/dev/ttyUSB0``.
        baud: Rate [bit/s].
        capture: See ``Link``.
        about: See ``Link``.
    """

    def __init__(
        self,
        port: str,
        baud: int,
        *,
        capture: Path | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(capture, about)
        self.port = port
        self._baud = baud
        self._serial: serial.Serial | None = None

    def __str__(self) -> str:
        return f"serial port {self.port}"

    def _open(self) -> None:
        # Exclusive: two programs on one port each get half of every answer.
        self._serial = serial.Serial(
            self.port, self._baud, timeout=0, write_timeout=WRITE_S, exclusive=True
        )
        # FTDI adapters wait 16 ms for more; others cannot, nor can other systems than Linux.
        with suppress(ValueError, OSError, NotImplementedError):
            self._serial.set_low_latency_mode(True)
        self._serial.reset_input_buffer()

    def _close(self) -> None:
        if self._serial is not None:
            self._serial.close()
            self._serial = None

    def _send(self, message: bytes) -> None:
        self._port().write(message)

    def _receive(self, timeout_s: float) -> bytes:
        port = self._port()
        port.timeout = timeout_s
        # Wait for the first byte only, then take what has come by then.
        first: bytes = port.read(1)
        return first + port.read(min(port.in_waiting, CHUNK)) if first else b""

    def _port(self) -> serial.Serial:
        if self._serial is None:
            raise ConnectionError("it was closed")
        return self._serial
