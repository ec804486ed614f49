"""A SpaceMouse with two buttons, behind a Unix socket that carries HID reports.

move 0.1 0 0 0 0 0.2    push and turn the cap: x y z pitch roll yaw, of full scale
"""

import contextlib
import socket
import tempfile
from pathlib import Path
from typing import Any

from dexhil.drivers.emulators.buttons import ButtonsEmulator, Reliable
from dexhil.drivers.emulators.link import CHUNK, ByteLink
from dexhil.drivers.wire.spacemouse import (
    BATTERY,
    DEFAULT_BUTTONS,
    encode_buttons,
    encode_rotation,
    encode_translation,
)

# A socket cannot say that a device is present, so the report of the battery's level does,
# which wireless models send now and then [s].
PRESENT_S = 0.02
CHARGE = 0.8


class PacketLink(Reliable, ByteLink):
    """A Unix socket of packets under a path that stays. Says everything to all who listen."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="dexhil-")
        self.path = Path(self._folder.name) / name
        self._server: socket.socket | None = None
        self._clients: list[socket.socket] = []

    def open(self) -> None:
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.bind(str(self.path))
        self._server.listen()
        self._server.setblocking(False)

    def close(self) -> None:
        if self._server is not None:
            self.path.unlink()
            self._server.close()
            self._server = None
        while self._clients:
            self._clients.pop().close()

    def descriptors(self) -> list[int]:
        return [] if self._server is None else [self._server.fileno()]

    def options(self) -> dict[str, Any]:
        return {"path": str(self.path)}

    def _hear(self) -> list[tuple[bytes, Any]]:
        if self._server is not None:
            with contextlib.suppress(BlockingIOError):
                client, _ = self._server.accept()
                client.setblocking(False)
                self._clients.append(client)
        heard = []
        for client in list(self._clients):
            with contextlib.suppress(BlockingIOError, ConnectionError):
                data = client.recv(CHUNK)
                if data:
                    heard.append((data, client))
        return heard

    def _say(self, message: bytes, client: Any) -> None:
        del client
        for each in list(self._clients):
            try:
                each.send(message)
            except BlockingIOError:
                pass  # The reader sleeps; the kernel's queue would run over as well.
            except OSError:
                self._clients.remove(each)
                each.close()


class SpaceMouseEmulator(ButtonsEmulator):
    """A SpaceMouse Compact."""

    driver = "spacemouse"

    def __init__(self, seed: int = 0) -> None:
        super().__init__(PacketLink("spacemouse"), DEFAULT_BUTTONS, seed)

    def reset(self) -> None:
        super().reset()
        self._present_at_s = self.now_s

    def pressed(self, button: str) -> None:
        del button
        self._say_buttons()

    def released(self, button: str) -> None:
        del button
        self._say_buttons()

    def control(self, verb: str, *values: str) -> None:
        if verb == "move":
            x, y, z, pitch, roll, yaw = map(float, values)
            self.say(encode_translation((x, y, z)))
            self.say(encode_rotation((pitch, roll, yaw)))
        else:
            super().control(verb, *values)

    def step(self, dt_s: float) -> None:
        if self.now_s >= self._present_at_s:
            self._present_at_s = self.now_s + PRESENT_S
            self.say(bytes([BATTERY, round(100 * CHARGE)]))
        super().step(dt_s)

    def _say_buttons(self) -> None:
        self.say(encode_buttons(DEFAULT_BUTTONS[button] for button in self.down))
