"""Run the conformance suites on whatever ``--rig`` names, simulated when it names nothing."""

from dexhil.drivers.testing import (
    ArmConformance,
    CameraConformance,
    GloveConformance,
    HandConformance,
    SwitchConformance,
    TrackerConformance,
)


class TestArms(ArmConformance):
    pass


class TestHands(HandConformance):
    pass


class TestGloves(GloveConformance):
    pass


class TestTrackers(TrackerConformance):
    pass


class TestCameras(CameraConformance):
    pass


class TestSwitches(SwitchConformance):
    pass
