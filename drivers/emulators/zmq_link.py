"""The bound end of a ZeroMQ PUSH socket."""

from typing import Any

import zmq

from dexhil.drivers.emulators.link import ByteLink


class ZmqLink(ByteLink):
    """Pushes messages to whoever pulls. Nobody pulling is no error: the message is lost."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__()
        self._host, self._port = host, 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None

    def open(self) -> None:
        self._socket = self._context.socket(zmq.PUSH)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, 2)
        if self._port:
            self._socket.bind(f"tcp://{self._host}:{self._port}")
        else:
            self._port = self._socket.bind_to_random_port(f"tcp://{self._host}")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def descriptors(self) -> list[int]:
        return []

    def options(self) -> dict[str, Any]:
        return {"endpoint": f"tcp://{self._host}:{self._port}"}

    def _hear(self) -> list[tuple[bytes, Any]]:
        return []

    def _say(self, message: bytes, client: Any) -> None:
        del client
        if self._socket is not None:
            try:
                self._socket.send(message, zmq.NOBLOCK)
            except zmq.Again:
                return

    def discard(self) -> None:
        self.close()
        self._context.term()
