"""A LEAP hand: sixteen motors on one line, seen through a serial port."""

import struct
import termios
from typing import Any

import numpy as np

from dexhil.drivers.emulators import dynamixel
from dexhil.drivers.emulators.dynamixel import Motor, MotorBus
from dexhil.drivers.emulators.emulator import Emulator
from dexhil.drivers.emulators.link import PtyLink
from dexhil.drivers.emulators.motion import FirstOrder
from dexhil.drivers.models.kinematics import load_kinematics

XL330_M288 = 1200
XL330_SPEED = 10.8  # Without load at 5 V: 103 rev/min [rad/s].
BAUDS = (9600, 57600, 115200, 1_000_000, 2_000_000, 3_000_000, 4_000_000)  # By register value.
RAD_PER_TICK = 2 * np.pi / 4096
VELOCITY_UNIT = 0.229 * 2 * np.pi / 60  # [rad/s]
CENTER = 2048  # The tick at which a joint of the kinematic table is at 0 rad.
LOST = -(2**31)  # What a position reads when ``nan`` is asked for.
LEFT_PERIOD_S = 0.05  # A packet that breaks off for longer is given up [s].


class LeapEmulator(Emulator):
    """A LEAP hand with XL330-M288 motors at 4 Mbit/s.

    Besides the common knobs it obeys: ``error ID BITS`` latches hardware errors, ``defect ID
    BITS`` makes them come back after a restart, ``reboot ID`` restarts a motor as a dip of its
    supply does, ``mute ID`` and ``unmute ID`` pull and mend its cable, ``block ID`` jams its
    gear, ``poke ID ADDRESS SIZE VALUE`` sets any register.
    """

    kind = "hand"
    driver = "leap"

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        table = load_kinematics("leap")
        self._limits = table.position_limits
        self._start = np.array(table.extra["open"])
        self._ids = [int(name) for name in table.joint_names]
        self.link = self.add(PtyLink("leap"))
        self.reset()

    def reset(self) -> None:
        self.bus = MotorBus(Motor(each, XL330_M288, BAUDS.index(4_000_000)) for each in self._ids)
        self.joints = FirstOrder(self._start, XL330_SPEED)
        self._trajectory = self._start.copy()
        self._heard_s = self.now_s
        self._n_beyond = 0
        self._measure(np.zeros(len(self._ids)))

    @property
    def motors(self) -> list[Motor]:
        """In the order of the joints."""
        return [self.bus.motors[each] for each in self._ids]

    def received(self, link: Any, message: Any, client: Any) -> None:
        baud = self._baud()
        if any(BAUDS[motor.get(dynamixel.BAUD)] != baud for motor in self.motors):
            return  # They hear noise.
        if self.now_s - self._heard_s > LEFT_PERIOD_S:
            self.bus.give_up()
        self._heard_s = self.now_s
        before = self.bus.n_goals
        for answer in self.bus.heard(message, self.now_s):
            link.send(answer, client)
        if self.bus.n_goals != before:
            goals = self._goals()
            low, high = self._limits.T
            beyond = (goals < low - RAD_PER_TICK) | (goals > high + RAD_PER_TICK)
            self._n_beyond += int(beyond.any())

    def step(self, dt_s: float) -> None:
        for motor in self.motors:
            motor.watch(self.now_s)
        driving = np.array([motor.driving and not motor.blocked for motor in self.motors])
        here = self.joints.positions
        goals = np.where(driving, self._goals(), here)
        units = np.array([motor.get(dynamixel.PROFILE_VELOCITY, 4) for motor in self.motors])
        reach = np.where(units > 0, units * VELOCITY_UNIT * dt_s, np.inf)
        self._trajectory = self._trajectory + np.clip(goals - self._trajectory, -reach, reach)
        self._trajectory = np.where(driving, self._trajectory, here)
        self.joints.step(dt_s, self._trajectory)
        self._measure(self._currents())

    def state(self) -> dict[str, Any]:
        motors = self.motors
        return {
            "positions": self.joints.positions.tolist(),
            "targets": self._goals().tolist(),
            "enabled": any(motor.driving for motor in motors),
            "n_commands": self.bus.n_goals,
            "out_of_range": self._n_beyond + sum(motor.refused for motor in motors),
            "torques": [motor.driving for motor in motors],
            "watchdogs": [motor.get(dynamixel.WATCHDOG) for motor in motors],
            "modes": [motor.get(dynamixel.MODE) for motor in motors],
            "gains": [[motor.get(address, 2) for address in (84, 82, 80)] for motor in motors],
            "goal_currents": [motor.get(dynamixel.GOAL_CURRENT, 2) for motor in motors],
            "errors": [motor.get(dynamixel.HARDWARE_ERROR) for motor in motors],
        }

    def control(self, verb: str, *values: str) -> None:
        if not values:
            raise ValueError(f"unknown verb {verb!r}, or it takes the id of a motor")
        motor, *numbers = map(int, values)
        each = self.bus.motors[motor]
        if verb in ("error", "defect"):
            each.fail(*numbers)
            each.defect = numbers[0] if verb == "defect" else each.defect
        elif verb == "poke":
            address, size, value = numbers
            if not 0 <= value < 256**size:
                raise ValueError(f"{value} does not fit into {size} bytes")
            each.put(address, size, value)
        elif numbers:
            raise ValueError(f"{verb} takes the id of a motor and nothing else")
        elif verb == "reboot":
            each.reboot(self.now_s)
        elif verb in ("mute", "unmute"):
            each.muted = verb == "mute"
        elif verb == "block":
            each.blocked = True
        else:
            raise ValueError(f"unknown verb {verb!r}")

    def _baud(self) -> int:
        """Return the rate at which the host has opened the port [bit/s]."""
        speed = termios.tcgetattr(self.link.descriptors()[0])[5]
        return next((baud for baud in BAUDS if getattr(termios, f"B{baud}") == speed), 0)

    def _goals(self) -> Any:
        ticks = [motor.get(dynamixel.GOAL_POSITION, 4, signed=True) for motor in self.motors]
        return (np.array(ticks) - CENTER) * RAD_PER_TICK

    def _currents(self) -> Any:
        """Return motor currents [mA]: what holds against friction and pulls towards the goal."""
        limits = np.array([motor.get(dynamixel.GOAL_CURRENT, 2) for motor in self.motors])
        pull = 400.0 * (self._goals() - self.joints.positions) + 8.0 * self.joints.velocities
        driving = np.array([motor.driving for motor in self.motors])
        return np.where(driving, np.clip(pull, -limits, limits), 0.0)

    def _measure(self, currents: Any) -> None:
        """Write what the sensors say into the tables, with their noise."""
        if self.knobs.repeating:
            return
        noise = self.rng.normal(0.0, 1.0, (3, len(self._ids)))
        ticks = np.rint(CENTER + self.joints.positions / RAD_PER_TICK + 0.2 * noise[0])
        speeds = np.rint(self.joints.velocities / VELOCITY_UNIT + 0.3 * noise[1])
        flows = np.rint(currents + 2.0 * noise[2])
        if self.knobs.nan:
            ticks[:] = LOST
        rows = zip(
            self.motors, flows.astype(int), speeds.astype(int), ticks.astype(int), strict=True
        )
        for motor, *values in rows:
            struct.pack_into("<hii", motor.table, dynamixel.PRESENT, *values)
