"""The contract of an arm."""

from dataclasses import dataclass

from dexhil.drivers.joints import JointActuator, JointCommand, JointObservation, JointSpec


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArmSpec(JointSpec):
    """What an arm is."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArmObservation(JointObservation):
    """One sample from an arm."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArmCommand(JointCommand):
    """Where the arm's joints should go."""


class Arm(JointActuator[ArmSpec, ArmObservation, ArmCommand]):
    """A robot arm, real or simulated."""

    observation_type = ArmObservation
    command_type = ArmCommand
