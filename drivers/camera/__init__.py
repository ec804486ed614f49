"""Cameras."""

from dexhil.drivers.camera.camera import Camera, CameraObservation, CameraSpec

__all__ = ["Camera", "CameraObservation", "CameraSpec"]
