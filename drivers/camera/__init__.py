"""Cameras."""

from dexhil.drivers.camera.camera import Camera, CameraObservation, CameraSpec, Lens

__all__ = ["Camera", "CameraObservation", "CameraSpec", "Lens"]
