"""The inner loops, compiled by numba: forward kinematics and the solver.

Import this module only where a hand is constructed: it loads the compiler.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix, Vector

Indices = npt.NDArray[np.int64]


class Chains(NamedTuple):
    """The joints of all fingers in rows, finger after finger, root to tip.

    Attributes:
        starts: First row of each finger, and the number of rows. Shape (fingers + 1,).
        positions: Row's frame in the frame of the row before [m]. Shape (rows, 3).
        rotations: Same, at joint angle zero. Shape (rows, 3, 3).
        axes: Joint axis in the row's frame. Shape (rows, 3).
        columns: Commanded joint that moves the row. Shape (rows,).
        multipliers: Joint angle per commanded angle; not 1 for coupled joints. Shape (rows,).
        offsets: Joint angle at commanded angle zero [rad]. Shape (rows,).
        tips: Fingertip in the frame of the finger's last row [m]. Shape (fingers, 3).
    """

    starts: Indices
    positions: Matrix
    rotations: Matrix
    axes: Matrix
    columns: Indices
    multipliers: Vector
    offsets: Vector
    tips: Matrix


class Task(NamedTuple):
    """What the solver minimises; see `dexhil.retarget.retargeter`.

    Attributes:
        fingers: Human finger (0 thumb to 4 little) of each robot finger. Shape (fingers,).
        scales: Robot reach by human reach. Shape (fingers,).
        wrist: Where the robot's wrist is in its palm frame [m]. Shape (3,).
        rest: Posture at human flexion zero [rad]. Shape (n,).
        flexion: Posture per human flexion. Shape (n, 15).
        posture_weights: [m²/rad²]. Shape (n,).
        pair_weight: Of thumb-to-fingertip vectors out of contact.
        contact_weight: The same in contact.
        contact_distance: Human gap at which contact is half on [m].
        contact_width: How gradually it comes on [m].
        damping: Of each Gauss-Newton step [m²/rad²].
        steps: Gauss-Newton steps per frame.
    """

    fingers: Indices
    scales: Vector
    wrist: Vector
    rest: Vector
    flexion: Matrix
    posture_weights: Vector
    pair_weight: float
    contact_weight: float
    contact_distance: float
    contact_width: float
    damping: float
    steps: int


class Goals(NamedTuple):
    """A `Task` for one frame of keypoints.

    Attributes:
        tips: Where each fingertip should be [m]. Shape (fingers, 3).
        pairs: From the thumb's tip to each fingertip; the thumb's own row is zero [m]. Same shape.
        pair_roots: Square roots of the pairs' weights. Shape (fingers,).
        posture: [rad]. Shape (n,).
    """

    tips: Matrix
    pairs: Matrix
    pair_roots: Vector
    posture: Vector


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` on first call and keep the result on disk where that is possible."""
    fast: Callable[..., Any]
    try:
        fast = numba.njit(cache=True)(function)
    except RuntimeError:  # No folder for the cache is writable; compile in every process.
        fast = numba.njit(function)
    return fast


@compiled
def forward(chains: Chains, q: Vector, origins: Matrix, axes: Matrix, tips: Matrix) -> None:
    """Write each joint's origin and axis and each fingertip, in the root frame."""
    rotation = np.empty((3, 3))
    before = np.empty((3, 3))
    point = np.empty(3)
    for finger in range(len(chains.starts) - 1):
        point[:] = 0.0
        for i in range(3):
            for j in range(3):
                rotation[i, j] = 1.0 if i == j else 0.0
        for row in range(chains.starts[finger], chains.starts[finger + 1]):
            x, y, z = chains.axes[row]
            angle = chains.multipliers[row] * q[chains.columns[row]] + chains.offsets[row]
            for i in range(3):
                for k in range(3):
                    point[i] += rotation[i, k] * chains.positions[row, k]
            for i in range(3):
                for j in range(3):
                    before[i, j] = 0.0
                    for k in range(3):
                        before[i, j] += rotation[i, k] * chains.rotations[row, k, j]
            c, s = np.cos(angle), np.sin(angle)
            v = 1.0 - c
            for i in range(3):
                a, b, d = before[i]
                along = a * x + b * y + d * z
                origins[row, i] = point[i]
                axes[row, i] = along
                # Rodrigues: a row vector times the rotation about the axis.
                rotation[i, 0] = c * a + s * (b * z - d * y) + v * along * x
                rotation[i, 1] = c * b + s * (d * x - a * z) + v * along * y
                rotation[i, 2] = c * d + s * (a * y - b * x) + v * along * z
        for i in range(3):
            tips[finger, i] = point[i]
            for k in range(3):
                tips[finger, i] += rotation[i, k] * chains.tips[finger, k]


@compiled
def jacobian(chains: Chains, origins: Matrix, axes: Matrix, tips: Matrix, out: Matrix) -> None:
    """Write d tips / d q, shape (fingers, 3, n), after `forward`."""
    out[:] = 0.0
    for finger in range(len(chains.starts) - 1):
        for row in range(chains.starts[finger], chains.starts[finger + 1]):
            column, gain = chains.columns[row], chains.multipliers[row]
            x, y, z = tips[finger] - origins[row]
            a, b, c = axes[row]
            out[finger, 0, column] += gain * (b * z - c * y)
            out[finger, 1, column] += gain * (c * x - a * z)
            out[finger, 2, column] += gain * (a * y - b * x)


@compiled
def human_flexion(points: Matrix) -> Vector:
    """Return how far knuckle, middle and end joint of each finger bend [rad]. Shape (15,)."""
    out = np.empty(15)
    for finger in range(5):
        first = 1 + 4 * finger
        a, c = 0.0, 1.0  # x and z of the bone before; a metacarpal counts as parallel to z.
        for joint in range(3):
            x, _, z = points[first + joint + 1] - points[first + joint]
            out[3 * finger + joint] = np.arctan2(c * x - a * z, a * x + c * z)
            a, c = x, z
    return out


@compiled
def goals_of(task: Task, points: Matrix) -> Goals:
    """Return what the keypoints, in the palm frame, ask of the robot."""
    n_fingers = len(task.fingers)
    tips, pairs = np.empty((n_fingers, 3)), np.empty((n_fingers, 3))
    pair_roots = np.empty(n_fingers)
    mean_scale = task.scales.mean()
    thumb = points[4 + 4 * task.fingers[0]]
    for finger in range(n_fingers):
        tip = points[4 + 4 * task.fingers[finger]]
        gap = tip - thumb
        distance = np.sqrt((gap * gap).sum())
        contact = 1.0 / (1.0 + np.exp((distance - task.contact_distance) / task.contact_width))
        weight = task.pair_weight + contact * (task.contact_weight - task.pair_weight)
        tips[finger] = task.wrist + task.scales[finger] * tip
        pairs[finger] = (1.0 - contact) * mean_scale * gap
        pair_roots[finger] = np.sqrt(weight)
    flexion = human_flexion(points)
    posture = task.rest.copy()
    for joint in range(len(posture)):
        for k in range(15):
            posture[joint] += task.flexion[joint, k] * flexion[k]
    return Goals(tips, pairs, pair_roots, posture)


@compiled
def residuals(chains: Chains, goals: Goals, q: Vector) -> tuple[Vector, Matrix]:
    """Return the weighted errors of tips and pairs and their derivatives by ``q``."""
    n, n_fingers = len(q), len(goals.tips)
    origins, axes = np.empty_like(chains.positions), np.empty_like(chains.positions)
    tips, slopes = np.empty((n_fingers, 3)), np.empty((n_fingers, 3, n))
    forward(chains, q, origins, axes, tips)
    jacobian(chains, origins, axes, tips, slopes)
    errors, matrix = np.empty(6 * n_fingers - 3), np.empty((6 * n_fingers - 3, n))
    for finger in range(n_fingers):
        for i in range(3):
            row = 3 * finger + i
            errors[row] = tips[finger, i] - goals.tips[finger, i]
            matrix[row] = slopes[finger, i]
            if finger > 0:
                row += 3 * n_fingers - 3
                root = goals.pair_roots[finger]
                errors[row] = root * (tips[finger, i] - tips[0, i] - goals.pairs[finger, i])
                for j in range(n):
                    matrix[row, j] = root * (slopes[finger, i, j] - slopes[0, i, j])
    return errors, matrix


@compiled
def normal_equations(chains: Chains, task: Task, goals: Goals, q: Vector) -> tuple[Matrix, Vector]:
    """Return the damped Hessian (lower triangle) and the downhill gradient of the cost."""
    errors, matrix = residuals(chains, goals, q)
    n = len(q)
    hessian = np.zeros((n, n))
    downhill = task.posture_weights * (goals.posture - q)
    for row in range(len(errors)):
        for a in range(n):
            value = matrix[row, a]
            if value != 0.0:  # A finger's row knows nothing of the other fingers' joints.
                downhill[a] -= value * errors[row]
                for b in range(a + 1):
                    hessian[a, b] += value * matrix[row, b]
    for a in range(n):
        hessian[a, a] += task.posture_weights[a] + task.damping
    return hessian, downhill


@compiled
def solve(chains: Chains, task: Task, points: Matrix, q: Vector, box: Matrix) -> bool:
    """Move ``q`` downhill inside ``box`` (lower, upper); tell whether all went well."""
    goals = goals_of(task, points)
    for _ in range(task.steps):
        hessian, step = normal_equations(chains, task, goals, q)
        for a in range(len(q)):
            # A joint pushed against its bound is no variable, or it would spoil the others' step.
            if (q[a] <= box[0, a] and step[a] < 0.0) or (q[a] >= box[1, a] and step[a] > 0.0):
                step[a] = 0.0
                hessian[a, :a] = 0.0
                hessian[a + 1 :, a] = 0.0
                hessian[a, a] = 1.0
        if not cholesky_solve(hessian, step):
            return False
        for a in range(len(q)):
            q[a] = min(max(q[a] + step[a], box[0, a]), box[1, a])
    return bool(np.isfinite(q).all())


@compiled
def cholesky_solve(matrix: Matrix, vector: Vector) -> bool:
    """Solve in place from the lower triangle; ``False`` where it is not positive definite."""
    n = len(vector)
    for j in range(n):
        for i in range(j, n):
            value = matrix[i, j]
            for k in range(j):
                value -= matrix[i, k] * matrix[j, k]
            if i == j:
                if not value > 0.0:
                    return False
                matrix[j, j] = np.sqrt(value)
            else:
                matrix[i, j] = value / matrix[j, j]
    for i in range(n):
        for k in range(i):
            vector[i] -= matrix[i, k] * vector[k]
        vector[i] /= matrix[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            vector[i] -= matrix[k, i] * vector[k]
        vector[i] /= matrix[i, i]
    return True
