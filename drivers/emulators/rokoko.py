"""Rokoko Studio with one actor who wears both Smartgloves."""

from typing import Literal

import numpy as np

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.emulators.link import UdpLink
from dexhil.drivers.emulators.streaming import StreamingEmulator
from dexhil.drivers.emulators.wearer import rotated
from dexhil.drivers.wire.rokoko import RokokoActor, RokokoFrame, RokokoHand, format_frame
from dexhil.drivers.wire.unity import points_to_unity, quaternion_to_unity


class RokokoEmulator(StreamingEmulator):
    """Sends LZ4 frames of JSON. Lost tracking is NaN, which its JSON can say."""

    driver = "rokoko"
    rate_hz = 60.0

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._udp = self.add(UdpLink())
        self._start_s = self.now_s

    def messages(self) -> list[bytes]:
        actor = RokokoActor("Ada", {"left": self._hand("left"), "right": self._hand("right")})
        stamp_s = self.now_s - self._start_s - self.knobs.rewind_s
        return [format_frame(RokokoFrame(stamp_s, (actor,)))]

    def say(self, message: bytes) -> None:
        self._udp.send(message)

    def _hand(self, side: Literal["left", "right"]) -> RokokoHand:
        position, orientation = self.wearer.wrist()
        points: Matrix = rotated(self.wearer.keypoints(side), orientation) + position
        if self.knobs.nan:
            points = np.full_like(points, np.nan)
        return RokokoHand(points_to_unity(points), quaternion_to_unity(orientation))
