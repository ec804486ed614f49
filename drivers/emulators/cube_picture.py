"""What a camera sees of a marker cube that is waved about: painted, not rendered.

Each face is a flat picture, so its place in the image is a homography: exact, and fast enough
to paint at start. The cube and the camera are tables that a driver reads as well.
"""

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Self

import cv2
import numpy as np

from dexhil.drivers.arrays import Image, Matrix

CUBE: Final = Path(str(files(__package__).joinpath("aruco_cube.toml")))
CAMERA: Final = Path(str(files(__package__).joinpath("aruco_camera.toml")))

_FINER: Final = 2  # Painted this much larger, then averaged: edges fall between pixels too.
_PIXELS_PER_CELL: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CubePainter:
    """Paints a cube into a picture.

    Attributes:
        faces: Of each face, its picture with the white paper around the marker.
        white_px: Breadth of that paper in it [pixel].
        corners: Of each face's marker: top left, top right, bottom right, bottom left [m].
            Shape (k, 4, 3).
        matrix: Of the camera [pixel]. Shape (3, 3).
        width: Of the picture [pixel].
        height: Of the picture [pixel].
    """

    faces: tuple[Image, ...]
    white_px: int
    corners: Matrix
    matrix: Matrix
    width: int
    height: int

    @classmethod
    def read(cls, cube: Path = CUBE, camera: Path = CAMERA) -> Self:
        """Return the painter of what the two tables describe."""
        one, other = (tomllib.loads(path.read_text(encoding="utf-8")) for path in (cube, camera))
        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, one["dictionary"]))
        n_cells = dictionary.markerSize + 2
        white = round(0.5 * (one["edge_m"] / one["marker_m"] - 1.0) * n_cells * _PIXELS_PER_CELL)
        faces = [
            cv2.aruco.generateImageMarker(dictionary, number, n_cells * _PIXELS_PER_CELL)
            for number in one["marker_ids"]
        ]
        return cls(
            faces=tuple(np.pad(face, white, constant_values=255) for face in faces),
            white_px=white,
            corners=np.array(one["corners_in_cube"]),
            matrix=np.array(other["matrix"]),
            width=other["width"],
            height=other["height"],
        )

    def paint(self, pose_cube_in_camera: Matrix | None, rng: np.random.Generator) -> Image:
        """Return a picture of the cube before grey noise. Shape (height, width, 3), RGB.

        Args:
            pose_cube_in_camera: Shape (4, 4). ``None`` leaves only the noise.
            rng: Of the noise.
        """
        image = rng.integers(90, 130, (self.height, self.width, 3), dtype=np.uint8)
        if pose_cube_in_camera is None:
            return image
        points = self.corners @ pose_cube_in_camera[:3, :3].T + pose_cube_in_camera[:3, 3]
        pixels = points @ self.matrix.T
        pixels = pixels[..., :2] / pixels[..., 2:]
        # Only where the cube is, with its paper.
        size = np.array([self.width, self.height])
        spread = 0.5 * (pixels.max(axis=(0, 1)) - pixels.min(axis=(0, 1)))
        x0, y0 = np.maximum(pixels.min(axis=(0, 1)) - spread, 0).astype(int).tolist()
        x1, y1 = np.minimum(pixels.max(axis=(0, 1)) + spread, size).astype(int).tolist()
        part = image[y0:y1, x0:x1]
        shape = (x1 - x0, y1 - y0)
        fine = cv2.resize(part, (_FINER * shape[0], _FINER * shape[1]))
        for face, seen, corners in zip(self.faces, points, pixels, strict=True):
            self._add(fine, face, seen, corners - [x0, y0])
        image[y0:y1, x0:x1] = cv2.resize(fine, shape, interpolation=cv2.INTER_AREA)
        return image

    def _add(self, fine: Any, face: Image, seen: Matrix, corners: Matrix) -> None:
        outwards = np.cross(seen[3] - seen[0], seen[1] - seen[0])
        towards = -float(outwards @ seen[0]) / np.linalg.norm(outwards) / np.linalg.norm(seen[0])
        if towards <= 0:
            return  # It looks away.
        low, high = self.white_px, len(face) - self.white_px
        # The middle of a picture's first pixel is (0, 0), its corner is (-0.5, -0.5).
        flat = np.array([(low, low), (high, low), (high, high), (low, high)]) - 0.5
        there = _FINER * (corners + 0.5) - 0.5
        warp = cv2.getPerspectiveTransform(flat.astype(np.float32), there.astype(np.float32))
        shape = (fine.shape[1], fine.shape[0])
        mask = cv2.warpPerspective(np.full_like(face, 255), warp, shape) > 127
        # Paper is brightest when it faces the camera, where the light is.
        light = (0.45 + 0.5 * towards) * cv2.warpPerspective(face, warp, shape).astype(np.float64)
        fine[mask] = (10.0 + 0.9 * light[mask])[:, None].astype(np.uint8)
