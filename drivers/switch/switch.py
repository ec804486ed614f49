"""The contract of a switch: a pedal, a key or a button that a person presses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dexhil.drivers.device import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchSpec:
    """What a switch is.

    Attributes:
        model: Maker and model.
        buttons: What can be pressed on it.
        simulated: Whether no person presses it.
    """

    model: str
    buttons: tuple[str, ...]
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SwitchObservation:
    """What is pressed, and how often each button has been pressed so far.

    Counts only grow, so a slow reader misses no press and two readers do not
    steal presses from each other.

    Attributes:
        stamp_s: When the link to the switch was last known to be alive, on the
            host's monotonic clock [s].
        pressed: Buttons held down at that moment.
        counts: Presses since connecting, by button.
    """

    stamp_s: float
    pressed: frozenset[str] = frozenset()
    counts: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", MappingProxyType(dict(self.counts)))


class Switch(Device[SwitchSpec, SwitchObservation]):
    """Something a person presses, real or simulated."""
