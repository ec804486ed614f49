"""Universal Robots' Real-Time Data Exchange (RTDE), protocol version 2.

Every package is ``u16 size | u8 kind | payload``, big-endian; the size counts itself and
the kind. There is neither a start mark nor a checksum: TCP carries it. After a handshake
about names the data packages hold values only, in the order that was agreed on:

    host   O  f64 rate, "timestamp,actual_q"      robot  O  u8 recipe, "DOUBLE,VECTOR6D"
    host   S                                      robot  S  u8 1
                                                  robot  U  u8 recipe, 8 + 48 bytes, ...

The driver leaves all this to ur_rtde. The emulator speaks it from here, so the two ends
share no code and each is a check of the other.

Source: Universal Robots' RTDE guide, ur_rtde 1.6.5 (rtde.cpp, robot_state.cpp).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

VERSION = 2
HEADER = struct.Struct(">HB")
MAX_SIZE = 4096  # The longest package is a list of names, at most 2048 bytes of them [byte].

NOT_FOUND = "NOT_FOUND"  # Instead of a type: the controller knows no such variable.
IN_USE = "IN_USE"  # Instead of a type: another client, or a fieldbus, writes this register.


class Kind(IntEnum):
    """What a package is. The values are letters: V, v, M, U, O, I, S, P."""

    PROTOCOL_VERSION = 86
    CONTROLLER_VERSION = 118
    TEXT = 77
    DATA = 85
    SETUP_OUTPUTS = 79
    SETUP_INPUTS = 73
    START = 83
    PAUSE = 80


_KINDS = frozenset(Kind)

# Type, as the controller spells it -> how it is packed.
FORMATS = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT32": "I",
    "UINT64": "Q",
    "INT32": "i",
    "DOUBLE": "d",
    "VECTOR3D": "3d",
    "VECTOR6D": "6d",
    "VECTOR6INT32": "6i",
    "VECTOR6UINT32": "6I",
}

_OUTPUTS = {
    "DOUBLE": (
        "timestamp actual_execution_time speed_scaling target_speed_fraction actual_momentum "
        "actual_main_voltage actual_robot_voltage actual_robot_current standard_analog_input0 "
        "standard_analog_input1 standard_analog_output0 standard_analog_output1 payload"
    ),
    "VECTOR6D": (
        "target_q target_qd target_qdd target_current target_moment actual_q actual_qd "
        "actual_current joint_control_output actual_TCP_pose actual_TCP_speed actual_TCP_force "
        "target_TCP_pose target_TCP_speed joint_temperatures actual_joint_voltage ft_raw_wrench "
        "payload_inertia"
    ),
    "VECTOR3D": "actual_tool_accelerometer payload_cog elbow_position elbow_velocity",
    "VECTOR6INT32": "joint_mode",
    "INT32": "robot_mode safety_mode",
    "UINT32": "runtime_state robot_status_bits safety_status_bits",
    "UINT64": "actual_digital_input_bits actual_digital_output_bits",
}
N_REGISTERS = 48  # Of each type and direction.

OUTPUT_TYPES: dict[str, str] = {
    name: type_name for type_name, names in _OUTPUTS.items() for name in names.split()
}
INPUT_TYPES: dict[str, str] = {"external_force_torque": "VECTOR6D"}
for _number in range(N_REGISTERS):
    for _word, _type in (("int", "INT32"), ("double", "DOUBLE")):
        OUTPUT_TYPES[f"output_{_word}_register_{_number}"] = _type
        INPUT_TYPES[f"input_{_word}_register_{_number}"] = _type


@dataclass(frozen=True, slots=True)
class Package:
    """One package.

    Attributes:
        kind: What it is.
        payload: What follows the header.
    """

    kind: Kind
    payload: bytes = b""

    def encode(self) -> bytes:
        """Return the package as bytes.

        Raises:
            ValueError: The payload is too long for the protocol.
        """
        size = HEADER.size + len(self.payload)
        if size > MAX_SIZE:
            raise ValueError(f"package has {size} bytes, allowed {MAX_SIZE}")
        return HEADER.pack(size, self.kind) + self.payload


class Parser:
    """Finds packages in a stream of bytes, whatever else is in it."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Package]:
        """Return the packages that are complete now. Bytes that are no package are dropped."""
        self._buffer += data
        packages = []
        start = 0
        while len(self._buffer) - start >= HEADER.size:
            size, kind = HEADER.unpack_from(self._buffer, start)
            if kind not in _KINDS or not HEADER.size <= size <= MAX_SIZE:
                start += 1  # Nothing marks a beginning, so the next byte may be one.
                continue
            end = start + size
            if len(self._buffer) < end:
                break
            payload = bytes(self._buffer[start + HEADER.size : end])
            packages.append(Package(Kind(kind), payload))
            start = end
        del self._buffer[:start]
        return packages


def names_in(payload: bytes) -> tuple[str, ...]:
    """Return the names in a comma-separated list. A trailing comma adds none."""
    text = payload.decode("ascii", errors="replace")
    return tuple(name for name in text.split(",") if name)


class Recipe:
    """An agreed order of values.

    Args:
        number: What its data packages begin with.
        types: A type per value, each one of ``FORMATS``.
    """

    def __init__(self, number: int, types: Sequence[str]) -> None:
        self.number = number
        self.types = tuple(types)
        self._struct = struct.Struct(">B" + "".join(FORMATS[each] for each in types))

    def encode(self, values: Sequence[float | Sequence[float]]) -> bytes:
        """Return the data package that carries ``values``, vectors as sequences."""
        flat: list[float] = []
        for value in values:
            if isinstance(value, int | float):
                flat.append(value)
            else:
                flat.extend(value)
        return Package(Kind.DATA, self._struct.pack(self.number, *flat)).encode()

    def decode(self, payload: bytes) -> tuple[float | tuple[float, ...], ...] | None:
        """Return the values in a data package; ``None`` if it does not fit this recipe."""
        if len(payload) != self._struct.size or payload[0] != self.number:
            return None
        flat = iter(self._struct.unpack(payload)[1:])
        values: list[float | tuple[float, ...]] = []
        for type_name in self.types:
            count = FORMATS[type_name][:-1]
            values.append(tuple(next(flat) for _ in range(int(count))) if count else next(flat))
        return tuple(values)


def output_setup(rate_hz: float, names: Sequence[str]) -> Package:
    """Return the host's wish to be sent ``names`` at ``rate_hz``."""
    return Package(
        Kind.SETUP_OUTPUTS, struct.pack(">d", rate_hz) + (",".join(names) + ",").encode("ascii")
    )


def parse_output_setup(payload: bytes) -> tuple[float, tuple[str, ...]] | None:
    """Return rate [1/s] and names of an output setup; ``None`` if it is none."""
    if len(payload) < 8:
        return None
    (rate_hz,) = struct.unpack_from(">d", payload)
    if not 1.0 <= rate_hz <= 500.0:  # The controller's own rate is 500 Hz.
        return None
    return rate_hz, names_in(payload[8:])


def setup_answer(kind: Kind, number: int, types: Sequence[str]) -> Package:
    """Return the robot's answer to a setup: the recipe's number and the types."""
    return Package(kind, bytes((number,)) + ",".join(types).encode("ascii"))
