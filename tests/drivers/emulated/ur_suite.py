"""What the tests of the UR driver share: an arm that is connected or enabled, and where it goes."""

import numpy as np
import pytest

from dexhil.drivers.arm import ArmCommand
from dexhil.drivers.arm.ur import UrArm
from dexhil.drivers.arrays import Vector
from dexhil.drivers.registry import AnyDevice
from dexhil.drivers.testing import Emulated


def here(arm: UrArm) -> Vector:
    return arm.observe().joint_positions.copy()


def turned(arm: UrArm, by: float = 0.6) -> ArmCommand:
    """Return the command that turns the last joint by ``by`` [rad]."""
    return ArmCommand(joint_positions=here(arm) + np.array([0, 0, 0, 0, 0, by]))


class UrTests(Emulated):
    emulator = "ur"

    @pytest.fixture
    def arm(self, connected: AnyDevice) -> UrArm:
        assert isinstance(connected, UrArm)
        return connected

    @pytest.fixture
    def enabled(self, arm: UrArm) -> UrArm:
        arm.enable()
        return arm
