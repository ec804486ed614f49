"""Where a UR5e's tool is, and how its joints move it. For the emulated controller only."""

import math

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector

# Denavit-Hartenberg parameters of the maker's support page "DH parameters for calculations
# of kinematics and dynamics": d [m], a [m], alpha [rad], joint by joint.
_D = (0.1625, 0.0, 0.0, 0.1333, 0.0997, 0.0996)
_A = (0.0, -0.425, -0.3922, 0.0, 0.0, 0.0)
_COS_ALPHA = (0.0, 1.0, 1.0, 0.0, 0.0, 1.0)
_SIN_ALPHA = (1.0, 0.0, 0.0, 1.0, -1.0, 0.0)
_DAMPING = 1e-3  # Keeps speeds finite near singular poses.


def frames(joints: Vector) -> Matrix:
    """Return the base and the six links' frames in the base [m]. Shape (7, 4, 4)."""
    result = np.empty((7, 4, 4))
    result[0] = np.eye(4)
    for i in range(6):
        c, s = np.cos(joints[i]), np.sin(joints[i])
        ca, sa = _COS_ALPHA[i], _SIN_ALPHA[i]
        step = np.array(
            [
                [c, -s * ca, s * sa, _A[i] * c],
                [s, c * ca, -c * sa, _A[i] * s],
                [0.0, sa, ca, _D[i]],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )
        result[i + 1] = result[i] @ step
    return result


def tool_pose(joints: Vector) -> Vector:
    """Return the flange's position [m] and rotation vector [rad] in the base. Shape (6,)."""
    tool = frames(joints)[6]
    return np.concatenate((tool[:3, 3], _rotation_vector(tool[:3, :3])))


def jacobian(joints: Vector) -> Matrix:
    """Return what joint speeds do to the tool's twist in the base. Shape (6, 6)."""
    links = frames(joints)
    axes, origins = links[:6, :3, 2], links[:6, :3, 3]
    return np.concatenate((np.cross(axes, links[6, :3, 3] - origins), axes), axis=1).T


def twist_to(joints: Vector, pose: Vector) -> Vector:
    """Return the displacement of the tool that leads to ``pose``, metres then radians."""
    tool = frames(joints)[6]
    turn = rotation(pose[3:]) @ tool[:3, :3].T
    return np.concatenate((pose[:3] - tool[:3, 3], _rotation_vector(turn)))


def joint_speeds(joints: Vector, twist: Vector) -> Vector:
    """Return the joint speeds [rad/s] that give the tool ``twist`` [m/s, rad/s]."""
    j = jacobian(joints)
    speeds: Vector = j.T @ np.linalg.solve(j @ j.T + _DAMPING**2 * np.eye(6), twist)
    return speeds


def rotation(vector: Vector) -> Matrix:
    """Return the rotation matrix of a rotation vector [rad]."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    matrix: Matrix = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
    return matrix


def _rotation_vector(matrix: Matrix) -> Vector:
    skew: Vector = np.array(
        [
            matrix[2, 1] - matrix[1, 2],
            matrix[0, 2] - matrix[2, 0],
            matrix[1, 0] - matrix[0, 1],
        ]
    )
    sine, cosine = float(np.linalg.norm(skew)) / 2, (float(np.trace(matrix)) - 1) / 2
    angle = math.atan2(sine, cosine)
    if sine > 1e-6:
        return skew * (angle / (2 * sine))
    if cosine > 0:
        return skew / 2
    # Half a turn: the axis is the column of (R + 1) / 2 that is longest.
    columns = (matrix + np.eye(3)) / 2
    axis: Vector = columns[:, int(np.argmax(np.diag(columns)))]
    return axis * (angle / float(np.linalg.norm(axis)))
