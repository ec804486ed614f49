"""Inspire's serial protocol: registers read and written in frames that begin with ``EB 90``.

    request   EB 90 | id | length | command | address, low byte first | ... | sum
    answer    90 EB | id | length | command | address, low byte first | ... | sum

``length`` counts from the command to the byte before the sum; the sum is the low byte of
everything between the header and itself. The two headers differ, so that a host on a
half-duplex line never takes the echo of its own request for an answer.

Source: pyrh56 0.4.0, which follows the RH56 user manual V1.09.
"""

from dataclasses import dataclass

REQUEST = b"\xeb\x90"
ANSWER = b"\x90\xeb"
READ = 0x11
WRITE = 0x12
MAX_PAYLOAD = 252  # The length is one byte, and command and address are counted in it.

_OVERHEAD = 5  # Header, id, length and sum [byte].
_MIN_LENGTH = 4  # Command, address and at least one byte.


@dataclass(frozen=True, slots=True)
class Frame:
    """One request or answer.

    Attributes:
        hand_id: Which hand on the line.
        command: ``READ`` or ``WRITE``, or one that we do not know.
        address: Of the first register [byte].
        payload: Of a read request, how many bytes to read; of its answer, the bytes. Of a
            write request, the bytes; of its answer, one byte that is 1.
    """

    hand_id: int
    command: int
    address: int
    payload: bytes

    def encode(self, header: bytes) -> bytes:
        """Return the frame as bytes. ``header`` is ``REQUEST`` or ``ANSWER``.

        Raises:
            ValueError: A field does not fit.
        """
        if not 1 <= len(self.payload) <= MAX_PAYLOAD:
            raise ValueError(f"payload has {len(self.payload)} bytes, allowed 1 to {MAX_PAYLOAD}")
        body = bytes((self.hand_id, len(self.payload) + 3, self.command))
        body += self.address.to_bytes(2, "little") + self.payload
        return header + body + bytes((sum(body) & 0xFF,))


def read_request(hand_id: int, address: int, n_bytes: int) -> bytes:
    """Return the request for ``n_bytes`` from ``address``."""
    return Frame(hand_id, READ, address, bytes((n_bytes,))).encode(REQUEST)


def write_request(hand_id: int, address: int, data: bytes) -> bytes:
    """Return the request that writes ``data`` to ``address``."""
    return Frame(hand_id, WRITE, address, data).encode(REQUEST)


class Parser:
    """Finds frames in a stream of bytes, whatever else is in it.

    Args:
        header: ``REQUEST`` or ``ANSWER``. Frames with the other one are noise.
    """

    def __init__(self, header: bytes) -> None:
        self._header = header
        self._buffer = bytearray()

    def clear(self) -> None:
        """Forget a frame of which only the beginning came."""
        self._buffer.clear()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are complete now. Bytes that are no frame are dropped."""
        self._buffer += data
        frames = []
        while self._skip_to_header():
            length = self._buffer[3]
            end = length + _OVERHEAD
            if length >= _MIN_LENGTH and len(self._buffer) < end:
                break
            if (
                length < _MIN_LENGTH
                or sum(self._buffer[2 : end - 1]) & 0xFF != self._buffer[end - 1]
            ):
                # The header may have been data, and the real one may follow inside.
                del self._buffer[:1]
                continue
            address = int.from_bytes(self._buffer[5:7], "little")
            payload = bytes(self._buffer[7 : end - 1])
            frames.append(Frame(self._buffer[2], self._buffer[4], address, payload))
            del self._buffer[:end]
        return frames

    def _skip_to_header(self) -> bool:
        """Drop what precedes the next header. Returns whether its length has come too."""
        start = self._buffer.find(self._header)
        if start < 0:
            # The first byte of a header may be the last one that came.
            start = len(self._buffer) - self._buffer.endswith(self._header[:1])
        del self._buffer[:start]
        return len(self._buffer) >= 4
