"""How a camera projects: OpenCV's pinhole with its distortion."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import freeze_fields
from dexhil.teleop.cube import files
from dexhil.teleop.errors import CubeError

FloatArray = npt.NDArray[np.float64]

_N_DISTORTION = frozenset({0, 4, 5, 8, 12, 14})  # What OpenCV's models have.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Intrinsics:
    """A camera's projection, for images of one size.

    Attributes:
        width: Of the image [pixel].
        height: Of the image [pixel].
        matrix: Focal lengths and principal point [pixel], as OpenCV has them: the middle of
            the top left pixel is (0, 0). Shape (3, 3).
        distortion: In OpenCV's order: k1, k2, p1, p2, k3, ... Shape (n,).
        rms_px: Reprojection error of the calibration [pixel]; NaN if none was made.

    Raises:
        CubeError: No camera projects like this.
    """

    width: int
    height: int
    matrix: FloatArray
    distortion: FloatArray
    rms_px: float = math.nan

    def __post_init__(self) -> None:
        freeze_fields(self, "matrix", "distortion")
        matrix, distortion = self.matrix, self.distortion
        if self.width <= 0 or self.height <= 0:
            raise CubeError(f"The image is {self.width} x {self.height} pixels, must be above 0.")
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
            raise CubeError("The camera's matrix must be three finite rows of three.")
        expected = np.array([[matrix[0, 0], 0, matrix[0, 2]], [0, matrix[1, 1], matrix[1, 2]]])
        if not (
            matrix[0, 0] > 0
            and matrix[1, 1] > 0
            and np.array_equal(matrix[:2], expected)
            and np.array_equal(matrix[2], (0, 0, 1))
        ):
            raise CubeError(
                "The camera's matrix must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx and fy "
                f"above 0, is {matrix.tolist()}."
            )
        if distortion.shape not in {(n,) for n in _N_DISTORTION}:
            raise CubeError(
                f"The camera's distortion has shape {distortion.shape}; OpenCV's models have "
                f"{sorted(_N_DISTORTION)} numbers."
            )
        if not np.isfinite(distortion).all():
            raise CubeError("The camera's distortion is not finite.")

    @classmethod
    def nominal(cls, width: int = 1280, height: int = 720, hfov_rad: float = math.pi / 2) -> Self:
        """Return a camera without distortion, looking along the middle of the image.

        A RealSense D455 sees about 90 degrees in colour at 1280 x 720: fx = 640 pixels.
        """
        focal = 0.5 * width / math.tan(0.5 * hfov_rad)
        middle = (0.5 * (width - 1), 0.5 * (height - 1))
        return cls(
            width=width,
            height=height,
            matrix=np.array([[focal, 0.0, middle[0]], [0.0, focal, middle[1]], [0.0, 0.0, 1.0]]),
            distortion=np.zeros(5),
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a camera's file.

        Raises:
            CubeError: There is no such file, or it describes no camera.
        """
        file: _File = files.read(path, _File, "intrinsics")
        try:
            return cls(
                width=file.width,
                height=file.height,
                matrix=np.array(file.matrix),
                distortion=np.array(file.distortion),
                rms_px=file.rms_px,
            )
        except CubeError as error:
            raise CubeError(f"{path}: {error}") from error

    def save(self, path: Path, notes: Sequence[str] = ()) -> None:
        """Write the camera's file, whole or not at all.

        Args:
            path: Of the file.
            notes: Lines for people, at its beginning.

        Raises:
            CubeError: The folder cannot be written.
        """
        lines = [
            *(f"# {note}" for note in notes),
            f"format = {files.FORMAT}",
            f"width = {self.width}",
            f"height = {self.height}",
            f"matrix = {files.numbers(self.matrix)}",
            "# k1, k2, p1, p2, k3, ... as OpenCV has them.",
            f"distortion = {files.numbers(self.distortion, 12)}",
            f"rms_px = {self.rms_px}",
        ]
        files.write(path, lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    width: int
    height: int
    matrix: list[tuple[float, float, float]]
    distortion: list[float]
    rms_px: float
