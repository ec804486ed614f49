"""The compiled side of `dexhil.retarget.keypoints`.

Import this module only where keypoints are looked at: it loads the compiler.
"""

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.retarget.kernels.bounds import MAX_BONE_M, MIN_BONE_M, MIN_HANDEDNESS, MIN_PALM_M
from dexhil.retarget.kernels.jit import compiled


@compiled
def palm_frame(points: Matrix, mirror: bool) -> tuple[Matrix, float, float]:
    """Return the palm's axes as columns, its length and its width [m].

    Without a length or a width there are no axes; the columns are then zero.
    """
    frame = np.zeros((3, 3))
    ax, ay, az = points[9] - points[0]
    bx, by, bz = points[5] - points[13]
    length = np.sqrt(ax * ax + ay * ay + az * az)
    if length == 0.0:
        return frame, 0.0, 0.0
    ax, ay, az = ax / length, ay / length, az / length
    cx, cy, cz = by * az - bz * ay, bz * ax - bx * az, bx * ay - by * ax
    width = np.sqrt(cx * cx + cy * cy + cz * cz)
    if width == 0.0:
        return frame, length, 0.0
    turn = -1.0 / width if mirror else 1.0 / width
    cx, cy, cz = turn * cx, turn * cy, turn * cz
    frame[0] = cx, ay * cz - az * cy, ax
    frame[1] = cy, az * cx - ax * cz, ay
    frame[2] = cz, ax * cy - ay * cx, az
    return frame, length, width


@compiled
def in_frame(points: Matrix, frame: Matrix) -> Matrix:
    """Return points relative to the first one, along the columns of ``frame``."""
    out = np.empty_like(points)
    for row in range(len(points)):
        x, y, z = points[row] - points[0]
        for i in range(3):
            out[row, i] = x * frame[0, i] + y * frame[1, i] + z * frame[2, i]
    return out


@compiled
def bone_lengths(points: Matrix) -> Vector:
    """Return the length of the bone that ends at each keypoint but the wrist. Shape (20,)."""
    out = np.empty(20)
    for row in range(1, 21):
        parent = 0 if row % 4 == 1 else row - 1
        x, y, z = points[row] - points[parent]
        out[row - 1] = np.sqrt(x * x + y * y + z * z)
    return out


@compiled
def handedness(points: Matrix) -> float:
    """See `dexhil.retarget.keypoints.handedness`."""
    curl = 0.0
    for finger in range(1, 5):
        first = 1 + 4 * finger
        for joint in (1, 2):
            ax, ay, az = points[first + joint] - points[first + joint - 1]
            bx, by, bz = points[first + joint + 1] - points[first + joint]
            # The sine of the bend about y: (inner x outer) . y
            curl += np.arctan2(az * bx - ax * bz, ax * bx + ay * by + az * bz) / 4.0
    return float(curl / 0.35 + points[2, 0] / (0.15 * points[9, 2]))


@compiled
def look(points: Matrix, mirror: bool, thumb_offset: Vector) -> tuple[Matrix, bool]:
    """Return the keypoints in the palm frame, shape (21, 3), and whether a hand can look so."""
    frame, length, width = palm_frame(points, mirror)
    out = in_frame(points, frame)
    out[1:5] += thumb_offset
    if not (np.isfinite(points).all() and length >= MIN_PALM_M and width >= MIN_PALM_M):
        return out, False
    bones = bone_lengths(out)
    fine = bones.min() >= MIN_BONE_M and bones.max() <= MAX_BONE_M
    return out, bool(fine and handedness(out) >= MIN_HANDEDNESS)
