"""What the emulated RealSense says: one message per shot, of both its sensors.

    magic (8) | number u32 | time f64 [ms] | width u16 | height u16 | rate u16 | checksum u32
    colour (3 * width * height bytes) | depth (2 * width * height bytes, little-endian)

The checksum is the Adler-32 of all that is before it and of all that follows it. Ours alone:
a real RealSense speaks USB with its SDK.
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Image

MAGIC = b"DexRS\x01\xf0\x0f"
HEAD = struct.Struct("<8sIdHHH")
CHECKSUM = struct.Struct("<I")
BODY_AT = HEAD.size + CHECKSUM.size
LARGEST = 1920 * 1080  # Of an image; what claims to be larger is damaged [pixel].


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """What both sensors saw at one moment.

    Attributes:
        number: Of the shot.
        time_ms: When, in wall time as the SDK's "global time" [ms].
        rate_hz: How many there are per second.
        color: RGB. Shape (height, width, 3).
        depth: [mm], 0 where nothing was measured. Shape (height, width).
    """

    number: int
    time_ms: float
    rate_hz: int
    color: Image
    depth: npt.NDArray[np.uint16]

    def encode(self) -> bytes:
        """Return the message."""
        height, width = self.depth.shape
        head = HEAD.pack(MAGIC, self.number, self.time_ms, width, height, self.rate_hz)
        body = self.color.tobytes() + self.depth.astype("<u2").tobytes()
        return head + CHECKSUM.pack(zlib.adler32(body, zlib.adler32(head))) + body

    @classmethod
    def decode(cls, message: bytes) -> Self | None:
        """Undo ``encode``; ``None`` if the message is damaged."""
        head, body = message[: HEAD.size], memoryview(message)[BODY_AT:]
        (checksum,) = CHECKSUM.unpack_from(message, HEAD.size)
        if zlib.adler32(body, zlib.adler32(head)) != checksum:
            return None
        _, number, time_ms, width, height, rate_hz = HEAD.unpack(head)
        n_color = 3 * width * height
        color = np.frombuffer(body[:n_color], np.uint8).reshape(height, width, 3)
        depth = np.frombuffer(body[n_color:], "<u2").reshape(height, width)
        return cls(number, time_ms, rate_hz, color, depth)


class ShotReader:
    """Finds whole shots in a stream, and leaves out damaged ones as a USB controller does."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[Shot]:
        """Take what came; return the shots that are complete with it."""
        self._data += data
        shots = []
        while self._seek():
            _, _, _, width, height, _ = HEAD.unpack_from(self._data)
            size = BODY_AT + 5 * width * height
            plausible = 0 < width * height <= LARGEST
            if plausible and len(self._data) < size:
                break
            shot = Shot.decode(bytes(memoryview(self._data)[:size])) if plausible else None
            if shot is not None:
                shots.append(shot)
            # Within a damaged one the next may begin.
            del self._data[: size if shot is not None else len(MAGIC)]
        return shots

    def _seek(self) -> bool:
        """Drop what comes before a head. Returns whether there is a whole one."""
        start = self._data.find(MAGIC)
        if start < 0:
            del self._data[: max(0, len(self._data) - len(MAGIC) + 1)]
            return False
        del self._data[:start]
        return len(self._data) >= BODY_AT
