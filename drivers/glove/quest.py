"""Quest headsets with the app Hand Tracking Streamer: bare hands, seen by the headset."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.clock import Clock
from dexhil.drivers.glove.glove import N_KEYPOINTS
from dexhil.drivers.glove.listening import (
    HandDecoder,
    HandSample,
    ListeningGlove,
    check_stream,
    table,
)
from dexhil.drivers.wire import Wire
from dexhil.drivers.wire.hts import HtsLine, HtsReader
from dexhil.drivers.wire.listening import TcpListeningWire
from dexhil.drivers.wire.shared import SharedWire
from dexhil.drivers.wire.sockets import UdpWire
from dexhil.drivers.wire.unity import points_from_unity, quaternion_from_unity

Transport = Literal["udp", "tcp"]

_LOST_AFTER: Final = 6
"""The app leaves out a hand that it does not see. So many frames without it while the head
or the other hand goes on, about 0.1 s, are more than a bad network loses in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestGloveConfig:
    """How to build a ``QuestGlove``.

    Attributes:
        side: Which hand.
        transport: ``udp`` through Wi-Fi, or ``tcp``, which loses nothing: through a USB cable
            after ``adb reverse tcp:8000 tcp:8000``, or through Wi-Fi.
        port: To listen on, as set in the app: 9000 through Wi-Fi, 8000 through a USB cable.
        rate_hz: How often the headset looks [1/s].
        silence_s: Hearing nothing for this long is a fault [s]. An app that streams one hand
            and no head is silent while it does not see the hand.
        capture: File to write everything received to.
    """

    side: Literal["left", "right"] = "right"
    transport: Transport = "udp"
    port: int = 9000
    rate_hz: float = 60.0
    silence_s: float = 1.0
    capture: Path | None = None

    def __post_init__(self) -> None:
        check_stream(self.rate_hz, self.silence_s)


class QuestGlove(ListeningGlove):
    """One hand of the stream. The other one, and the trackers of the wrists, may share it.

    Keypoints are relative to the wrist and in the axes of the wrist; the pose of the wrist is
    in the headset's room, x forward, y left, z up, from where it was last recentred.
    Tested against an emulator, never on hardware.
    """

    config_type = QuestGloveConfig
    driver = "quest"

    def __init__(self, config: QuestGloveConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(config, model="quest-hts", name=name, clock=clock)
        self._config = config

    def new_decoder(self) -> HandDecoder:
        return QuestHandDecoder(self._config.side, self._config.transport)

    def _new_wire(self, capture: Path | None, about: Mapping[str, Any]) -> Wire:
        return quest_wire(self._config.transport, self._config.port, capture, about)

    def _options(self) -> dict[str, Any]:
        return table(self._config)


class QuestHandDecoder(HandDecoder):
    """Finds one hand in a stream of lines.

    Args:
        side: Which one.
        transport: Datagrams end a line, pieces of a TCP stream do not.
    """

    def __init__(self, side: Literal["left", "right"], transport: Transport) -> None:
        super().__init__()
        self.expects = "Hand Tracking Streamer"
        self.wants = f"a {side} hand"
        self._side = side
        self._reader = HtsReader(whole_messages=transport == "udp")
        self._wrist: HtsLine | None = None
        self._frames_without = {"head": 0, "other": 0}

    def _feed(self, data: bytes) -> list[HandSample]:
        lines = self._reader.feed(data)
        self.n_understood += len(lines)
        samples = [self._said(line) for line in lines]
        return [sample for sample in samples if sample is not None]

    def _said(self, line: HtsLine) -> HandSample | None:
        if line.side != self._side:
            return self._without(line)
        if line.kind == "wrist":
            self._wrist = line
            return None
        self._frames_without = {"head": 0, "other": 0}
        wrist, self._wrist = self._wrist, None
        position, orientation = wrist_pose(wrist)
        return HandSample(
            keypoints=points_from_unity(np.reshape(line.values, (N_KEYPOINTS, 3))),
            device_stamp_s=line.stamp_s,
            wrist_position=position,
            wrist_orientation=orientation,
        )

    def _without(self, line: HtsLine) -> HandSample | None:
        if line.kind != "wrist":
            self._frames_without["head" if line.side is None else "other"] += 1
        if max(self._frames_without.values()) <= _LOST_AFTER:
            return None
        return HandSample(
            keypoints=np.full((N_KEYPOINTS, 3), np.nan),
            device_stamp_s=line.stamp_s,
            wrist_position=np.full(3, np.nan),
            wrist_orientation=np.full(4, np.nan),
        )


def wrist_pose(line: HtsLine | None) -> tuple[Vector, Vector]:
    """Return position [m] and wxyz quaternion of a wrist line in our axes; NaN without one."""
    if line is None:
        return np.full(3, np.nan), np.full(4, np.nan)
    return points_from_unity(line.values[:3]), quaternion_from_unity(line.values[3:])


def quest_wire(
    transport: Transport, port: int, capture: Path | None, about: Mapping[str, Any]
) -> Wire:
    """Return a share of where the headset sends to."""
    link = UdpWire(port) if transport == "udp" else TcpListeningWire(port)
    return SharedWire(link, capture=capture, about=about)
