"""The far end of the Trio's wire: what its documents say it does, in a process of its own."""

from typing import Any

import numpy as np

from acme_hand.driver import TABLE
from acme_hand.protocol import line, words
from dexhil.drivers.arrays import Vector
from dexhil.drivers.emulators import Emulator
from dexhil.drivers.emulators.link import EmulatedLink, PtyLink
from dexhil.drivers.emulators.motion import FirstOrder
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.drivers.wire.lines import LineReader

LISTENS_S = 0.3  # Without a request for this long the Trio stops where it is [s].


class AcmeEmulator(Emulator):
    """Six joints that go where the last valid line said.

    Further verb: ``hot`` (it refuses everything, as after a long squeeze).
    """

    kind = "hand"
    driver = "acme"

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        kinematics = load_kinematics(TABLE)
        self._limits = kinematics.position_limits.T
        self._speeds = kinematics.velocity_limits
        self._link = self.add(PtyLink("acme"))
        self.reset()

    def reset(self) -> None:
        """Be as if just switched on."""
        self._motion = FirstOrder(np.full(6, 0.3), self._speeds)
        self._targets: Vector | None = None
        self._lines = LineReader()
        self._heard_s = self.now_s
        self._hot = False
        self._n_commands = self._out_of_range = 0
        self._measure()

    def received(self, link: EmulatedLink[Any], message: Any, client: Any) -> None:
        """Obey and answer every line that is whole."""
        del client  # There is only one.
        for text in self._lines.feed(message):
            match words(text):
                case [number, "?"]:
                    self._answer(link, number)
                case [number, "OFF"]:
                    self._targets = None
                    self._answer(link, number)
                case [number, "GO", *angles] if len(angles) == 6:
                    self._go(np.array(angles, dtype=np.float64) / 1e3)
                    self._answer(link, number)

    def _answer(self, link: EmulatedLink[Any], number: str) -> None:
        self._heard_s = self.now_s
        if self._hot:
            link.send(line(int(number), "ERR", "too hot"))
        else:
            on = int(self._targets is not None)
            link.send(line(int(number), "OK", on, *self._measured))

    def _go(self, targets: Vector) -> None:
        if self._hot:
            return
        self._n_commands += 1
        self._targets = np.clip(targets, *self._limits)
        # Angles are rounded on the wire.
        self._out_of_range += bool((abs(self._targets - targets) > 1e-3).any())

    def step(self, dt_s: float) -> None:
        """Let the joints move."""
        if self._targets is not None and self.now_s - self._heard_s > LISTENS_S:
            self._targets = self._motion.positions
        self._motion.step(dt_s, self._targets)
        if not self.knobs.repeating:
            self._measure()

    def _measure(self) -> None:
        """Remember what the sensors see. A joint without its sensor reads far out of range."""
        noisy = self._motion.positions + self.rng.normal(0.0, 5e-4, 6)
        self._measured = [99999] * 6 if self.knobs.nan else np.rint(1e3 * noisy).astype(int)

    def state(self) -> dict[str, Any]:
        """Return the truth, for tests."""
        targets = self._motion.positions if self._targets is None else self._targets
        return {
            "positions": list(self._motion.positions),
            "targets": list(targets),
            "enabled": self._targets is not None,
            "n_commands": self._n_commands,
            "out_of_range": self._out_of_range,
        }

    def control(self, verb: str, *values: str) -> None:
        """Do something that only this hand can do; see the class."""
        if verb == "hot" and not values:
            self._hot, self._targets = True, None
        else:
            super().control(verb, *values)
