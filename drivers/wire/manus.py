"""What the MANUS SDK client of Bidex pushes through ZeroMQ: numbers between commas.

Messages are told apart by their number of fields:

    40   angles of both hands [degree], left then right: per finger, thumb first,
         spread and stretch of its first joint, stretch of the second and the third
    176  one skeleton: id of the glove, then 25 nodes x,y,z,qx,qy,qz,qw [m]
    352  two skeletons

Source: github.com/leap-hand/Bidex_Manus_Teleop, read_and_send_zmq.py and its SDK client, which
asks the SDK for right-handed axes, z up, metres and world coordinates.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from dexhil.drivers.arrays import Matrix

Nodes = Literal["core", "integrated"]

N_NODES: Final = 25
_N_ANGLES: Final = 40
_N_SKELETON: Final = 1 + 7 * N_NODES
_MAX_MESSAGE: Final = 16384  # Two skeletons with generous digits [byte].

NODE_ORDERS: Final[dict[Nodes, tuple[int, ...]]] = {
    # Root, thumb of four nodes, then index to little finger of five. The first of those
    # five is the metacarpal's base, which is no keypoint.
    "core": (0, 1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18, 19, 21, 22, 23, 24),
    # Index, middle, little, ring, thumb. Inferred from the ten nodes that Bidex picks
    # ("it jumps around"); nobody has published the full list.
    "integrated": (0, 21, 22, 23, 24, 2, 3, 4, 5, 7, 8, 9, 10, 17, 18, 19, 20, 12, 13, 14, 15),
}
"""Node of each of the 21 keypoints, by what computes the skeleton: MANUS Core (on Windows),
or the SDK by itself (integrated, on Linux)."""


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """One hand.

    Attributes:
        glove: Its id, eight hexadecimal digits in lower case.
        nodes: Position [m] and xyzw quaternion of each. Shape (25, 7). May hold NaN.
    """

    glove: str
    nodes: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Angles:
    """Both hands.

    Attributes:
        left: Per finger, thumb first: spread, then stretch of each joint [degree]. Shape (5, 4).
        right: Likewise.
    """

    left: Matrix
    right: Matrix


def parse(data: bytes) -> tuple[Skeleton, ...] | Angles | None:
    """Return what a message says, or ``None`` if it is none of this protocol."""
    if len(data) > _MAX_MESSAGE:
        return None
    fields = data.decode("utf-8", errors="replace").split(",")
    try:
        if len(fields) == _N_ANGLES:
            left, right = np.array([_number(field) for field in fields]).reshape(2, 5, 4)
            return Angles(left, right)
        if len(fields) == _N_SKELETON:
            return (_skeleton(fields),)
        if len(fields) == 2 * _N_SKELETON:
            return (_skeleton(fields[:_N_SKELETON]), _skeleton(fields[_N_SKELETON:]))
    except ValueError:
        pass  # A field that should be a number is none.
    return None


def _skeleton(fields: list[str]) -> Skeleton:
    glove, *numbers = fields
    nodes = np.array([_number(number) for number in numbers]).reshape(N_NODES, 7)
    return Skeleton(glove.strip().lower(), nodes)


def _number(field: str) -> float:
    # C on Windows writes -nan(ind) where others write nan.
    return float("nan") if "nan" in field.lower() else float(field)


def format_skeletons(*skeletons: Skeleton) -> bytes:
    """Write one skeleton, or two, with three decimals as the client does."""
    fields: list[str] = []
    for skeleton in skeletons:
        fields += [skeleton.glove, *(f"{value:.3f}" for value in skeleton.nodes.reshape(-1))]
    return ",".join(fields).encode()


def format_angles(angles: Angles) -> bytes:
    """Write the angles of both hands."""
    both = np.concatenate([angles.left, angles.right]).reshape(-1)
    return ",".join(f"{value:.3f}" for value in both).encode()
