"""Modbus/TCP, as much of it as hands speak: read and write 16-bit registers.

    transaction (2) | protocol = 0 (2) | length (2) | unit | function | ...

Everything is big-endian; ``length`` counts from the unit. Our own and not a library's,
because hands answer with transaction numbers that a library must reject.

Source: MODBUS Application Protocol V1.1b3 and Messaging on TCP/IP V1.0b.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

READ_HOLDING = 0x03
WRITE_SINGLE = 0x06
WRITE_MULTIPLE = 0x10
EXCEPTION = 0x80  # Added to the function of a request that was refused.
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
MAX_READ = 125
MAX_WRITE = 123

_HEADER = struct.Struct(">HHHB")
_MAX_LENGTH = 254  # Unit, function and 252 bytes.


@dataclass(frozen=True, slots=True)
class Message:
    """One request or answer.

    Attributes:
        transaction: Number that an answer should repeat.
        unit: Which device behind the address.
        function: What to do, or what was done.
        data: What follows the function.
    """

    transaction: int
    unit: int
    function: int
    data: bytes

    def encode(self) -> bytes:
        """Return the message as bytes."""
        length = len(self.data) + 2
        return _HEADER.pack(self.transaction & 0xFFFF, 0, length, self.unit) + bytes(
            (self.function, *self.data)
        )


def read_request(transaction: int, unit: int, address: int, count: int) -> bytes:
    """Return the request for ``count`` registers from ``address``."""
    return Message(transaction, unit, READ_HOLDING, struct.pack(">HH", address, count)).encode()


def write_request(transaction: int, unit: int, address: int, values: Sequence[int]) -> bytes:
    """Return the request that writes ``values``, modulo 65536, from ``address``."""
    count = len(values)
    data = struct.pack(">HHB", address, count, 2 * count) + pack(values)
    return Message(transaction, unit, WRITE_MULTIPLE, data).encode()


def pack(values: Sequence[int]) -> bytes:
    """Return registers as bytes."""
    return struct.pack(f">{len(values)}H", *(value & 0xFFFF for value in values))


def unpack(data: bytes) -> tuple[int, ...]:
    """Return bytes as registers, 0 to 65535. An odd byte at the end is dropped."""
    return struct.unpack_from(f">{len(data) // 2}H", data)


def registers(answer: Message, count: int) -> tuple[int, ...] | None:
    """Return what a read gave, or ``None`` unless it is ``count`` registers."""
    if answer.function != READ_HOLDING or len(answer.data) != 2 * count + 1:
        return None
    return unpack(answer.data[1:]) if answer.data[0] == 2 * count else None


def write_values(request: Message) -> tuple[int, tuple[int, ...]] | None:
    """Return the address and the values of a write, or ``None`` if it is malformed."""
    if request.function == WRITE_SINGLE and len(request.data) == 4:
        address, value = struct.unpack(">HH", request.data)
        return address, (value,)
    if request.function != WRITE_MULTIPLE or len(request.data) < 5:
        return None
    address, count, n_bytes = struct.unpack_from(">HHB", request.data)
    if not 1 <= count <= MAX_WRITE or n_bytes != 2 * count or len(request.data) != 5 + n_bytes:
        return None
    return address, unpack(request.data[5:])


class Parser:
    """Finds messages in a stream of bytes, whatever else is in it."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def clear(self) -> None:
        """Forget a message of which only the beginning came."""
        self._buffer.clear()

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that are complete now. Bytes that are no message are dropped."""
        self._buffer += data
        messages = []
        while len(self._buffer) > _HEADER.size:
            transaction, protocol, length, unit = _HEADER.unpack_from(self._buffer)
            if protocol != 0 or not 2 <= length <= _MAX_LENGTH:
                del self._buffer[:1]
                continue
            end = _HEADER.size - 1 + length
            if len(self._buffer) < end:
                break
            body = bytes(self._buffer[_HEADER.size : end])
            messages.append(Message(transaction, unit, body[0], body[1:]))
            del self._buffer[:end]
        return messages
