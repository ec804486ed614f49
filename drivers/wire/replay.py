"""A captured wire, played back: the device's half of the talk, at the times it was recorded."""

import time
from pathlib import Path

from dexhil.drivers.wire.capture import Message, read_capture
from dexhil.drivers.wire.wire import Wire


class ReplayWire(Wire):
    """Plays the incoming messages of a capture. What is sent to it is kept in ``sent``.

    Args:
        path: The capture.
        paced: Whether to keep the recorded times. Otherwise each message comes at once.
    """

    def __init__(self, path: Path, *, paced: bool = True) -> None:
        super().__init__()
        self.path = path
        self.sent: list[bytes] = []
        self._paced = paced
        self._messages: list[Message] = []
        self._start_s = 0.0

    def __str__(self) -> str:
        return f"capture {self.path}"

    def _open(self) -> None:
        capture = read_capture(self.path)
        self._messages = [message for message in capture.messages if message.incoming]
        self._messages.reverse()  # The next one is popped from the end.
        self._start_s = time.monotonic()

    def _close(self) -> None:
        self._messages = []

    def _send(self, message: bytes) -> None:
        self.sent.append(message)

    def _receive(self, timeout_s: float) -> bytes:
        if not self._messages:
            self._closed.wait(timeout_s)
            return b""
        if self._paced:
            wait_s = self._start_s + self._messages[-1].time_s - time.monotonic()
            self._closed.wait(max(0.0, min(timeout_s, wait_s)))
            if wait_s > timeout_s:
                return b""
        return self._messages.pop().data
