"""A terminal with somebody at its keyboard.

press takeover      hold its key down; it repeats, as keyboards do
release takeover    let it go, which no terminal says
type hello          type characters
typematic 0.5 0.03  delay before a held key repeats, and pause between repetitions [s]
mute                be a terminal that does not say whether it is there
"""

from typing import Any

from dexhil.drivers.emulators.buttons import ButtonsEmulator, Reliable
from dexhil.drivers.emulators.link import EmulatedLink, PtyLink
from dexhil.drivers.wire.keys import ARE_YOU_THERE, DEFAULT_KEYS, I_AM

# What most desktops are set to at first.
DELAY_S, PAUSE_S = 0.5, 1.0 / 30.0
_BYTES = {"space": b" ", "enter": b"\r", "escape": b"\x1b", "backspace": b"\x7f"}


class TerminalLink(Reliable, PtyLink):
    """A terminal, near or behind SSH."""


class KeyboardEmulator(ButtonsEmulator):
    """A pseudo-terminal whose far end types."""

    driver = "keyboard"

    def __init__(self, seed: int = 0) -> None:
        self._pty = TerminalLink("terminal")
        # Where several keys press a button, its first one is used.
        keys = {button: key for key, button in reversed(DEFAULT_KEYS.items())}
        self._characters = {b: _BYTES.get(key) or key.encode() for b, key in keys.items()}
        super().__init__(self._pty, DEFAULT_KEYS.values(), seed)

    def options(self) -> dict[str, Any]:
        return {"tty": str(self._pty.path)}

    def reset(self) -> None:
        super().reset()
        self._delay_s, self._pause_s = DELAY_S, PAUSE_S
        self._repeating: str | None = None
        self._repeat_at_s = 0.0
        self._heard = b""
        self._mute = False

    def pressed(self, button: str) -> None:
        self.say(self._characters[button])
        # Only the key pressed last repeats.
        self._repeating, self._repeat_at_s = button, self.now_s + self._delay_s

    def released(self, button: str) -> None:
        if button == self._repeating:
            self._repeating = None

    def control(self, verb: str, *values: str) -> None:
        if verb == "type":
            self.say(" ".join(values).encode())
        elif verb == "typematic":
            self._delay_s, self._pause_s = map(float, values)
        elif verb == "mute" and not values:
            self._mute = True
        else:
            super().control(verb, *values)

    def received(self, link: EmulatedLink[Any], message: Any, client: Any) -> None:
        del link, client
        self._heard += message
        asked = self._heard.count(ARE_YOU_THERE)
        if not self._mute:
            self.say(I_AM * asked)
        # Keep what may be the beginning of the next question.
        self._heard = self._heard.rpartition(ARE_YOU_THERE)[2][-len(ARE_YOU_THERE) + 1 :]

    def step(self, dt_s: float) -> None:
        if self._repeating is not None and self.now_s >= self._repeat_at_s:
            self.say(self._characters[self._repeating])
            self._repeat_at_s = self.now_s + self._pause_s
        super().step(dt_s)
