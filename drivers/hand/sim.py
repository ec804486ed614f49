"""A hand in the simulated world."""

from dataclasses import dataclass

from dexhil.drivers.clock import Clock
from dexhil.drivers.faults import Faults
from dexhil.drivers.hand.hand import Hand, HandCommand, HandObservation, HandSpec
from dexhil.drivers.sim.port import WATCHDOG_S
from dexhil.drivers.sim.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class SimHandConfig:
    """Nothing to choose: the world says which hand it is."""


class SimHand(Hand):
    """The world's hand. Its faults are in ``faults``."""

    config_type = SimHandConfig
    in_world = True

    def __init__(
        self, config: SimHandConfig, *, name: str, world: World, clock: Clock | None = None
    ) -> None:
        del config
        super().__init__(name=name, clock=clock or world.clock)
        self.faults: Faults[HandObservation] = Faults(
            "joint_positions", "joint_velocities", "joint_efforts"
        )
        self._port = world.hand
        kinematics = self._port.kinematics
        self._spec = HandSpec(
            model=kinematics.model,
            side="right",
            joint_names=kinematics.joint_names,
            position_limits=kinematics.position_limits,
            velocity_limits=kinematics.velocity_limits,
            watchdog_s=WATCHDOG_S,
            kinematics=kinematics,
            simulated=True,
        )

    @property
    def spec(self) -> HandSpec:
        return self._spec

    def _open(self, timeout_s: float) -> None:
        del timeout_s  # It answers at once.
        self.faults.require_link()

    def _close(self) -> None:
        pass

    def _read(self) -> HandObservation:
        stamp_s = self.clock.now_s()
        positions, velocities, efforts = self._port.read()
        return self.faults.apply(
            HandObservation(
                stamp_s=stamp_s,
                joint_positions=positions,
                joint_velocities=velocities,
                joint_efforts=efforts,
            )
        )

    def _enable(self) -> None:
        self.faults.require_link()
        self._port.hold()

    def _disable(self) -> None:
        self._port.hold()

    def _write(self, command: HandCommand) -> None:
        self.faults.require_link()
        self._port.set_target(command.joint_positions)
