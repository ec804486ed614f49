"""What every emulated glove does: send one message per period about a worn hand."""

from abc import abstractmethod
from typing import Any, ClassVar

from dexhil.drivers.emulators.emulator import Emulator
from dexhil.drivers.emulators.wearer import Wearer


class StreamingEmulator(Emulator):
    """Streams without being asked, and listens to nobody.

    ``leap METRES`` has the fingers be seen so far from where they are, until told 0.
    """

    kind = "glove"
    rate_hz: ClassVar[float]

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.wearer = Wearer(self.rng)
        self.n_sent = 0
        self._since_s = 0.0
        self._last: list[bytes] = []

    @abstractmethod
    def messages(self) -> list[bytes]:
        """Return what it says of the present moment."""

    @abstractmethod
    def say(self, message: bytes) -> None:
        """Send one message."""

    def received(self, link: Any, message: Any, client: Any) -> None:
        del link, message, client  # Nobody talks to it.

    def step(self, dt_s: float) -> None:
        self.wearer.step(dt_s)
        self._since_s += dt_s
        if self._since_s < 1.0 / self.rate_hz:
            return
        # A process that was held up does not catch up.
        self._since_s = min(self._since_s - 1.0 / self.rate_hz, 1.0 / self.rate_hz)
        if not (self.knobs.repeating and self._last):
            self._last = self.messages()
        for message in self._last:
            self.say(message)
        self.n_sent += 1

    def control(self, verb: str, *values: str) -> None:
        if verb == "leap" and len(values) == 1:
            self.wearer.leap_m = float(values[0])
        else:
            super().control(verb, *values)

    def state(self) -> dict[str, Any]:
        return {"n_sent": self.n_sent, "bends": self.wearer.bends().tolist()}

    def reset(self) -> None:
        self.wearer.reset()
        self.n_sent = 0
        self._since_s = 0.0
        self._last = []
