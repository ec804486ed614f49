"""Rokoko Studio's stream: one UDP datagram of JSON per frame, compressed as an LZ4 frame or not.

    {"version": "3,0", "fps": 60, "scene": {"timestamp": 1.25, "actors": [{"name": "Ada",
     "meta": {"hasLeftGlove": true, "hasRightGlove": true}, "body": {"rightHand":
     {"position": {"x": 0, "y": 1, "z": 0}, "rotation": {"x": 0, "y": 0, "z": 0, "w": 1}}}}]}}

Positions are in metres, in the world, in Unity's left-handed axes. Facts as read in Rokoko's
Blender and Unity plugins.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import lz4.frame
import numpy as np

from dexhil.drivers.arrays import Matrix, Vector

Side = Literal["left", "right"]

SIDES: Final[tuple[Side, ...]] = ("left", "right")
_FINGERS: Final = ("Thumb", "Index", "Middle", "Ring", "Little")
_BONES: Final = ("Proximal", "Medial", "Distal", "Tip")
JOINTS: Final = ("Hand", *(finger + bone for finger in _FINGERS for bone in _BONES))
"""The keypoints in MediaPipe's order, each to be prefixed by the side."""

_MAX_JSON: Final = 1 << 20  # A frame of one suit is 10 kB; what unpacks to more is no frame [byte].
_MAX_ACTORS: Final = 16
_LZ4_MAGIC: Final = b"\x04\x22\x4d\x18"


@dataclass(frozen=True, slots=True, eq=False)
class RokokoHand:
    """One hand, in Unity's axes. May hold NaN and infinity.

    Attributes:
        points: In the order of ``JOINTS`` [m]. Shape (21, 3).
        rotation: Of the hand in the world, xyzw. Shape (4,).
    """

    points: Matrix
    rotation: Vector


@dataclass(frozen=True, slots=True, eq=False)
class RokokoActor:
    """One person.

    Attributes:
        name: As in Studio.
        hands: Those that wear a glove.
    """

    name: str
    hands: Mapping[Side, RokokoHand] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class RokokoFrame:
    """One datagram.

    Attributes:
        stamp_s: Time in the scene [s]; steps back when a recording loops. ``None`` if missing.
        actors: Everybody in it.
    """

    stamp_s: float | None
    actors: tuple[RokokoActor, ...]


def parse(data: bytes) -> RokokoFrame | None:
    """Return what a datagram says, or ``None`` if it is damaged or not of version 3."""
    try:
        document = json.loads(_unpacked(data))
        if _version(document) != 3:
            return None
        scene = document["scene"]
        actors = tuple(_actor(actor) for actor in list(scene["actors"])[:_MAX_ACTORS])
        stamp_s = _number(scene.get("timestamp"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return RokokoFrame(stamp_s if np.isfinite(stamp_s) else None, actors)


def _unpacked(data: bytes) -> bytes:
    if not data.startswith(_LZ4_MAGIC):
        return data
    unpacker = lz4.frame.LZ4FrameDecompressor()
    try:
        text = unpacker.decompress(data, max_length=_MAX_JSON)
    except (RuntimeError, EOFError) as error:
        raise ValueError("damaged LZ4 frame") from error
    if not unpacker.eof:
        raise ValueError("LZ4 frame without an end, or too large")
    return bytes(text)


def _version(document: Mapping[str, Any]) -> int:
    """Studio writes 3, 3.0 or "3,0", depending on its release and on the computer's language."""
    version = int(str(document["version"]).replace(",", ".").split(".")[0])
    # Studio 1 calls its format 2.5 a 3 as well, but puts trackers at the top.
    return 2 if "trackers" in document else version


def _actor(actor: Mapping[str, Any]) -> RokokoActor:
    meta, body = actor.get("meta") or {}, actor["body"]
    # Without a glove Studio sends the fingers of its resting pose, which nobody makes.
    worn = [side for side in SIDES if meta.get(f"has{side.capitalize()}Glove", True) is True]
    present = [side for side in worn if f"{side}Hand" in body]
    hands = {side: _hand({joint: body[side + joint] for joint in JOINTS}) for side in present}
    return RokokoActor(str(actor.get("name", "")), hands)


def _hand(joints: Mapping[str, Any]) -> RokokoHand:
    points = np.array([_values(joints[joint], "position", "xyz") for joint in JOINTS])
    return RokokoHand(points, np.array(_values(joints["Hand"], "rotation", "xyzw")))


def _values(joint: Mapping[str, Any], name: str, axes: str) -> list[float]:
    return [_number(joint[name][axis]) for axis in axes]


def _number(value: Any) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{value!r} is no number")
    try:
        return float(value)
    except OverflowError:  # JSON has whole numbers of any length.
        return float("inf")


def format_frame(frame: RokokoFrame, *, fps: int = 60, compressed: bool = True) -> bytes:
    """Write a frame as Studio does."""
    document = {
        "version": "3,0",
        "fps": fps,
        "scene": {
            "timestamp": frame.stamp_s,
            "actors": [_actor_document(actor) for actor in frame.actors],
            "props": [],
        },
    }
    text = json.dumps(document).encode()
    return bytes(lz4.frame.compress(text)) if compressed else text


def _actor_document(actor: RokokoActor) -> dict[str, Any]:
    body = {
        side + joint: {
            "position": dict(zip("xyz", map(float, point), strict=True)),
            "rotation": dict(zip("xyzw", map(float, hand.rotation), strict=True)),
        }
        for side, hand in actor.hands.items()
        for joint, point in zip(JOINTS, hand.points, strict=True)
    }
    return {
        "name": actor.name,
        "meta": {
            "hasGloves": bool(actor.hands),
            "hasLeftGlove": "left" in actor.hands,
            "hasRightGlove": "right" in actor.hands,
            "hasBody": False,
            "hasFace": False,
        },
        "dimensions": {"totalHeight": 1.8, "hipHeight": 1.0},
        "body": body,
    }
