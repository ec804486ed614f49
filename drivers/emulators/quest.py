"""A Quest headset with the app Hand Tracking Streamer, both hands and the head, over UDP."""

from typing import Literal

from dexhil.drivers.emulators.link import UdpLink
from dexhil.drivers.emulators.streaming import StreamingEmulator
from dexhil.drivers.emulators.wearer import rotated
from dexhil.drivers.wire.hts import HtsLine, format_line
from dexhil.drivers.wire.unity import points_to_unity, quaternion_to_unity

_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")


class QuestEmulator(StreamingEmulator):
    """Sends each hand in a datagram of its own, then the head.

    A hand that it does not see is left out, as in the app: no coordinate is ever NaN.
    """

    driver = "quest"
    rate_hz = 70.0  # The headset's own.

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._udp = self.add(UdpLink())
        self._frame = 0

    def messages(self) -> list[bytes]:
        self._frame += 1
        hands = [] if self.knobs.nan else [self._hand(side) for side in _SIDES]
        return [*hands, format_line(self._line("pose", None, (0, 1.6, 0, 0, 0, 0, 1))).encode()]

    def say(self, message: bytes) -> None:
        self._udp.send(message)

    def _hand(self, side: Literal["left", "right"]) -> bytes:
        position, orientation = self.wearer.wrist()
        # The wrist's own axes are some turn of the palm's; any will do.
        landmarks = rotated(self.wearer.keypoints(side), orientation)
        wrist = (*points_to_unity(position), *quaternion_to_unity(orientation))
        lines = (
            self._line("wrist", side, wrist),
            self._line("landmarks", side, tuple(points_to_unity(landmarks).reshape(-1))),
        )
        return "\n".join(map(format_line, lines)).encode()

    def _line(
        self,
        kind: Literal["wrist", "landmarks", "pose"],
        side: Literal["left", "right"] | None,
        values: tuple[float, ...],
    ) -> HtsLine:
        return HtsLine(kind, side, values, self._frame, self.now_s - self.knobs.rewind_s)

    def reset(self) -> None:
        super().reset()
        self._frame = 0
