"""A terminal, read key by key."""

import atexit
import os
import select
import termios
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dexhil.drivers.wire.wire import Wire

CHUNK = 1024
STANDARD_INPUT = 0
_INPUT, _LOCAL, _CHARACTERS = 0, 3, 6  # Places in what ``tcgetattr`` returns.
_DISABLED = b"\0"


class TerminalWire(Wire):
    """A terminal in cbreak mode: every key comes at once and is not echoed.

    Ctrl-C still interrupts. Ctrl-Z and Ctrl-S, which would stop the program while a robot
    is enabled, do nothing. The modes found are restored by ``close``, and when the
    interpreter ends in whatever way Python notices.

    Args:
        path: The terminal; that of the standard input when ``None``.
        capture: See ``Link``.
        about: See ``Link``.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        capture: Path | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(capture, about)
        self._path = path
        self._fd: int | None = None
        self._found: list[Any] | None = None

    def __str__(self) -> str:
        return f"terminal {self._path or 'of the standard input'}"

    def _open(self) -> None:
        path = self._path or os.ttyname(STANDARD_INPUT)
        # A descriptor of our own: its flags are not shared with anybody's standard output.
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        _require_foreground(self._fd)
        try:
            self._found = termios.tcgetattr(self._fd)
            termios.tcsetattr(self._fd, termios.TCSANOW, _cbreak(self._fd))
            # Keys pressed before now were meant for somebody else.
            termios.tcflush(self._fd, termios.TCIFLUSH)
        except termios.error as error:  # Which is no OSError.
            raise ConnectionError(f"it is no terminal: {error.args[-1]}") from error
        atexit.register(self._restore)

    def _close(self) -> None:
        self._restore()
        atexit.unregister(self._restore)
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _restore(self) -> None:
        found, self._found = self._found, None
        if found is None or self._fd is None:
            return
        with suppress(termios.error):  # The terminal may be gone.
            # What nobody read shall not land in the shell.
            termios.tcflush(self._fd, termios.TCIFLUSH)
            termios.tcsetattr(self._fd, termios.TCSANOW, found)

    def _send(self, message: bytes) -> None:
        fd = self._descriptor()
        # A stalled network connection must not stall the thread as well: rather say nothing.
        if select.select([], [fd], [], 0.0)[1]:
            os.write(fd, message)

    def _receive(self, timeout_s: float) -> bytes:
        fd = self._descriptor()
        if not select.select([fd], [], [], max(0.0, timeout_s))[0]:
            return b""
        data = os.read(fd, CHUNK)
        if not data:
            raise ConnectionError("it was hung up")
        return data

    def _descriptor(self) -> int:
        if self._fd is None:
            raise ConnectionError("it was closed")
        return self._fd


def _cbreak(fd: int) -> list[Any]:
    modes = termios.tcgetattr(fd)
    modes[_INPUT] &= ~(termios.IXON | termios.ISTRIP)
    modes[_LOCAL] &= ~(termios.ECHO | termios.ICANON)
    modes[_LOCAL] |= termios.ISIG
    modes[_CHARACTERS] = list(modes[_CHARACTERS])
    modes[_CHARACTERS][termios.VMIN] = 1
    modes[_CHARACTERS][termios.VTIME] = 0
    modes[_CHARACTERS][termios.VSUSP] = _DISABLED
    return modes


def _require_foreground(fd: int) -> None:
    try:
        foreground = os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:  # Not the terminal that controls this program: anybody may read it.
        return
    if not foreground:  # The kernel would stop the whole program at the first read.
        raise ConnectionError("the program runs in its background; bring it to the front with fg")
