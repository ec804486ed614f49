"""Several switches as one: a pedal under the foot, and a keyboard for what it has no room for."""

from collections import Counter
from collections.abc import Sequence

from dexhil.drivers.clock import Clock
from dexhil.drivers.switch.switch import Switch, SwitchObservation, SwitchSpec


class SeveralSwitches(Switch):
    """It has every button of its parts, and counts the presses on all parts that have it.

    It is only as alive as the part that was heard of longest ago: an operator who steps on
    a dead pedal must not be told that all is well because the keyboard answers.

    Args:
        switches: The parts, not connected; they belong to this one from here on.
        name: In the rig file.
        clock: Stamps nothing here; the parts' samples are stamped by their own.
    """

    def __init__(
        self, switches: Sequence[Switch], *, name: str, clock: Clock | None = None
    ) -> None:
        super().__init__(name=name, clock=clock)
        self._switches = tuple(switches)
        specs = [switch.spec for switch in switches]
        self._spec = SwitchSpec(
            model=" + ".join(spec.model for spec in specs),
            buttons=tuple(dict.fromkeys(button for spec in specs for button in spec.buttons)),
            simulated=all(spec.simulated for spec in specs),
        )

    @property
    def spec(self) -> SwitchSpec:
        return self._spec

    def _open(self, timeout_s: float) -> None:
        for switch in self._switches:
            switch.connect(timeout_s)

    def _close(self) -> None:
        for switch in self._switches:
            switch.disconnect()

    def _read(self) -> SwitchObservation:
        samples = [switch.observe() for switch in self._switches]
        counts = Counter(dict.fromkeys(self._spec.buttons, 0))
        for sample in samples:
            counts.update(sample.counts)
        return SwitchObservation(
            stamp_s=min(sample.stamp_s for sample in samples),
            pressed=frozenset().union(*(sample.pressed for sample in samples)),
            counts=counts,
        )

    def _warnings(self) -> tuple[str, ...]:
        return tuple(reason for switch in self._switches for reason in switch.health().reasons)
