"""A CAN bus between processes, without a kernel module and without an adapter."""

import contextlib
import random
import socket
from typing import Any

from dexhil.drivers.emulators.link import EmulatedLink
from dexhil.drivers.wire.can import BUS_OFF, PROTOCOL, CanBus, CanFrame

MOST_AT_ONCE = 64  # A flood must not keep the emulator from moving.


class CanLink(EmulatedLink[CanFrame]):
    """The device's end of a CAN bus: python-can's ``udp_multicast``, on this machine only.

    Every link has a group and a port of its own, so emulators do not hear each other.
    A pulled cable looks as it does on SocketCAN: the adapter reports that it went bus-off.

    Args:
        fd: Whether the bus is CAN-FD.
    """

    def __init__(self, *, fd: bool = False) -> None:
        super().__init__()
        # Two emulators with one seed must still not share a bus, so this is true chance.
        chance = random.SystemRandom()
        self.channel = "239." + ".".join(str(chance.randrange(1, 255)) for _ in range(3))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("", 0))
            self.port: int = probe.getsockname()[1]
        self._fd = fd
        self._bus: CanBus | None = None

    def open(self) -> None:
        self._bus = CanBus(
            "udp_multicast", self.channel, bitrate=1_000_000, fd=self._fd, port=self.port
        )

    def close(self) -> None:
        if self._bus is not None:
            self._bus.send(CanFrame(BUS_OFF, bytes(8), error=True))
            self._bus.close()
            self._bus = None

    def descriptors(self) -> list[int]:
        return [] if self._bus is None else [self._bus.fileno()]

    def options(self) -> dict[str, Any]:
        return {"interface": "udp_multicast", "channel": self.channel, "port": self.port}

    def _hear(self) -> list[tuple[CanFrame, Any]]:
        heard: list[tuple[CanFrame, Any]] = []
        while self._bus is not None and len(heard) < MOST_AT_ONCE:
            frame = self._bus.receive(0.0)
            if frame is None:
                break
            if not frame.error:
                heard.append((frame, None))
        return heard

    def _say(self, message: CanFrame, client: Any) -> None:
        del client
        if self._bus is not None:
            with contextlib.suppress(OSError):  # A full buffer: a real bus forgets too.
                self._bus.send(message)

    def _corrupted(self, message: CanFrame) -> CanFrame:
        # Controllers check every frame: a disturbed one arrives as a report, never as data.
        del message
        return CanFrame(PROTOCOL, bytes(8), error=True)

    def _halved(self, message: CanFrame) -> CanFrame:
        return CanFrame(message.id, message.data[: len(message.data) // 2], fd=message.fd)
