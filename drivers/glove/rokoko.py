"""Rokoko Smartgloves, through Rokoko Studio's custom live stream."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dexhil.drivers.clock import Clock
from dexhil.drivers.glove.listening import (
    HandDecoder,
    HandSample,
    ListeningGlove,
    check_stream,
    table,
)
from dexhil.drivers.wire import Wire
from dexhil.drivers.wire.rokoko import RokokoFrame, RokokoHand, parse
from dexhil.drivers.wire.shared import SharedWire
from dexhil.drivers.wire.sockets import UdpWire
from dexhil.drivers.wire.unity import points_from_unity, quaternion_from_unity


@dataclass(frozen=True, slots=True, kw_only=True)
class RokokoGloveConfig:
    """How to build a ``RokokoGlove``.

    Attributes:
        side: Which hand.
        port: To listen on, as set in Studio for a custom stream (JSON v3, LZ4 or not).
        actor: Name in Studio of who wears it; whoever is first with that glove when empty.
        rate_hz: Lowest rate that Studio is set to [1/s].
        silence_s: Hearing nothing for this long is a fault [s].
        capture: File to write everything received to.
    """

    side: Literal["left", "right"] = "right"
    port: int = 14043
    actor: str = ""
    rate_hz: float = 30.0
    silence_s: float = 1.0
    capture: Path | None = None

    def __post_init__(self) -> None:
        check_stream(self.rate_hz, self.silence_s)


class RokokoGlove(ListeningGlove):
    """One hand of one actor in Studio's stream. Its other hand may share it.

    Everything is in Studio's world, x forward, y left, z up. The position of the wrist means
    something only where Studio knows it, from a Coil Pro or a suit.
    Tested against an emulator, never on hardware.
    """

    config_type = RokokoGloveConfig
    driver = "rokoko"

    def __init__(self, config: RokokoGloveConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(config, model="rokoko-smartgloves", name=name, clock=clock)
        self._config = config

    def new_decoder(self) -> HandDecoder:
        return _RokokoDecoder(self._config.side, self._config.actor)

    def _new_wire(self, capture: Path | None, about: Mapping[str, Any]) -> Wire:
        return SharedWire(UdpWire(self._config.port), capture=capture, about=about)

    def _options(self) -> dict[str, Any]:
        return table(self._config)


class _RokokoDecoder(HandDecoder):
    def __init__(self, side: Literal["left", "right"], actor: str) -> None:
        super().__init__()
        self.expects = "JSON v3 of Rokoko Studio"
        self.wants = f"a {side} glove" + (f" on {actor!r}" if actor else "")
        self._side = side
        self._actor = actor

    def _feed(self, data: bytes) -> list[HandSample]:
        frame = parse(data)
        if frame is None:
            return []
        self.n_understood += 1
        hand = self._find(frame)
        if hand is None:
            return []
        points = points_from_unity(hand.points)
        return [
            HandSample(
                keypoints=points,
                device_stamp_s=frame.stamp_s,
                wrist_position=points[0],
                wrist_orientation=quaternion_from_unity(hand.rotation),
            )
        ]

    def _find(self, frame: RokokoFrame) -> RokokoHand | None:
        for actor in frame.actors:
            if self._actor in ("", actor.name) and self._side in actor.hands:
                return actor.hands[self._side]
        return None
