"""A LucidGlove on an ESP32, at the end of a serial cable."""

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.emulators.link import PtyLink
from dexhil.drivers.emulators.streaming import StreamingEmulator
from dexhil.drivers.wire.lucid import LucidLine, format_alpha, format_legacy

_HIGHEST = {"esp32": 4095, "avr": 1023}


class LucidEmulator(StreamingEmulator):
    """Sends five bends and no splay, unless told ``build splay``, ``legacy`` or ``avr``.

    A sensor that lost its calibration is a count beyond the converter's range, as the
    firmware sends it when it was built without clamping.
    """

    driver = "lucid"
    # 115200 bit/s carry 250 of its lines.
    rate_hz = 250.0

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._port = self.add(PtyLink("lucid"))
        self._build = "plain"

    def messages(self) -> list[bytes]:
        highest = _HIGHEST["avr" if self._build == "avr" else "esp32"]
        bend = self._counts(self.wearer.bends(), highest)
        splay = None
        if self._build == "splay":
            splay = self._counts(0.5 + self.rng.normal(0.0, 2e-3, 5), highest)
        line = LucidLine(bend, splay)
        if self._build == "legacy":
            return [format_legacy(line, highest)]
        return [format_alpha(line, highest)]

    def say(self, message: bytes) -> None:
        self._port.send(message)

    def _counts(self, shares: Vector, highest: int) -> tuple[int, int, int, int, int]:
        counts = np.rint(np.clip(shares, 0.0, 1.0) * highest).astype(int)
        if self.knobs.nan:
            counts = counts + 2 * highest
        a, b, c, d, e = counts.tolist()
        return a, b, c, d, e

    def control(self, verb: str, *values: str) -> None:
        builds = ("plain", "splay", "legacy", "avr")
        if verb != "build" or len(values) != 1 or values[0] not in builds:
            raise ValueError(f"build takes one of {builds}")
        self._build = values[0]

    def reset(self) -> None:
        super().reset()
        self._build = "plain"
