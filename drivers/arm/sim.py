"""An arm in the simulated world."""

from dataclasses import dataclass

from dexhil.drivers.arm.arm import Arm, ArmObservation, ArmSpec
from dexhil.drivers.clock import Clock
from dexhil.drivers.sim.joints import PortHoles
from dexhil.drivers.sim.port import WATCHDOG_S
from dexhil.drivers.sim.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class SimArmConfig:
    """Nothing to choose: the world says which arm it is."""


class SimArm(PortHoles, Arm):
    """The world's arm. Its faults are in ``faults``."""

    config_type = SimArmConfig
    in_world = True

    def __init__(
        self, config: SimArmConfig, *, name: str, world: World, clock: Clock | None = None
    ) -> None:
        del config
        super().__init__(name=name, clock=clock or world.clock)
        self._attach(world.arm)
        self._spec = ArmSpec.of(world.arm.kinematics, watchdog_s=WATCHDOG_S, simulated=True)

    @property
    def spec(self) -> ArmSpec:
        return self._spec

    def _read(self) -> ArmObservation:
        observation: ArmObservation = self.faults.apply(ArmObservation(**self._sample()))
        return observation
