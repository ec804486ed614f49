"""The edges between black and white on a marker cube: what its pose is fitted to.

Corners are few, and blur rounds them off. The sides of the markers and of their cells are many
and straight: some ninety points per face, each a measurement across its edge.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dexhil.teleop.cube.markers import marker_cells
from dexhil.teleop.cube.model import CubeModel

FloatArray = npt.NDArray[np.float64]

_POINTS_PER_CELL: Final = 2


@dataclass(frozen=True, slots=True)
class EdgePoints:
    """Points on the boundaries between black and white cells, in the cube's frame.

    Attributes:
        points: [m]. Shape (n, 3).
        along: Unit vectors along the edge. Shape (n, 3).
        to_bright: Across the edge, from black to white, a cell long [m]. Shape (n, 3).
        face: Index of the face. Shape (n,).
        cells: Middles of all cells and of the paper around them [m]. Shape (k, m, 3).
        white: Whether they are white. Shape (k, m).
        code: Which of them are neither border nor paper. Shape (m,).
        middles: Of the faces [m]. Shape (k, 3).
        normals: Outwards, of length 1. Shape (k, 3).
    """

    points: FloatArray
    along: FloatArray
    to_bright: FloatArray
    face: npt.NDArray[np.intp]
    cells: FloatArray
    white: npt.NDArray[np.bool_]
    code: npt.NDArray[np.bool_]
    middles: FloatArray
    normals: FloatArray

    @classmethod
    def of(cls, model: CubeModel) -> "EdgePoints":
        """Return those of a cube."""
        faces = [_face(model, index) for index in range(model.n_faces)]
        points, along, across = (np.concatenate([face[i] for face in faces]) for i in range(3))
        n_code = math.isqrt(len(faces[0][4])) - 4
        corners = model.corners_in_cube
        normals = np.cross(corners[:, 3] - corners[:, 0], corners[:, 1] - corners[:, 0])
        return cls(
            points=points,
            along=along,
            to_bright=across,
            face=np.repeat(np.arange(model.n_faces), [len(face[0]) for face in faces]),
            cells=np.array([face[3] for face in faces]),
            white=np.array([face[4] for face in faces]),
            code=np.pad(np.ones((n_code, n_code), dtype=np.bool_), 2).ravel(),
            middles=corners.mean(axis=1),
            normals=normals / np.linalg.norm(normals, axis=1, keepdims=True),
        )


def _face(model: CubeModel, index: int) -> tuple[Any, ...]:
    bits = ~marker_cells(model.dictionary, model.marker_ids[index])
    n = len(bits)
    padded = np.pad(bits, 1, constant_values=True)
    corners = model.corners_in_cube[index]
    steps = (np.arange(_POINTS_PER_CELL) + 0.5) / _POINTS_PER_CELL
    uv, along, across = [], [], []
    # A boundary at u = i / n, between the cells (row, i - 1) and (row, i); the same for v.
    for transposed in (False, True):
        cells = padded.T if transposed else padded
        change = cells[1:-1, 1:].astype(int) - cells[1:-1, :-1].astype(int)
        for row, i in np.argwhere(change != 0):
            for step in steps:
                at = np.array([i, row + step]) / n
                uv.append(at[::-1] if transposed else at)
                along.append((1.0, 0.0) if transposed else (0.0, 1.0))
                sign = change[row, i] / n
                across.append((0.0, sign) if transposed else (sign, 0.0))
    right, down = _axes(corners)
    along_m = np.array(along) @ np.array([right, down])
    # The white paper's cells count as wide as it is.
    margin = 0.5 * (model.edge_m / model.marker_m - 1.0) * n
    places = np.concatenate([[-0.5 * margin], np.arange(n) + 0.5, [n + 0.5 * margin]]) / n
    u, v = np.meshgrid(places, places)
    return (
        _on_face(corners, np.array(uv)),
        along_m / np.linalg.norm(along_m, axis=1, keepdims=True),
        np.array(across) @ np.array([right, down]),
        _on_face(corners, np.stack([u.ravel(), v.ravel()], axis=1)),
        padded.ravel(),
    )


def _axes(corners: FloatArray) -> tuple[FloatArray, FloatArray]:
    right = 0.5 * (corners[1] - corners[0] + corners[2] - corners[3])
    down = 0.5 * (corners[3] - corners[0] + corners[2] - corners[1])
    return right, down


def _on_face(corners: FloatArray, uv: FloatArray) -> FloatArray:
    u, v = uv[:, :1], uv[:, 1:]
    points: FloatArray = (
        (1 - u) * (1 - v) * corners[0]
        + u * (1 - v) * corners[1]
        + u * v * corners[2]
        + (1 - u) * v * corners[3]
    )
    return points
