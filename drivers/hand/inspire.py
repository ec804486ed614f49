"""Inspire RH56: six driven joints, over RS485 (RH56DFX, BFX) or Modbus/TCP (RH56DFTP)."""

import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Vector
from dexhil.drivers.clock import Clock
from dexhil.drivers.hand.hand import Hand, HandSpec
from dexhil.drivers.joints import check_motion
from dexhil.drivers.models.kinematics import Side, load_kinematics
from dexhil.drivers.streamed import Differentiator, Sample, StreamedJoints
from dexhil.drivers.wire import Wire, eb90, modbus
from dexhil.drivers.wire.serial import SerialWire
from dexhil.drivers.wire.sockets import TcpWire

# Registers, by byte address, for six fingers in the order of the spec: RH56 manual V1.09.
CLEAR_ERROR = 1004  # Write 1.
ANGLE_SET = 1486  # 6 x i16, 1000 open to 0 closed.
FORCE_SET = 1498  # 6 x i16, where a finger stops closing [gram force].
SPEED_SET = 1522  # 6 x i16, 1000 is the fastest.
ANGLE_ACT = 1546  # 6 x i16
FORCES = 1582  # FORCE_ACT 6 x i16 [gram force], CURRENT 6 x i16 [mA]
HEALTH = 1606  # ERROR, STATUS, TEMP: 6 x u8 each.

N_FINGERS = 6
OPEN = 1000
FASTEST = 1000
NEWTON_PER_GRAM = 9.80665e-3
STRONGEST = 1000 * NEWTON_PER_GRAM  # [N]
BEYOND = 50  # Calibration lets angles end this far outside 0 to 1000; beyond is garbage.
REPLY_S = 0.025  # A USB adapter holds an answer back for up to 16 ms.
FIRST_REPLY_S = 0.5  # So long that the first answer cannot be late.
SETTLE_S = 1.0  # Clearing an error takes less [s].
MOST_LEFTOVERS = 16  # Late or repeated answers to drop before asking; a babbler is no hand.
MOST_BEFORE = 8  # [byte]

ERRORS = ("stall", "overtemperature", "overcurrent", "motor fault", "communication fault")
BAD_STATUS = {5: "overcurrent", 6: "stall", 7: "motor fault", 255: "motor fault"}


@dataclass(frozen=True, slots=True, kw_only=True)
class InspireHandConfig:
    """How to reach an ``InspireHand``. Give ``port`` or ``host``.

    Attributes:
        port: Serial port of an RS485 adapter, e.g. ``/dev/ttyUSB0``.
        host: Address of a hand with Modbus/TCP. The factory's is 192.168.11.210 or
            192.168.123.211, depending on the year.
        baud: Of the serial port [bit/s].
        tcp_port: Of Modbus.
        hand_id: Serial id, or Modbus unit.
        side: Which hand it is.
        speed: Share of its full speed that it may use, above 0 to 1.
        force_limit: Where a finger stops closing, up to 9.8 [N].
        watchdog_s: It holds still when no command came for this long [s].
        capture: File to write every byte down in.
    """

    port: str | None = None
    host: str | None = None
    baud: int = 115200
    tcp_port: int = 6000
    hand_id: int = 1
    side: Side = "right"
    speed: float = 1.0
    force_limit: float = 5.0
    watchdog_s: float = 0.2
    capture: Path | None = None

    def __post_init__(self) -> None:
        if (self.port is None) == (self.host is None):
            raise ValueError("give port, a serial port, or host, an address, and not both")
        if not 1 <= self.hand_id <= 254:
            raise ValueError(f"hand_id is {self.hand_id}, allowed 1 to 254")
        check_motion(self.speed, self.watchdog_s)
        if not 0 < self.force_limit <= STRONGEST:
            raise ValueError(
                f"force_limit is {self.force_limit:g} N, allowed above 0 to {STRONGEST:.1f} N"
            )


class InspireHand(StreamedJoints, Hand):
    """An RH56. Tested against an emulator, never on hardware.

    The hand has neither an enable switch nor a watchdog: it goes to the last angle that it
    was told and stays there. So holding means to tell it the angle that it is at.

    The wire at 115200 baud carries 11.5 bytes a millisecond. Reading angles takes 9 + 20 bytes,
    writing them 20 + 9: 5.0 ms in all. Every second cycle also reads either forces and currents
    (9 + 32 bytes, 3.6 ms) or health (9 + 26 bytes, 3.0 ms), so a cycle of 10 ms has room for
    the hand's own reaction time, and everything is read 25 times a second.
    """

    config_type = InspireHandConfig
    period_s = 0.01

    def __init__(self, config: InspireHandConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(name=name, clock=clock)
        self._config = config
        kinematics = load_kinematics("inspire", config.side)
        self._spec = HandSpec.of(
            kinematics, watchdog_s=config.watchdog_s, speed=config.speed, side=config.side
        )
        # A register's whole range is a joint's own range; a coupled joint may end it earlier.
        self._ranges = np.array([kinematics.joint(j).limits[1] for j in kinematics.joint_names])
        self._registers: Registers = (
            SerialRegisters(SerialWire(config.port, config.baud, capture=config.capture), config)
            if config.port is not None
            else ModbusRegisters(
                TcpWire(str(config.host), config.tcp_port, capture=config.capture), config
            )
        )

    @property
    def spec(self) -> HandSpec:
        return self._spec

    def _link_open(self, timeout_s: float) -> None:
        del timeout_s  # Opening does not wait for the hand.
        self._registers.open()
        self._velocities = Differentiator(smoothing_s=0.03)
        self._forces: Vector | None = None
        self._currents: Vector | None = None
        # Health first: a hand with a latched error does not connect.
        self._rota = cycle((self._check_health, None, self._read_forces, None))

    def _link_close(self) -> None:
        self._registers.close()

    def _poll(self) -> Sample | None:
        raw = self._registers.read_words(ANGLE_ACT, N_FINGERS)
        stamp_s = self.clock.now_s()
        if raw is None or not _is_angle(raw).all():
            return None
        read = next(self._rota)
        if read is not None:
            read()
        if self._forces is None:
            return None
        positions = (OPEN - raw) / OPEN * self._ranges
        return Sample(
            stamp_s=stamp_s,
            positions=positions,
            velocities=self._velocities(stamp_s, positions),
            extras={"finger_forces": self._forces, "motor_currents": self._currents},
        )

    def _switch_on(self, here: Vector) -> None:
        self._check_health()
        # Set points come at limited speed, so the hand itself may follow as fast as it can.
        self._insist(SPEED_SET, [FASTEST] * N_FINGERS)
        self._insist(FORCE_SET, [round(self._config.force_limit / NEWTON_PER_GRAM)] * N_FINGERS)
        self._insist(ANGLE_SET, self._to_raw(here))

    def _switch_off(self) -> None:
        raw = self._registers.read_words(ANGLE_ACT, N_FINGERS)
        # -1 would do as well, if it stops a finger that is moving: the manual leaves it open.
        held = np.full(N_FINGERS, -1.0)
        if raw is not None:  # What is no angle must send no finger anywhere.
            held = np.where(_is_angle(raw), np.clip(raw, 0, OPEN), -1.0)
        self._insist(ANGLE_SET, [int(value) for value in held])

    def _send(self, setpoint: Vector) -> None:
        # An acknowledgement that got lost is made up for by the next set point.
        self._registers.write_words(ANGLE_SET, self._to_raw(setpoint))

    def _clear_errors(self) -> None:
        self._registers.write_bytes(CLEAR_ERROR, b"\x01")
        give_up_s = self.clock.now_s() + SETTLE_S
        while self.clock.now_s() < give_up_s:
            data = self._registers.read_bytes(HEALTH, 3 * N_FINGERS)
            if data is not None and not self._troubles(data):
                return
            self.clock.sleep(0.05)
        self._check_health()

    def _read_forces(self) -> None:
        words = self._registers.read_words(FORCES, 2 * N_FINGERS)
        if words is not None:
            self._forces = words[:N_FINGERS] * NEWTON_PER_GRAM
            self._currents = words[N_FINGERS:] * 1e-3

    def _check_health(self) -> None:
        data = self._registers.read_bytes(HEALTH, 3 * N_FINGERS)
        troubles = [] if data is None else self._troubles(data)
        if troubles:
            raise RuntimeError(
                f"{', '.join(troubles)}; free the finger or let it cool, then call recover()"
            )

    def _troubles(self, data: bytes) -> list[str]:
        """Return what is wrong with which finger."""
        found = []
        for finger, name in enumerate(self._spec.joint_names):
            error, status, celsius = data[finger::N_FINGERS]
            words = [word for bit, word in enumerate(ERRORS) if error >> bit & 1]
            if not words and status in BAD_STATUS:
                words = [BAD_STATUS[status]]
            if words:
                found.append(f"{name} reports {' and '.join(words)} at {celsius} °C")
        return found

    def _insist(self, address: int, values: Sequence[int]) -> None:
        """Write until the hand acknowledges.

        Raises:
            ConnectionError: It does not.
        """
        if not any(self._registers.write_words(address, values) for _ in range(5)):
            raise ConnectionError("the hand does not acknowledge what is written to it")

    def _to_raw(self, positions: Vector) -> list[int]:
        raw = OPEN - np.rint(positions / self._ranges * OPEN)
        return [int(value) for value in np.clip(raw, 0, OPEN)]


def _is_angle(raw: Vector) -> npt.NDArray[np.bool_]:
    return np.abs(raw - OPEN / 2) <= OPEN / 2 + BEYOND


# -- Two ways to the same registers ----------------------------------------------------------


class Registers(ABC):
    """The hand's memory, low byte first. Whatever is lost or late reads as ``None``."""

    def __init__(self, wire: Wire, config: InspireHandConfig) -> None:
        self._wire = wire
        self._hand_id = config.hand_id

    def open(self) -> None:
        """Open the wire."""
        self._wire.open()

    def close(self) -> None:
        """Let go of the wire."""
        self._wire.close()

    @abstractmethod
    def read_bytes(self, address: int, n_bytes: int) -> bytes | None:
        """Return ``n_bytes`` from ``address``."""

    @abstractmethod
    def write_bytes(self, address: int, data: bytes) -> bool:
        """Write ``data``. Returns whether the hand acknowledged it."""

    def read_words(self, address: int, count: int) -> Vector | None:
        """Return signed 16-bit values. Shape (count,)."""
        data = self.read_bytes(address, 2 * count)
        return None if data is None else np.frombuffer(data, dtype="<i2").astype(np.float64)

    def write_words(self, address: int, values: Sequence[int]) -> bool:
        """Write signed 16-bit values. Returns whether the hand acknowledged them."""
        return self.write_bytes(address, np.array(values, dtype="<i2").tobytes())

    def _exchange(self, request: bytes, timeout_s: float = REPLY_S) -> Iterator[bytes]:
        """Send ``request`` and yield what comes until the answer would be too late to count."""
        for _ in range(MOST_LEFTOVERS):
            if not self._wire.receive(0.0):
                break
        self._wire.send(request)
        give_up_s = time.monotonic() + timeout_s
        while (left_s := give_up_s - time.monotonic()) > 0:
            yield self._wire.receive(left_s)


class SerialRegisters(Registers):
    """Over RS485.

    An answer names the address that was read, but not which request it belongs to. So after a lost
    answer angles are read from a little before, which tells a late answer from the right one.
    """

    def __init__(self, wire: Wire, config: InspireHandConfig) -> None:
        super().__init__(wire, config)
        self._parser = eb90.Parser(eb90.ANSWER)
        self._before = 0

    def read_bytes(self, address: int, n_bytes: int) -> bytes | None:
        # Before the angles there are positions, which may be read as well.
        before = self._before if address == ANGLE_ACT else 0
        request = eb90.read_request(self._hand_id, address - before, n_bytes + before)
        payload = self._ask(request, eb90.READ, address - before, n_bytes + before)
        if payload is not None:
            return payload[before:]
        self._before = (self._before + 2) % MOST_BEFORE
        return None

    def write_bytes(self, address: int, data: bytes) -> bool:
        request = eb90.write_request(self._hand_id, address, data)
        return self._ask(request, eb90.WRITE, address, 1) == b"\x01"

    def _ask(self, request: bytes, command: int, address: int, n_bytes: int) -> bytes | None:
        self._parser.clear()
        for chunk in self._exchange(request):
            for frame in self._parser.feed(chunk):
                meant = (frame.hand_id, frame.command, frame.address, len(frame.payload))
                if meant == (self._hand_id, command, address, n_bytes):
                    return frame.payload
        return None


class ModbusRegisters(Registers):
    """Over Modbus/TCP, where a register has the address of its first byte.

    Firmware repeats the number of a transaction plus one. So the first answer tells how far off
    this hand is, and late answers are known by being off by something else.
    """

    def __init__(self, wire: Wire, config: InspireHandConfig) -> None:
        super().__init__(wire, config)
        self._parser = modbus.Parser()
        self._transaction = 0
        self._offset: int | None = None

    def open(self) -> None:
        """Open the wire and learn how the hand numbers its answers."""
        super().open()
        self._offset = None
        self._ask(modbus.read_request, ANGLE_ACT, N_FINGERS, timeout_s=FIRST_REPLY_S)

    def read_bytes(self, address: int, n_bytes: int) -> bytes | None:
        count = (n_bytes + 1) // 2
        answer = self._ask(modbus.read_request, address, count)
        registers = None if answer is None else modbus.registers(answer, count)
        # Of two bytes in a register, the first one is the low one. Sources disagree on this.
        return None if registers is None else struct.pack(f"<{count}H", *registers)[:n_bytes]

    def write_bytes(self, address: int, data: bytes) -> bool:
        padded = data + b"\x00" * (len(data) % 2)
        values = struct.unpack(f"<{len(padded) // 2}H", padded)
        answer = self._ask(modbus.write_request, address, values)
        return answer is not None and answer.function == modbus.WRITE_MULTIPLE

    def _ask(
        self,
        request: Callable[[int, int, int, Any], bytes],
        address: int,
        what: object,
        *,
        timeout_s: float = REPLY_S,
    ) -> modbus.Message | None:
        self._transaction = (self._transaction + 1) & 0xFFFF
        self._parser.clear()
        message = request(self._transaction, self._hand_id, address, what)
        for chunk in self._exchange(message, timeout_s):
            for answer in self._parser.feed(chunk):
                offset = (answer.transaction - self._transaction) & 0xFFFF
                if self._offset in (None, offset):
                    self._offset = offset
                    return answer
        return None
