"""Where a hand's links are, and how near to each other."""

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.retarget.kernels.arrays import Capsules, Chains, Pose
from dexhil.retarget.kernels.jit import compiled


@compiled
def forward(chains: Chains, q: Vector) -> Pose:
    """Return where everything is at the commanded joint angles ``q``."""
    origins, axes = np.empty_like(chains.positions), np.empty_like(chains.positions)
    rotations = np.empty_like(chains.rotations)
    tips = np.empty_like(chains.tips)
    before = np.empty((3, 3))
    for finger in range(len(chains.starts) - 1):
        first, end = chains.starts[finger], chains.starts[finger + 1]
        for row in range(first, end):
            x, y, z = chains.axes[row]
            angle = chains.multipliers[row] * q[chains.columns[row]] + chains.offsets[row]
            if row == first:
                origins[row] = chains.positions[row]
                before[:] = chains.rotations[row]
            else:
                for i in range(3):
                    origins[row, i] = origins[row - 1, i]
                    for k in range(3):
                        origins[row, i] += rotations[row - 1, i, k] * chains.positions[row, k]
                    for j in range(3):
                        before[i, j] = 0.0
                        for k in range(3):
                            before[i, j] += rotations[row - 1, i, k] * chains.rotations[row, k, j]
            c, s = np.cos(angle), np.sin(angle)
            v = 1.0 - c
            for i in range(3):
                a, b, d = before[i]
                along = a * x + b * y + d * z
                axes[row, i] = along
                # Rodrigues: a row vector times the rotation about the axis.
                rotations[row, i, 0] = c * a + s * (b * z - d * y) + v * along * x
                rotations[row, i, 1] = c * b + s * (d * x - a * z) + v * along * y
                rotations[row, i, 2] = c * d + s * (a * y - b * x) + v * along * z
        tips[finger] = placed(origins[end - 1], rotations[end - 1], chains.tips[finger])
    return Pose(origins, axes, rotations, tips)


@compiled
def placed(origin: Vector, rotation: Matrix, point: Vector) -> Vector:
    """Return a link's point in the root frame [m]. Shape (3,)."""
    out = origin.copy()
    for i in range(3):
        for k in range(3):
            out[i] += rotation[i, k] * point[k]
    return out


@compiled
def tip_jacobians(chains: Chains, pose: Pose, n: int) -> Matrix:
    """Return d tips / d q. Shape (fingers, 3, n)."""
    out = np.zeros((len(pose.tips), 3, n))
    for finger in range(len(pose.tips)):
        for row in range(chains.starts[finger], chains.starts[finger + 1]):
            column, gain = chains.columns[row], chains.multipliers[row]
            x, y, z = pose.tips[finger] - pose.origins[row]
            a, b, c = pose.axes[row]
            out[finger, 0, column] += gain * (b * z - c * y)
            out[finger, 1, column] += gain * (c * x - a * z)
            out[finger, 2, column] += gain * (a * y - b * x)
    return out


@compiled
def nearest(ends: Matrix, a: int, b: int, points: Matrix) -> float:
    """Return the distance of the axes of two capsules [m].

    Ericson, Real-Time Collision Detection, section 5.1.9.

    Args:
        ends: Start and end of every axis [m]. Shape (2 m, 3).
        a: One capsule.
        b: The other.
        points: Takes the nearest point of each axis [m]. Shape (2, 3).
    """
    uu = vv = uv = uw = vw = 0.0
    for i in range(3):
        u, v = ends[2 * a + 1, i] - ends[2 * a, i], ends[2 * b + 1, i] - ends[2 * b, i]
        w = ends[2 * a, i] - ends[2 * b, i]
        uu, vv, uv, uw, vw = uu + u * u, vv + v * v, uv + u * v, uw + u * w, vw + v * w
    uu, vv = max(uu, 1e-12), max(vv, 1e-12)  # A sphere's axis has no length.
    square = uu * vv - uv * uv
    s = 0.0
    if square > 1e-9 * uu * vv:  # Parallel axes are as near at any point.
        s = min(max((uv * vw - uw * vv) / square, 0.0), 1.0)
    t = (uv * s + vw) / vv
    if t < 0.0:
        s, t = min(max(-uw / uu, 0.0), 1.0), 0.0
    elif t > 1.0:
        s, t = min(max((uv - uw) / uu, 0.0), 1.0), 1.0
    square = 0.0
    for i in range(3):
        points[0, i] = ends[2 * a, i] + s * (ends[2 * a + 1, i] - ends[2 * a, i])
        points[1, i] = ends[2 * b, i] + t * (ends[2 * b + 1, i] - ends[2 * b, i])
        square += (points[0, i] - points[1, i]) ** 2
    return float(np.sqrt(square))


@compiled
def capsule_ends(capsules: Capsules, pose: Pose) -> Matrix:
    """Return start and end of every capsule's axis in the root frame [m]. Shape (2 m, 3)."""
    out = np.empty((2 * len(capsules.rows), 3))
    for capsule in range(len(capsules.rows)):
        row = capsules.rows[capsule]
        for i in range(3):
            out[2 * capsule, i] = out[2 * capsule + 1, i] = pose.origins[row, i]
            for k in range(3):
                out[2 * capsule, i] += pose.rotations[row, i, k] * capsules.starts[capsule, k]
                out[2 * capsule + 1, i] += pose.rotations[row, i, k] * capsules.ends[capsule, k]
    return out


@compiled
def far_apart(capsules: Capsules, ends: Matrix, a: int, b: int) -> bool:
    """Tell cheaply that two capsules do not touch."""
    square = 0.0
    for i in range(3):
        middle = ends[2 * a, i] + ends[2 * a + 1, i] - ends[2 * b, i] - ends[2 * b + 1, i]
        square += 0.25 * middle * middle
    reach = capsules.outer[a] + capsules.outer[b]
    return bool(square > reach * reach)
