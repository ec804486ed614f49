"""Robot arms."""

from dexhil.drivers.arm.arm import Arm, ArmCommand, ArmObservation, ArmSpec

__all__ = ["Arm", "ArmCommand", "ArmObservation", "ArmSpec"]
