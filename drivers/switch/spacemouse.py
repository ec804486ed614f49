"""The buttons of a SpaceMouse."""

from dataclasses import dataclass, field
from pathlib import Path

from dexhil.drivers.clock import Clock
from dexhil.drivers.switch.listening import ListeningSwitch
from dexhil.drivers.switch.switch import SwitchSpec
from dexhil.drivers.wire import Wire
from dexhil.drivers.wire.hid import HidWire
from dexhil.drivers.wire.spacemouse import DEFAULT_BUTTONS, MODELS, N_BUTTONS, parse


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceMouseConfig:
    """How to build a ``SpaceMouseSwitch``.

    Attributes:
        buttons: Number of the bit of each button, from 0. Models with two buttons have the
            left one at 0 and the right one at 1.
        path: The device, e.g. ``/dev/hidraw3``; the first SpaceMouse found when ``None``.
        capture: File to write everything down in that passes over the wire.
    """

    buttons: dict[str, int] = field(default_factory=lambda: dict(DEFAULT_BUTTONS))
    path: str | None = None
    capture: Path | None = None

    def __post_init__(self) -> None:
        if not self.buttons:
            raise ValueError("buttons is empty, must name one button at least")
        wrong = {name: n for name, n in self.buttons.items() if not 0 <= n < N_BUTTONS}
        if wrong:
            raise ValueError(f"buttons {wrong} are out of range, allowed 0 to {N_BUTTONS - 1}")


class SpaceMouseSwitch(ListeningSwitch):
    """A SpaceMouse as buttons. Tested against an emulator, never on hardware.

    It says nothing while nobody touches it; that it is plugged in, which the kernel tells
    at once, is all that is known of it then.

    Args:
        config: Device and buttons.
        name: In the rig file.
        clock: Stamps samples; the host's when ``None``.
        source: Where the reports come from; the configured device when ``None``. There only
            a report is a sign of life.
    """

    config_type = SpaceMouseConfig

    def __init__(
        self,
        config: SpaceMouseConfig,
        *,
        name: str,
        clock: Clock | None = None,
        source: Wire | None = None,
    ) -> None:
        about = {"driver": "spacemouse", "options": {"buttons": config.buttons}}
        self._hid = HidWire(config.path, MODELS, capture=config.capture, about=about)
        spec = SwitchSpec(model="spacemouse", buttons=tuple(config.buttons))
        super().__init__(spec, source or self._hid, name=name, clock=clock)
        self._numbers = config.buttons

    def _begin(self) -> None:
        pass  # A report says which buttons are down, whatever came before.

    def _hear(self, data: bytes) -> float | None:
        report = parse(data)
        if report is not None and report.buttons is not None:
            self._release([b for b, n in self._numbers.items() if n not in report.buttons])
            for button, number in self._numbers.items():
                if number in report.buttons:
                    self._press(button)
        return self.clock.now_s() if report is not None or self._hid.silence_is_life else None
