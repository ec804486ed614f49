"""An Inspire RH56 as its manual describes it: a block of registers, over RS485 or Modbus/TCP."""

import struct
import time
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.emulators.emulator import LONGEST_STEP_S, Emulator
from dexhil.drivers.emulators.link import EmulatedLink, PtyLink, TcpLink
from dexhil.drivers.emulators.motion import FirstOrder
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.drivers.wire import eb90, modbus

N_FINGERS = 6
N_BYTES = 6000  # The last known register is the last cell of the palm, at 5122.
HAND_ID, CLEAR_ERROR = 1000, 1004
ANGLE_SET, FORCE_SET, SPEED_SET = 1486, 1498, 1522
POS_ACT, ANGLE_ACT, FORCE_ACT, CURRENT = 1534, 1546, 1582, 1594
ERROR, STATUS, TEMP = 1606, 1612, 1618
SETTINGS = (ANGLE_SET, FORCE_SET, SPEED_SET)
RELEASING, GRASPING, REACHED, FORCE_REACHED, FAULT = 0, 1, 2, 3, 7

CLOSING_S = 0.8  # From open to closed at full speed, by the maker's data sheet [s].
NO_TARGET = -1
START = (900.0,) * N_FINGERS
BYTE_S = 10 / 115200  # Start, 8 bits, stop [s].
REACTION_S = 0.0003  # Unknown; a guess [s].


class RegisterHand(Emulator):
    """What both variants share: the registers, and fingers that follow them.

    Further verbs: ``error FINGER BIT``, ``status FINGER CODE``, ``block FINGER ANGLE`` (something
    is in its way), ``restart`` (it lost power for a moment).
    """

    kind = "hand"
    driver = "inspire"

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        kinematics = load_kinematics("inspire")
        self._ranges = np.array([kinematics.joint(j).limits[1] for j in kinematics.joint_names])
        self.reset()

    def reset(self) -> None:
        """Be as if just switched on: no target, no error."""
        self.memory = bytearray(N_BYTES)
        self.memory[HAND_ID] = 1
        self._put(ANGLE_SET, [NO_TARGET] * N_FINGERS)
        self._put(FORCE_SET, [500] * N_FINGERS)
        self._put(SPEED_SET, [1000] * N_FINGERS)
        self._motion = self._new_motion(np.array(START))
        self._stops = np.full(N_FINGERS, -np.inf)  # What a finger runs into [count].
        self._n_commands = self._out_of_range = 0
        self._moved_s = time.monotonic()
        self._measure()

    # -- Registers -----------------------------------------------------------------------

    def write(self, address: int, data: bytes) -> None:
        """Do what writing ``data`` to ``address`` does."""
        self.memory[address : address + len(data)] = data
        if address <= CLEAR_ERROR < address + len(data) and self.memory[CLEAR_ERROR]:
            self.memory[CLEAR_ERROR] = 0
            self.memory[ERROR : ERROR + N_FINGERS] = bytes(N_FINGERS)
            self.memory[STATUS : STATUS + N_FINGERS] = bytes((REACHED,) * N_FINGERS)
        for setting in SETTINGS:
            if address < setting + 2 * N_FINGERS and setting < address + len(data):
                self._n_commands += setting == ANGLE_SET
                self._check(setting)
        self._motion = self._new_motion(self._motion.positions)

    def _check(self, setting: int) -> None:
        """Count a setting that the manual does not allow, and put it right."""
        lowest = NO_TARGET if setting == ANGLE_SET else 0
        values = self._get(setting)
        allowed = np.clip(values, lowest, 1000)
        self._out_of_range += bool((values != allowed).any())
        self._put(setting, allowed)

    def _get(self, address: int) -> Vector:
        return np.array(struct.unpack_from("<6h", self.memory, address), dtype=np.float64)

    def _put(self, address: int, values: Any) -> None:
        struct.pack_into("<6h", self.memory, address, *np.rint(values).astype(int))

    def _new_motion(self, positions: Vector) -> FirstOrder:
        return FirstOrder(positions, self._get(SPEED_SET) / CLOSING_S)

    # -- Fingers -------------------------------------------------------------------------

    def step(self, dt_s: float) -> None:
        """Let the fingers follow their registers, and measure."""
        del dt_s  # Answers advance the fingers as well, so that none tells of the past.
        self.advance()

    def advance(self) -> None:
        """Bring fingers and registers up to the present."""
        moved_s, self._moved_s = self._moved_s, time.monotonic()
        dt_s = min(self._moved_s - moved_s, LONGEST_STEP_S)
        targets = self._get(ANGLE_SET)
        here = self._motion.positions
        stands = (targets == NO_TARGET) | (self._errors() > 0)
        self._motion.step(dt_s, np.where(stands, here, np.maximum(targets, self._stops)))
        self._measure()

    def _errors(self) -> Vector:
        return np.frombuffer(self.memory, np.uint8, N_FINGERS, ERROR).astype(np.float64)

    def _measure(self) -> None:
        """Write what the sensors see into the registers."""
        if self.knobs.repeating:
            return
        targets, angles = self._get(ANGLE_SET), self._motion.positions
        pressed = np.where(targets == NO_TARGET, 0.0, self._stops - targets)
        # A finger that cannot reach its target presses with 2 gram force a count, to its limit.
        forces = np.clip(2.0 * pressed, 0.0, self._get(FORCE_SET))
        speeds = np.abs(self._motion.velocities)
        self._put(ANGLE_ACT, np.full(N_FINGERS, 32767) if self.knobs.nan else angles)
        self._put(POS_ACT, 2 * angles)
        self._put(FORCE_ACT, forces + self.rng.normal(0.0, 1.5, N_FINGERS))
        self._put(CURRENT, 20 + 0.2 * speeds + 0.8 * forces + self.rng.normal(0, 2, N_FINGERS))
        moving = np.where(self._motion.velocities > 0, RELEASING, GRASPING)
        resting = np.where(forces > 0, FORCE_REACHED, REACHED)
        status = np.where(speeds > 1.0, moving, resting)
        for finger in np.flatnonzero(self._errors() == 0):
            if self.memory[STATUS + finger] < FAULT - 2:  # A set trouble stays until cleared.
                self.memory[STATUS + finger] = int(status[finger])
            self.memory[TEMP + finger] = 35

    # -- What tests ask ------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return the truth, for tests."""
        targets = self._get(ANGLE_SET)
        aims = np.where(targets == NO_TARGET, self._motion.positions, targets)
        return {
            "positions": list((1000 - self._motion.positions) / 1000 * self._ranges),
            "targets": list((1000 - aims) / 1000 * self._ranges),
            "enabled": True,  # There is no switch.
            "speeds": list(self._get(SPEED_SET)),
            "force_limits": list(self._get(FORCE_SET)),
            "n_commands": self._n_commands,
            "out_of_range": self._out_of_range,
        }

    def control(self, verb: str, *values: str) -> None:
        """Do something that only this device can do; see the class."""
        match verb, [int(value) for value in values]:
            case "error", [finger, bit]:
                self.memory[ERROR + finger] |= 1 << bit
                self.memory[STATUS + finger] = FAULT
            case "status", [finger, code]:
                self.memory[STATUS + finger] = code
            case "block", [finger, angle]:
                self._stops[finger] = angle
            case "restart", []:
                self._put(ANGLE_SET, [NO_TARGET] * N_FINGERS)
            case _:
                super().control(verb, *values)


class InspireEmulator(RegisterHand):
    """Over RS485. Answers take as long as their bytes take at 115200 baud."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._link = self.add(PtyLink("inspire"))
        self._parser = eb90.Parser(eb90.REQUEST)

    def received(self, link: EmulatedLink[Any], message: Any, client: Any) -> None:
        """Answer every request for this hand."""
        del client
        for frame in self._parser.feed(message):
            if frame.hand_id != self.memory[HAND_ID]:
                continue
            time.sleep((len(frame.payload) + 8) * BYTE_S + REACTION_S)
            self.advance()
            answer = self._answer(frame)
            if answer is not None:
                time.sleep(len(answer) * BYTE_S)
                link.send(answer)

    def _answer(self, frame: eb90.Frame) -> bytes | None:
        if frame.command == eb90.READ and len(frame.payload) == 1:
            end = frame.address + frame.payload[0]
            if not 0 < frame.payload[0] <= eb90.MAX_PAYLOAD or end > N_BYTES:
                return None
            payload = bytes(self.memory[frame.address : end])
        elif frame.command == eb90.WRITE and frame.address + len(frame.payload) <= N_BYTES:
            self.write(frame.address, frame.payload)
            payload = b"\x01"
        else:
            return None
        answer = eb90.Frame(frame.hand_id, frame.command, frame.address, payload)
        return answer.encode(eb90.ANSWER)


class InspireTcpEmulator(RegisterHand):
    """Over Modbus/TCP, with a transaction number that is off by one, as the firmware's is.

    Further verb: ``off_by_one 0`` answers with the right number.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._link = self.add(TcpLink())
        self._parsers: WeakKeyDictionary[Any, modbus.Parser] = WeakKeyDictionary()

    def reset(self) -> None:
        """Be as if just switched on."""
        super().reset()
        self._off_by = 1

    def options(self) -> dict[str, Any]:
        """Return what a rig file's table needs to reach it."""
        return {"host": self._link.host, "tcp_port": self._link.port}

    def control(self, verb: str, *values: str) -> None:
        """Do something that only this device can do; see the class."""
        if verb == "off_by_one":
            self._off_by = int(values[0])
        else:
            super().control(verb, *values)

    def received(self, link: EmulatedLink[Any], message: Any, client: Any) -> None:
        """Answer every request."""
        self.advance()
        for request in self._parsers.setdefault(client, modbus.Parser()).feed(message):
            function, data = self._answer(request)
            transaction = request.transaction + self._off_by
            link.send(modbus.Message(transaction, request.unit, function, data).encode(), client)

    def _answer(self, request: modbus.Message) -> tuple[int, bytes]:
        """Return the function and the data of the answer. A register is two bytes, low first."""
        if request.function == modbus.READ_HOLDING and len(request.data) == 4:
            address, count = struct.unpack(">HH", request.data)
            if not 1 <= count <= modbus.MAX_READ:
                return self._refusal(request, modbus.ILLEGAL_VALUE)
            if address + 2 * count > N_BYTES:
                return self._refusal(request, modbus.ILLEGAL_ADDRESS)
            values = struct.unpack_from(f"<{count}H", self.memory, address)
            return request.function, bytes((2 * count,)) + modbus.pack(values)
        written = modbus.write_values(request)
        if written is None:
            return self._refusal(request, modbus.ILLEGAL_FUNCTION)
        address, values = written
        if address + 2 * len(values) > N_BYTES:
            return self._refusal(request, modbus.ILLEGAL_ADDRESS)
        self.write(address, struct.pack(f"<{len(values)}H", *values))
        return request.function, request.data[:4]

    @staticmethod
    def _refusal(request: modbus.Message, reason: int) -> tuple[int, bytes]:
        return request.function | modbus.EXCEPTION, bytes((reason,))
