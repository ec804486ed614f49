"""Pedals, keys and buttons."""

from dexhil.drivers.switch.several import SeveralSwitches
from dexhil.drivers.switch.switch import Switch, SwitchObservation, SwitchSpec

__all__ = ["SeveralSwitches", "Switch", "SwitchObservation", "SwitchSpec"]
