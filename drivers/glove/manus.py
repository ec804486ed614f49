"""MANUS gloves, through the ZeroMQ client of Bidex around the MANUS SDK."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.clock import Clock
from dexhil.drivers.glove.listening import (
    HandDecoder,
    HandSample,
    ListeningGlove,
    check_stream,
    table,
)
from dexhil.drivers.glove.skeleton import hand_keypoints
from dexhil.drivers.wire import Wire
from dexhil.drivers.wire.manus import NODE_ORDERS, Angles, Nodes, Skeleton, parse
from dexhil.drivers.wire.shared import SharedWire
from dexhil.drivers.wire.zmq import ZmqWire

_LARGEST_ANGLE: Final = np.pi  # No joint of a hand turns further [rad].
_MIRROR: Final = np.array([1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True, kw_only=True)
class ManusGloveConfig:
    """How to build a ``ManusGlove``.

    Attributes:
        side: Which hand.
        endpoint: Where the client is bound.
        data: What to use: ``skeleton`` (needs a licence dongle) has the wearer's own
            measures; ``ergonomics`` has angles, which are put on a hand of average size.
        glove: Id of the glove, as the client prints it, e.g. ``"bccdf6ef"``. Needed where two
            gloves send skeletons. Any glove when empty.
        nodes: Order of the skeleton's nodes: ``core`` when MANUS Core (Windows) computes
            them, ``integrated`` when the SDK does so by itself (Linux).
        left_handed: Whether the client was changed to ask for left-handed axes. As Bidex
            ships it, it asks for right-handed ones.
        rate_hz: How often the client sends, at least [1/s].
        silence_s: Hearing nothing for this long is a fault [s].
        capture: File to write everything received to.
    """

    side: Literal["left", "right"] = "right"
    endpoint: str = "tcp://127.0.0.1:8000"
    data: Literal["skeleton", "ergonomics"] = "skeleton"
    glove: str = ""
    nodes: Nodes = "core"
    left_handed: bool = False
    rate_hz: float = 60.0
    silence_s: float = 1.0
    capture: Path | None = None

    def __post_init__(self) -> None:
        check_stream(self.rate_hz, self.silence_s)


class ManusGlove(ListeningGlove):
    """One glove of the client's stream. The other one may share it.

    Keypoints and the pose of the wrist are in the client's world, z up. The position of the
    wrist means something only where the SDK knows it, from a tracker on the glove; its
    orientation comes from the glove. The order of ``integrated`` nodes and the sign of the
    spread angles are inferred from sources, not documented.
    Tested against an emulator, never on hardware.
    """

    config_type = ManusGloveConfig
    driver = "manus"

    def __init__(self, config: ManusGloveConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(config, model="manus-bidex", name=name, clock=clock)
        self._config = config

    def new_decoder(self) -> HandDecoder:
        if self._config.data == "skeleton":
            return _SkeletonDecoder(self._config)
        return _AnglesDecoder(self._config.side)

    def _new_wire(self, capture: Path | None, about: Mapping[str, Any]) -> Wire:
        # Two sockets that pull would each get every other message.
        return SharedWire(ZmqWire(self._config.endpoint), capture=capture, about=about)

    def _options(self) -> dict[str, Any]:
        return table(self._config)


class _SkeletonDecoder(HandDecoder):
    def __init__(self, config: ManusGloveConfig) -> None:
        super().__init__()
        self.expects = "MANUS skeletons from Bidex' client (ergonomics would be another `data`)"
        self.wants = f"the glove {config.glove!r}" if config.glove else "a glove"
        self._glove = config.glove.lower()
        self._order = list(NODE_ORDERS[config.nodes])
        self._axes = _MIRROR if config.left_handed else np.ones(3)

    def _feed(self, data: bytes) -> list[HandSample]:
        message = parse(data)
        if not isinstance(message, tuple):
            return []
        self.n_understood += 1
        ours = [each for each in message if self._glove in ("", each.glove)]
        return [self._sample(skeleton) for skeleton in ours[:1]]

    def _sample(self, skeleton: Skeleton) -> HandSample:
        points = skeleton.nodes[self._order, :3] * self._axes
        x, y, z, w = skeleton.nodes[0, 3:]
        # A rotation axis is a pseudo-vector: mirroring turns it once more.
        axis = np.array([x, y, z]) * self._axes * self._axes.prod()
        return HandSample(
            keypoints=points,
            wrist_position=points[0],
            wrist_orientation=np.array([w, *axis]),
        )


class _AnglesDecoder(HandDecoder):
    def __init__(self, side: Literal["left", "right"]) -> None:
        super().__init__()
        self.expects = "MANUS ergonomics from Bidex' client (skeletons would be another `data`)"
        self.wants = f"the angles of a {side} hand"
        self._side = side

    def _feed(self, data: bytes) -> list[HandSample]:
        message = parse(data)
        if not isinstance(message, Angles):
            return []
        self.n_understood += 1
        angles = message.left if self._side == "left" else message.right
        return [HandSample(keypoints=hand_keypoints(_possible(np.deg2rad(angles)), self._side))]


def _possible(angles: Matrix) -> Matrix:
    # Written so that NaN is not possible.
    return np.where(np.abs(angles) <= _LARGEST_ANGLE, angles, np.nan)
