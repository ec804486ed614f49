"""What a person's keypoints ask of the robot."""

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.retarget.kernels.arrays import Goals, Task
from dexhil.retarget.kernels.jit import compiled


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
