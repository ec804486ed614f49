"""The motors' side of a Dynamixel bus: control tables, and who answers what.

Ids are as they were made; goal velocity, PWM and indirect addresses do nothing.

Source: control table of XL330-M288-T and XC330-M288-T and protocol 2.0, ROBOTIS e-Manual.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import takewhile

from dexhil.drivers.wire import dynamixel as wire
from dexhil.drivers.wire.dynamixel import Packet

TABLE_SIZE = 256
EEPROM_END = 64  # Registers below it are locked while the torque is on.
FAST_FIRMWARE = 46  # The first that understands a fast sync read.
BOOT_S = 0.3  # A motor that reboots is deaf for about this long [s].

# What a refused write is refused for: the error byte of the answer.
RESULT_FAIL, BAD_INSTRUCTION, OUT_OF_RANGE, BAD_LENGTH, OVER_LIMIT, NO_ACCESS = 1, 2, 4, 5, 6, 7

MODEL, FIRMWARE, ID, BAUD, RETURN_DELAY = 0, 6, 7, 8, 9
DRIVE_MODE, MODE, CURRENT_LIMIT, MAX_POSITION, MIN_POSITION, SHUTDOWN = 10, 11, 38, 48, 52, 63
TORQUE, STATUS_LEVEL, HARDWARE_ERROR, WATCHDOG = 64, 68, 70, 98
GOAL_CURRENT, PROFILE_VELOCITY, GOAL_POSITION, PRESENT = 102, 112, 116, 126

TRIPPED = 0xFF  # What the bus watchdog reads once it has stopped the motor.
WATCHDOG_UNIT_S = 0.02
POSITION_MODE, CURRENT_BASED_POSITION_MODE = 3, 5


@dataclass(frozen=True, slots=True)
class Register:
    """A register that can be written: its size [byte], what it takes, and its factory value."""

    size: int
    low: int
    high: int
    default: int = 0


REGISTERS: Mapping[int, Register] = {
    BAUD: Register(1, 0, 6, 1),
    RETURN_DELAY: Register(1, 0, 254, 250),
    DRIVE_MODE: Register(1, 0, 13),
    MODE: Register(1, 0, 16, 3),
    20: Register(4, -1_044_479, 1_044_479),  # Homing offset.
    CURRENT_LIMIT: Register(2, 0, 1750, 1750),
    44: Register(4, 0, 2047, 445),  # Velocity limit.
    MAX_POSITION: Register(4, 0, 4095, 4095),
    MIN_POSITION: Register(4, 0, 4095, 0),
    SHUTDOWN: Register(1, 0, 63, 53),
    TORQUE: Register(1, 0, 1),
    65: Register(1, 0, 1),  # LED.
    STATUS_LEVEL: Register(1, 0, 2, 2),
    76: Register(2, 0, 16383, 1600),  # Velocity I and P gain.
    78: Register(2, 0, 16383, 180),
    80: Register(2, 0, 16383, 0),  # Position D, I and P gain.
    82: Register(2, 0, 16383, 0),
    84: Register(2, 0, 16383, 400),
    WATCHDOG: Register(1, 0, 127),
    100: Register(2, -885, 885, 885),  # Goal PWM.
    GOAL_CURRENT: Register(2, -1750, 1750, 1750),
    104: Register(4, -2047, 2047),  # Goal velocity.
    108: Register(4, 0, 32767),  # Profile acceleration.
    PROFILE_VELOCITY: Register(4, 0, 32767),
    GOAL_POSITION: Register(4, -1_048_575, 1_048_575, 2048),
}
GOALS = (100, GOAL_CURRENT, 104, GOAL_POSITION)


class Motor:
    """One motor: its control table and the rules of writing to it.

    Args:
        motor: Its id.
        model: Its model number.
        baud: Its baud rate, as the register has it.
    """

    def __init__(self, motor: int, model: int, baud: int) -> None:
        self.table = bytearray(TABLE_SIZE)
        self.muted = self.blocked = False
        self.defect = 0  # Hardware errors that come back at every start.
        self.refused = 0
        self._deaf_until_s = 0.0
        self._heard_s = 0.0
        for address, register in REGISTERS.items():
            self.put(address, register.size, register.default)
        self.put(MODEL, 2, model)
        self.put(FIRMWARE, 1, 52)
        self.put(ID, 1, motor)
        self.put(BAUD, 1, baud)

    def get(self, address: int, size: int = 1, *, signed: bool = False) -> int:
        """Return the number at ``address``."""
        return int.from_bytes(self.table[address : address + size], "little", signed=signed)

    def put(self, address: int, size: int, value: int) -> None:
        """Set the number at ``address``, whatever the rules say."""
        self.table[address : address + size] = value.to_bytes(size, "little", signed=value < 0)

    @property
    def id(self) -> int:
        return self.get(ID)

    @property
    def driving(self) -> bool:
        return bool(self.get(TORQUE))

    @property
    def error_byte(self) -> int:
        return wire.ALERT if self.get(HARDWARE_ERROR) else 0

    def hears(self, now_s: float) -> bool:
        """Whether it takes part in the bus at all."""
        return not self.muted and now_s >= self._deaf_until_s

    def addressed(self, now_s: float) -> None:
        """A packet was for it, which is what the bus watchdog waits for."""
        self._heard_s = now_s

    def fail(self, bits: int) -> None:
        """Latch hardware errors. Those in the shutdown mask switch the torque off."""
        self.put(HARDWARE_ERROR, 1, self.get(HARDWARE_ERROR) | bits)
        if bits & self.get(SHUTDOWN):
            self.put(TORQUE, 1, 0)

    def reboot(self, now_s: float) -> None:
        """Start again: what is no EEPROM is as it left the factory."""
        self.table[EEPROM_END:PRESENT] = bytes(PRESENT - EEPROM_END)
        for address, register in REGISTERS.items():
            if address >= EEPROM_END:
                self.put(address, register.size, register.default)
        self.put(HARDWARE_ERROR, 1, self.defect)
        self._deaf_until_s = now_s + BOOT_S

    def watch(self, now_s: float) -> None:
        """Stop if the host was silent for longer than the bus watchdog allows."""
        allowed = self.get(WATCHDOG)
        silent_s = now_s - self._heard_s
        if self.driving and 0 < allowed < TRIPPED and silent_s > allowed * WATCHDOG_UNIT_S:
            self.put(WATCHDOG, 1, TRIPPED)
            self._goal_is_here()

    def read(self, address: int, size: int) -> bytes | None:
        """Return ``size`` bytes of the table, ``None`` where there is none."""
        if not size or address + size > TABLE_SIZE:
            return None
        return bytes(self.table[address : address + size])

    def write(self, address: int, data: bytes) -> int:
        """Write registers, all or none. Returns why not, 0 if done."""
        error = self._refusal(address, data)
        if error:
            self.refused += 1
            return error
        while data:
            size = REGISTERS[address].size
            self._set(address, int.from_bytes(data[:size], "little"), size)
            address, data = address + size, data[size:]
        return 0

    def _refusal(self, address: int, data: bytes) -> int:
        if not data:
            return BAD_LENGTH
        error = 0
        while data and not error:
            register = REGISTERS.get(address)
            if register is None or (address < EEPROM_END and self.driving):
                return NO_ACCESS
            if len(data) < register.size:
                return BAD_LENGTH
            value = int.from_bytes(data[: register.size], "little", signed=register.low < 0)
            error = self._objection(address, register, value)
            address, data = address + register.size, data[register.size :]
        return error

    def _objection(self, address: int, register: Register, value: int) -> int:
        stopped = address in GOALS and self.get(WATCHDOG) == TRIPPED
        if stopped or not register.low <= value <= register.high:
            return OUT_OF_RANGE
        if address == TORQUE and value and self.get(HARDWARE_ERROR):
            return RESULT_FAIL
        return OVER_LIMIT if self._beyond_limit(address, value) else 0

    def _beyond_limit(self, address: int, value: int) -> bool:
        if address == GOAL_CURRENT:
            return abs(value) > self.get(CURRENT_LIMIT, 2)
        if address == GOAL_POSITION and self.get(MODE) == POSITION_MODE:
            return not self.get(MIN_POSITION, 4) <= value <= self.get(MAX_POSITION, 4)
        return False

    def _set(self, address: int, value: int, size: int) -> None:
        if address == TORQUE and value and not self.driving:
            self._goal_is_here()
        changed = value != self.get(address, size)
        self.put(address, size, value)
        if address == MODE and changed:
            for gain in (80, 82, 84):
                self.put(gain, 2, REGISTERS[gain].default)
            self.put(GOAL_CURRENT, 2, self.get(CURRENT_LIMIT, 2))

    def _goal_is_here(self) -> None:
        self.put(GOAL_POSITION, 4, self.get(PRESENT + 6, 4, signed=True))


class MotorBus:
    """What all motors on one line answer to what a host says."""

    def __init__(self, motors: Iterable[Motor]) -> None:
        self.motors = {motor.id: motor for motor in motors}
        self.n_goals = 0  # Packets that gave goal positions.
        self._parser = wire.PacketParser()

    def heard(self, data: bytes, now_s: float) -> list[bytes]:
        """Return the answers to ``data``, one message each."""
        answers = [self._answer(packet, now_s) for packet in self._parser.feed(data)]
        return [answer for answer in answers if answer]

    def give_up(self) -> None:
        """Forget a packet that broke off."""
        self._parser.reset()

    def _answer(self, packet: Packet, now_s: float) -> bytes:
        grouped = {
            wire.SYNC_READ: self._sync_read,
            wire.FAST_SYNC_READ: self._fast_sync_read,
            wire.SYNC_WRITE: self._sync_write,
        }
        if packet.instruction in grouped:
            if packet.id != wire.BROADCAST or len(packet.parameters) < 4:
                return b""
            address, size = struct.unpack_from("<HH", packet.parameters)
            return grouped[packet.instruction](address, size, packet.parameters[4:], now_s)
        if packet.id == wire.BROADCAST:
            answers = [self._single(each, packet, now_s) for each in self.motors.values()]
            return b"".join(answers) if packet.instruction == wire.PING else b""
        motor = self.motors.get(packet.id)
        return self._single(motor, packet, now_s) if motor is not None else b""

    def _single(self, motor: Motor, packet: Packet, now_s: float) -> bytes:
        # Another motor's answer, or the host's echo of one, is not for us.
        if packet.instruction == wire.STATUS or not motor.hears(now_s):
            return b""
        motor.addressed(now_s)
        error, data, level = 0, b"", 2
        if packet.instruction == wire.PING:
            data, level = bytes(motor.table[:2]) + bytes([motor.get(FIRMWARE)]), 0
        elif packet.instruction == wire.READ and len(packet.parameters) == 4:
            level = 1
            found = motor.read(*struct.unpack("<HH", packet.parameters))
            error, data = (NO_ACCESS, b"") if found is None else (0, found)
        elif packet.instruction == wire.WRITE and len(packet.parameters) > 2:
            address = int.from_bytes(packet.parameters[:2], "little")
            self.n_goals += address == GOAL_POSITION
            error = motor.write(address, packet.parameters[2:])
        elif packet.instruction == wire.REBOOT:
            motor.reboot(now_s)
        else:
            error = BAD_INSTRUCTION
        if motor.get(STATUS_LEVEL) < level:
            return b""
        return wire.encode_status(motor.id, error | motor.error_byte, data)

    def _sync_write(self, address: int, size: int, rows: bytes, now_s: float) -> bytes:
        if not size or len(rows) % (size + 1):
            return b""
        self.n_goals += address == GOAL_POSITION
        for start in range(0, len(rows), size + 1):
            motor = self.motors.get(rows[start])
            if motor is not None and motor.hears(now_s):
                motor.addressed(now_s)
                motor.write(address, rows[start + 1 : start + 1 + size])
        return b""

    def _sync_read(self, address: int, size: int, ids: bytes, now_s: float) -> bytes:
        found = self._chain(address, size, ids, now_s)
        return b"".join(wire.encode_status(*block) for block in found)

    def _fast_sync_read(self, address: int, size: int, ids: bytes, now_s: float) -> bytes:
        if len(ids) * (size + 4) >= wire.MAX_LENGTH:
            return b""
        found = takewhile(
            lambda block: self.motors[block[0]].get(FIRMWARE) >= FAST_FIRMWARE,
            self._chain(address, size, ids, now_s),
        )
        return wire.encode_fast_status(found, len(ids))

    def _chain(
        self, address: int, size: int, ids: bytes, now_s: float
    ) -> list[tuple[int, int, bytes]]:
        """Return what the motors say in turn. Each waits for the one before it."""
        blocks = []
        for motor in map(self.motors.get, ids):
            if motor is None or not motor.hears(now_s) or not motor.get(STATUS_LEVEL):
                break
            motor.addressed(now_s)
            data = motor.read(address, size)
            if data is None:
                break
            blocks.append((motor.id, motor.error_byte, data))
        return blocks
