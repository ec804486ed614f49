"""PSYONIC's serial protocol for the Ability Hand: checksummed frames in PPP byte stuffing.

    request   7E | address | header | six values, low byte first | checksum | 7E
    answer    7E | header | ... | checksum | 7E

The low nibble of the header asks for one of three answers and is repeated in it. All bytes
of a frame, checksum included, sum up to 0.

Source: PSYONIC Ability Hand ICD and ability-hand-api 34c9a93. The vendor's Python parser scales
answered velocities as if they were commands; this one follows the ICD.
"""

import struct
from dataclasses import dataclass
from math import radians

import numpy as np

from dexhil.drivers.arrays import Vector

N_JOINTS = 6  # Index, middle, ring, little, thumb flexor, thumb rotator.
N_SENSORS = 30  # Six for each of index, middle, ring, little, thumb.
ADDRESS = 0x50

POSITION = 0x10
VELOCITY = 0x20
TORQUE = 0x30
VOLTAGE = 0x40
READ_ONLY = 0xA0
EXIT = 0x7C
# What to answer: added to one of the headers above, except EXIT.
CURRENTS_AND_TOUCH, VELOCITIES_AND_TOUCH, CURRENTS_AND_VELOCITIES = 0, 1, 2

VARIANTS = (CURRENTS_AND_TOUCH, VELOCITIES_AND_TOUCH, CURRENTS_AND_VELOCITIES)

MAX_RAW = 32767
_RAD_PER_RAW = radians(150.0) / MAX_RAW
_AMPERE_PER_RAW = 1.0 / 620.606079
_ROTOR_RAD_S_PER_RAW = 0.25
GEARS = np.array([649.0] * 5 + [162.45])  # Turns of the rotor for one of the joint.

_FLAG, _ESCAPE, _FLIP = 0x7E, 0x7D, 0x20
_MAX_FRAME = 128  # The longest answer has 72 bytes.
_LENGTHS = {CURRENTS_AND_TOUCH: 72, VELOCITIES_AND_TOUCH: 72, CURRENTS_AND_VELOCITIES: 39}
_VALUES = struct.Struct("<6h")


@dataclass(frozen=True, slots=True, eq=False)
class Reply:
    """What the hand says of itself.

    Attributes:
        variant: Which of the three answers it is.
        positions: [rad]. Shape (6,).
        currents: Of the motors [A]. Shape (6,). ``None`` if not in this answer.
        velocities: Of the joints [rad/s]. Shape (6,). ``None`` if not in this answer.
        touch: Raw readings, 0 to 4095. Shape (30,). ``None`` if not in this answer.
        stopped: Which motors the hand has stopped itself, too hot or blocked. Bit i is joint i.
    """

    variant: int
    positions: Vector
    currents: Vector | None
    velocities: Vector | None
    touch: Vector | None
    stopped: int


# -- Stuffing ------------------------------------------------------------------------------


def frame(body: bytes) -> bytes:
    """Return ``body`` with its checksum, stuffed, between two flags."""
    stuffed = bytearray((_FLAG,))
    for byte in (*body, -sum(body) & 0xFF):
        stuffed += bytes((_ESCAPE, byte ^ _FLIP)) if byte in (_FLAG, _ESCAPE) else bytes((byte,))
    stuffed.append(_FLAG)
    return bytes(stuffed)


class Parser:
    """Finds frames in a stream of bytes, whatever else is in it."""

    def __init__(self) -> None:
        self._frame = bytearray()
        self._escaped = False

    def clear(self) -> None:
        """Forget a frame of which only the beginning came."""
        self._frame.clear()
        self._escaped = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the bodies of the frames that are complete now, their checksums proven."""
        bodies = []
        for byte in data:
            if byte == _FLAG:
                if len(self._frame) >= 2 and sum(self._frame) & 0xFF == 0 and not self._escaped:
                    bodies.append(bytes(self._frame[:-1]))
                self.clear()
            elif byte == _ESCAPE:
                self._escaped = True
            elif len(self._frame) < _MAX_FRAME:
                self._frame.append(byte ^ _FLIP if self._escaped else byte)
                self._escaped = False
        return bodies


# -- Requests ------------------------------------------------------------------------------


def position_request(positions: Vector, variant: int, address: int = ADDRESS) -> bytes:
    """Return the request to go to ``positions`` [rad], shape (6,), and to answer."""
    raw = np.clip(np.rint(positions / _RAD_PER_RAW), -MAX_RAW, MAX_RAW).astype(int)
    return frame(bytes((address, POSITION | variant)) + _VALUES.pack(*raw))


def read_request(variant: int, address: int = ADDRESS) -> bytes:
    """Return the request to answer and do nothing else."""
    return frame(bytes((address, READ_ONLY | variant)))


def requested_positions(body: bytes) -> Vector | None:
    """Return the positions [rad] in the body of a position request, shape (6,)."""
    if len(body) != 2 + _VALUES.size or body[1] & 0xF0 != POSITION:
        return None
    return np.array(_VALUES.unpack_from(body, 2)) * _RAD_PER_RAW


# -- Answers -------------------------------------------------------------------------------


def encode_reply(
    header: int,
    *,
    positions: Vector,
    currents: Vector,
    velocities: Vector,
    touch: Vector,
    stopped: int,
) -> bytes:
    """Return the answer to a request with ``header``. The arguments are as in ``Reply``."""
    raw_positions = _raw(positions, _RAD_PER_RAW)
    raw_currents = _raw(currents, _AMPERE_PER_RAW)
    raw_velocities = _raw(velocities * GEARS, _ROTOR_RAD_S_PER_RAW)
    variant = header & 0x0F
    beside = raw_velocities if variant == VELOCITIES_AND_TOUCH else raw_currents
    body = bytes((header,)) + struct.pack(
        "<12h", *(value for pair in zip(raw_positions, beside, strict=True) for value in pair)
    )
    if variant == CURRENTS_AND_VELOCITIES:
        body += _VALUES.pack(*raw_velocities)
    else:
        body += _pack_touch(touch)
    return frame(body + bytes((stopped,)))


def parse_reply(body: bytes) -> Reply | None:
    """Return what an answer says, or ``None`` if ``body`` is none."""
    variant = body[0] & 0x0F if body else -1
    if _LENGTHS.get(variant) != len(body) + 1:
        return None
    pairs = np.array(struct.unpack_from("<12h", body, 1), dtype=np.float64)
    currents: Vector | None = pairs[1::2] * _AMPERE_PER_RAW
    rotors: Vector | None = None
    touch: Vector | None = None
    if variant == CURRENTS_AND_VELOCITIES:
        rotors = np.array(_VALUES.unpack_from(body, 25), dtype=np.float64)
    else:
        touch = _unpack_touch(body[25:70])
    if variant == VELOCITIES_AND_TOUCH:
        currents, rotors = None, pairs[1::2]
    return Reply(
        variant=variant,
        positions=pairs[0::2] * _RAD_PER_RAW,
        currents=currents,
        velocities=None if rotors is None else rotors * _ROTOR_RAD_S_PER_RAW / GEARS,
        touch=touch,
        stopped=body[-1],
    )


def touch_forces(touch: Vector) -> Vector:
    """Return the force on each sensor [N] given raw readings. Shape (30,).

    The vendor's fit to the divider that each sensor is part of. It starts at 0.88 N, so forces
    below that are not told apart; a reading of 0 is no force.
    """
    volts = np.clip(touch, 1.0, 4095.0) * (3.3 / 4096.0)
    forces: Vector = 121591.0 / (33000.0 / volts + 10000.0) + 0.878894
    return np.where(touch > 0, forces, 0.0)


def _raw(values: Vector, unit: float) -> tuple[int, ...]:
    raw = np.clip(np.rint(values / unit), -MAX_RAW, MAX_RAW)
    return tuple(int(value) for value in raw)


def _pack_touch(touch: Vector) -> bytes:
    """Pack two readings of 12 bits into three bytes, low bits first."""
    packed = bytearray()
    readings = [int(value) for value in np.clip(touch, 0, 4095)]
    for first, second in zip(readings[0::2], readings[1::2], strict=True):
        packed += (first | second << 12).to_bytes(3, "little")
    return bytes(packed)


def _unpack_touch(packed: bytes) -> Vector:
    triples = [int.from_bytes(packed[i : i + 3], "little") for i in range(0, len(packed), 3)]
    return np.array([value for t in triples for value in (t & 0xFFF, t >> 12)], dtype=np.float64)
