"""Pedals, keys and buttons."""

from dexhil.drivers.switch.switch import Switch, SwitchObservation, SwitchSpec

__all__ = ["Switch", "SwitchObservation", "SwitchSpec"]
