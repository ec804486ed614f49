"""The conformance suite: what it means to be a driver, as tests."""

from dexhil.drivers.testing.conformance import DeviceConformance
from dexhil.drivers.testing.conformance_joints import (
    ArmConformance,
    HandConformance,
    JointConformance,
)
from dexhil.drivers.testing.conformance_sensors import (
    CameraConformance,
    GloveConformance,
    StreamConformance,
    SwitchConformance,
    TrackerConformance,
)
from dexhil.drivers.testing.emulated import Emulated

__all__ = [
    "ArmConformance",
    "CameraConformance",
    "DeviceConformance",
    "Emulated",
    "GloveConformance",
    "HandConformance",
    "JointConformance",
    "StreamConformance",
    "SwitchConformance",
    "TrackerConformance",
]
