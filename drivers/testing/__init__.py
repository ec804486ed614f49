"""The conformance suite: what it means to be a driver, as tests."""

from dexhil.drivers.testing.conformance import (
    ActuatorConformance,
    DeviceConformance,
    HandConformance,
)

__all__ = ["ActuatorConformance", "DeviceConformance", "HandConformance"]
