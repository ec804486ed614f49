"""The cube laid flat: where its faces, markers, folds and glue flaps are on a sheet of paper."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from dexhil.teleop.cube.model import CubeModel

FloatArray = npt.NDArray[np.float64]

FLAP_M: Final = 0.007
"""Depth of a glue flap [m]."""

# Column and row of each face: the four sides side by side, top and bottom on the first one.
_PLACES: Final = np.array([(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (0, -1)])
# What becomes of each face's upper, right, lower and left edge: c is cut, f folded, g gets a
# flap to glue, - is its neighbour's. The lower edges of an open cube get flaps for the mount.
_CLOSED: Final = ("fffc", "cfc-", "cfc-", "cgc-", "gg-g", "-ggg")
_OPEN: Final = ("ffgc", "cfg-", "cfg-", "cgg-", "gg-g")

_UNIT: Final = np.array([(0.0, 1.0), (1.0, 1.0), (1.0, 0.0), (0.0, 0.0)])  # From the top left.
_OUTWARDS: Final = np.array([(0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Net:
    """A cube laid flat, printed side up, x to the right and y up.

    Attributes:
        faces: Corners of each face from the top left clockwise [m]. Shape (k, 4, 2).
        markers: Corners of each marker, likewise [m]. Shape (k, 4, 2).
        cuts: Ends of the lines to cut [m]. Shape (n, 2, 2).
        folds: Ends of the lines to fold [m]. Shape (m, 2, 2).
    """

    faces: FloatArray
    markers: FloatArray
    cuts: FloatArray
    folds: FloatArray

    @property
    def low(self) -> FloatArray:
        """Lower left corner of it all [m]. Shape (2,)."""
        corner: FloatArray = self.cuts.min(axis=(0, 1))
        return corner

    @property
    def size(self) -> FloatArray:
        """Width and height [m]. Shape (2,)."""
        size: FloatArray = self.cuts.max(axis=(0, 1)) - self.low
        return size


def lay_flat(model: CubeModel) -> Net:
    """Return the net of a nominal cube; the lower left corner of the face +x is the origin."""
    edge, n = model.edge_m, model.n_faces
    faces = edge * (_PLACES[:n, None] + _UNIT)
    middles = faces.mean(axis=1, keepdims=True)
    markers = middles + (faces - middles) * (model.marker_m / edge)
    cuts, folds = [], []
    for face, kinds in zip(faces, _CLOSED if n == 6 else _OPEN, strict=True):
        for i, kind in enumerate(kinds):
            start, end = face[i], face[(i + 1) % 4]
            if kind == "c":
                cuts.append((start, end))
            elif kind in "fg":
                folds.append((start, end))
            if kind == "g":
                # Tapered by 45 degrees, so that neighbours do not meet inside the cube.
                along = FLAP_M * (end - start) / edge
                a = start + FLAP_M * _OUTWARDS[i] + along
                b = end + FLAP_M * _OUTWARDS[i] - along
                cuts += [(start, a), (a, b), (b, end)]
    return Net(faces=faces, markers=markers, cuts=np.array(cuts), folds=np.array(folds))
