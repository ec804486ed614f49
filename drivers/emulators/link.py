"""The device's ends of the wires, with everything that can go wrong on the way."""

import contextlib
import os
import pty
import socket
import tempfile
import time
import tty
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path
from typing import Any, Generic, TypeVar, final

import numpy as np

from dexhil.drivers.emulators.knobs import Knobs

MessageT = TypeVar("MessageT")
CHUNK = 65536


class EmulatedLink(ABC, Generic[MessageT]):
    """One end of a wire. What is sent passes the knobs; what is heard does as well.

    ``client`` tells apart who talks where several may, as on TCP; elsewhere it is ``None``.
    """

    def __init__(self) -> None:
        self.knobs = Knobs()  # Replaced by the emulator's own in ``Emulator.add``.
        self.rng = np.random.default_rng(0)
        self._late: deque[tuple[float, MessageT, Any]] = deque()

    @abstractmethod
    def open(self) -> None:
        """Plug the cable in."""

    @abstractmethod
    def close(self) -> None:
        """Pull the cable. Repeating does nothing."""

    def discard(self) -> None:
        """Close, and leave nothing behind. It is not used again."""
        self.close()

    @abstractmethod
    def descriptors(self) -> list[int]:
        """Return the file descriptors to wait on."""

    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Return the rig options that lead here. Known once open; they never change."""

    @final
    def receive(self) -> list[tuple[MessageT, Any]]:
        """Return what was heard, and from whom."""
        heard = []
        for message, client in self._hear():
            if self.knobs.frozen or self._by_chance(self.knobs.drop):
                continue
            if self.knobs.echo:
                self._say(message, client)
            heard.append((message, client))
        return heard

    @final
    def send(self, message: MessageT, client: Any = None) -> None:
        """Say ``message`` to ``client``, or to whoever listens."""
        knobs = self.knobs
        if knobs.frozen or self._by_chance(knobs.drop):
            return
        if self._by_chance(knobs.corrupt):
            message = self._corrupted(message)
        if self._by_chance(knobs.partial):
            message = self._halved(message)
        for _ in range(2 if self._by_chance(knobs.duplicate) else 1):
            if knobs.delay_s > 0 or self._late:
                self._late.append((time.monotonic() + knobs.delay_s, message, client))
            else:
                self._say(message, client)

    @final
    def flush(self) -> None:
        """Send what was delayed and is due. Order is kept."""
        while self._late and (self._late[0][0] <= time.monotonic() or not self.knobs.delay_s):
            _, message, client = self._late.popleft()
            if not self.knobs.frozen:
                self._say(message, client)

    @final
    def forget(self) -> None:
        """Drop what is still under way."""
        self._late.clear()

    def _by_chance(self, probability: float) -> bool:
        return probability > 0 and self.rng.random() < probability

    # -- What a transport implements ---------------------------------------------------

    @abstractmethod
    def _hear(self) -> list[tuple[MessageT, Any]]:
        """Return what came in, without waiting."""

    @abstractmethod
    def _say(self, message: MessageT, client: Any) -> None:
        """Send it now. Nobody listening is no error."""

    @abstractmethod
    def _corrupted(self, message: MessageT) -> MessageT: ...

    @abstractmethod
    def _halved(self, message: MessageT) -> MessageT: ...


class ByteLink(EmulatedLink[bytes]):
    """A link that carries bytes."""

    def _corrupted(self, message: bytes) -> bytes:
        if not message:
            return message
        changed = bytearray(message)
        changed[self.rng.integers(len(changed))] ^= 1 << self.rng.integers(8)
        return bytes(changed)

    def _halved(self, message: bytes) -> bytes:
        return message[: len(message) // 2]


class PtyLink(ByteLink):
    """A serial port: a pseudo-terminal under a path that stays when it is plugged in again."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="dexhil-")
        self.path = Path(self._folder.name) / name
        self._ends: tuple[int, int] | None = None

    def open(self) -> None:
        # The emulator keeps the other end open too: else every reopening starts with an error.
        near, far = pty.openpty()
        tty.setraw(near)
        tty.setraw(far)
        os.set_blocking(near, False)
        self.path.symlink_to(os.ttyname(far))
        self._ends = (near, far)

    def close(self) -> None:
        if self._ends is not None:
            self.path.unlink()
            for end in self._ends:
                os.close(end)
            self._ends = None

    def discard(self) -> None:
        self.close()
        self._folder.cleanup()

    def descriptors(self) -> list[int]:
        return [] if self._ends is None else [self._ends[0]]

    def options(self) -> dict[str, Any]:
        return {"port": str(self.path)}

    def _hear(self) -> list[tuple[bytes, Any]]:
        if self._ends is None:
            return []
        with contextlib.suppress(BlockingIOError):
            return [(os.read(self._ends[0], CHUNK), None)]
        return []

    def _say(self, message: bytes, client: Any) -> None:
        del client
        if self._ends is not None:
            with contextlib.suppress(BlockingIOError):  # Nobody reads; a real port forgets too.
                os.write(self._ends[0], message)


class TcpLink(ByteLink):
    """A TCP server. ``send`` without a client talks to all of them.

    Args:
        host: Address to listen on.
        port: 0 lets the system choose; it stays the same when plugged in again.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__()
        self.host, self.port = host, port
        self.clients: list[socket.socket] = []
        self._server: socket.socket | None = None

    def open(self) -> None:
        self._server = socket.create_server((self.host, self.port))
        self._server.setblocking(False)
        self.port = self._server.getsockname()[1]

    def close(self) -> None:
        for client in list(self.clients):
            self.hang_up(client)
        if self._server is not None:
            self._server.close()
            self._server = None

    def hang_up(self, client: socket.socket) -> None:
        """End one connection."""
        self.clients.remove(client)
        client.close()

    def greet(self, client: socket.socket) -> None:
        """Somebody connected. Override to say something first."""

    def descriptors(self) -> list[int]:
        sockets = [*self.clients, *([self._server] if self._server else [])]
        return [each.fileno() for each in sockets]

    def options(self) -> dict[str, Any]:
        return {"host": self.host, "port": self.port}

    def _hear(self) -> list[tuple[bytes, Any]]:
        if self._server is not None:
            with contextlib.suppress(BlockingIOError):
                client, _ = self._server.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.setblocking(False)
                self.clients.append(client)
                self.greet(client)
        heard = []
        for client in list(self.clients):
            try:
                data = client.recv(CHUNK)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if data:
                heard.append((data, client))
            else:
                self.hang_up(client)
        return heard

    def _say(self, message: bytes, client: Any) -> None:
        for each in [client] if client is not None else list(self.clients):
            if each not in self.clients:
                continue
            try:
                each.sendall(message)
            except OSError:  # It went away, or reads nothing and its buffer is full.
                self.hang_up(each)


class UdpLink(ByteLink):
    """Datagrams to whoever listens at a port of this machine.

    Args:
        port: Where they go; 0 chooses a free one.
        host: Where they go.
    """

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        super().__init__()
        if not port:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind((host, 0))
                port = probe.getsockname()[1]
        self.host, self.port = host, port
        self._socket: socket.socket | None = None

    def open(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def descriptors(self) -> list[int]:
        return [] if self._socket is None else [self._socket.fileno()]

    def options(self) -> dict[str, Any]:
        return {"port": self.port}

    def _hear(self) -> list[tuple[bytes, Any]]:
        if self._socket is None:
            return []
        with contextlib.suppress(OSError):  # Nothing there, or nobody listened last time.
            data, client = self._socket.recvfrom(CHUNK)
            return [(data, client)]
        return []

    def _say(self, message: bytes, client: Any) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(message, client or (self.host, self.port))
