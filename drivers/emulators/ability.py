"""A PSYONIC Ability Hand as its interface document describes it, over a serial line."""

import time
from typing import Any

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.emulators.emulator import LONGEST_STEP_S, Emulator
from dexhil.drivers.emulators.link import EmulatedLink, PtyLink
from dexhil.drivers.emulators.motion import FirstOrder
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.drivers.wire import ability as wire

BYTE_S = 10 / 460800  # Start, 8 bits, stop [s].
LISTENS_S = 0.3  # Without a valid message for this long it leaves the serial mode [s].
START = np.array([0.3, 0.3, 0.3, 0.3, 0.3, -0.6])  # [rad]
ANSWERED = (wire.POSITION, wire.VELOCITY, wire.TORQUE, wire.VOLTAGE, wire.READ_ONLY)


class AbilityEmulator(Emulator):
    """Six fast joints that go to the last position asked for, while somebody talks to them.

    Further verbs: ``stopped MASK`` (motors that stopped themselves), ``touch SENSOR READING``.
    """

    kind = "hand"
    driver = "ability"

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        kinematics = load_kinematics("ability")
        self._limits = kinematics.position_limits.T
        self._speeds = kinematics.velocity_limits
        self._link = self.add(PtyLink("ability"))
        self._parser = wire.Parser()
        self.reset()

    def reset(self) -> None:
        """Be as if just switched on: nobody has talked to it."""
        self._motion = FirstOrder(START, self._speeds, time_constant_s=0.02)
        self._targets: Vector | None = None
        self._heard_s = -np.inf
        self._stopped = 0
        self._pressed = np.zeros(wire.N_SENSORS)
        self._n_commands = self._out_of_range = self._n_timeouts = 0
        self._moved_s = time.monotonic()
        self._measure()

    def received(self, link: EmulatedLink[Any], message: Any, client: Any) -> None:
        """Do and answer what a valid message for this hand asks."""
        del client
        for body in self._parser.feed(message):
            if len(body) < 2 or body[0] != wire.ADDRESS:
                continue
            if body[1] == wire.EXIT:
                self._heard_s, self._targets = -np.inf, None
                continue
            mode, variant = body[1] & 0xF0, body[1] & 0x0F
            if mode not in ANSWERED or variant not in wire.VARIANTS:
                continue
            time.sleep((len(body) + 3) * BYTE_S)
            self._heard_s = self.now_s
            if mode == wire.POSITION:
                self._go(body)
            self._advance()
            reply = self._reply(body[1])
            time.sleep(len(reply) * BYTE_S)
            link.send(reply)

    def _go(self, body: bytes) -> None:
        targets = wire.requested_positions(body)
        if targets is None:
            return
        self._n_commands += 1
        self._targets = np.clip(targets, *self._limits)
        # Degrees are rounded on the wire.
        self._out_of_range += bool((abs(self._targets - targets) > 1e-4).any())

    def step(self, dt_s: float) -> None:
        """Let the joints move, as long as somebody talks to the hand."""
        del dt_s  # Answers advance the joints as well, so that none tells of the past.
        if self._targets is not None and self.now_s - self._heard_s > LISTENS_S:
            self._targets = None
            self._n_timeouts += 1
        self._advance()

    def _advance(self) -> None:
        """Bring the joints and what they measure up to the present."""
        moved_s, self._moved_s = self._moved_s, time.monotonic()
        dt_s = min(self._moved_s - moved_s, LONGEST_STEP_S)
        runs = np.array([not self._stopped >> joint & 1 for joint in range(wire.N_JOINTS)])
        here = self._motion.positions
        aims = here if self._targets is None else np.where(runs, self._targets, here)
        self._motion.step(dt_s, aims)
        self._measure()

    def _measure(self) -> None:
        """Remember what the sensors see."""
        if self.knobs.repeating:
            return
        speeds, noise = self._motion.velocities, self.rng.normal
        self._positions = self._motion.positions + noise(0.0, 2e-4, wire.N_JOINTS)
        self._velocities = speeds + noise(0.0, 5e-3, wire.N_JOINTS)
        self._currents = 0.05 + 0.04 * abs(speeds) + noise(0.0, 5e-3, wire.N_JOINTS)
        self._touched = self._pressed + noise(0.0, 2.0, wire.N_SENSORS) * (self._pressed > 0)

    def _reply(self, header: int) -> bytes:
        # A joint that lost its encoder reads full scale.
        lost = np.full(wire.N_JOINTS, np.inf)
        return wire.encode_reply(
            header,
            positions=lost if self.knobs.nan else self._positions,
            currents=self._currents,
            velocities=self._velocities,
            touch=self._touched,
            stopped=self._stopped,
        )

    def state(self) -> dict[str, Any]:
        """Return the truth, for tests."""
        targets = self._motion.positions if self._targets is None else self._targets
        return {
            "positions": list(self._motion.positions),
            "targets": list(targets),
            "enabled": self._targets is not None,
            "listens": bool(self.now_s - self._heard_s <= LISTENS_S),
            "n_timeouts": self._n_timeouts,
            "n_commands": self._n_commands,
            "out_of_range": self._out_of_range,
        }

    def control(self, verb: str, *values: str) -> None:
        """Do something that only this device can do; see the class."""
        match verb, [int(value) for value in values]:
            case "stopped", [mask]:
                self._stopped = mask
            case "touch", [sensor, reading]:
                self._pressed[sensor] = reading
            case _:
                super().control(verb, *values)
