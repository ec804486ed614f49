"""What a device was really told, and whether that was allowed. Knows nothing of the runtime.

The limits are those of the device's own spec and of the rig file; the palm is found by MuJoCo, not
by the kinematics that the runtime computes with.
"""

from dataclasses import dataclass, field

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.clock import SimClock
from dexhil.drivers.joints import JointSpec
from dexhil.drivers.sim.world import World, WorldConfig
from dexhil.teleop.config import TeleopConfig

_ROUNDING = 1e-9  # Of an addition or two [rad].
# What an encoder's noise is at the palm: an attempt begins where the arm is measured to be.
ROUNDING_M = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """One command.

    Attributes:
        at_s: When the device was handed it [s].
        joints: [rad]. Shape (n,).
        step: Largest change of a joint since the command before, per what is allowed; 0 for the
            first of an attempt.
        changed: Whether it differs from the command before in any bit.
    """

    at_s: float
    joints: Vector
    step: float
    changed: bool


@dataclass(slots=True)
class Tape:
    """Every command that one device was handed.

    Attributes:
        part: Of the robot.
        told: Since the start of the drill.
        moved_in_hold: Commands that changed although their tick ended with nobody driving.
    """

    part: str
    spec: JointSpec
    largest_step: Vector
    told: list[Told] = field(default_factory=list)
    moved_in_hold: int = 0
    _last: Vector | None = None

    @classmethod
    def of(cls, part: str, spec: JointSpec, config: TeleopConfig) -> "Tape":
        """Return the tape of a rig's ``arm`` or ``hand``."""
        share, rate_hz = (
            (config.arm_speed_fraction, config.arm_rate_hz)
            if part == "arm"
            else (config.hand_speed_fraction, config.hand_rate_hz)
        )
        return cls(part, spec, share * spec.velocity_limits / rate_hz)

    def begin(self) -> None:
        """An attempt begins wherever the device is, so its first command is no step."""
        self._last = None

    def note(self, at_s: float, joints: Vector) -> None:
        """The device was handed a command."""
        joints, last = joints.copy(), self._last
        step = 0.0 if last is None else float((np.abs(joints - last) / self.largest_step).max())
        changed = last is not None and bool((joints != last).any())
        self.told.append(Told(at_s, joints, step, changed))
        self._last = joints

    def end_tick(self, *, held: bool, n_before: int) -> None:
        """Note whether a tick in which or before which everything was to be held moved it."""
        self.moved_in_hold += held and any(each.changed for each in self.told[n_before:])

    # -- What the judge asks -----------------------------------------------------------------

    def changes_s(self, after_s: float) -> list[float]:
        """Return when it was told something else than before, later than ``after_s``."""
        return [told.at_s for told in self.told if told.changed and told.at_s > after_s]

    def worst_step(self) -> float:
        """Return the largest step per what is allowed."""
        return max((t.step for t in self.told), default=0.0)

    def worst_position(self) -> float:
        """Return how far outside its range a joint was ever told to go; negative: inside [rad]."""
        low, high = self.spec.position_limits.T
        joints = np.array([t.joints for t in self.told])
        if not np.isfinite(joints).all():
            return np.inf
        return float(np.maximum(low - joints, joints - high).max(initial=-np.inf))

    def violations(self) -> list[str]:
        """Return which limits were exceeded."""
        said = []
        if (beyond := self.worst_position()) > _ROUNDING:
            said.append(f"{self.part}: {beyond:.2e} rad out of range")
        if (step := self.worst_step()) > 1.0 + 1e-6:
            said.append(f"{self.part}: a step of {step:.3f} of what is allowed")
        return said


class Palm:
    """Says where the palm would be, by MuJoCo.

    Args:
        arm: Model.
        hand: Model.
    """

    def __init__(self, arm: str, hand: str) -> None:
        world = WorldConfig(arm=arm, hand=hand, scene="empty")
        self._world = World(world, clock=SimClock())

    def position(self, joints: Vector) -> Vector:
        """Return where it would be in the arm's base frame [m]. Shape (3,)."""
        self._world.reset(arm_positions=joints)
        return self._world.palm_pose()[0]

    def outside_m(self, tape: Tape, config: TeleopConfig) -> float:
        """Return how far a whole tape of the arm leaves the box; negative: stays inside [m]."""
        low, high = np.array(config.workspace_low), np.array(config.workspace_high)
        commands = [told.joints for k, told in enumerate(tape.told) if told.changed or k == 0]
        palms = np.array([self.position(joints) for joints in commands]).reshape(-1, 3)
        return float(np.maximum(low - palms, palms - high).max(initial=-np.inf))
