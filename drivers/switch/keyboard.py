"""The keys of a terminal, on this machine or over SSH."""

import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dexhil.drivers.clock import Clock
from dexhil.drivers.errors import ConfigError
from dexhil.drivers.switch.listening import ListeningSwitch
from dexhil.drivers.switch.switch import SwitchSpec
from dexhil.drivers.wire import Wire
from dexhil.drivers.wire.keys import ARE_YOU_THERE, DEFAULT_KEYS, STATUS, KeyParser
from dexhil.drivers.wire.terminal import STANDARD_INPUT, TerminalWire

ESCAPE_S = 0.05  # Nothing after an escape character for this long: it was the key [s].
LOST_S = 1.0  # After this long without an answer it is asked again [s].
LATE_S = 0.1  # Looking later than this for what came is this machine's doing [s].
PART_S = 0.2  # Longest wait for the last answer, which must not land in the shell [s].


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyboardConfig:
    """How to build a ``KeyboardSwitch``.

    Attributes:
        keys: Which button each key presses; names of keys as in ``wire/keys.py``. Several
            keys may press the same button.
        tty: The terminal; that of the standard input when ``None``.
        hold_s: How long a key counts as held after its first character [s]. Must exceed the
            delay after which the keyboard begins to repeat, or a long press counts twice:
            250 to 500 ms on most systems, 600 on KDE, 660 on bare X11.
        repeat_s: How long a key counts as held after each further character [s]. Must exceed
            the pause between two repetitions, 20 to 100 ms, and the network's jitter.
        ask_s: How often the terminal is asked whether it is still there [s]. 0 for never:
            then nobody notices that an SSH connection hangs.
        capture: File to write everything down in that passes over the wire.
    """

    keys: dict[str, str] = field(default_factory=lambda: dict(DEFAULT_KEYS))
    tty: Path | None = None
    hold_s: float = 0.75
    repeat_s: float = 0.25
    ask_s: float = 0.1
    capture: Path | None = None

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("keys is empty, must name one key at least")
        if not 0.0 < self.repeat_s <= self.hold_s:
            raise ValueError(
                f"hold_s is {self.hold_s:g} s and repeat_s {self.repeat_s:g} s; "
                "must be 0 < repeat_s <= hold_s"
            )
        if not self.ask_s >= 0.0:
            raise ValueError(f"ask_s is {self.ask_s:g} s, must not be negative")


class KeyboardSwitch(ListeningSwitch):
    """A terminal whose keys are buttons. Tested against an emulator, never on hardware.

    A terminal has no event for letting a key go. So a key counts as held for ``hold_s``
    after its character, and on while the character repeats; two presses of one key within
    that time cannot be told from a long one and count once.

    The terminal is asked at short intervals whether it is there, and a sample's stamp is when
    the last question was put that it answered: a person behind a dead or slow SSH connection
    could not stop the robot in time.

    Args:
        config: Keys and times.
        name: In the rig file.
        clock: Stamps samples; the host's when ``None``.
        source: Where the keys come from; the configured terminal when ``None``.
    """

    config_type = KeyboardConfig

    def __init__(
        self,
        config: KeyboardConfig,
        *,
        name: str,
        clock: Clock | None = None,
        source: Wire | None = None,
    ) -> None:
        about = {"driver": "keyboard", "options": {"keys": config.keys}}
        wire = source or TerminalWire(config.tty, capture=config.capture, about=about)
        spec = SwitchSpec(model="keyboard", buttons=tuple(dict.fromkeys(config.keys.values())))
        super().__init__(spec, wire, name=name, clock=clock)
        self._config = config
        self._is_standard_input = source is None and config.tty is None

    def _begin(self) -> None:
        if self._is_standard_input and not os.isatty(STANDARD_INPUT):
            raise ConfigError(
                f"{self}: the standard input is no terminal. Start the program in a terminal, "
                "not through a pipe or in the background; over SSH use ssh -t."
            )
        self._parser = KeyParser()
        self._heard_s = self._looked_s = self.clock.now_s()
        self._asked_s = -1.0
        self._unanswered_s: float | None = None  # When the first question was put that is.
        self._until_s: dict[str, float] = {}

    def _hear(self, data: bytes) -> float | None:
        now_s = self.clock.now_s()
        late_s, self._looked_s = now_s - self._looked_s - LATE_S, now_s
        if late_s > 0:  # This machine was busy: what it could not hear is no key let go.
            self._until_s = {button: end_s + late_s for button, end_s in self._until_s.items()}
        if data:
            self._heard_s = now_s
            keys = self._parser.feed(data)
        else:
            keys = self._parser.flush() if now_s - self._heard_s > ESCAPE_S else []
        self._release([button for button, end_s in self._until_s.items() if now_s >= end_s])
        for key in keys:
            self._strike(key, now_s)
        if not self._config.ask_s:
            return now_s
        alive_s = None
        if STATUS in keys:
            # It was there when it was asked; how long the answer took nobody knows but we.
            alive_s, self._unanswered_s = self._unanswered_s, None
        self._ask(now_s)
        return alive_s

    def _strike(self, key: str, now_s: float) -> None:
        button = self._config.keys.get(key)
        if button is None:
            return
        held = button in self._pressed
        self._until_s[button] = now_s + (self._config.repeat_s if held else self._config.hold_s)
        self._press(button)

    def _ask(self, now_s: float) -> None:
        pause_s = self._config.ask_s
        if self._unanswered_s is not None:
            pause_s = max(pause_s, LOST_S)
        if now_s - self._asked_s >= pause_s:
            self._wire.send(ARE_YOU_THERE)
            self._asked_s = now_s
            self._unanswered_s = now_s if self._unanswered_s is None else self._unanswered_s

    def _part(self) -> None:
        give_up_s = self.clock.now_s() + PART_S
        with suppress(ConnectionError):
            while self._unanswered_s is not None and self.clock.now_s() < give_up_s:
                if STATUS in self._parser.feed(self._wire.receive(PART_S)):
                    self._unanswered_s = None
