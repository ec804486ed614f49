"""The smallest honest driver of something that moves. Read it before writing one.

It has three joints, no physics and no link. It exists to test the conformance
suite itself: planted bugs are small changes to this hand.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dexhil.drivers.clock import Clock
from dexhil.drivers.faults import Faults
from dexhil.drivers.hand import Hand, HandCommand, HandObservation, HandSpec
from dexhil.drivers.models.kinematics import Joint, Kinematics

_PHALANGES = (
    ("proximal", "palm", (0.0, 0.0, 0.09)),
    ("middle", "proximal_link", (0.0, 0.0, 0.04)),
    ("distal", "middle_link", (0.0, 0.0, 0.03)),
)
FINGER = Kinematics(
    model="example",
    kind="hand",
    source="Made up: one finger.",
    root="palm",
    joints=tuple(
        Joint(
            name=name,
            urdf_name=name,
            type="revolute",
            parent=parent,
            child=f"{name}_link",
            position=position,
            axis=(0.0, 1.0, 0.0),
            limits=(-0.4, 1.6),
            effort=1.0,
            velocity=2.0,
        )
        for name, parent, position in _PHALANGES
    ),
    joint_names=tuple(name for name, _, _ in _PHALANGES),
    tips={"index": "distal_link"},
    chains={"index": tuple(name for name, _, _ in _PHALANGES)},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleHandConfig:
    """How to build an ``ExampleHand``.

    Attributes:
        side: Which hand to be.
        watchdog_s: It holds still when no command came for this long [s].
    """

    side: Literal["left", "right"] = "right"
    watchdog_s: float = 0.2


class ExampleHand(Hand):
    """One finger whose joints walk to their targets at limited speed."""

    config_type = ExampleHandConfig

    def __init__(self, config: ExampleHandConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(name=name, clock=clock)
        self.faults: Faults[HandObservation] = Faults("joint_positions", "joint_velocities")
        self._spec = HandSpec.of(
            FINGER, watchdog_s=config.watchdog_s, side=config.side, simulated=True
        )
        self._positions = np.zeros(self._spec.n_joints)
        self._velocities = np.zeros(self._spec.n_joints)
        self._target = np.zeros(self._spec.n_joints)
        self._updated_s = self._commanded_s = self.clock.now_s()

    @property
    def spec(self) -> HandSpec:
        return self._spec

    def _open(self, timeout_s: float) -> None:
        del timeout_s  # Answers at once.
        self.faults.require_link()

    def _close(self) -> None:
        pass

    def _read(self) -> HandObservation:
        self._walk()
        return self.faults.apply(
            HandObservation(
                stamp_s=self._updated_s,
                joint_positions=self._positions,
                joint_velocities=self._velocities,
            )
        )

    def _enable(self) -> None:
        self.faults.require_link()
        self._hold()

    def _disable(self) -> None:
        self.faults.require_link()
        self._hold()

    def _write(self, command: HandCommand) -> None:
        self.faults.require_link()
        self._walk()
        self._target = command.joint_positions
        self._commanded_s = self.clock.now_s()

    def _hold(self) -> None:
        self._walk()
        self._target = self._positions

    def _walk(self) -> None:
        now_s = self.clock.now_s()
        # Motion stops at the watchdog even if nobody looked in between.
        moving_until_s = min(now_s, self._commanded_s + self._spec.watchdog_s)
        reach = self._spec.velocity_limits * max(0.0, moving_until_s - self._updated_s)
        step = np.clip(self._target - self._positions, -reach, reach)
        if now_s > self._updated_s:
            self._velocities = step / (now_s - self._updated_s)
        self._positions = self._positions + step
        self._updated_s = now_s
