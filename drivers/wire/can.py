"""CAN and CAN-FD, through whatever adapter python-can knows.

On a robot the interface is ``socketcan``. The emulators use ``udp_multicast``, which carries
frames between the processes of one machine and needs no kernel module; it is confined to the
loopback device here, so that no emulated torque ever reaches a real network.
"""

import os
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, final

import can

from dexhil.drivers.wire.wire import Link

SEND_S = 0.01  # A full transmit queue of a live bus drains within this [s].
_HEADER = struct.Struct("<IBB2x")  # The head of ``struct canfd_frame`` in linux/can.h.
_REMOTE, _ERROR, _FD = 0x40000000, 0x20000000, 0x04
# Classes of error frames in linux/can/error.h, kept in the identifier.
NO_ACK, BUS_OFF = 0x20, 0x40
CONTROLLER, TX_PASSIVE = 0x04, 0x20  # The latter in the second byte of the data.
PROTOCOL = 0x08


@dataclass(frozen=True, slots=True)
class CanFrame:
    """One frame with an 11-bit identifier.

    Attributes:
        id: Arbitration identifier.
        data: Up to 8 bytes, or up to 64 of CAN-FD.
        remote: Whether it asks for data instead of carrying it.
        fd: Whether it is CAN-FD, with the faster data phase.
        error: Whether the adapter says that something is wrong with the bus.
        time_s: When the adapter received it, on a clock of its own [s]. 0 if it does not say.
    """

    id: int
    data: bytes = b""
    remote: bool = False
    fd: bool = False
    error: bool = False
    time_s: float = field(default=0.0, compare=False)

    def __bytes__(self) -> bytes:
        """Pack it as Linux does, for captures."""
        identifier = self.id | (_REMOTE if self.remote else 0) | (_ERROR if self.error else 0)
        return _HEADER.pack(identifier, len(self.data), _FD if self.fd else 0) + self.data

    @classmethod
    def from_bytes(cls, packed: bytes) -> Self | None:
        """Undo ``bytes``. Returns ``None`` for anything that is no packed frame."""
        if len(packed) < _HEADER.size:
            return None
        identifier, length, flags = _HEADER.unpack_from(packed)
        data = packed[_HEADER.size :]
        if length != len(data) or length > 64:
            return None
        remote, error = bool(identifier & _REMOTE), bool(identifier & _ERROR)
        return cls(identifier & 0x7FF, data, remote, bool(flags & _FD), error)


def bus_trouble(frame: CanFrame) -> str | None:
    """Say why an error frame means that nobody hears us; ``None`` where it does not.

    A disturbed frame is repeated by the controllers themselves, so that is no trouble.
    """
    if not frame.error:
        return None
    if frame.id & BUS_OFF:
        return "the adapter is bus-off"
    passive = len(frame.data) > 1 and bool(frame.data[1] & TX_PASSIVE)
    if frame.id & NO_ACK or (frame.id & CONTROLLER and passive):
        return "nobody acknowledges what is sent"
    return None


class CanBus:
    """A python-can bus that talks in ``CanFrame`` and never hears itself.

    Args:
        interface: Kind of adapter, in python-can's words, e.g. ``socketcan``.
        channel: Which one, e.g. ``can0``.
        bitrate: [bit/s]. SocketCAN ignores it: ``ip link`` sets it.
        fd: Whether to allow CAN-FD.
        options: Whatever else that interface takes.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(
        self, interface: str, channel: str, *, bitrate: int, fd: bool, **options: Any
    ) -> None:
        # Interfaces over UDP give a bus its own frames back. They also keep the channel of a
        # message as it was sent, which real adapters do not, so it can name the sender.
        self._own = f"{os.getpid()}.{id(self)}"
        try:
            self._bus = can.Bus(
                interface=interface, channel=channel, bitrate=bitrate, fd=fd, **options
            )
        except (can.CanError, ValueError, ImportError) as error:
            raise OSError(str(error)) from error
        if interface == "udp_multicast":
            self._confine(channel)

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._bus.fileno()

    def send(self, frame: CanFrame) -> None:
        """Send one frame.

        Raises:
            OSError: It cannot be sent.
        """
        message = can.Message(
            arbitration_id=frame.id,
            data=None if frame.remote else frame.data,
            dlc=0 if frame.remote else None,
            is_extended_id=False,
            is_remote_frame=frame.remote,
            is_error_frame=frame.error,
            is_fd=frame.fd,
            bitrate_switch=frame.fd,
            channel=self._own,
        )
        try:
            self._bus.send(message, timeout=SEND_S)
        except can.CanError as error:
            raise OSError(str(error)) from error

    def receive(self, timeout_s: float) -> CanFrame | None:
        """Return the next frame, or ``None`` when none came in time.

        Raises:
            OSError: The bus is gone.
        """
        give_up_s = time.monotonic() + timeout_s
        while True:
            try:
                message = self._bus.recv(max(0.0, give_up_s - time.monotonic()))
            except (can.CanError, ValueError) as error:  # ValueError: closed while it waited.
                raise OSError(str(error)) from error
            if message is None:
                return None
            if message.channel != self._own and not message.is_extended_id:
                return _frame(message)

    def close(self) -> None:
        """Let go of the adapter. Repeating does nothing."""
        self._bus.shutdown()

    def _confine(self, group: str) -> None:
        """Keep frames on this machine, also where it has no network at all."""
        loopback = socket.inet_aton("127.0.0.1")
        with socket.socket(fileno=os.dup(self._bus.fileno())) as twin:
            twin.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, loopback)
            member = socket.inet_aton(group) + loopback
            twin.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)


def _frame(message: can.Message) -> CanFrame:
    return CanFrame(
        message.arbitration_id,
        bytes(message.data),
        message.is_remote_frame,
        message.is_fd,
        message.is_error_frame,
        message.timestamp,
    )


class FrameClock:
    """A device's own time, by the period of its frames and the adapter's stamps.

    By the time of reading, frames that were read late, and then at once, would look like a leap.

    Args:
        period_s: Frames are never nearer to each other than this [s].
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._time_s = self._frame_s = 0.0

    def __call__(self, frame_s: float) -> float:
        """Return the device's time [s] given ``CanFrame.time_s`` of its newest frame [s]."""
        elapsed_s = min(frame_s - self._frame_s, 1.0) if frame_s else 0.0
        self._time_s += max(elapsed_s, self._period_s)
        self._frame_s = frame_s
        return self._time_s


class CanWire(Link[CanFrame]):
    """A CAN bus.

    Args:
        interface: Kind of adapter, in python-can's words, e.g. ``socketcan``.
        channel: Which one, e.g. ``can0``.
        bitrate: [bit/s]. SocketCAN ignores it: ``ip link`` sets it.
        fd: Whether to allow CAN-FD.
        capture: See ``Link``.
        about: See ``Link``.
        options: Whatever else that interface takes, e.g. ``port`` of ``udp_multicast``.
            ``None`` is its own choice.
    """

    def __init__(
        self,
        interface: str,
        channel: str,
        bitrate: int = 1_000_000,
        fd: bool = False,
        *,
        capture: Path | None = None,
        about: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(capture, about)
        self.interface, self.channel = interface, channel
        self._bitrate, self._fd = bitrate, fd
        self._options = {key: value for key, value in options.items() if value is not None}
        self._bus: CanBus | None = None

    def __str__(self) -> str:
        return f"CAN {self.interface} {self.channel}"

    @final
    def receive(self, timeout_s: float) -> CanFrame | None:
        """Return the next frame, or ``None`` when none came in time.

        Frames of our own and reports of a disturbed bus are passed over.

        Args:
            timeout_s: Longest wait [s].

        Raises:
            ConnectionError: The link is gone, or nobody at the other end acknowledges.
        """
        return self._next(timeout_s)

    @final
    def drain(self) -> None:
        """Throw away what came before now."""
        for _ in range(10_000):  # A bus that is never quiet must not hold us here.
            if self.receive(0.0) is None:
                return

    def _open(self) -> None:
        try:
            self._bus = CanBus(
                self.interface, self.channel, bitrate=self._bitrate, fd=self._fd, **self._options
            )
        except OSError as error:
            if self.interface != "socketcan":
                raise
            fast = " dbitrate 5000000 fd on" if self._fd else ""
            raise OSError(
                f"{error}; is it up? sudo ip link set {self.channel} up type can "
                f"bitrate {self._bitrate}{fast}"
            ) from error

    def _close(self) -> None:
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def _send(self, message: CanFrame) -> None:
        self._require_bus().send(message)

    def _receive(self, timeout_s: float) -> CanFrame | None:
        give_up_s = time.monotonic() + timeout_s
        while True:
            frame = self._require_bus().receive(max(0.0, give_up_s - time.monotonic()))
            if frame is None or not frame.error:
                return frame
            trouble = bus_trouble(frame)
            if trouble is not None:
                raise OSError(trouble)

    def _encoded(self, message: CanFrame) -> bytes:
        return bytes(message)

    def _require_bus(self) -> CanBus:
        bus = self._bus
        if bus is None:
            raise OSError("it was closed")
        return bus
