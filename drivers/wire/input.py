"""Input devices of the Linux kernel: pedals, keypads, anything under ``/dev/input``."""

import os
import select
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import evdev

from dexhil.drivers.wire.evdev import EV_KEY, SIZE
from dexhil.drivers.wire.wire import Wire

CHUNK = 64 * SIZE
INPUT_GROUP = "Try: sudo usermod -aG input $USER, then log in again."


class InputWire(Wire):
    """Events of one input device, as bytes; see ``wire/evdev.py``.

    Instead of a device it takes a named pipe, whose far end writes events as the kernel does.

    Args:
        device: Path, or a part of the name that the device gives itself.
        keys: Codes that the device must have. A pedal may appear as several devices.
        grab: Whether nobody else shall get the events. Otherwise a pedal types letters.
        capture: See ``Link``.
        about: See ``Link``.
    """

    def __init__(
        self,
        device: str,
        keys: Collection[int] = (),
        *,
        grab: bool = True,
        capture: Path | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(capture, about)
        self._name, self._keys, self._grab = device, frozenset(keys), grab
        self._device: evdev.InputDevice[str] | None = None
        self._fd: int | None = None

    def __str__(self) -> str:
        return f"input device {self._name!r}"

    @property
    def silence_is_life(self) -> bool:
        """Whether hearing nothing means that all is well: the kernel reports an unplugging."""
        return self._device is not None

    def held(self) -> frozenset[int]:
        """Return the codes of the keys that are down, as far as the kernel knows."""
        return frozenset() if self._device is None else frozenset(self._device.active_keys())

    def _open(self) -> None:
        path = self._name if self._name.startswith("/") else self._find()
        try:
            if _is_pipe(path):
                self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                _drain(self._fd)
                return
            self._device = evdev.InputDevice(path)
        except PermissionError as error:
            raise ConnectionError(f"{path}: no permission. {INPUT_GROUP}") from error
        self._fd = self._device.fd
        if self._grab:
            self._device.grab()

    def _find(self) -> str:
        seen = []
        for path in evdev.list_devices():
            device = evdev.InputDevice(path)
            name, keys = device.name, frozenset(device.capabilities().get(EV_KEY, ()))
            device.close()
            if self._name.lower() in name.lower() and keys >= self._keys:
                return str(path)
            seen.append(name)
        found = f"Found: {', '.join(seen)}." if seen else f"None can be read. {INPUT_GROUP}"
        raise ConnectionError(f"no device of that name has the keys wanted. {found}")

    def _close(self) -> None:
        if self._device is not None:
            self._device.close()  # Which ends the grab as well.
        elif self._fd is not None:
            os.close(self._fd)
        self._device = self._fd = None

    def _send(self, message: bytes) -> None:
        raise ConnectionError(f"{len(message)} bytes were to be sent to what only listens")

    def _receive(self, timeout_s: float) -> bytes:
        if self._fd is None:
            raise ConnectionError("it was closed")
        if not select.select([self._fd], [], [], max(0.0, timeout_s))[0]:
            return b""
        data = os.read(self._fd, CHUNK)
        if not data:
            raise ConnectionError("it was unplugged")
        return data


def _is_pipe(path: str) -> bool:
    return stat.S_ISFIFO(os.stat(path).st_mode)


def _drain(fd: int) -> None:
    """Forget what was said to somebody else, as a device newly opened does."""
    with suppress(BlockingIOError):
        while os.read(fd, CHUNK):
            pass
