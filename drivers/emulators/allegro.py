"""An Allegro Hand V4 on a CAN bus: motors that push, joints with weight and friction."""

from typing import Any

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.emulators.can_link import CanLink
from dexhil.drivers.emulators.emulator import Emulator
from dexhil.drivers.emulators.link import EmulatedLink
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.drivers.wire import allegro
from dexhil.drivers.wire.can import CanFrame

SUBSTEP_S = 0.001
# Estimates: a gear of 1:369 makes a joint stiff to turn by hand and its inertia mostly the motor's.
INERTIA = 0.0015  # [kg·m²]
VISCOUS = 0.02  # [N·m·s/rad]
FRICTION = 0.02  # More than a finger's weight, so it stays where it is without power [N·m].
WEIGHT = np.tile([0.0, 0.01, 0.006, 0.002], 4)  # Torque of a finger that is held level [N·m].
REST = [0.0, 0.3, 0.3, 0.2] * 3 + [1.0, 0.35, 0.1, 0.3]  # Where it stands when switched on [rad].
COOL, HOT = 35, 85  # [°C]


class AllegroEmulator(Emulator):
    """Torque in, positions out, every three milliseconds if asked to.

    A silent host changes nothing: the last torque stays on. Its own verbs are ``heat``,
    ``internal_fault``, ``servo_trip``, ``servo_broken``, ``generation N`` and ``left``.
    """

    kind = "hand"
    driver = "allegro"
    period_s = 0.003

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._link: CanLink = self.add(CanLink())
        self._limits = load_kinematics("allegro").position_limits
        self.reset()

    def reset(self) -> None:
        self._positions: Vector = np.array(REST)
        self._velocities: Vector = np.zeros(16)
        self._pwm = [0] * 16
        self._on = self._hot = self._dead = self._broken = self._left = False
        self._generation = 4
        self._send_period_s, self._send_due_s = 0.0, 0.0
        self._n_commands = self._out_of_range = 0
        self._said = self._measured()

    def received(self, link: EmulatedLink[Any], message: CanFrame, client: Any) -> None:
        del link, client
        if message.remote:
            self._answer(message.id)
        elif message.id in (allegro.SERVO_ON, allegro.SERVO_OFF):
            self._on = message.id == allegro.SERVO_ON and not (self._hot or self._dead)
        elif (periods := allegro.parse_period(message)) is not None:
            self._send_period_s = periods[0] * 1e-3
            self._send_due_s = self.now_s
        elif (torque := allegro.parse_torque(message)) is not None:
            self._push(*torque)

    def step(self, dt_s: float) -> None:
        n_substeps = max(1, round(dt_s / SUBSTEP_S))
        for _ in range(n_substeps):
            self._move(dt_s / n_substeps)
        # A bus that was held up does not catch up: it sends what is true, once.
        if self._send_period_s and self.now_s >= self._send_due_s - 0.5 * SUBSTEP_S:
            self._send_due_s = max(self._send_due_s + self._send_period_s, self.now_s)
            self._report()

    def state(self) -> dict[str, Any]:
        torques = allegro.torques(self._pwm)
        return {
            "positions": self._positions.tolist(),
            "velocities": self._velocities.tolist(),
            "targets": torques.tolist(),  # It knows no others.
            "enabled": self._on,
            "n_commands": self._n_commands,
            "out_of_range": self._out_of_range,
        }

    def control(self, verb: str, *values: str) -> None:
        if verb == "heat" and not values:
            self._hot, self._on = True, False
        elif verb == "internal_fault" and not values:
            self._broken = True
        elif verb == "servo_trip" and not values:
            self._on = False
        elif verb == "servo_broken" and not values:
            self._dead = True
        elif verb == "left" and not values:
            self._left = True
        elif verb == "generation" and len(values) == 1:
            self._generation = int(values[0])
        else:
            super().control(verb, *values)

    # -- Body ------------------------------------------------------------------------------

    def _move(self, dt_s: float) -> None:
        torque = allegro.torques(self._pwm) if self._on else np.zeros(16)
        # Level is where a straight finger points sideways: the worst case.
        torque = torque - WEIGHT * np.cos(self._positions)
        speed = (self._velocities + torque * (dt_s / INERTIA)) / (1 + VISCOUS * dt_s / INERTIA)
        grip = FRICTION * dt_s / INERTIA  # What friction can take away in one step.
        speed = np.sign(speed) * np.maximum(np.abs(speed) - grip, 0.0)
        low, high = self._limits.T
        reached = self._positions + speed * dt_s
        self._positions = np.clip(reached, low, high)
        self._velocities = np.where(reached == self._positions, speed, 0.0)

    def _push(self, finger: int, pwm: tuple[int, ...]) -> None:
        first = finger * allegro.JOINTS_PER_FINGER
        limits = allegro.PWM_LIMITS[first : first + allegro.JOINTS_PER_FINGER]
        self._n_commands += 1
        self._out_of_range += any(abs(a) > b for a, b in zip(pwm, limits, strict=True))
        self._pwm[first : first + allegro.JOINTS_PER_FINGER] = pwm

    # -- Talk ------------------------------------------------------------------------------

    def _answer(self, what: int) -> None:
        if what == allegro.SERIAL:
            self._link.send(allegro.serial("BR000042"))
        elif what == allegro.INFO:
            self._link.send(
                allegro.info(
                    allegro.Info(
                        hardware=self._generation << 8 | 0x03,
                        firmware=0x0104,
                        left=self._left,
                        temperature=HOT if self._hot else COOL,
                        servo_on=self._on,
                        too_hot=self._hot,
                        internal_fault=self._broken,
                    )
                )
            )

    def _report(self) -> None:
        if not self.knobs.repeating:
            self._said = self._measured()
        for finger, angles in enumerate(self._said.reshape(4, 4)):
            self._link.send(allegro.positions(finger, angles.tolist()))

    def _measured(self) -> Vector:
        noise: Vector = self.rng.normal(0.0, allegro.RAW_ANGLE, 16)
        # A sensor that lost its magnet stands at the end of its range.
        lost = np.full(16, -32768 * allegro.RAW_ANGLE)
        return lost if self.knobs.nan else self._positions + noise
