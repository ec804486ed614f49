"""Trackers of a hand-held or worn body."""

from dexhil.drivers.tracker.tracker import Tracker, TrackerObservation, TrackerSpec

__all__ = ["Tracker", "TrackerObservation", "TrackerSpec"]
