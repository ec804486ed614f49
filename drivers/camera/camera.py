"""The contract of a camera."""

from dataclasses import dataclass

import numpy as np

from dexhil.drivers.arrays import Image, Matrix, Vector, freeze_fields
from dexhil.drivers.device import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSpec:
    """What a camera is.

    Attributes:
        model: Maker and model.
        width: Of the image [pixel].
        height: Of the image [pixel].
        rate_hz: How often it gives a fresh image [1/s].
        simulated: Whether the picture is rendered.
    """

    model: str
    width: int
    height: int
    rate_hz: float
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraObservation:
    """One picture.

    Attributes:
        stamp_s: When it was taken, on the host's monotonic clock [s].
        image: RGB, read-only. Shape (height, width, 3), uint8.
        depth: Along the optical axis [m]. Shape (height, width). ``None`` if not measured.
    """

    stamp_s: float
    image: Image
    depth: Matrix | None = None

    def __post_init__(self) -> None:
        image = np.array(self.image, dtype=np.uint8)
        image.setflags(write=False)
        object.__setattr__(self, "image", image)
        freeze_fields(self, "depth")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lens:
    """How a camera projects, as its maker measured it.

    Attributes:
        matrix: Focal lengths and principal point [pixel], as OpenCV has them. Shape (3, 3).
        distortion: OpenCV's k1, k2, p1, p2, k3. Shape (5,).
    """

    matrix: Matrix
    distortion: Vector

    def __post_init__(self) -> None:
        freeze_fields(self, "matrix", "distortion")


class Camera(Device[CameraSpec, CameraObservation]):
    """A colour camera, real or simulated."""

    def lens(self) -> Lens | None:
        """Return what the connected camera knows of its own projection; ``None`` if nothing."""
        return None
