"""TCP, of which we are the server: some devices want to be the client."""

import select
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dexhil.drivers.wire.wire import Wire

CHUNK = 65536


class TcpListeningWire(Wire):
    """What the last client to connect sends. One that goes away may come back.

    Args:
        port: Port to listen on.
        host: Address of this machine to listen on; ``0.0.0.0`` for all.
        capture: See ``Link``.
        about: See ``Link``.
    """

    def __init__(
        self,
        port: int,
        host: str = "0.0.0.0",  # noqa: S104  # Headsets come through Wi-Fi.
        *,
        capture: Path | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(capture, about)
        self.port, self._host = port, host
        self._server: socket.socket | None = None
        self._client: socket.socket | None = None

    def __str__(self) -> str:
        return f"TCP port {self.port}"

    def _open(self) -> None:
        self._server = socket.create_server((self._host, self.port))
        self._server.setblocking(False)

    def _close(self) -> None:
        self._hang_up()
        if self._server is not None:
            self._server.close()
            self._server = None

    def _send(self, message: bytes) -> None:
        if self._client is None:
            raise ConnectionError("nobody is connected")
        self._client.sendall(message)

    def _receive(self, timeout_s: float) -> bytes:
        if self._server is None:
            raise ConnectionError("it was closed")
        sockets = [self._server, *([self._client] if self._client else [])]
        ready, _, _ = select.select(sockets, [], [], max(0.0, timeout_s))
        if self._server in ready:
            # The newest one: an app that crashed never said goodbye to its old connection.
            self._hang_up()
            self._client, _ = self._server.accept()
            self._client.setblocking(False)
            return b""
        if self._client is None or self._client not in ready:
            return b""
        try:
            data = self._client.recv(CHUNK)
        except OSError:
            data = b""
        if not data:
            self._hang_up()
        return data

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
