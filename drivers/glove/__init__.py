"""Data gloves."""

from dexhil.drivers.glove.glove import N_KEYPOINTS, Glove, GloveObservation, GloveSpec

__all__ = ["N_KEYPOINTS", "Glove", "GloveObservation", "GloveSpec"]
