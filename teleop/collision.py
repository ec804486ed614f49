"""Distances between the parts of an arm, the hand on it and the table under it.

The shapes are those of the kinematic tables, capsules and boxes. The hand is two boxes in the
frame of its root: the palm, and the open fingers. Fingers are there to touch things, so the table
is kept from the palm alone.

A plane touches a capsule at one of its ends and a box at one of its corners, and which one changes
as it tilts. So the table is compared with all of these, as small spheres called feet: an arm that
is kept from a plane by one corner at a time would rock.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import mujoco
import numpy as np

from dexhil.drivers.models.kinematics import Kinematics
from dexhil.drivers.models.mjspec import to_mjspec
from dexhil.teleop.errors import KinematicsError
from dexhil.teleop.se3 import Vector, from_rpy, to_quaternion

PALM, FINGERS, TABLE, FOOT = "hand's palm", "hand's fingers", "table", " foot"
_JOINED_M = 0.02
_CORNER_M = 1e-3  # Radius of a box's feet.
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
_BISECTIONS = 12  # Leaves 1/4096 of a step: micrometres.
# Rounding when a command repeats itself [m].
_TOLERANCE_M = 1e-9


def add_shapes(
    spec: mujoco.MjSpec,
    arm: Kinematics,
    mount: Mapping[str, Any],
    hand: Kinematics | None,
    table_height: float | None,
) -> None:
    """Add the hand at the flange and the table to an arm's model, and name the arm's shapes.

    Args:
        spec: The arm's model, its root at the origin.
        arm: Its table.
        mount: Of the hand on the flange, see `ArmIK`.
        hand: Its table; no hand when ``None``.
        table_height: Of the table's top above the arm's base [m]; no table when ``None``.
    """
    for link in arm.geoms:
        for index, geom in enumerate(spec.body(link).geoms):
            geom.name = f"{link} {index}"
    if hand is not None:
        body = spec.body(arm.tips["flange"]).add_body(
            name=f"{hand.model} mount",
            pos=mount["position"],
            quat=to_quaternion(from_rpy(mount["rpy"])),
        )
        for name, (low, high) in _hand_boxes(hand).items():
            body.add_geom(
                name=name,
                type=mujoco.mjtGeom.mjGEOM_BOX,
                pos=0.5 * (low + high),
                size=0.5 * (high - low),
            )
    if table_height is not None:
        for body in spec.bodies:
            for geom in body.geoms:
                if geom.name != FINGERS:
                    _add_feet(body, geom)
        spec.worldbody.add_geom(
            name=TABLE,
            type=mujoco.mjtGeom.mjGEOM_PLANE,
            pos=[0.0, 0.0, table_height],
            size=[0.0, 0.0, 1.0],
        )


def _add_feet(body: Any, geom: Any) -> None:
    """Add a sphere at each end of a capsule, or at each corner of a box."""
    centres, radius = geom.pos + geom.size * _CORNERS, _CORNER_M
    if geom.type == mujoco.mjtGeom.mjGEOM_CAPSULE:
        centres, radius = geom.fromto.reshape(2, 3), geom.size[0]
    elif geom.type == mujoco.mjtGeom.mjGEOM_SPHERE:
        centres, radius = geom.pos.reshape(1, 3), geom.size[0]
    for index, centre in enumerate(centres):
        body.add_geom(
            name=f"{geom.name}{FOOT} {index}",
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            pos=centre,
            size=[radius, 0.0, 0.0],
        )


def _hand_boxes(hand: Kinematics) -> dict[str, tuple[Vector, Vector]]:
    """Return the corners of the boxes around palm and open fingers, in the root's frame [m]."""
    model = to_mjspec(hand, actuated=False).compile()
    data = mujoco.MjData(model)
    for name, angle in zip(hand.joint_names, hand.extra["open"], strict=True):
        data.joint(name).qpos = angle
    for joint in hand.joints:
        if joint.mimic is not None:
            driver, multiplier, offset = joint.mimic
            data.joint(joint.name).qpos = multiplier * data.joint(driver).qpos + offset
    mujoco.mj_kinematics(model, data)
    corners: dict[str, list[Vector]] = {}
    for geom in range(model.ngeom):
        fixed = model.body_weldid[model.geom_bodyid[geom]] == 0
        centre, half = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
        rotation = data.geom_xmat[geom].reshape(3, 3)
        points = data.geom_xpos[geom] + (centre + half * _CORNERS) @ rotation.T
        corners.setdefault(PALM if fixed else FINGERS, []).append(points)
    return {
        name: (np.vstack(points).min(axis=0), np.vstack(points).max(axis=0))
        for name, points in corners.items()
    }


class Collision:
    """Says how close an arm comes to itself, its hand and its table.

    Two shapes are compared unless they cannot move against each other, belong to neighbouring
    links, or are both the arm's and closer than 20 mm at its home, where the real arm is clear:
    those are next but one to each other, too simply shaped, and kept apart by joint limits.

    Not for two threads at once: it owns one MuJoCo state.

    Args:
        model: Of the arm, with what `add_shapes` adds.
        arm: Its table.
        margin: Distance that a command must leave [m].

    Attributes:
        pairs: Names of the shapes that are compared.
        margin: As given [m].
        keep: Distance that inverse kinematics keeps, so that it seldom meets the margin [m].
    """

    def __init__(self, model: mujoco.MjModel, arm: Kinematics, *, margin: float) -> None:
        if not margin >= 0.0:
            raise KinematicsError(f"{arm.model}: the collision margin is {margin} m, allowed >= 0.")
        self.margin, self.keep = margin, 2.0 * margin
        self._model, self._data = model, mujoco.MjData(model)
        self._joints = [int(model.joint(name).qposadr[0]) for name in arm.joint_names]
        self._pairs = [
            pair for pair in combinations(range(model.ngeom), 2) if _compared(model, *pair)
        ]
        if "home" in arm.extra:
            self._move(np.array(arm.extra["home"]))
            self._pairs = [p for p in self._pairs if not self._joined(*p)]
        self.pairs = tuple((model.geom(a).name, model.geom(b).name) for a, b in self._pairs)

    def distance(self, joint_positions: Vector, farthest: float = 1.0) -> float:
        """Return the smallest distance at joints [rad] (n,), negative when shapes overlap [m].

        Args:
            joint_positions: [rad]. Shape (n,).
            farthest: More than this is returned as this, and costs less to know [m].
        """
        self._move(joint_positions)
        return min((self._apart(*pair, farthest) for pair in self._pairs), default=farthest)

    def nearest(self, joint_positions: Vector) -> tuple[str, str]:
        """Return the names of the two shapes that are closest at joints [rad] (n,).

        Raises:
            KinematicsError: There is nothing to compare.
        """
        if not self._pairs:
            raise KinematicsError("This arm has no two shapes that could touch.")
        self._move(joint_positions)
        apart = [self._apart(*pair, 1.0) for pair in self._pairs]
        return self.pairs[int(np.argmin(apart))]

    def largest_step(self, start: Vector, end: Vector) -> Vector:
        """Return ``end``, or the last point on the way there that leaves the margin.

        An arm that starts closer than the margin may come away, but gets no closer.

        Args:
            start: [rad]. Shape (n,).
            end: So near to ``start`` that nothing is passed through on the way: one period
                of motion [rad]. Shape (n,).
        """
        if self.distance(end, self.margin) >= self.margin:
            return end
        least = min(self.margin, self.distance(start, self.margin)) - _TOLERANCE_M
        if self.distance(end, self.margin) >= least:
            return end
        safe, fraction, width = start, 0.0, 1.0
        for _ in range(_BISECTIONS):
            width *= 0.5
            candidate = start + (fraction + width) * (end - start)
            if self.distance(candidate, self.margin) >= least:
                safe, fraction = candidate, fraction + width
        return safe

    def _joined(self, a: int, b: int) -> bool:
        names = self._model.geom(a).name, self._model.geom(b).name
        own = not any(other in name for other in (PALM, FINGERS, TABLE) for name in names)
        return own and self._apart(a, b, 1.0) < _JOINED_M

    def _move(self, joint_positions: Vector) -> None:
        self._data.qpos[self._joints] = joint_positions
        mujoco.mj_kinematics(self._model, self._data)

    def _apart(self, a: int, b: int, farthest: float) -> float:
        return float(mujoco.mj_geomDistance(self._model, self._data, a, b, farthest, None))


def _compared(model: mujoco.MjModel, a: int, b: int) -> bool:
    """Return whether two shapes can move against each other and are not of neighbours."""
    feet = [FOOT in model.geom(geom).name for geom in (a, b)]
    table = TABLE in (model.geom(a).name, model.geom(b).name)
    if any(feet) != table or all(feet):
        return False
    # Links without a joint between them are one, which MuJoCo calls welded.
    links = [int(model.body_weldid[model.geom_bodyid[geom]]) for geom in (a, b)]
    parents = [int(model.body_weldid[model.body_parentid[link]]) for link in links]
    return links[0] != links[1] and links[0] != parents[1] and links[1] != parents[0]
