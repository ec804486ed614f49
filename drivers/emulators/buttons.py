"""What the emulated switches share: buttons that are pressed by telling them to be.

press takeover          release takeover
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Iterable
from typing import Any

from dexhil.drivers.emulators.emulator import Emulator
from dexhil.drivers.emulators.link import EmulatedLink

MOST_WAITING = 1000  # Messages that a link keeps, to send them again.


class Reliable:
    """Stands before a link that checks itself, as USB and SSH do.

    What is lost or damaged on the way is sent again, what comes twice is dropped. The
    emulator below sees to that.
    """

    def _by_chance(self, probability: float) -> bool:
        del probability
        return False


class ButtonsEmulator(Emulator):
    """A switch of any make, behind a ``Reliable`` link.

    Where other links lose or damage a message, such a one is late with it, and keeps the order.

    Args:
        link: To the computer.
        buttons: What can be pressed.
        seed: Of what goes wrong by chance.
    """

    kind = "switch"

    def __init__(self, link: EmulatedLink[bytes], buttons: Iterable[str], seed: int = 0) -> None:
        super().__init__(seed)
        self.link: EmulatedLink[bytes] = self.add(link)
        self.buttons = tuple(dict.fromkeys(buttons))
        self.reset()

    @abstractmethod
    def pressed(self, button: str) -> None:
        """Say that ``button`` went down."""

    @abstractmethod
    def released(self, button: str) -> None:
        """Say that ``button`` went up."""

    def say(self, message: bytes) -> None:
        """Have the link carry ``message``, now or a little later."""
        if len(self._outbox) < MOST_WAITING:
            self._outbox.append(message)

    def reset(self) -> None:
        self.down: list[str] = []
        self._counts = dict.fromkeys(self.buttons, 0)
        self._outbox: deque[bytes] = deque()

    def control(self, verb: str, *values: str) -> None:
        if verb not in {"press", "release"}:
            super().control(verb, *values)
        (button,) = values
        if button not in self.buttons:
            raise ValueError(f"unknown button {button!r}; known: {', '.join(self.buttons)}")
        if verb == "press" and button not in self.down:
            self.down.append(button)
            self._counts[button] += 1
            self.pressed(button)
        elif verb == "release" and button in self.down:
            self.down.remove(button)
            self.released(button)

    def received(self, link: EmulatedLink[Any], message: Any, client: Any) -> None:
        pass  # Such a device only talks.

    def step(self, dt_s: float) -> None:
        del dt_s  # Buttons have no dynamics.
        knobs = self.knobs
        arrives = (1.0 - knobs.drop) * (1.0 - knobs.corrupt) * (1.0 - knobs.partial)
        while self._outbox and self.rng.random() < arrives:
            self.link.send(self._outbox.popleft())

    def state(self) -> dict[str, Any]:
        return {"pressed": list(self.down), "counts": dict(self._counts)}
