"""A hand in many postures at once, in plain numpy: for scores and pictures, not for the loop."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import Joint, Kinematics

OVERLAP_M: Final = 0.003
"""Capsules may overlap this far, for they are rounder than fingers [m]."""

Flags = npt.NDArray[np.bool_]
Poses = Mapping[str, tuple[Matrix, Matrix]]
"""Rotation, shape (frames, 3, 3), and position [m], shape (frames, 3), by link."""


def link_poses(kinematics: Kinematics, q: Matrix) -> dict[str, tuple[Matrix, Matrix]]:
    """Return rotation and position of every link in the root frame, for many postures.

    Args:
        kinematics: A hand.
        q: Commanded joints [rad]. Shape (frames, n).

    Returns:
        By link: shape (frames, 3, 3), and (frames, 3) [m].
    """
    columns = {name: column for column, name in enumerate(kinematics.joint_names)}
    frames = len(q)
    poses = {kinematics.root: (np.tile(np.eye(3), (frames, 1, 1)), np.zeros((frames, 3)))}
    for joint in kinematics.joints:
        rotation, position = poses[joint.parent]
        position = position + rotation @ np.array(joint.position)
        rotation = rotation @ _euler(joint.rpy)
        if joint.type != "fixed":
            driver, multiplier, offset = joint.mimic or (joint.name, 1.0, 0.0)
            rotation = rotation @ _turn(joint.axis, multiplier * q[:, columns[driver]] + offset)
        poses[joint.child] = rotation, position
    return poses


def wrist(kinematics: Kinematics) -> Vector:
    """Return where a person's wrist would be in the root frame [m]. Shape (3,)."""
    return np.array(kinematics.extra.get("wrist", (0.0, 0.0, 0.0)), dtype=np.float64)


def tips(kinematics: Kinematics, poses: Poses) -> Matrix:
    """Return the fingertips from the wrist [m]. Shape (frames, fingers, 3)."""
    places = np.stack([poses[link][1] for link in kinematics.tips.values()], axis=1)
    return places - wrist(kinematics)


def reach(kinematics: Kinematics) -> Vector:
    """Return how far each tip gets from the wrist within the limits [m]. Shape (fingers,).

    To a tenth of a millimetre: the best of many postures, then of many around it.
    """
    low, high = kinematics.position_limits.T
    rng = np.random.default_rng(0)
    q = rng.uniform(low, high, (2000, len(low)))
    for spread in 0.5 * 0.5 ** np.arange(12):
        distances = np.linalg.norm(tips(kinematics, link_poses(kinematics, q)), axis=2)
        best = q[distances.argmax(axis=0)]
        around = best[:, None] + spread * rng.normal(size=(len(best), 150, len(low)))
        q = np.concatenate((best, np.clip(around, low, high).reshape(-1, len(low))))
    farthest: Vector = distances.max(axis=0)
    return farthest


def flexion_gains(kinematics: Kinematics) -> Matrix:
    """Return how much each commanded joint bends each finger, coupled joints included.

    Shape (fingers, n). Zero for sideways joints and for the thumb.
    """
    gains = np.zeros((len(kinematics.tips), len(kinematics.joint_names)))
    for row, tip in enumerate(list(kinematics.tips.values())[1:], start=1):
        for joint, turn in bending(kinematics, tip):
            driver, multiplier, _ = joint.mimic or (joint.name, 1.0, 0.0)
            gains[row, kinematics.joint_names.index(driver)] += turn * multiplier
    return gains


def bending(kinematics: Kinematics, tip: str) -> list[tuple[Joint, float]]:
    """Return the joints that bend a finger, with 1 or -1: the sense that bends it towards +x.

    They are those whose axis lies along the palm's y while the finger is straight.
    """
    straight = link_poses(kinematics, straight_posture(kinematics))
    joints = []
    for joint in path_to(kinematics, tip):
        along = float((straight[joint.child][0][0] @ joint.axis)[1]) / np.linalg.norm(joint.axis)
        if joint.type != "fixed" and abs(along) > 0.8:
            joints.append((joint, float(np.sign(along))))
    return joints


def straight_posture(kinematics: Kinematics) -> Matrix:
    """Return all joints at zero, or as near as their limits allow [rad]. Shape (1, n)."""
    low, high = kinematics.position_limits.T
    posture: Matrix = np.clip(0.0, low, high)[None]
    return posture


def path_to(kinematics: Kinematics, link: str) -> list[Joint]:
    """Return the joints from the root to ``link``."""
    above = {joint.child: joint for joint in kinematics.joints}
    path: list[Joint] = []
    while link != kinematics.root:
        path.insert(0, above[link])
        link = above[link].parent
    return path


@dataclass(frozen=True, slots=True)
class _Capsule:
    """A rounded part of a finger in the root frame.

    Attributes:
        ends: Of its axis [m]. Shape (frames, 2, 3).
        radius: [m].
        first: Whether it belongs to the link next to the palm.
    """

    ends: Matrix
    radius: float
    first: bool


def overlaps(kinematics: Kinematics, poses: Poses) -> tuple[Flags, Flags]:
    """Return in which frames two fingers overlap, and the thumb and a finger."""
    fingers = [list(_capsules(kinematics, tip, poses)) for tip in kinematics.tips.values()]
    frames = len(poses[kinematics.root][1])
    among, thumb = np.zeros(frames, np.bool_), np.zeros(frames, np.bool_)
    for (row, some), (_, others) in combinations(enumerate(fingers), 2):
        flags = thumb if row == 0 else among
        for one in some:
            for other in others:
                if one.first and other.first:
                    continue  # Neighbours at the palm, whatever the joints do.
                depth = one.radius + other.radius - segment_distance(one.ends, other.ends)
                flags |= depth > OVERLAP_M
    return among, thumb


def _capsules(kinematics: Kinematics, tip: str, poses: Poses) -> Iterator[_Capsule]:
    path = path_to(kinematics, tip)
    moving = next(number for number, joint in enumerate(path) if joint.type != "fixed")
    links = [joint.child for joint in path[moving:] if joint.child in kinematics.geoms]
    for link in links:
        rotation, position = poses[link]
        for geom in kinematics.geoms[link]:
            if geom["type"] == "capsule":
                ends = np.array((geom["from"], geom["to"]))
            elif geom["type"] == "sphere":
                ends = np.array((geom["position"], geom["position"]))
            else:
                continue
            placed = ends @ np.swapaxes(rotation, 1, 2) + position[:, None]
            yield _Capsule(placed, float(geom["radius"]), link == links[0])


def segment_distance(one: Matrix, other: Matrix) -> Vector:
    """Return how far two segments are apart [m]. Shapes (frames, 2, 3), twice, and (frames,)."""
    start, along = one[:, 0] - other[:, 0], one[:, 1] - one[:, 0]
    across = other[:, 1] - other[:, 0]
    a, e = np.maximum(_dot(along, along), 1e-18), np.maximum(_dot(across, across), 1e-18)
    b, c, f = _dot(along, across), _dot(along, start), _dot(across, start)
    parallel = a * e - b * b
    s = np.where(parallel > 1e-9 * a * e, (b * f - c * e) / np.maximum(parallel, 1e-36), 0.0)
    t = np.clip((b * np.clip(s, 0.0, 1.0) + f) / e, 0.0, 1.0)
    s = np.clip((b * t - c) / a, 0.0, 1.0)
    distance: Vector = np.linalg.norm(start + s[:, None] * along - t[:, None] * across, axis=1)
    return distance


def _dot(one: Matrix, other: Matrix) -> Vector:
    product: Vector = (one * other).sum(axis=-1)
    return product


def _euler(rpy: tuple[float, float, float]) -> Matrix:
    roll, pitch, yaw = (np.array([angle]) for angle in rpy)
    turned = _turn((0, 0, 1), yaw) @ _turn((0, 1, 0), pitch) @ _turn((1, 0, 0), roll)
    rotation: Matrix = turned[0]
    return rotation


def _turn(axis: tuple[float, float, float], angles: Vector) -> Matrix:
    """Return rotations about one axis. Shape (frames, 3, 3)."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    cross = np.array([(0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0)])
    sine, versine = np.sin(angles)[:, None, None], (1.0 - np.cos(angles))[:, None, None]
    turned: Matrix = np.eye(3) + sine * cross + versine * (cross @ cross)
    return turned
