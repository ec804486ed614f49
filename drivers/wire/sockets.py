"""TCP and UDP."""

import select
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dexhil.drivers.wire.wire import Wire

CHUNK = 65536  # The largest datagram [byte].
CONNECT_S = 2.0  # A device in the same room answers within this [s].


class _SocketWire(Wire):
    """What both share: a socket that is waited for."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        capture: Path | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(capture, about)
        self.host, self.port = host, port
        self._socket: socket.socket | None = None

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ready(self, timeout_s: float) -> socket.socket | None:
        """Return the socket once something can be read from it, ``None`` when nothing came."""
        if self._socket is None:
            raise ConnectionError("it was closed")
        try:
            readable, _, _ = select.select([self._socket], [], [], max(0.0, timeout_s))
        except ValueError as error:  # Closed by another thread while waiting.
            raise ConnectionError("it was closed") from error
        return self._socket if readable else None


class TcpWire(_SocketWire):
    """A TCP connection to ``host:port``, of which we are the client."""

    def __str__(self) -> str:
        return f"TCP {self.host}:{self.port}"

    def _open(self) -> None:
        self._socket = socket.create_connection((self.host, self.port), CONNECT_S)
        # Small packets at a high rate: never wait to gather them.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _send(self, message: bytes) -> None:
        if self._socket is None:
            raise ConnectionError("it was closed")
        self._socket.sendall(message)

    def _receive(self, timeout_s: float) -> bytes:
        ready = self._ready(timeout_s)
        if ready is None:
            return b""
        data = ready.recv(CHUNK)
        if not data:
            raise ConnectionError("the device closed the connection")
        return data


class UdpWire(_SocketWire):
    """Datagrams that arrive at a port of this machine.

    Answers go to whoever sent the last one.

    Args:
        port: Port to listen on; 0 lets the system choose, see ``port`` once open.
        host: Address of this machine to listen on; ``0.0.0.0`` for all.
        capture: See ``Link``.
        about: See ``Link``.
    """

    def __init__(
        self,
        port: int,
        host: str = "0.0.0.0",  # noqa: S104  # Headsets and studios broadcast.
        *,
        capture: Path | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(host, port, capture=capture, about=about)
        self._peer: tuple[str, int] | None = None

    def __str__(self) -> str:
        return f"UDP port {self.port}"

    def _open(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self.host, self.port))
        self.port = self._socket.getsockname()[1]

    def _send(self, message: bytes) -> None:
        if self._socket is None or self._peer is None:
            raise ConnectionError("nobody has sent anything yet, so there is nobody to answer")
        self._socket.sendto(message, self._peer)

    def _receive(self, timeout_s: float) -> bytes:
        ready = self._ready(timeout_s)
        if ready is None:
            return b""
        data, self._peer = ready.recvfrom(CHUNK)
        return data
