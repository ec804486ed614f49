"""A foot switch, behind a named pipe that carries what the kernel would write."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from dexhil.drivers.emulators.buttons import ButtonsEmulator, Reliable
from dexhil.drivers.emulators.link import ByteLink
from dexhil.drivers.wire.evdev import (
    DEFAULT_PEDALS,
    EV_KEY,
    PEDAL_CODES,
    PRESSED,
    RELEASED,
    REPORT,
    InputEvent,
    encode,
)

# A pipe cannot say that a device is present, so an empty report does [s].
PRESENT_S = 0.02


class PipeLink(Reliable, ByteLink):
    """A named pipe under a path that stays when it is plugged in again. It only talks."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="dexhil-")
        self.path = Path(self._folder.name) / name
        self._fd: int | None = None

    def open(self) -> None:
        os.mkfifo(self.path)

    def close(self) -> None:
        self.path.unlink(missing_ok=True)
        self._hang_up()

    def descriptors(self) -> list[int]:
        return []

    def options(self) -> dict[str, Any]:
        return {"device": str(self.path)}

    def _hear(self) -> list[tuple[bytes, Any]]:
        return []

    def _say(self, message: bytes, client: Any) -> None:
        del client
        try:
            if self._fd is None:  # Fails while nobody reads.
                self._fd = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
            os.write(self._fd, message)
        except BlockingIOError:
            pass  # The reader sleeps; the kernel's queue would run over as well.
        except OSError:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class PedalEmulator(ButtonsEmulator):
    """Three pedals that are the keys a, b and c."""

    driver = "pedal"

    def __init__(self, seed: int = 0) -> None:
        self._codes = {button: PEDAL_CODES[key] for key, button in DEFAULT_PEDALS.items()}
        super().__init__(PipeLink("pedal"), self._codes, seed)

    def reset(self) -> None:
        super().reset()
        self._present_at_s = self.now_s

    def pressed(self, button: str) -> None:
        self._key(button, PRESSED)

    def released(self, button: str) -> None:
        self._key(button, RELEASED)

    def step(self, dt_s: float) -> None:
        if self.now_s >= self._present_at_s:
            self._present_at_s = self.now_s + PRESENT_S
            self.say(self._report())
        super().step(dt_s)

    def _key(self, button: str, value: int) -> None:
        event = InputEvent(EV_KEY, self._codes[button], value, self.now_s)
        self.say(encode(event) + self._report())

    def _report(self) -> bytes:
        return encode(replace(REPORT, time_s=self.now_s))
