"""The CAN-FD protocol of the DexRobot DexHand021. Little-endian.

Six boards drive two motors each: 0x01 to 0x06 in a left hand, 0x07 to 0x0C in a right one. A
frame's identifier is what it says plus the board's number. ``hand`` in what follows is the
number of the first board. Layouts are those of the maker's driver, DexRobot
pyzlg_dexhand 316575a.
"""

import math
import struct
from dataclasses import dataclass
from enum import IntEnum

from dexhil.drivers.wire.can import CanFrame

LEFT_HAND, RIGHT_HAND = 0x01, 0x07  # The first board.
N_BOARDS = 6
# By board: the two motors.
MOTORS = (
    ("th_dip", "th_mcp"),
    ("th_rot", "ff_spr"),
    ("ff_dip", "ff_mcp"),
    ("mf_dip", "mf_mcp"),
    ("rf_dip", "rf_mcp"),
    ("lf_dip", "lf_mcp"),
)
TACTILE_BOARDS = (0, 2, 3, 4, 5)  # Thumb, first, middle, ring, little.
BOTH = 0x03  # Both motors of a board.
ANGLE = math.radians(0.01)  # One count of an angle [rad].
FEEDBACK_UNIT_S = 0.01  # One count of a feedback period [s].
STRONGEST = 1000.0  # A fingertip that reports more than this reports garbage [N].

_CONFIG, _ACK, _MOTION, _FEEDBACK, _ERROR = 0x000, 0x080, 0x100, 0x180, 0x600
_CLEAR_ERROR, _CONFIG_FEEDBACK = 0xA4, 0x74
_COMMAND = struct.Struct("<BBhh")
_JOINTS = struct.Struct("<8h")
_TACTILE = struct.Struct("<fIfIHII")
_ENCODERS = struct.Struct("<HH")
_FD_LENGTHS = (8, 12, 16, 20, 24, 32, 48, 64)  # Longer frames are padded to one of these.
_REASONS = ("current overload", "Hall sensor error", "stall", "parameter error")


class Mode(IntEnum):
    """What a motor does with its command."""

    ZERO_TORQUE = 0x00
    CURRENT = 0x11
    SPEED = 0x22
    HALL_POSITION = 0x33
    CASCADED_PID = 0x44  # The command is an angle.
    PROTECTED_HALL_POSITION = 0x55


class FeedbackMode(IntEnum):
    """When a board says how it is."""

    PERIODIC = 1
    QUERY = 2
    ON_CHANGE = 3


_MODES = frozenset(int(mode) for mode in Mode)
_FEEDBACK_MODES = frozenset(int(mode) for mode in FeedbackMode)


@dataclass(frozen=True, slots=True)
class Command:
    """What both motors of a board shall do.

    Attributes:
        board: From 0.
        mode: What the targets mean.
        motors: Bit 0 the first, bit 1 the second: whom it is meant for.
        targets: [rad] in ``CASCADED_PID``.
    """

    board: int
    mode: Mode
    motors: int
    targets: tuple[float, float]


@dataclass(frozen=True, slots=True)
class FeedbackConfig:
    """When a board shall say how it is.

    Attributes:
        board: From 0.
        mode: On which occasion.
        period_s: Of periodic feedback [s].
        enable: Whether at all.
    """

    board: int
    mode: FeedbackMode
    period_s: float
    enable: bool


@dataclass(frozen=True, slots=True)
class ClearError:
    """A board shall forget its error."""

    board: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tactile:
    """What a fingertip feels.

    Attributes:
        normal: Force onto the pad [N].
        tangential: Force along the pad [N].
        direction: Of the latter; 0 is towards the tip [rad].
        proximity: Raw.
        temperature: [°C].
    """

    normal: float
    tangential: float
    direction: float
    proximity: int
    temperature: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """How a board is.

    Attributes:
        board: From 0.
        angles: Of its two joints [rad].
        currents: Of its two motors [A].
        tactile: Of the fingertip, if it has one and that makes sense.
    """

    board: int
    angles: tuple[float, float]
    currents: tuple[float, float]
    tactile: Tactile | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """A board did as it was configured."""

    board: int
    clears_error: bool


@dataclass(frozen=True, slots=True)
class BoardError:
    """A board reports an error.

    Attributes:
        board: From 0.
        code: Bits 0 to 3 are the first motor's, 4 to 7 the second's: overload, Hall, stall,
            parameters.
    """

    board: int
    code: int

    @property
    def only_stalls(self) -> bool:
        return self.code != 0 and not self.code & ~0x44

    def __str__(self) -> str:
        first, second = self.code & 0x0F, self.code >> 4
        parts = [
            f"{motor}: {reason}"
            for motor, bits in zip(MOTORS[self.board], (first, second), strict=True)
            for bit, reason in enumerate(_REASONS)
            if bits >> bit & 1
        ]
        return ", ".join(parts) or f"an error without a reason on board {self.board}"


# -- What a host sends -----------------------------------------------------------------


def command(what: Command, hand: int = RIGHT_HAND) -> CanFrame:
    """Have the motors of one board do something."""
    first, second = (_counts(angle) for angle in what.targets)
    data = _COMMAND.pack(what.mode, what.motors, first, second)
    return CanFrame(_MOTION + hand + what.board, data, fd=True)


def configure(what: FeedbackConfig | ClearError, hand: int = RIGHT_HAND) -> CanFrame:
    """Configure one board."""
    if isinstance(what, ClearError):
        data = bytes([0x03, _CLEAR_ERROR])
    else:
        period = max(0, min(255, round(what.period_s / FEEDBACK_UNIT_S)))
        data = bytes([0x03, _CONFIG_FEEDBACK, what.mode, period, what.enable])
    return CanFrame(_CONFIG + hand + what.board, data, fd=True)


# -- What a hand sends -----------------------------------------------------------------


def feedback(what: Feedback, hand: int = RIGHT_HAND) -> CanFrame:
    """Say how one board is."""
    milliamperes = [_int16(round(current * 1e3)) for current in what.currents]
    angles = [_counts(angle) for angle in what.angles]
    data = _JOINTS.pack(milliamperes[0], 0, 0, milliamperes[1], 0, 0, *angles)
    if what.tactile is not None:
        touch = what.tactile
        direction = round(math.degrees(touch.direction)) % 360
        data += _TACTILE.pack(
            touch.normal, 0, touch.tangential, 0, direction, touch.proximity, touch.temperature
        )
        data += _ENCODERS.pack(0, 0)
    return CanFrame(_FEEDBACK + hand + what.board, _padded(data), fd=True)


def ack(what: Ack, hand: int = RIGHT_HAND) -> CanFrame:
    """Say that a configuration was taken."""
    verb = _CLEAR_ERROR if what.clears_error else _CONFIG_FEEDBACK
    return CanFrame(_ACK + hand + what.board, bytes([0x03, verb, 0x00, 0x01]), fd=True)


def error(what: BoardError, hand: int = RIGHT_HAND) -> CanFrame:
    """Report an error."""
    which = bool(what.code & 0x0F) | bool(what.code & 0xF0) << 1
    data = _padded(bytes([0xEE, which, what.code]).ljust(64, b"\0"))
    return CanFrame(_ERROR + hand + what.board, data, fd=True)


# -- Reading ---------------------------------------------------------------------------


def parse(frame: CanFrame, hand: int = RIGHT_HAND) -> Feedback | Ack | BoardError | None:
    """Return what a hand said; ``None`` for anything else, a host's own frames included."""
    kind, board = _address(frame, hand)
    data = frame.data
    if board is None:
        return None
    if kind == _FEEDBACK and len(data) >= _JOINTS.size:
        return _feedback(board, data)
    if kind == _ACK and len(data) >= 4 and data[0] == 0x03 and data[2:4] == b"\x00\x01":
        return Ack(board, data[1] == _CLEAR_ERROR)
    if kind == _ERROR and len(data) >= 3 and data[0] == 0xEE and data[1] in (1, 2, 3):
        return BoardError(board, data[2])
    return None


def parse_host(
    frame: CanFrame, hand: int = RIGHT_HAND
) -> Command | FeedbackConfig | ClearError | None:
    """Return what a host wants; ``None`` for anything else."""
    kind, board = _address(frame, hand)
    data = frame.data
    if board is None:
        return None
    if kind == _MOTION and len(data) == _COMMAND.size and data[0] in _MODES:
        mode, motors, first, second = _COMMAND.unpack(data)
        return Command(board, Mode(mode), motors & BOTH, (first * ANGLE, second * ANGLE))
    if kind == _CONFIG and data[:2] == bytes([0x03, _CLEAR_ERROR]):
        return ClearError(board)
    if kind == _CONFIG and data[:2] == bytes([0x03, _CONFIG_FEEDBACK]) and len(data) == 5:
        if data[2] not in _FEEDBACK_MODES:
            return None
        return FeedbackConfig(
            board, FeedbackMode(data[2]), data[3] * FEEDBACK_UNIT_S, bool(data[4])
        )
    return None


def _feedback(board: int, data: bytes) -> Feedback:
    milliamperes, _, _, milliamperes_2, _, _, angle, angle_2 = _JOINTS.unpack_from(data)
    tactile = None
    # A board without a fingertip may pad its frame to the same length.
    if board in TACTILE_BOARDS and len(data) >= _JOINTS.size + _TACTILE.size:
        normal, _, tangential, _, degrees, proximity, celsius = _TACTILE.unpack_from(
            data, _JOINTS.size
        )
        # Written so that a force that is no number is refused as well.
        if abs(normal) <= STRONGEST and abs(tangential) <= STRONGEST and degrees < 360:
            tactile = Tactile(
                normal=normal,
                tangential=tangential,
                direction=math.radians(degrees),
                proximity=proximity,
                temperature=celsius,
            )
    return Feedback(
        board=board,
        angles=(angle * ANGLE, angle_2 * ANGLE),
        currents=(milliamperes * 1e-3, milliamperes_2 * 1e-3),
        tactile=tactile,
    )


def _address(frame: CanFrame, hand: int) -> tuple[int, int | None]:
    """Return what a frame says and which board says it; ``None`` if it is not of this hand."""
    board = (frame.id & 0x7F) - hand
    if frame.remote or frame.error or not 0 <= board < N_BOARDS:
        return 0, None
    return frame.id & 0x780, board


def _counts(angle: float) -> int:
    return _int16(round(angle / ANGLE))


def _int16(value: int) -> int:
    return max(-32768, min(32767, value))


def _padded(data: bytes) -> bytes:
    longer = next(length for length in _FD_LENGTHS if length >= len(data))
    return data.ljust(longer, b"\0")
