"""Damped least squares within joint limits; `dexhil.retarget.retargeter` says of what."""

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.retarget.kernels.arrays import Capsules, Chains, Goals, Pose, Task
from dexhil.retarget.kernels.goals import goals_of
from dexhil.retarget.kernels.jit import compiled
from dexhil.retarget.kernels.links import (
    capsule_ends,
    far_apart,
    forward,
    nearest,
    tip_jacobians,
)

BOUND_PASSES = 4  # Solves of one step, each with more joints stopped at their bounds.
RETRIES = 4  # Steps beyond the budget while none has helped.


@compiled
def add_row(hessian: Matrix, downhill: Vector, row: Vector, error: float) -> None:
    """Add one residual and its derivatives to the normal equations (lower triangle)."""
    for a in range(len(row)):
        value = row[a]
        if value != 0.0:  # A finger's row knows nothing of the other fingers' joints.
            downhill[a] -= value * error
            for b in range(a + 1):
                hessian[a, b] += value * row[b]


@compiled
def add_tips(chains: Chains, goals: Goals, pose: Pose, hessian: Matrix, downhill: Vector) -> float:
    """Add the errors of fingertips and of thumb-to-finger vectors; return their cost."""
    n = len(downhill)
    cost, row = 0.0, np.empty(n)
    slopes = tip_jacobians(chains, pose, n)
    for finger in range(len(goals.tips)):
        root = goals.pair_roots[finger]
        for i in range(3):
            error = pose.tips[finger, i] - goals.tips[finger, i]
            add_row(hessian, downhill, slopes[finger, i], error)
            cost += error * error
            if finger > 0:
                for a in range(n):
                    row[a] = root * (slopes[finger, i, a] - slopes[0, i, a])
                error = root * (pose.tips[finger, i] - pose.tips[0, i] - goals.pairs[finger, i])
                add_row(hessian, downhill, row, error)
                cost += error * error
    return cost


@compiled
def add_overlaps(
    hand: tuple[Chains, Capsules],
    aims: tuple[Task, Goals],
    pose: Pose,
    hessian: Matrix,
    downhill: Vector,
) -> float:
    """Add how deep links overlap, so that they part; return the cost."""
    capsules, (task, goals) = hand[1], aims
    points, row = np.empty((2, 3)), np.empty(len(downhill))
    cost = 0.0
    ends = capsule_ends(capsules, pose)
    for pair in range(len(capsules.pairs)):
        a, b = capsules.pairs[pair]
        if far_apart(capsules, ends, a, b):
            continue
        distance = nearest(ends, a, b, points)
        depth = capsules.radii[a] + capsules.radii[b] - task.allowed_overlap - distance
        if depth <= 0.0 or distance < 1e-6:  # Axes that cross have no side to part to.
            continue
        root = np.sqrt(task.overlap_weight)
        if capsules.pinches[pair] >= 0:
            root *= 1.0 - goals.contacts[capsules.pinches[pair]]
        away = (points[0] - points[1]) * (root / distance)
        row[:] = 0.0
        add_slope(hand, pose, a, (points[0], -away), row)
        add_slope(hand, pose, b, (points[1], away), row)
        add_row(hessian, downhill, row, root * depth)
        cost += (root * depth) ** 2
    return cost


@compiled
def add_slope(
    hand: tuple[Chains, Capsules], pose: Pose, capsule: int, aim: tuple[Vector, Vector], out: Vector
) -> None:
    """Add d (along . point) / d q to ``out``; ``aim`` is a point on the capsule, and along."""
    chains, capsules = hand
    point, (u, v, w) = aim[0], aim[1]
    first = chains.starts[capsules.fingers[capsule]]
    for row in range(first, capsules.rows[capsule] + 1):
        x, y, z = point - pose.origins[row]
        a, b, c = pose.axes[row]
        slope = u * (b * z - c * y) + v * (c * x - a * z) + w * (a * y - b * x)
        out[chains.columns[row]] += chains.multipliers[row] * slope


@compiled
def normal_equations(
    hand: tuple[Chains, Capsules], task: Task, goals: Goals, start: Vector, q: Vector
) -> tuple[Matrix, Vector, float]:
    """Return the Hessian (lower triangle), the downhill gradient and the cost at ``q``."""
    n = len(q)
    pose = forward(hand[0], q)
    hessian, downhill = np.zeros((n, n)), np.zeros(n)
    cost = add_tips(hand[0], goals, pose, hessian, downhill)
    cost += add_overlaps(hand, (task, goals), pose, hessian, downhill)
    for a in range(n):
        to_posture, to_start = goals.posture[a] - q[a], start[a] - q[a]
        weight = goals.posture_weights[a]
        downhill[a] += weight * to_posture + task.stay_weight * to_start
        hessian[a, a] += weight + task.stay_weight
        cost += weight * to_posture * to_posture + task.stay_weight * to_start * to_start
    return hessian, downhill, cost


@compiled
def bounded_step(
    hessian: Matrix, downhill: Vector, damping: float, room: Matrix, step: Vector
) -> bool:
    """Write the damped Gauss-Newton step within ``room`` (lower, upper); False where it fails.

    A joint that would leave its room stops at the end of it, and the others are solved again
    around it: a full step that is merely cut off may lead uphill.
    """
    n = len(step)
    stopped = np.zeros(n, np.bool_)
    for _ in range(BOUND_PASSES):
        matrix, right = hessian.copy(), downhill.copy()
        for a in range(n):
            matrix[a, a] += damping
            if stopped[a]:
                for b in range(n):
                    right[b] -= step[a] * (hessian[a, b] if a >= b else hessian[b, a])
        for a in range(n):
            if stopped[a]:
                matrix[a, :a] = 0.0
                matrix[a + 1 :, a] = 0.0
                matrix[a, a], right[a] = 1.0, step[a]
        if not cholesky_solve(matrix, right):
            return False
        more = False
        for a in range(n):
            step[a] = min(max(right[a], room[0, a]), room[1, a])
            if step[a] != right[a]:
                stopped[a] = more = True
        if not more:
            break
    return True


@compiled
def solve(hand: tuple[Chains, Capsules], task: Task, goals: Goals, q: Vector, box: Matrix) -> bool:
    """Move ``q`` downhill inside ``box`` (lower, upper); False where that is not possible.

    Levenberg-Marquardt: a step that does not help is taken back and damped more. Where none
    of ``task.steps`` helps, a few more are tried, so that the start is never handed back as if it
    were an answer.
    """
    n = len(q)
    damping, start = task.damping, q.copy()
    step, room = np.zeros(n), np.empty((2, n))
    moved, fresh = False, True
    hessian, downhill, cost = normal_equations(hand, task, goals, start, q)
    for attempt in range(task.steps + RETRIES):
        for a in range(n):
            room[0, a], room[1, a] = box[0, a] - q[a], box[1, a] - q[a]
        if not bounded_step(hessian, downhill, damping, room, step):
            return False
        if fresh and 0.0 <= (downhill * step).sum() <= 1e-9 * cost:
            moved = True  # Nothing to gain: this is the answer.
            break
        further = np.empty(n)
        for a in range(n):
            further[a] = min(max(q[a] + step[a], box[0, a]), box[1, a])
        new_hessian, new_downhill, new_cost = normal_equations(hand, task, goals, start, further)
        if new_cost <= cost:
            q[:] = further
            hessian, downhill, cost = new_hessian, new_downhill, new_cost
            damping *= 0.3
            moved = fresh = True
        else:
            damping *= 8.0
            fresh = False  # A step this short gains nothing anywhere.
        if moved and attempt + 1 >= task.steps:
            break
    return bool(moved and np.isfinite(cost))


@compiled
def follow(
    hand: tuple[Chains, Capsules], task: Task, points: Matrix, start: Vector, q: Vector
) -> bool:
    """Move ``q``, the last answer, towards the solution of a frame; False where there is none.

    Args:
        hand: Which.
        task: What is asked of it.
        points: In the palm frame [m]. Shape (21, 3).
        start: Where to look for the solution [rad]. Shape (n,).
        q: Is changed, unless there is no solution [rad]. Shape (n,).
    """
    goals = goals_of(task, points)
    if task.led:
        for joint in range(len(q)):
            if not task.flexing[joint]:
                goals.posture[joint] = start[joint]
    solution = start.copy()
    if not solve(hand, task, goals, solution, task.box):
        return False
    for joint in range(len(q)):
        move = task.follow * (solution[joint] - q[joint])
        moved = q[joint] + min(max(move, -task.max_step), task.max_step)
        # Rounding must not leave the limits.
        q[joint] = min(max(moved, task.box[0, joint]), task.box[1, joint])
    return True


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
