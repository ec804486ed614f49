"""LucidGloves: open-source gloves that measure one bend per finger."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Vector
from dexhil.drivers.clock import Clock
from dexhil.drivers.glove.listening import (
    HandDecoder,
    HandSample,
    ListeningGlove,
    check_stream,
    table,
)
from dexhil.drivers.glove.skeleton import CLOSED, SPREAD, hand_keypoints
from dexhil.drivers.wire import Wire
from dexhil.drivers.wire.lucid import Encoding, LucidLine, LucidReader
from dexhil.drivers.wire.serial import SerialWire

HIGHEST: Final = {"esp32": 4095, "avr": 1023}
"""Largest count of each board's converter."""

_LEAP: Final = 0.4
"""A finger needs a tenth of a second from straight to bent at the least, and the slowest
glove sends 30 lines in a second: none goes further from one line to the next [of the range].
The lines carry no checksum, so one that leaps waits for the next one to say the same."""

Counts = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LucidGloveConfig:
    """How to build a ``LucidGlove``.

    The firmware calibrates itself while it runs: its smallest and largest counts are what it
    has seen so far. Open and close the hand fully a few times after switching on.

    Attributes:
        port: Of the glove, e.g. ``/dev/ttyUSB0``, or ``/dev/rfcomm0`` through Bluetooth.
        side: Which hand.
        board: What the glove is built on; it says how far counts go.
        encoding: Which one the firmware was built with.
        baud: Rate of the port [bit/s].
        straight: Counts of the straight fingers, thumb first. Raise one that does not reach
            straight. Zeros when ``None``.
        bent: Counts of the bent ones; the board's largest when ``None``.
        rate_hz: How often the glove sends, at least [1/s].
        silence_s: Hearing nothing for this long is a fault [s].
        capture: File to write everything received to.
    """

    port: str = "/dev/ttyUSB0"
    side: Literal["left", "right"] = "right"
    board: Literal["esp32", "avr"] = "esp32"
    encoding: Encoding = "alpha"
    baud: int = 115200
    straight: Counts | None = None
    bent: Counts | None = None
    rate_hz: float = 100.0
    silence_s: float = 1.0
    capture: Path | None = None

    def __post_init__(self) -> None:
        check_stream(self.rate_hz, self.silence_s)
        straight, bent = self.range()
        if not (bent - straight > 0).all():
            raise ValueError(f"bent is {bent} counts, must be above straight, {straight} counts")

    def range(self) -> tuple[Vector, Vector]:
        """Return the counts of straight and of bent fingers. Shape (5,) each."""
        straight = (0,) * 5 if self.straight is None else self.straight
        bent = (HIGHEST[self.board],) * 5 if self.bent is None else self.bent
        return np.array(straight, dtype=np.float64), np.array(bent, dtype=np.float64)


class LucidGlove(ListeningGlove):
    """Five bends and, where the firmware sends it, five splays, on a hand of average size.

    All joints of a finger bend together, in the proportions of a fist. Joystick, trigger,
    buttons and gestures are not used, and force feedback is not sent.
    Tested against an emulator, never on hardware.
    """

    config_type = LucidGloveConfig
    driver = "lucid"

    def __init__(self, config: LucidGloveConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(config, model="lucidgloves", name=name, clock=clock)
        self._config = config

    def new_decoder(self) -> HandDecoder:
        return _LucidDecoder(self._config)

    def _new_wire(self, capture: Path | None, about: Mapping[str, Any]) -> Wire:
        return SerialWire(self._config.port, self._config.baud, capture=capture, about=about)

    def _options(self) -> dict[str, Any]:
        return table(self._config)


class _LucidDecoder(HandDecoder):
    def __init__(self, config: LucidGloveConfig) -> None:
        super().__init__()
        self.expects = f"LucidGloves' {config.encoding} encoding at {config.baud} bit/s"
        self.wants = "five fingers"
        self._side = config.side
        self._highest = HIGHEST[config.board]
        self._straight, self._bent = config.range()
        self._reader = LucidReader(config.encoding)
        self._splay = np.zeros(5)
        self._last: Vector | None = None

    def _feed(self, data: bytes) -> list[HandSample]:
        lines = self._reader.feed(data)
        self.n_understood += len(lines)
        believed = [line for line in lines if self._believable(line)]
        return [self._sample(line) for line in believed[-1:]]  # Older ones are past already.

    def _believable(self, line: LucidLine) -> bool:
        last, self._last = self._last, np.array(line.bend, dtype=np.float64)
        return last is not None and bool((np.abs(self._last - last) <= _LEAP * self._highest).all())

    def _sample(self, line: LucidLine) -> HandSample:
        bend = np.clip(
            (self._known(line.bend) - self._straight) / (self._bent - self._straight), 0, 1
        )
        if line.splay is not None:  # The firmware's buffer is short; some lines lose it.
            self._splay = 2.0 * self._known(line.splay) / self._highest - 1.0
        angles = np.column_stack([SPREAD * self._splay, bend[:, None] * CLOSED])
        return HandSample(keypoints=hand_keypoints(angles, self._side))

    def _known(self, counts: npt.ArrayLike) -> Vector:
        """Return counts, NaN where one is beyond the converter: a sensor without calibration."""
        values = np.asarray(counts, dtype=np.float64)
        return np.where((values >= 0) & (values <= self._highest), values, np.nan)
