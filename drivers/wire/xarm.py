"""UFACTORY's private TCP protocol, as xArm controllers speak it.

Requests and answers pass the control port:

    request  u16 transaction | u16 protocol | u16 length | u8 function | payload
    answer   u16 transaction | u16 protocol | u16 length | u8 function | u8 status | data

The length counts what follows it. Integers are big-endian, floating-point numbers are
little-endian 32-bit. The report port says where the arm is, a hundred times a second:

    u32 length of all | u8 state + 16 mode | u16 queued | 7 angles | 6 pose | 7 torques | ...

There is no checksum: TCP has its own. Sources: docs.ufactory.cc, "Private TCP protocol" and
"Data description of TCP port"; xarm-python-sdk 1.18.4, ``x3/report.py`` and ``core/wrapper``.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

import numpy as np

from dexhil.drivers.arrays import Vector

N_JOINTS = 7
CONTROL_PORT = 502
REPORT_PORT = 30003
REPORT_HZ = 100.0

# Heartbeats have a protocol of their own; the SDK moves from 2 to 3 where firmware allows.
HEARTBEAT = 1
PROTOCOLS = (HEARTBEAT, 2, 3)
_REQUEST_HEAD = struct.Struct(">HHH")
_LONGEST_REQUEST = 512  # The SDK's longest has less than 300 bytes.

_REPORT_HEAD = struct.Struct(">IBH")
_REPORT_BODY = struct.Struct(f"<{N_JOINTS}f6f{N_JOINTS}f")
_WRENCHES = struct.Struct("<12f")  # Of a force sensor; old firmware leaves them out.
_SMALLEST_REPORT = _REPORT_HEAD.size + _REPORT_BODY.size
_LONGEST_REPORT = 512
_WIDEST_ANGLE = 6.5  # Joints turn up to one revolution either way [rad].
_LARGEST_TORQUE = 500.0  # Ten times what the strongest joint can do [N·m].


class Function(IntEnum):
    """What a request asks for."""

    GET_VERSION = 1
    GET_REPORT_CURRENTS = 5
    MOTION_ENABLE = 11
    SET_STATE = 12
    GET_STATE = 13
    GET_QUEUED = 14
    GET_ERROR = 15
    CLEAN_ERROR = 16
    CLEAN_WARNING = 17
    SET_MODE = 19
    SERVO_JOINTS = 29
    GET_JOINTS = 42
    GET_TORQUES = 55


class Status(IntFlag):
    """What an answer says of the controller."""

    INVALID = 0x08
    NOT_READY = 0x10
    WARNING = 0x20
    ERROR = 0x40


class Motion(IntEnum):
    """The controller's states. Only in the first three does it follow set points."""

    SPORT = 0
    MOVING = 1
    STANDBY = 2
    PAUSED = 3
    STOPPED = 4
    CHANGED = 5  # The mode was switched: stopped until set to ``SPORT``.
    SLOWING = 6


class Mode(IntEnum):
    """How the controller takes commands; there are more."""

    POSITION = 0
    SERVO = 1


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked."""

    transaction: int
    protocol: int
    function: int
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Report:
    """Where the arm is and what it does.

    Attributes:
        state: See ``Motion``.
        mode: See ``Mode``.
        positions: [rad]. Shape (7,).
        torques: Estimated from motor currents [N·m], or those currents [A] if so set. Shape (7,).
        queued: Commands that wait.
        pose: Of the tool, x y z [mm], roll pitch yaw [rad]. Shape (6,).
    """

    state: int
    mode: int
    positions: Vector
    torques: Vector
    queued: int = 0
    pose: Vector = field(default_factory=lambda: np.zeros(6))


class RequestStream:
    """Cuts what a client sends into requests. Heartbeats are left out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Request]:
        """Take the next bytes, whatever they are, and return the requests they complete."""
        self._buffer += data
        requests, start = [], 0
        while len(self._buffer) - start >= _REQUEST_HEAD.size:
            transaction, protocol, length = _REQUEST_HEAD.unpack_from(self._buffer, start)
            if protocol not in PROTOCOLS or not 1 <= length <= _LONGEST_REQUEST:
                start += 1  # Garbage: look for a beginning at each byte.
                continue
            end = start + _REQUEST_HEAD.size + length
            if end > len(self._buffer):
                break
            if not self._may_begin(end):
                start += 1  # What follows a request is another one.
                continue
            if protocol != HEARTBEAT:
                body = bytes(self._buffer[start + _REQUEST_HEAD.size : end])
                requests.append(Request(transaction, protocol, body[0], body[1:]))
            start = end
        del self._buffer[:start]
        return requests

    def _may_begin(self, at: int) -> bool:
        head = self._buffer[at + 2 : at + 4]
        return len(head) < 2 or int.from_bytes(head, "big") in PROTOCOLS


def encode_answer(request: Request, status: int, data: bytes = b"") -> bytes:
    """Answer ``request`` with ``data``."""
    head = _REQUEST_HEAD.pack(request.transaction, request.protocol, 2 + len(data))
    return head + bytes([request.function, status]) + data


def encode_floats(values: Vector) -> bytes:
    """Write numbers as the protocol has them."""
    return np.asarray(values, dtype="<f4").tobytes()


def decode_joints(payload: bytes) -> Vector | None:
    """Return the joint angles [rad] that a command begins with, or ``None`` if it has none."""
    if len(payload) < 4 * N_JOINTS:
        return None
    joints = np.frombuffer(payload, dtype="<f4", count=N_JOINTS).astype(np.float64)
    return joints if np.isfinite(joints).all() else None


class ReportStream:
    """Cuts the stream of the report port into reports.

    A report that says what no arm can is left out: not finite, or far out of range.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Report]:
        """Take the next bytes, whatever they are, and return the reports they complete."""
        self._buffer += data
        reports, start = [], 0
        while len(self._buffer) - start >= _REPORT_HEAD.size:
            size, state_and_mode, queued = _REPORT_HEAD.unpack_from(self._buffer, start)
            if not self._is_size(size) or state_and_mode & 0x0F > max(Motion):
                start += 1  # Garbage: look for a beginning at each byte.
                continue
            if len(self._buffer) - start < size:
                break
            # Where the next one does not begin, this one was cut short or never began.
            if not self._may_begin(start + size):
                start += 1
                continue
            report = self._decoded(start + _REPORT_HEAD.size, state_and_mode, queued)
            if report is not None:
                reports.append(report)
            start += size
        del self._buffer[:start]
        return reports

    @staticmethod
    def _is_size(size: int) -> bool:
        return _SMALLEST_REPORT <= size <= _LONGEST_REPORT

    def _may_begin(self, at: int) -> bool:
        head = self._buffer[at : at + 4]
        return len(head) < 4 or self._is_size(int.from_bytes(head, "big"))

    def _decoded(self, at: int, state_and_mode: int, queued: int) -> Report | None:
        values = np.array(_REPORT_BODY.unpack_from(self._buffer, at))
        if not np.isfinite(values).all():
            return None
        positions, pose, torques = np.split(values, [N_JOINTS, N_JOINTS + 6])
        if abs(positions).max() > _WIDEST_ANGLE or abs(torques).max() > _LARGEST_TORQUE:
            return None
        return Report(
            state=state_and_mode & 0x0F,
            mode=state_and_mode >> 4,
            queued=queued,
            positions=positions,
            pose=pose,
            torques=torques,
        )


def encode_report(report: Report) -> bytes:
    """Write a report with the readings of a force sensor that is not there."""
    body = _REPORT_BODY.pack(*report.positions, *report.pose, *report.torques)
    body += _WRENCHES.pack(*[0.0] * 12)
    head = (_REPORT_HEAD.size + len(body), report.state | report.mode << 4, report.queued)
    return _REPORT_HEAD.pack(*head) + body
