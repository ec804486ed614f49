"""Unity's left-handed axes (x right, y up, z forward) and ours (x forward, y left, z up).

Headsets and motion-capture studios stream what their game engine computes with. Mirroring
it is not optional: a right hand read in the wrong handedness is a left hand.
"""

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix, Vector

# Determinant -1: it also mirrors.
_OURS_FROM_UNITY = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def points_from_unity(points: npt.ArrayLike) -> Matrix:
    """Return points in our axes. Shape (..., 3). What is not finite stays so."""
    with np.errstate(invalid="ignore", over="ignore"):
        ours: Matrix = np.asarray(points, dtype=np.float64) @ _OURS_FROM_UNITY.T
    return ours


def points_to_unity(points: npt.ArrayLike) -> Matrix:
    """Undo ``points_from_unity``."""
    unity: Matrix = np.asarray(points, dtype=np.float64) @ _OURS_FROM_UNITY
    return unity


def quaternion_from_unity(xyzw: npt.ArrayLike) -> Vector:
    """Return Unity's xyzw quaternion as wxyz in our axes. Shape (4,)."""
    x, y, z, w = np.asarray(xyzw, dtype=np.float64)
    # A rotation axis is a pseudo-vector: mirroring turns it once more.
    return np.array([w, *-points_from_unity((x, y, z))])


def quaternion_to_unity(wxyz: npt.ArrayLike) -> Vector:
    """Undo ``quaternion_from_unity``."""
    w, x, y, z = np.asarray(wxyz, dtype=np.float64)
    return np.array([*-points_to_unity((x, y, z)), w])
