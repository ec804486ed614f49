"""Rigid motions, small and fast: the loops call these hundreds of times a second.

A pose is a 4x4 float64 matrix, ``pose_b_in_a``: it takes coordinates in b to
coordinates in a, so ``pose_c_in_a = pose_b_in_a @ pose_c_in_b``. Quaternions are
wxyz and exist only at the devices' doors.
"""

import math

import numpy as np
import numpy.typing as npt

Pose = npt.NDArray[np.float64]
Rotation = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]

_SMALL_ANGLE = 1e-7  # Below it the series of sin and cos are exact to float64 [rad].


def make_pose(position: npt.ArrayLike = (0.0, 0.0, 0.0), rotation: Rotation | None = None) -> Pose:
    """Return the pose at ``position`` [m] turned by ``rotation`` (3, 3). Shape (4, 4)."""
    pose = np.eye(4)
    pose[:3, 3] = position
    if rotation is not None:
        pose[:3, :3] = rotation
    return pose


def inverse(pose: Pose) -> Pose:
    """Return the pose that undoes ``pose``. Shape (4, 4)."""
    result = np.eye(4)
    result[:3, :3] = pose[:3, :3].T
    result[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return result


def from_quaternion(position: Vector, orientation: Vector) -> Pose:
    """Return the pose of a sample that has a quaternion.

    Args:
        position: [m]. Shape (3,).
        orientation: wxyz; normalised here, because trackers round. Shape (4,).

    Raises:
        ValueError: A quaternion of zeros turns nowhere.
    """
    w, x, y, z = (float(value) for value in orientation)
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    if norm < 1e-6:
        raise ValueError(f"the quaternion has length {norm:.1e}, expected 1")
    w, x, y, z = w / norm, x / norm, y / norm, z / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y), position[0]],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x), position[1]],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y), position[2]],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def to_quaternion(rotation: Rotation) -> Vector:
    """Return the unit quaternion of a rotation (3, 3), wxyz with w >= 0. Shape (4,)."""
    # Bar-Itzhack's symmetric form reduced to its diagonal: pick the largest component
    # first, so that nothing is ever divided by a small number (Shepperd 1978).
    r = rotation
    trace = r[0, 0] + r[1, 1] + r[2, 2]
    squares = np.array([trace, r[0, 0], r[1, 1], r[2, 2]])
    i = int(np.argmax(squares))
    largest = math.sqrt(max(0.0, 1.0 + 2.0 * squares[i] - trace))
    scale = 0.5 / largest
    if i == 0:
        w, x, y, z = (
            0.5 * largest,
            scale * (r[2, 1] - r[1, 2]),
            scale * (r[0, 2] - r[2, 0]),
            scale * (r[1, 0] - r[0, 1]),
        )
    elif i == 1:
        w, x, y, z = (
            scale * (r[2, 1] - r[1, 2]),
            0.5 * largest,
            scale * (r[0, 1] + r[1, 0]),
            scale * (r[0, 2] + r[2, 0]),
        )
    elif i == 2:
        w, x, y, z = (
            scale * (r[0, 2] - r[2, 0]),
            scale * (r[0, 1] + r[1, 0]),
            0.5 * largest,
            scale * (r[1, 2] + r[2, 1]),
        )
    else:
        w, x, y, z = (
            scale * (r[1, 0] - r[0, 1]),
            scale * (r[0, 2] + r[2, 0]),
            scale * (r[1, 2] + r[2, 1]),
            0.5 * largest,
        )
    quaternion = np.array([w, x, y, z])
    return -quaternion if w < 0 else quaternion


def exp_rotation(rotation_vector: npt.ArrayLike) -> Rotation:
    """Return the rotation by |v| [rad] about v (Rodrigues). Shape (3, 3)."""
    x, y, z = (float(value) for value in np.asarray(rotation_vector, dtype=np.float64))
    angle = math.sqrt(x * x + y * y + z * z)
    if angle < _SMALL_ANGLE:
        a, b = 1.0, 0.5
    else:
        a, b = math.sin(angle) / angle, (1.0 - math.cos(angle)) / (angle * angle)
    c = 1.0 - b * angle * angle
    return np.array(
        [
            [c + b * x * x, b * x * y - a * z, b * x * z + a * y],
            [b * x * y + a * z, c + b * y * y, b * y * z - a * x],
            [b * x * z - a * y, b * y * z + a * x, c + b * z * z],
        ]
    )


def log_rotation(rotation: Rotation) -> Vector:
    """Return the rotation vector, of length at most pi [rad]. Shape (3,)."""
    # Through the quaternion, which is well conditioned at 0 and at pi alike.
    w, x, y, z = (float(value) for value in to_quaternion(rotation))
    sine = math.sqrt(x * x + y * y + z * z)
    scale = 2.0 if sine < _SMALL_ANGLE else 2.0 * math.atan2(sine, w) / sine
    return np.array([scale * x, scale * y, scale * z])


def from_rpy(rpy: npt.ArrayLike) -> Rotation:
    """Return the rotation of fixed-axis roll, pitch, yaw [rad], as URDF means it. Shape (3, 3)."""
    roll, pitch, yaw = (float(value) for value in np.asarray(rpy, dtype=np.float64))
    return (
        exp_rotation((0.0, 0.0, yaw))
        @ exp_rotation((0.0, pitch, 0.0))
        @ exp_rotation((roll, 0.0, 0.0))
    )


def interpolate(start: Pose, end: Pose, fraction: float) -> Pose:
    """Return the pose ``fraction`` of the way: straight in position, one axis in rotation."""
    if fraction <= 0.0:
        return start
    if fraction >= 1.0:
        return end
    turn = log_rotation(start[:3, :3].T @ end[:3, :3])
    return make_pose(
        start[:3, 3] + fraction * (end[:3, 3] - start[:3, 3]),
        start[:3, :3] @ exp_rotation(fraction * turn),
    )


def distance(a: Pose, b: Pose) -> tuple[float, float]:
    """Return how far apart two poses are: position [m] and angle [rad]."""
    apart = a[:3, 3] - b[:3, 3]
    turn = log_rotation(a[:3, :3].T @ b[:3, :3])
    return math.sqrt(apart @ apart), math.sqrt(turn @ turn)
