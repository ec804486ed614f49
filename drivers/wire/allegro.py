"""The CAN protocol of the Wonik Allegro Hand V4. Little-endian, 8 bytes at most.

A frame's identifier is a command, shifted left by two, and the hand's own number, which is 0.
Numbers and scales are those of the maker's driver, simlab allegro_hand_ros_v4 b19b18e.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import radians

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.wire.can import CanFrame

N_FINGERS = 4  # Index, middle, ring, thumb.
JOINTS_PER_FINGER = 4
RAW_ANGLE = radians(333.3 / 65536.0)  # One count of a position [rad].
PWM_PER_TORQUE = 1200.0  # At 12 V [1/(N·m)].
# What the maker's driver sends at most, by joint: index, middle, ring, thumb.
PWM_LIMITS = (375, 675, 450, 285) * 3 + (525, 405, 270, 270)

SERVO_ON, SERVO_OFF = 0x100, 0x104
TORQUE = 0x180  # Of the index finger; the others follow in steps of 4.
PERIOD = 0x204
INFO = 0x200
SERIAL = 0x220
POSITION = 0x080  # Of the index finger; the others follow in steps of 4.
_STEP = 4
_FOUR = struct.Struct("<4h")
_PERIODS = struct.Struct("<3H")
_INFO = struct.Struct("<HHBBB")


@dataclass(frozen=True, slots=True)
class Positions:
    """Where the joints of one finger are.

    Attributes:
        finger: 0 index, 1 middle, 2 ring, 3 thumb.
        angles: From its base to its tip [rad].
    """

    finger: int
    angles: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What a hand says of itself when asked.

    Attributes:
        hardware: Version; the high byte is the generation, 4 for V4.
        firmware: Version.
        left: Whether it is a left hand.
        temperature: [°C].
        servo_on: Whether the motors have power.
        too_hot: Whether it switched itself off because it is too hot.
        internal_fault: Whether a part of it does not answer another one.
    """

    hardware: int
    firmware: int
    left: bool
    temperature: int
    servo_on: bool
    too_hot: bool
    internal_fault: bool

    @property
    def generation(self) -> int:
        return self.hardware >> 8


@dataclass(frozen=True, slots=True)
class Serial:
    """The serial number."""

    text: str


# -- What a host sends -----------------------------------------------------------------


def servo(*, on: bool) -> CanFrame:
    """Give the motors power, or take it."""
    return CanFrame(SERVO_ON if on else SERVO_OFF)


def torque(finger: int, pwm: Sequence[int]) -> CanFrame:
    """Set the duty of the four motors of one finger."""
    return CanFrame(TORQUE + finger * _STEP, _FOUR.pack(*pwm))


def period(position_ms: int, imu_ms: int = 0, temperature_ms: int = 0) -> CanFrame:
    """Have it send by itself; 0 for never [ms]."""
    return CanFrame(PERIOD, _PERIODS.pack(position_ms, imu_ms, temperature_ms))


def ask(what: int) -> CanFrame:
    """Ask for ``INFO`` or ``SERIAL``."""
    return CanFrame(what, remote=True)


def duty(torques: Vector) -> list[int]:
    """Turn torques [N·m] into what the motors may get. Shape (16,)."""
    limits = np.array(PWM_LIMITS, dtype=np.float64)
    pwm = np.rint(np.clip(torques * PWM_PER_TORQUE, -limits, limits))
    return [int(each) for each in pwm]


def torques(pwm: Sequence[int]) -> Vector:
    """Undo ``duty`` [N·m]. Shape (16,)."""
    return np.array(pwm, dtype=np.float64) / PWM_PER_TORQUE


# -- What a hand sends -----------------------------------------------------------------


def positions(finger: int, angles: Sequence[float]) -> CanFrame:
    """Say where the joints of one finger are [rad]."""
    raw = (max(-32768, min(32767, round(angle / RAW_ANGLE))) for angle in angles)
    return CanFrame(POSITION + finger * _STEP, _FOUR.pack(*raw))


def info(what: Info) -> CanFrame:
    """Say what it is and how it is."""
    status = what.servo_on | what.too_hot << 1 | what.internal_fault << 2
    head = _INFO.pack(what.hardware, what.firmware, what.left, what.temperature, status)
    return CanFrame(INFO, head + b"\0")


def serial(text: str) -> CanFrame:
    """Say the serial number."""
    return CanFrame(SERIAL, text.encode("ascii")[:8].ljust(8))


# -- Reading ---------------------------------------------------------------------------


def parse(frame: CanFrame) -> Positions | Info | Serial | None:
    """Return what a hand said; ``None`` for anything else, a host's own frames included."""
    if frame.remote or frame.error or frame.fd:
        return None
    finger = _finger(frame.id, POSITION)
    if finger is not None and len(frame.data) == _FOUR.size:
        first, second, third, fourth = (raw * RAW_ANGLE for raw in _FOUR.unpack(frame.data))
        return Positions(finger, (first, second, third, fourth))
    if frame.id == INFO and _INFO.size <= len(frame.data) <= 8:
        hardware, firmware, kind, temperature, status = _INFO.unpack_from(frame.data)
        return Info(
            hardware=hardware,
            firmware=firmware,
            left=kind == 1,
            temperature=temperature,
            servo_on=bool(status & 1),
            too_hot=bool(status & 2),
            internal_fault=bool(status & 4),
        )
    if frame.id == SERIAL and len(frame.data) == 8:
        return Serial("".join(chr(byte) for byte in frame.data if 32 < byte < 127))
    return None


def parse_torque(frame: CanFrame) -> tuple[int, tuple[int, ...]] | None:
    """Return the finger and the duty of its motors, if a host set them."""
    finger = _finger(frame.id, TORQUE)
    if finger is None or frame.remote or frame.error or len(frame.data) != _FOUR.size:
        return None
    return finger, _FOUR.unpack(frame.data)


def parse_period(frame: CanFrame) -> tuple[int, int, int] | None:
    """Return the periods of positions, IMU and temperatures [ms], if a host set them."""
    if frame.id != PERIOD or frame.remote or frame.error or len(frame.data) != _PERIODS.size:
        return None
    position_ms, imu_ms, temperature_ms = _PERIODS.unpack(frame.data)
    return position_ms, imu_ms, temperature_ms


def _finger(identifier: int, first: int) -> int | None:
    finger, rest = divmod(identifier - first, _STEP)
    return finger if rest == 0 and 0 <= finger < N_FINGERS else None
