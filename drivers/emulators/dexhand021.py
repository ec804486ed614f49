"""A DexHand021 on a CAN-FD bus: six boards with two motors each."""

from typing import Any

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.emulators.can_link import CanLink
from dexhil.drivers.emulators.emulator import Emulator
from dexhil.drivers.emulators.link import EmulatedLink
from dexhil.drivers.emulators.motion import FirstOrder
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.drivers.wire import dexhand
from dexhil.drivers.wire.can import CanFrame

SPEED = 2.5  # An estimate: faster than the maker's tables allow it to be driven [rad/s].
REST = [0.2, 0.2, 1.0, 0.1] + [0.2] * 8  # Where it stands when switched on [rad].
ERROR_S = 0.1  # A board repeats its error this often; how often a real one does is not known [s].
IDLE_CURRENT = 0.02  # [A].
LOADED_CURRENT = 0.4  # At full speed; an estimate [A].
SLACK = 0.02  # Rounding of a target at a limit is no target beyond it [rad].


class DexHand021Emulator(Emulator):
    """Angles in, angles out. A board that hears nothing holds what it was told last.

    Its own verbs are ``error BOARD CODE``, ``reboot BOARD``, ``press FINGER NEWTON``,
    ``no_tactile`` and ``left``, which makes it a left hand.
    """

    kind = "hand"
    driver = "dexhand021"
    period_s = 0.0025

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._link: CanLink = self.add(CanLink(fd=True))
        self._limits = load_kinematics("dexhand021").position_limits
        self.reset()

    def reset(self) -> None:
        self._motion = FirstOrder(REST, SPEED)
        self._targets: Vector = np.array(REST)
        self._on = np.zeros(12, dtype=bool)
        self._errors = [0] * dexhand.N_BOARDS
        self._errors_due_s = [0.0] * dexhand.N_BOARDS
        self._periods_s = [0.0] * dexhand.N_BOARDS
        self._due_s = [0.0] * dexhand.N_BOARDS
        self._forces = [0.0] * len(dexhand.TACTILE_BOARDS)
        self._tactile = True
        self._hand = dexhand.RIGHT_HAND
        self._n_commands = self._out_of_range = 0
        self._said: list[dexhand.Feedback | None] = [None] * dexhand.N_BOARDS

    def received(self, link: EmulatedLink[Any], message: CanFrame, client: Any) -> None:
        del link, client
        said = dexhand.parse_host(message, self._hand)
        if isinstance(said, dexhand.Command):
            self._drive(said)
        elif isinstance(said, dexhand.ClearError):
            self._errors[said.board] = 0
            self._link.send(dexhand.ack(dexhand.Ack(said.board, clears_error=True), self._hand))
        elif isinstance(said, dexhand.FeedbackConfig):
            periodic = said.enable and said.mode is dexhand.FeedbackMode.PERIODIC
            self._periods_s[said.board] = said.period_s if periodic else 0.0
            self._due_s[said.board] = self.now_s
            self._link.send(dexhand.ack(dexhand.Ack(said.board, clears_error=False), self._hand))

    def step(self, dt_s: float) -> None:
        self._motion.step(dt_s, np.where(self._on, self._targets, self._motion.positions))
        for board in range(dexhand.N_BOARDS):
            # Half a step early rather than a whole one late.
            soon_s = self.now_s + 0.5 * self.period_s
            if self._periods_s[board] and soon_s >= self._due_s[board]:
                self._due_s[board] = max(self._due_s[board] + self._periods_s[board], self.now_s)
                self._link.send(dexhand.feedback(self._feedback(board), self._hand))
            if self._errors[board] and self.now_s >= self._errors_due_s[board]:
                self._errors_due_s[board] = self.now_s + ERROR_S
                error = dexhand.BoardError(board, self._errors[board])
                self._link.send(dexhand.error(error, self._hand))

    def state(self) -> dict[str, Any]:
        return {
            "positions": self._motion.positions.tolist(),
            "targets": self._targets.tolist(),
            "enabled": bool(self._on.any()),
            "n_commands": self._n_commands,
            "out_of_range": self._out_of_range,
            "errors": list(self._errors),
        }

    def control(self, verb: str, *values: str) -> None:
        if verb == "error" and len(values) == 2:
            board, code = int(values[0]), int(values[1], 0)
            self._errors[board] = code
            self._on[2 * board : 2 * board + 2] = False
        elif verb == "reboot" and len(values) == 1:
            board = int(values[0])
            self._periods_s[board], self._errors[board] = 0.0, 0
            self._on[2 * board : 2 * board + 2] = False
        elif verb == "press" and len(values) == 2:
            self._forces[int(values[0])] = float(values[1])
        elif verb == "no_tactile" and not values:
            self._tactile = False
        elif verb == "left" and not values:
            self._hand = dexhand.LEFT_HAND
        else:
            super().control(verb, *values)

    def _drive(self, command: dexhand.Command) -> None:
        self._n_commands += 1
        if self._errors[command.board]:
            return
        for motor, target in enumerate(command.targets):
            joint = 2 * command.board + motor
            if not command.motors >> motor & 1:
                continue
            self._on[joint] = command.mode is dexhand.Mode.CASCADED_PID
            if not self._on[joint]:
                continue  # Its other modes are not emulated: they let go.
            low, high = self._limits[joint]
            self._out_of_range += not low - SLACK <= target <= high + SLACK
            self._targets[joint] = np.clip(target, low, high)

    def _feedback(self, board: int) -> dexhand.Feedback:
        last = self._said[board]
        if self.knobs.repeating and last is not None:
            return last
        both = slice(2 * board, 2 * board + 2)
        angles = self._motion.positions[both] + self.rng.normal(0.0, dexhand.ANGLE, 2)
        if self.knobs.nan:
            angles = np.full(2, 32767 * dexhand.ANGLE)  # A sensor without its magnet.
        speed = np.abs(self._motion.velocities[both]) / SPEED
        currents = IDLE_CURRENT + LOADED_CURRENT * speed + self.rng.normal(0.0, 0.003, 2)
        said = dexhand.Feedback(
            board=board,
            angles=(float(angles[0]), float(angles[1])),
            currents=(float(currents[0]), float(currents[1])),
            tactile=self._felt(board),
        )
        self._said[board] = said
        return said

    def _felt(self, board: int) -> dexhand.Tactile | None:
        if not self._tactile or board not in dexhand.TACTILE_BOARDS:
            return None
        force = self._forces[dexhand.TACTILE_BOARDS.index(board)]
        normal = np.nan if self.knobs.nan else force + abs(self.rng.normal(0.0, 0.01))
        return dexhand.Tactile(
            normal=float(normal), tangential=0.1 * force, direction=0.0, proximity=0, temperature=30
        )
