"""What arms and hands share: named joints, told where to go.

Units are SI without exception: rad, rad/s, N·m, s. Arrays are float64,
read-only, and ordered as ``JointSpec.joint_names``.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar, final

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector, freeze_fields
from dexhil.drivers.device import Actuator
from dexhil.drivers.errors import CommandError
from dexhil.drivers.models.kinematics import Kinematics


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointSpec:
    """What a device made of commanded joints is.

    Attributes:
        model: Maker and model, e.g. ``"leap"``.
        joint_names: Names that fix the order of every joint array.
        position_limits: Lower and upper joint limits [rad]. Shape (n, 2).
        velocity_limits: Largest joint speeds [rad/s]. Shape (n,).
        watchdog_s: The device holds still when no command came for this long [s].
        kinematics: Links and joints, for inverse kinematics and retargeting.
        simulated: Whether moving it can hurt nobody.
    """

    model: str
    joint_names: tuple[str, ...]
    position_limits: Matrix
    velocity_limits: Vector
    watchdog_s: float
    kinematics: Kinematics
    simulated: bool = False

    def __post_init__(self) -> None:
        freeze_fields(self, "position_limits", "velocity_limits")
        n = len(self.joint_names)
        for field, shape in (("position_limits", (n, 2)), ("velocity_limits", (n,))):
            measured = getattr(self, field).shape
            if measured != shape:
                raise ValueError(f"{self.model}: {field} has shape {measured}, expected {shape}.")

    @classmethod
    def of(
        cls, kinematics: Kinematics, *, watchdog_s: float, speed: float = 1.0, **rest: Any
    ) -> Self:
        """Return the spec of a device whose joints a table describes.

        Args:
            kinematics: The table.
            watchdog_s: As the attribute.
            speed: Share of the joints' largest speeds that is allowed.
            rest: Further attributes.
        """
        return cls(
            model=kinematics.model,
            joint_names=kinematics.joint_names,
            position_limits=kinematics.position_limits,
            velocity_limits=speed * kinematics.velocity_limits,
            watchdog_s=watchdog_s,
            kinematics=kinematics,
            **rest,
        )

    @property
    def n_joints(self) -> int:
        return len(self.joint_names)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointObservation:
    """One sample of joints.

    Attributes:
        stamp_s: When it was taken, on the host's monotonic clock [s].
        joint_positions: [rad]. Shape (n,).
        joint_velocities: [rad/s]. Shape (n,).
        joint_efforts: [N·m]. Shape (n,). ``None`` if not measured, never zeros.
    """

    stamp_s: float
    joint_positions: Vector
    joint_velocities: Vector
    joint_efforts: Vector | None = None

    def __post_init__(self) -> None:
        freeze_fields(self, "joint_positions", "joint_velocities", "joint_efforts")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointCommand:
    """Where the joints should go.

    Attributes:
        joint_positions: Target joint angles [rad]. Shape (n,).
    """

    joint_positions: Vector

    def __post_init__(self) -> None:
        freeze_fields(self, "joint_positions")


def check_motion(speed: float, watchdog_s: float) -> None:
    """Refuse what no arm or hand may be configured to.

    Raises:
        ValueError: With the unit.
    """
    if not 0 < speed <= 1:
        raise ValueError(f"speed is {speed:g}, allowed above 0 to 1")
    if not 0 < watchdog_s <= 1:
        raise ValueError(f"watchdog_s is {watchdog_s:g} s, must be above 0, up to 1 s")


SpecT = TypeVar("SpecT", bound=JointSpec)
ObservationT = TypeVar("ObservationT", bound=JointObservation)
CommandT = TypeVar("CommandT", bound=JointCommand)


class JointActuator(Actuator[SpecT, ObservationT, CommandT]):
    """A device of commanded joints: validation and clamping, written once for arms and hands."""

    observation_type: ClassVar[type[JointObservation]]
    command_type: ClassVar[type[JointCommand]]

    @final
    def _limit(self, command: CommandT) -> CommandT:
        target = command.joint_positions
        expected = (self.spec.n_joints,)
        if target.shape != expected:
            raise CommandError(
                f"{self}: joint_positions has shape {target.shape}, expected {expected} "
                f"in the order {', '.join(self.spec.joint_names)}."
            )
        if not np.isfinite(target).all():
            bad = [self.spec.joint_names[i] for i in np.flatnonzero(~np.isfinite(target))]
            raise CommandError(f"{self}: joint_positions is not finite at {', '.join(bad)}.")
        low, high = self.spec.position_limits.T
        return type(command)(joint_positions=np.clip(target, low, high))
