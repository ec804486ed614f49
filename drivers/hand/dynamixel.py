"""Dynamixel motors on one line, through ROBOTIS' own library.

The library's port spins on the processor while it waits and measures time by the wall
clock. So its packets travel over one of our wires here, which waits and can be captured.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from dynamixel_sdk import (  # type: ignore[import-untyped]  # It has no types.
    BROADCAST_ID,
    COMM_SUCCESS,
    PortHandler,
    Protocol2PacketHandler,
)

from dexhil.drivers.wire import Wire

# A USB adapter hands over what it has after 16 ms at the latest, on the way out and on the
# way back; the library adds 2 ms [ms].
ADAPTER_MS = 34.0
TRIES = 5  # Of what must not get lost. Nobody acknowledges a write to all motors.
PATIENCE_S = 1.0  # With motors that answer nothing, where an answer is needed [s].
ERROR_BYTE = 8  # Where a status packet has it; data follow.
ALERT = 0x80  # Bit of the error byte: the motor has latched a hardware error.
HEADER = [0xFF, 0xFF, 0xFD, 0x00]


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Register:
    """Where something is in a motor's control table.

    Attributes:
        name: What a person calls it.
        address: Of its first byte.
        size: [byte].
    """

    name: str
    address: int
    size: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What all motors answered, in the order of ``MotorBus.ids``.

    Attributes:
        data: Of each motor.
        alerts: Ids of the motors that have latched a hardware error.
    """

    data: tuple[bytes, ...]
    alerts: tuple[int, ...] = ()

    def numbers(self) -> tuple[int, ...]:
        """Return each motor's bytes as one unsigned number."""
        return tuple(int.from_bytes(each, "little") for each in self.data)


class NoAnswerError(ConnectionError):
    """One motor, or the whole line, gave no answer that can be used.

    Attributes:
        motor: The one that is silent, if the others are not.
    """

    def __init__(self, text: str, motor: int | None = None) -> None:
        super().__init__(text)
        self.motor = motor


class WaitingPort(PortHandler):  # type: ignore[misc]  # The library has no types.
    """The library's port, on a wire. Waits for bytes instead of asking again and again.

    Args:
        wire: To the motors. Whoever made it opens and closes it.
        baudrate: [bit/s], to know how long an answer takes.
    """

    def __init__(self, wire: Wire, baudrate: int) -> None:
        super().__init__(str(wire))
        self.baudrate = baudrate
        self.tx_time_per_byte = 10e3 / baudrate  # Ten bits each [ms].
        self._wire = wire
        self._buffer = bytearray()
        self._deadline_s = 0.0

    def clearPort(self) -> None:  # noqa: N802  # The library's name, as all below.
        self._buffer.clear()
        for _ in range(TRIES):  # Somebody who never stops talking must not hold us up.
            if not self._wire.receive(0.0):
                break

    def readPort(self, length: int) -> bytes:  # noqa: N802
        if len(self._buffer) < length:
            self._buffer += self._wire.receive(max(0.0, self._deadline_s - time.monotonic()))
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data

    def writePort(self, packet: Sequence[int]) -> int:  # noqa: N802
        self._wire.send(bytes(packet))
        return len(packet)

    def setPacketTimeout(self, packet_length: int) -> None:  # noqa: N802
        self.setPacketTimeoutMillis(packet_length * self.tx_time_per_byte + ADAPTER_MS)

    def setPacketTimeoutMillis(self, msec: float) -> None:  # noqa: N802
        self._deadline_s = time.monotonic() + msec / 1e3

    def isPacketTimeout(self) -> bool:  # noqa: N802
        return time.monotonic() > self._deadline_s


class MotorBus:
    """Motors of protocol 2.0 on one line. Used by one thread at a time.

    Every method raises ``ConnectionError`` when the wire is gone and ``NoAnswerError``, which
    is one, when nothing usable came back.

    Args:
        wire: To the motors.
        baudrate: [bit/s]
        names: What a person calls each motor, by id. Its order is the order of every answer.

    Attributes:
        fast: Whether the motors know the fast sync read: one packet instead of one each.
    """

    def __init__(self, wire: Wire, baudrate: int, names: Mapping[int, str]) -> None:
        self.ids = tuple(names)
        self.fast = True
        self._names = dict(names)
        self._wire = wire
        self._port = WaitingPort(wire, baudrate)
        self._packets = Protocol2PacketHandler()
        self._first = 0

    def open(self) -> None:
        """Open the wire. Says nothing to the motors."""
        self._wire.open()

    def close(self) -> None:
        """Close the wire. Repeating does nothing."""
        self._wire.close()

    def read(self, motor: int, address: int, size: int) -> bytes:
        """Return ``size`` bytes of one motor's control table."""
        self._port.is_using = False  # A cable pulled in mid-packet leaves it set.
        data, result, _ = self._packets.readTxRx(self._port, motor, address, size)
        if result != COMM_SUCCESS or len(data) != size:
            raise NoAnswerError(f"{self._names[motor]} does not answer", motor)
        return bytes(data)

    def reboot(self, motor: int) -> None:
        """Restart one motor. It is deaf for a while."""
        self._port.is_using = False
        self._packets.reboot(self._port, motor)

    def read_all(self, address: int, size: int) -> Reading:
        """Return ``size`` bytes of every motor's control table, in one exchange."""
        # Asking in another order each time tells a late answer to the last question apart.
        self._first = (self._first + 1) % len(self.ids)
        order = (*self.ids[self._first :], *self.ids[: self._first])
        self._port.is_using = False
        self._packets.syncReadTx(self._port, address, size, order, len(order), self.fast)
        blocks = self._fast_blocks(size) if self.fast else self._blocks(len(order), size)
        answered = tuple(motor for _, motor, _ in blocks)
        if answered != order:
            raise self._silence(order, answered)
        found = {motor: data for _, motor, data in blocks}
        alerts = (motor for error, motor, _ in blocks if error & ALERT)
        return Reading(tuple(found[motor] for motor in self.ids), tuple(alerts))

    def write_all(self, register: Register, values: Sequence[int]) -> None:
        """Write one number to each motor, in the order of ``ids``. Nobody acknowledges it."""
        rows = b"".join(
            bytes([motor]) + int(value).to_bytes(register.size, "little")
            for motor, value in zip(self.ids, values, strict=True)
        )
        self._port.is_using = False
        self._packets.syncWriteTxOnly(self._port, register.address, register.size, rows, len(rows))

    def set_all(self, register: Register, values: Sequence[int]) -> None:
        """Write one number to each motor and read it back, again and again until it is there.

        Raises:
            NoAnswerError: Nobody, or somebody, does not answer.
            ValueError: A motor refuses it.
        """

        def attempt() -> None:
            self.write_all(register, values)
            found = self.read_all(register.address, register.size).numbers()
            for motor, value, has in zip(self.ids, values, found, strict=True):
                if has != value:
                    raise ValueError(
                        f"{self._names[motor]} refuses {register.name} {value} and keeps {has}"
                    )

        persist(attempt)

    def _fast_blocks(self, size: int) -> list[tuple[int, int, bytes]]:
        """Return error byte, id and data of each motor that answered in the common packet."""
        packet, result = self._packets.rxPacket(self._port, True)
        if packet[:4] != HEADER or packet[4:5] != [BROADCAST_ID]:
            return []
        body = bytes(packet[ERROR_BYTE:])
        step = size + 4  # Error byte and id before the data, checksum behind.
        starts = range(0, len(body) - step + 1, step)
        blocks = [(body[i], body[i + 1], body[i + 2 : i + 2 + size]) for i in starts]
        if result != COMM_SUCCESS and len(blocks) == len(self.ids):
            raise NoAnswerError(f"answers on {self._wire} are corrupt")
        return blocks

    def _blocks(self, count: int, size: int) -> list[tuple[int, int, bytes]]:
        """Return error byte, id and data of each motor that answered in a packet of its own."""
        blocks = []
        for _ in range(count):
            packet, result = self._packets.rxPacket(self._port, False)
            if result != COMM_SUCCESS or len(packet) != ERROR_BYTE + 1 + size + 2:
                break
            data = bytes(packet[ERROR_BYTE + 1 : ERROR_BYTE + 1 + size])
            blocks.append((packet[ERROR_BYTE], packet[4], data))
        return blocks

    def _silence(self, order: Sequence[int], answered: Sequence[int]) -> NoAnswerError:
        if not answered:
            return NoAnswerError(f"no motor answers on {self._wire}")
        if answered != order[: len(answered)] or len(answered) == len(order):
            return NoAnswerError(f"answers on {self._wire} come late or mixed up")
        # Each motor waits for the one before it, so the first that is missing is the one.
        motor = order[len(answered)]
        return NoAnswerError(f"{self._names[motor]} does not answer", motor)


def persist(attempt: Callable[[], T]) -> T:
    """Call ``attempt`` until it no longer raises ``NoAnswerError`` or ``ValueError``.

    A busy computer may be deaf for a while, so answers are waited for by the clock. A refusal
    is an answer, wrong only if what was written got lost.
    """
    give_up_s = time.monotonic() + PATIENCE_S
    refusals = 0
    while True:
        try:
            return attempt()
        except NoAnswerError:
            if time.monotonic() > give_up_s:
                raise
        except ValueError:
            refusals += 1
            if refusals == TRIES:
                raise
