"""Dynamixel protocol 2.0: packets of the bus that the motors of a LEAP hand share.

    FF FF FD 00 | ID | LENGTH | INSTRUCTION | PARAMETERS ... | CRC        (LENGTH, CRC: u16 LE)

LENGTH counts what follows it. Where ``FF FF FD`` occurs behind it, ``FD`` is stuffed in, so
that a header occurs at the start of a packet only. Source: ROBOTIS e-Manual, protocol 2.0.

Only the motors' side needs this: the driver speaks through the maker's own library, which
is therefore an independent check of every line here.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass

HEADER = b"\xff\xff\xfd\x00"
BROADCAST = 0xFE
MAX_LENGTH = 1024  # Longest LENGTH: the buffers of the maker's library [byte].

PING = 0x01
READ = 0x02
WRITE = 0x03
REBOOT = 0x08
STATUS = 0x55
SYNC_READ = 0x82
SYNC_WRITE = 0x83
FAST_SYNC_READ = 0x8A

ALERT = 0x80  # Bit of a status packet's error byte: a hardware error is latched.


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet, without header, stuffing and checksum.

    Attributes:
        id: The motor it is for or, if a status, from.
        instruction: What it is, e.g. ``READ``.
        parameters: Of the instruction. Of a status the error byte, then the data.
    """

    id: int
    instruction: int
    parameters: bytes = b""


def crc16(data: bytes | bytearray, crc: int = 0) -> int:
    """Return the CRC-16 of ``data`` (polynomial 0x8005, not reflected), going on from ``crc``."""
    for byte in data:
        crc = ((crc << 8) & 0xFFFF) ^ _CRC_TABLE[(crc >> 8) ^ byte]
    return crc


def encode(packet: Packet) -> bytes:
    """Return the bytes of ``packet``."""
    body = _stuffed(bytes([packet.instruction]) + packet.parameters)
    head = HEADER + struct.pack("<BH", packet.id, len(body) + 2)
    return _signed(head + body)


def encode_status(motor: int, error: int = 0, data: bytes = b"") -> bytes:
    """Return the bytes of a motor's answer."""
    return encode(Packet(motor, STATUS, bytes([error]) + data))


def encode_fast_status(blocks: Iterable[tuple[int, int, bytes]], promised: int) -> bytes:
    """Return the one packet in which all motors answer a fast sync read, each in its turn.

    Every motor adds ``ERROR | ID | DATA | CRC``, where CRC covers everything so far. It is
    not stuffed: its length was fixed before the later motors had spoken.

    Args:
        blocks: Motor, error byte and data of those that do answer, up to the first that
            does not: the ones behind it wait for it in vain.
        promised: Number of motors that were asked.
    """
    answered = list(blocks)
    size = len(answered[0][2]) + 4 if answered else 0
    packet = HEADER + struct.pack("<BHB", BROADCAST, 1 + promised * size, STATUS)
    for motor, error, data in answered:
        packet = _signed(packet + bytes([error, motor]) + data)
    return packet if answered else b""


class PacketParser:
    """Finds packets in a stream. Takes any bytes, and goes on with the next packet after noise."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def reset(self) -> None:
        """Forget a packet that broke off."""
        self._buffer.clear()

    def feed(self, data: bytes) -> list[Packet]:
        """Return the packets that ``data`` completes."""
        self._buffer += data
        packets = []
        while self._find_header():
            length = int.from_bytes(self._buffer[5:7], "little")
            end = 7 + length
            if not 3 <= length <= MAX_LENGTH:
                del self._buffer[0]
            elif len(self._buffer) < end:
                break
            elif (
                crc16(self._buffer[: end - 2]).to_bytes(2, "little") != self._buffer[end - 2 : end]
            ):
                # The length itself may be wrong, so look for the next packet inside this one.
                del self._buffer[0]
            else:
                body = bytes(self._buffer[7 : end - 2]).replace(
                    b"\xff\xff\xfd\xfd", b"\xff\xff\xfd"
                )
                packets.append(Packet(self._buffer[4], body[0], body[1:]))
                del self._buffer[:end]
        return packets

    def _find_header(self) -> bool:
        """Drop what precedes a header. Returns whether there is a whole one, with its length."""
        start = self._buffer.find(HEADER)
        if start < 0:
            # The last bytes may be the beginning of one.
            del self._buffer[: max(0, len(self._buffer) - len(HEADER) + 1)]
            return False
        del self._buffer[:start]
        return len(self._buffer) >= 7


def _stuffed(body: bytes) -> bytes:
    return body.replace(b"\xff\xff\xfd", b"\xff\xff\xfd\xfd")


def _signed(packet: bytes) -> bytes:
    return packet + crc16(packet).to_bytes(2, "little")


def _crc_of_byte(byte: int) -> int:
    crc = byte << 8
    for _ in range(8):
        crc = ((crc << 1) ^ 0x8005 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


_CRC_TABLE = tuple(_crc_of_byte(byte) for byte in range(256))
