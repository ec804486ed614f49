"""Where every part of an arm with its hand is, from the kinematic tables, in plain numpy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.errors import ConfigError
from dexhil.drivers.models.kinematics import Kinematics, Side, load_kinematics
from dexhil.integration.errors import RunError
from dexhil.retarget import batch
from dexhil.teleop.se3 import from_rpy, to_quaternion

_GREY: Final = (0.74, 0.77, 0.80, 1.0)

Poses = Mapping[str, tuple[Matrix, Matrix]]
"""Rotation (t, 3, 3) and position (t, 3) [m] in the arm's base, by part and link."""


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """Boxes, balls or capsules, each fixed to a link.

    Attributes:
        links: On which. k of them.
        positions: In the link's frame [m]. Shape (k, 3).
        rotations: In the link's frame. Shape (k, 3, 3).
        sizes: Half sizes of a box, radius of a ball, radius and length of a capsule [m].
            Shape (k, 3), (k, 1) or (k, 2).
        colours: Red, green, blue, opacity, 0 to 255. Shape (k, 4).
    """

    links: tuple[str, ...]
    positions: Matrix
    rotations: Matrix
    sizes: Matrix
    colours: Matrix

    def placed(self, poses: Poses) -> tuple[Matrix, Matrix]:
        """Return where they are [m] and their quaternions, xyzw. Shapes (t, k, 3), (t, k, 4)."""
        rotations = np.stack([poses[link][0] for link in self.links], axis=1)
        origins = np.stack([poses[link][1] for link in self.links], axis=1)
        positions = origins + (rotations @ self.positions[:, :, None])[..., 0]
        turned = (rotations @ self.rotations).reshape(-1, 3, 3)
        wxyz = np.array([to_quaternion(rotation) for rotation in turned])
        return positions, np.roll(wxyz, -1, axis=1).reshape(*positions.shape[:2], 4)


class Robot:
    """An arm that carries a hand.

    Args:
        arm: Its table.
        hand: Its table, with the mount on the flange.

    Attributes:
        shapes: By kind: ``"box"``, ``"sphere"``, ``"capsule"``.
        n_arm: Joints of the arm.
        n: Joints of both.
        side: Which hand it is.
    """

    def __init__(self, arm: Kinematics, hand: Kinematics) -> None:
        self._arm, self._hand = arm, hand
        self.n_arm = len(arm.joint_names)
        self.n = self.n_arm + len(hand.joint_names)
        self.side: Side = hand.side
        self.shapes = _shapes({"arm": arm, "hand": hand})
        flange = [f"arm/{joint.child}" for joint in batch.path_to(arm, arm.tips["flange"])]
        self._lines = [[f"arm/{arm.root}", *flange, f"hand/{hand.root}"]]
        for tip in hand.tips.values():
            links = [f"hand/{joint.child}" for joint in batch.path_to(hand, tip)]
            self._lines.append([f"hand/{hand.root}", *links])

    def poses(self, q: Matrix) -> Poses:
        """Return where every link is.

        Args:
            q: Joints, arm first [rad]. Shape (t, n).
        """
        arm = batch.link_poses(self._arm, q[:, : self.n_arm])
        hand = batch.link_poses(self._hand, q[:, self.n_arm : self.n])
        rotation, position = arm[self._arm.tips["flange"]]
        mount = self._hand.extra["mount"]
        position = position + rotation @ np.array(mount["position"], np.float64)
        rotation = rotation @ from_rpy(mount["rpy"])
        return {f"arm/{link}": pose for link, pose in arm.items()} | {
            f"hand/{link}": (rotation @ turn, position + (rotation @ place[..., None])[..., 0])
            for link, (turn, place) in hand.items()
        }

    def palm(self, poses: Poses) -> tuple[Matrix, Matrix]:
        """Return rotation and position of the palm [m]. Shapes (t, 3, 3), (t, 3)."""
        return poses[f"hand/{self._hand.root}"]

    def skeleton(self, poses: Poses, row: int) -> list[Matrix]:
        """Return lines along the arm and each finger in one row [m]. Shape (points, 3) each."""
        return [np.array([poses[link][1][row] for link in line]) for line in self._lines]


def robot_of(robot_type: str, joints: Sequence[str], side: Side | None = None) -> Robot:
    """Return the robot that a dataset was recorded with.

    Args:
        robot_type: As in its ``info.json``, e.g. ``"ur5e_leap"``, ``"ur5e_leap_left"``.
        joints: Names of what its actions move.
        side: Which hand, if not the one that ``robot_type`` names.

    Raises:
        RunError: There are no tables for it, or its joints have other names there.
    """
    arm_name, _, hand_and_side = robot_type.partition("_")
    hand_name = hand_and_side.removesuffix("_left")
    side = side or ("right" if hand_and_side == hand_name else "left")
    try:
        arm, hand = load_kinematics(arm_name), load_kinematics(hand_name, side)
    except ConfigError as error:
        raise RunError(f"robot_type {robot_type!r}: no shape is known. {error}") from error
    known = [f"arm.{name}" for name in arm.joint_names]
    known += [f"hand.{name}" for name in hand.joint_names]
    if list(joints) != known:
        raise RunError(
            f"robot_type {robot_type!r}: its joints are {', '.join(joints)}; "
            f"the shape has {', '.join(known)}."
        )
    return Robot(arm, hand)


def _shapes(tables: Mapping[str, Kinematics]) -> dict[str, Shapes]:
    found: dict[str, list[tuple[str, Any, Any]]] = {}
    for part, table in tables.items():
        colour = table.extra.get("rgba", _GREY)
        for link, geoms in table.geoms.items():
            for geom in geoms:
                place = (f"{part}/{link}", geom, geom.get("rgba", colour))
                found.setdefault(geom["type"], []).append(place)
    return {kind: _joined(kind, places) for kind, places in found.items()}


def _joined(kind: str, places: Sequence[tuple[str, Any, Any]]) -> Shapes:
    one = {"box": _box, "sphere": _sphere, "capsule": _capsule}[kind]
    positions, rotations, sizes = zip(*(one(geom) for _, geom, _ in places), strict=True)
    return Shapes(
        tuple(link for link, _, _ in places),
        np.array(positions, np.float64),
        np.array(rotations, np.float64),
        np.array(sizes, np.float64),
        np.round(255 * np.array([colour for _, _, colour in places])),
    )


def _box(geom: Any) -> tuple[Any, Matrix, Any]:
    return geom["position"], np.eye(3), geom["half_size"]


def _sphere(geom: Any) -> tuple[Any, Matrix, Any]:
    return geom["position"], np.eye(3), [geom["radius"]]


def _capsule(geom: Any) -> tuple[Any, Matrix, Any]:
    """Rerun's capsules start at the origin and point along z; this one does not."""
    start, end = np.array(geom["from"], np.float64), np.array(geom["to"], np.float64)
    length = float(np.linalg.norm(end - start))
    return start, _turned_to((end - start) / max(length, 1e-9)), [geom["radius"], length]


def _turned_to(z: Vector) -> Matrix:
    """Return a rotation whose third column is ``z``, of length 1 or 0."""
    if not z.any():
        return np.eye(3)
    x = np.cross(np.eye(3)[np.abs(z).argmin()], z)
    x /= np.linalg.norm(x)
    return np.column_stack((x, np.cross(z, x), z))
