"""Foot pedals that are keyboards to the computer."""

from dataclasses import dataclass, field
from pathlib import Path

from evdev import ecodes

from dexhil.drivers.clock import Clock
from dexhil.drivers.switch.listening import ListeningSwitch
from dexhil.drivers.switch.switch import SwitchSpec
from dexhil.drivers.wire import Wire
from dexhil.drivers.wire.evdev import (
    DEFAULT_PEDALS,
    EV_KEY,
    EV_SYN,
    RELEASED,
    SYN_DROPPED,
    EventParser,
    InputEvent,
)
from dexhil.drivers.wire.input import InputWire


@dataclass(frozen=True, slots=True, kw_only=True)
class PedalConfig:
    """How to build a ``PedalSwitch``.

    Attributes:
        device: Path, best one under ``/dev/input/by-id``, or a part of the name that the
            device gives itself. The default finds the common three-pedal foot switch.
        keys: Which button each key presses, by the kernel's names of keys. That foot switch
            types a, b and c as it leaves the factory.
        grab: Whether nobody else shall get the keys; otherwise the pedal types letters into
            the terminal.
        capture: File to write everything down in that passes over the wire.
    """

    device: str = "FootSwitch"
    keys: dict[str, str] = field(default_factory=lambda: dict(DEFAULT_PEDALS))
    grab: bool = True
    capture: Path | None = None

    def __post_init__(self) -> None:
        if not self.keys:
            raise ValueError("keys is empty, must name one key at least")
        unknown = sorted(key for key in self.keys if key not in ecodes.ecodes)
        if unknown:
            raise ValueError(f"keys {unknown} are unknown to Linux; names are like KEY_A, KEY_F13")


class PedalSwitch(ListeningSwitch):
    """An input device of Linux as buttons. Tested against an emulator, never on hardware.

    A pedal says nothing while nobody steps on it; that it is plugged in, which the kernel
    tells at once, is all that is known of it then. One that hangs without leaving the bus
    cannot be told from one at rest.

    Args:
        config: Device and keys.
        name: In the rig file.
        clock: Stamps samples; the host's when ``None``.
        source: Where the events come from; the configured device when ``None``. There only
            an event, an empty report included, is a sign of life.
    """

    config_type = PedalConfig

    def __init__(
        self,
        config: PedalConfig,
        *,
        name: str,
        clock: Clock | None = None,
        source: Wire | None = None,
    ) -> None:
        self._buttons = {ecodes.ecodes[key]: button for key, button in config.keys.items()}
        about = {"driver": "pedal", "options": {"keys": config.keys}}
        self._input = InputWire(
            config.device, self._buttons, grab=config.grab, capture=config.capture, about=about
        )
        spec = SwitchSpec(model="pedal", buttons=tuple(dict.fromkeys(config.keys.values())))
        super().__init__(spec, source or self._input, name=name, clock=clock)

    def _begin(self) -> None:
        self._parser = EventParser()
        self._down: set[int] = set()

    def _hear(self, data: bytes) -> float | None:
        events = self._parser.feed(data)
        for event in events:
            self._apply(event)
        return self.clock.now_s() if events or self._input.silence_is_life else None

    def _apply(self, event: InputEvent) -> None:
        if event.type == EV_KEY:
            if event.value == RELEASED:
                self._down.discard(event.code)
            else:
                self._down.add(event.code)
        elif event.type == EV_SYN and event.code == SYN_DROPPED:
            # The kernel's queue ran over: what is down has to be asked.
            self._down = set(self._input.held())
        pressed = {self._buttons[code] for code in self._down if code in self._buttons}
        self._release(self._pressed - pressed)
        for button in pressed:
            self._press(button)
