"""A hand in the simulated world."""

from dataclasses import dataclass

from dexhil.drivers.clock import Clock
from dexhil.drivers.hand.hand import Hand, HandObservation, HandSpec
from dexhil.drivers.sim.joints import PortHoles
from dexhil.drivers.sim.port import WATCHDOG_S
from dexhil.drivers.sim.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class SimHandConfig:
    """Nothing to choose: the world says which hand it is."""


class SimHand(PortHoles, Hand):
    """The world's hand. Its faults are in ``faults``."""

    config_type = SimHandConfig
    in_world = True

    def __init__(
        self, config: SimHandConfig, *, name: str, world: World, clock: Clock | None = None
    ) -> None:
        del config
        super().__init__(name=name, clock=clock or world.clock)
        self._attach(world.hand)
        kinematics = world.hand.kinematics
        self._spec = HandSpec.of(
            kinematics, watchdog_s=WATCHDOG_S, side=kinematics.side, simulated=True
        )

    @property
    def spec(self) -> HandSpec:
        return self._spec

    def _read(self) -> HandObservation:
        observation: HandObservation = self.faults.apply(HandObservation(**self._sample()))
        return observation
