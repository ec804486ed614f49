"""The inner loops, compiled by numba: forward kinematics and the solver.

Import this module only where a hand is constructed: it loads the compiler.
"""

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.retarget.arrays import Capsules, Chains, Goals, Pose, Task
from dexhil.retarget.jit import compiled

BOUND_PASSES = 4  # Solves of one step, each with more joints stopped at their bounds.
RETRIES = 4  # Steps beyond the budget while none has helped.


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


@compiled
def human_flexion(points: Matrix) -> Vector:
    """Return how far knuckle, middle and end joint of each finger bend [rad]. Shape (15,).

    Seen from the side, in the palm frame. The metacarpals count as parallel to z.
    """
    out = np.empty(15)
    for finger in range(5):
        first = 1 + 4 * finger
        a, c = 0.0, 1.0  # x and z of the bone before.
        for joint in range(3):
            x, _, z = points[first + joint + 1] - points[first + joint]
            out[3 * finger + joint] = np.arctan2(c * x - a * z, a * x + c * z)
            a, c = x, z
    return out


@compiled
def goals_of(task: Task, points: Matrix) -> Goals:
    """Return what the keypoints, in the palm frame, ask of the robot."""
    n_fingers, flexion = len(task.fingers), human_flexion(points)
    tips, pairs = np.empty((n_fingers, 3)), np.empty((n_fingers, 3))
    contacts, pair_roots = np.zeros(n_fingers), np.empty(n_fingers)
    mean_scale = task.scales.mean()
    posture, weights = task.rest.copy(), task.posture_weights.copy()
    thumb = points[4 + 4 * task.fingers[0]]
    for finger in range(n_fingers):
        human = task.fingers[finger]
        tip = points[4 + 4 * human]
        gap = tip - thumb
        distance = np.sqrt((gap * gap).sum()) - task.touch_gaps[finger]
        contact = sigmoid((task.contact_distance - distance) / task.contact_width)
        weight = task.pair_weight + contact * (task.contact_weight - task.pair_weight)
        tips[finger] = task.wrist + task.scales[finger] * tip
        pairs[finger] = (1.0 - contact) * mean_scale * gap
        contacts[finger], pair_roots[finger] = contact, np.sqrt(weight)
        closed = sigmoid(
            (flexion[3 * human : 3 * human + 3].sum() - task.closing_angle) / task.closing_width
        )
        weights += closed * task.closing_weights[:, finger]
    for joint in range(len(posture)):
        for k in range(15):
            posture[joint] += task.flexion[joint, k] * flexion[k]
    return Goals(tips, pairs, contacts, pair_roots, posture, weights)


@compiled
def sigmoid(x: float) -> float:
    """Return 0 far below zero, 1 far above."""
    return float(1.0 / (1.0 + np.exp(-x)))


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
