"""ZeroMQ."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zmq

from dexhil.drivers.wire.wire import Wire


class ZmqWire(Wire):
    """The pulling end of a ZeroMQ PUSH socket. It keeps only the newest message.

    Args:
        endpoint: Where the sender is bound, e.g. ``tcp://192.168.1.20:8000``.
        capture: See ``Link``.
        about: See ``Link``.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        capture: Path | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(capture, about)
        self.endpoint = endpoint
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._socket: zmq.Socket[bytes] | None = None

    def __str__(self) -> str:
        return f"ZeroMQ {self.endpoint}"

    def _open(self) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.setsockopt(zmq.CONFLATE, 1)
        self._socket.setsockopt(zmq.LINGER, 0)
        try:
            self._socket.connect(self.endpoint)
        except zmq.ZMQError as error:
            raise ConnectionError(str(error)) from error

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._context is not None:
            self._context.term()
            self._context = None

    def _send(self, message: bytes) -> None:
        del message
        raise ConnectionError("a pulling socket cannot send")

    def _receive(self, timeout_s: float) -> bytes:
        if self._socket is None:
            raise ConnectionError("it was closed")
        try:
            if not self._socket.poll(round(timeout_s * 1e3)):
                return b""
            return self._socket.recv()
        except zmq.ZMQError as error:
            raise ConnectionError(str(error)) from error
