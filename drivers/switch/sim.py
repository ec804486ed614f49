"""A switch that code presses: what a simulated operator, a test or a web page plays on."""

from dataclasses import dataclass

from dexhil.drivers.clock import Clock
from dexhil.drivers.errors import CommandError
from dexhil.drivers.faults import Faults
from dexhil.drivers.switch.switch import Switch, SwitchObservation, SwitchSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SimSwitchConfig:
    """How to build a ``SimSwitch``.

    Attributes:
        buttons: What can be pressed.
        seed: Of the faults.
    """

    buttons: tuple[str, ...] = (
        "takeover",
        "takeover_arm",
        "takeover_hand",
        "release",
        "start",
        "stop",
        "success",
        "failure",
        "redo",
        "abort",
    )
    seed: int = 0


class SimSwitch(Switch):
    """Buttons that are pressed by calling ``press``, from any thread."""

    config_type = SimSwitchConfig

    def __init__(self, config: SimSwitchConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(name=name, clock=clock)
        self.faults: Faults[SwitchObservation] = Faults(seed=config.seed)
        self._spec = SwitchSpec(model="sim", buttons=config.buttons, simulated=True)
        self._pressed: frozenset[str] = frozenset()
        self._counts = dict.fromkeys(config.buttons, 0)

    @property
    def spec(self) -> SwitchSpec:
        return self._spec

    def press(self, button: str) -> None:
        """Push ``button`` down. Pushing what is already down is not another press.

        Raises:
            CommandError: There is no such button.
        """
        self._require_button(button)
        with self._lock:
            if button not in self._pressed:
                self._pressed |= {button}
                self._counts[button] += 1

    def release(self, button: str) -> None:
        """Let ``button`` go.

        Raises:
            CommandError: There is no such button.
        """
        self._require_button(button)
        with self._lock:
            self._pressed -= {button}

    def _open(self, timeout_s: float) -> None:
        del timeout_s  # Answers at once.
        self._counts = dict.fromkeys(self._spec.buttons, 0)

    def _close(self) -> None:
        pass

    def _read(self) -> SwitchObservation:
        return self.faults.apply(
            SwitchObservation(
                stamp_s=self.clock.now_s(), pressed=self._pressed, counts=self._counts
            )
        )

    def _require_button(self, button: str) -> None:
        if button not in self._spec.buttons:
            known = ", ".join(self._spec.buttons)
            raise CommandError(f"{self}: there is no button {button!r}. Known: {known}.")
