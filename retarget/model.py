"""Fast forward kinematics of fingers, from a kinematic table."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import Joint, Kinematics
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.kernels.arrays import Capsules, Chains, Pose


class FingerModel:
    """Fingertips, joint origins and analytic Jacobians of a hand.

    Coupled (mimic) joints are followed: every derivative is by the commanded
    joints. All results are in the root frame.

    Args:
        kinematics: A hand.

    Attributes:
        fingers: Their names, in the order of ``kinematics.tips`` (thumb first).
        chains: The hand as arrays, for compiled code.
        capsules: Its round links that should not meet, likewise.
        limits: Of the commanded joints [rad]. Shape (n, 2).
        flexion_gains: How much each commanded joint bends each finger towards +x, coupled
            joints included; zero for sideways joints and the thumb. Shape (fingers, n).

    Raises:
        RetargetError: A joint type is unknown, a tip hangs on no joint, or a joint
            on the way to a tip is neither commanded nor coupled to a commanded one.
    """

    def __init__(self, kinematics: Kinematics) -> None:
        # Here and not above: it loads numba, which takes 0.4 s that a mere import should not cost.
        from dexhil.retarget.kernels import links  # noqa: PLC0415

        self._links = links
        self.fingers = tuple(kinematics.tips)
        self.limits = kinematics.position_limits
        self.n_joints = len(kinematics.joint_names)
        self.chains = Chains(**_chains(kinematics))
        self.capsules = Capsules(**_capsules(kinematics, self.fingers))
        self.flexion_gains = self._flexion_gains()

    def tips(self, joint_positions: Vector) -> Matrix:
        """Return the fingertips [m]. Shape (fingers, 3)."""
        tips: Matrix = self._forward(joint_positions).tips
        return tips

    def points(self, joint_positions: Vector) -> tuple[Matrix, Matrix]:
        """Return joint origins in the order of ``chains``, shape (rows, 3), and fingertips [m]."""
        pose = self._forward(joint_positions)
        return pose.origins, pose.tips

    def jacobian(self, joint_positions: Vector) -> Matrix:
        """Return d tips / d joint_positions [m/rad]. Shape (fingers, 3, n)."""
        pose = self._forward(joint_positions)
        out: Matrix = self._links.tip_jacobians(self.chains, pose, self.n_joints)
        return out

    def reach(self, origin: Vector) -> Vector:
        """Return how far each tip gets from ``origin`` within the limits [m]. Shape (fingers,).

        To a tenth of a millimetre: the best of 2,000 postures, then a search uphill from it.
        """
        low, high = self.limits.T
        rng = np.random.default_rng(0)
        q = rng.uniform(low, high, (2000, self.n_joints))
        farthest: Vector = np.empty(len(self.fingers))
        distances = np.array([np.linalg.norm(self.tips(row) - origin, axis=1) for row in q])
        for finger, best in enumerate(q[distances.argmax(axis=0)]):
            for _ in range(200):
                arm = self.tips(best)[finger] - origin
                uphill = self.jacobian(best)[finger].T @ arm / np.linalg.norm(arm)
                best = np.clip(best + 4.0 * uphill, low, high)  # noqa: PLW2901 - climbs
            farthest[finger] = np.linalg.norm(self.tips(best)[finger] - origin)
        return farthest

    def _flexion_gains(self) -> Matrix:
        # With straight fingers, a joint that bends its finger has its axis along the palm's y.
        axes = self._forward(np.clip(np.zeros(self.n_joints), *self.limits.T)).axes
        gains = np.zeros((len(self.fingers), self.n_joints))
        for finger in range(1, len(self.fingers)):
            for row in range(*self.chains.starts[finger : finger + 2]):
                if abs(axes[row, 1]) > 0.8:
                    turn = self.chains.multipliers[row] * np.sign(axes[row, 1])
                    gains[finger, self.chains.columns[row]] += turn
        return gains

    def _forward(self, joint_positions: Vector) -> Pose:
        if joint_positions.shape != (self.n_joints,):
            raise RetargetError(
                f"Joint positions have shape {joint_positions.shape}, expected ({self.n_joints},)."
            )
        pose: Pose = self._links.forward(self.chains, joint_positions)
        return pose


def _chains(kinematics: Kinematics) -> dict[str, Any]:
    """Return the fields of `Chains`."""
    starts, poses, axes, columns, multipliers, offsets, tips = [0], [], [], [], [], [], []
    for link in kinematics.tips.values():
        pose = np.eye(4)
        for joint in _path(kinematics, link):
            pose = pose @ _transform(joint)
            if joint.type == "fixed":
                continue
            column, multiplier, offset = _drive(kinematics, joint)
            poses.append(pose)
            axes.append(np.array(joint.axis) / np.linalg.norm(joint.axis))
            columns.append(column)
            multipliers.append(multiplier)
            offsets.append(offset)
            pose = np.eye(4)
        if len(columns) == starts[-1]:
            raise RetargetError(f"{kinematics.model}: no joint moves {link!r}.")
        starts.append(len(columns))
        # A rotation of the tip's own frame moves no point of interest.
        tips.append(pose[:3, 3])
    frames = np.array(poses)
    return {
        "starts": np.array(starts, dtype=np.int64),
        "positions": np.ascontiguousarray(frames[:, :3, 3]),
        "rotations": np.ascontiguousarray(frames[:, :3, :3]),
        "axes": np.array(axes),
        "columns": np.array(columns, dtype=np.int64),
        "multipliers": np.array(multipliers, dtype=np.float64),
        "offsets": np.array(offsets, dtype=np.float64),
        "tips": np.array(tips),
    }


def _capsules(kinematics: Kinematics, fingers: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of `Capsules`: the round geoms of moving links.

    Two links should not meet if they belong to different fingers; the last links of
    thumb and finger may when the person pinches.
    """
    found: list[tuple[int, int, Vector, Vector, float]] = []
    last_rows, row = [], -1
    for finger, name in enumerate(fingers):
        pose = np.eye(4)
        moving = False
        for joint in _path(kinematics, kinematics.tips[name]):
            if joint.type == "fixed":
                pose = pose @ _transform(joint)
            else:
                row, pose, moving = row + 1, np.eye(4), True
            for geom in kinematics.geoms.get(joint.child, ()) if moving else ():
                if geom["type"] != "box":
                    ends = _axis(geom)
                    placed = ends @ pose[:3, :3].T + pose[:3, 3]
                    found.append((finger, row, placed[0], placed[1], float(geom["radius"])))
        last_rows.append(row)
    pairs = [(a, b) for a, b in combinations(range(len(found)), 2) if found[a][0] != found[b][0]]
    pinches = [
        found[b][0] if found[a][1] == last_rows[0] and found[b][1] in last_rows else -1
        for a, b in pairs
    ]
    return {
        "fingers": np.array([one[0] for one in found], dtype=np.int64),
        "rows": np.array([one[1] for one in found], dtype=np.int64),
        "starts": np.array([one[2] for one in found]).reshape(-1, 3),
        "ends": np.array([one[3] for one in found]).reshape(-1, 3),
        "radii": np.array([one[4] for one in found]),
        "outer": np.array([one[4] + np.linalg.norm(one[3] - one[2]) / 2.0 for one in found]),
        "pairs": np.array(pairs, dtype=np.int64).reshape(-1, 2),
        "pinches": np.array(pinches, dtype=np.int64),
    }


def _axis(geom: Mapping[str, Any]) -> Matrix:
    """Return the ends of a capsule's axis, or a sphere's centre twice [m]. Shape (2, 3)."""
    ends = (geom["position"],) * 2 if geom["type"] == "sphere" else (geom["from"], geom["to"])
    return np.array(ends, dtype=np.float64)


def _path(kinematics: Kinematics, link: str) -> list[Joint]:
    """Return the joints from the root to ``link``."""
    above = {joint.child: joint for joint in kinematics.joints}
    path: list[Joint] = []
    while link != kinematics.root:
        if link not in above:
            raise RetargetError(f"{kinematics.model}: {link!r} does not hang on the root.")
        path.insert(0, above[link])
        link = above[link].parent
    return path


def _drive(kinematics: Kinematics, joint: Joint) -> tuple[int, float, float]:
    """Return the commanded joint that moves ``joint``, with multiplier and offset [rad]."""
    if joint.type != "revolute":
        raise RetargetError(f"{kinematics.model}: joint {joint.name!r} has type {joint.type!r}.")
    name, multiplier, offset = joint.mimic or (joint.name, 1.0, 0.0)
    if name not in kinematics.joint_names:
        raise RetargetError(f"{kinematics.model}: nothing commands joint {joint.name!r}.")
    return kinematics.joint_names.index(name), multiplier, offset


def _transform(joint: Joint) -> Matrix:
    """Return the child's frame in the parent's at joint angle zero. Shape (4, 4)."""
    (sr, cr), (sp, cp), (sy, cy) = ((np.sin(a), np.cos(a)) for a in joint.rpy)
    pose = np.eye(4)
    pose[:3, :3] = (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )
    pose[:3, 3] = joint.position
    return pose
