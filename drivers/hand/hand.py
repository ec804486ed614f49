"""The contract of a dexterous hand."""

from dataclasses import dataclass

from dexhil.drivers.arrays import Matrix, Vector, freeze_fields
from dexhil.drivers.joints import JointActuator, JointCommand, JointObservation, JointSpec
from dexhil.drivers.models.kinematics import Side


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HandSpec(JointSpec):
    """What a hand is.

    Attributes:
        side: Which hand it is.
    """

    side: Side


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HandObservation(JointObservation):
    """One sample from a hand.

    Attributes:
        fingertip_forces: In the palm frame [N]. Shape (fingers, 3). ``None`` if not measured.
        finger_forces: Along each driven joint's closing direction [N]. Shape (n,). ``None`` if
            not measured.
        motor_currents: [A]. Shape (n,). ``None`` if not measured.
        touch: Force on each touch sensor, in the order of the device [N]. Shape (n_sensors,).
            ``None`` if not measured.
    """

    fingertip_forces: Matrix | None = None
    finger_forces: Vector | None = None
    motor_currents: Vector | None = None
    touch: Vector | None = None

    def __post_init__(self) -> None:
        JointObservation.__post_init__(self)
        freeze_fields(self, "fingertip_forces", "finger_forces", "motor_currents", "touch")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HandCommand(JointCommand):
    """Where the hand's joints should go."""


class Hand(JointActuator[HandSpec, HandObservation, HandCommand]):
    """A dexterous hand, real or simulated."""

    observation_type = HandObservation
    command_type = HandCommand
