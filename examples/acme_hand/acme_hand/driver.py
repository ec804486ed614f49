"""The driver of the Acme Trio."""

import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from acme_hand.protocol import line, words
from dexhil.drivers.arrays import Vector
from dexhil.drivers.clock import Clock
from dexhil.drivers.hand import Hand, HandSpec
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.drivers.streamed import Differentiator, Sample, StreamedJoints
from dexhil.drivers.wire.lines import LineReader
from dexhil.drivers.wire.serial import SerialWire

TABLE = Path(__file__).with_name("acme.toml")
ANSWER_S = 0.02  # It answers within 5 ms, which a USB adapter holds back for up to 16 ms [s].


@dataclass(frozen=True, slots=True, kw_only=True)
class AcmeHandConfig:
    """How to reach an ``AcmeHand``.

    Attributes:
        port: Serial port, e.g. ``/dev/ttyUSB0``.
    """

    port: str


class AcmeHand(StreamedJoints, Hand):
    """An Acme Trio: three fingers with two joints each."""

    config_type = AcmeHandConfig
    period_s = 0.01

    def __init__(self, config: AcmeHandConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(name=name, clock=clock)
        self._spec = HandSpec.of(load_kinematics(TABLE), watchdog_s=0.2, side="right")
        self._wire = SerialWire(config.port, baud=115200)

    @property
    def spec(self) -> HandSpec:
        return self._spec

    def _link_open(self, timeout_s: float) -> None:
        del timeout_s  # Opening does not wait for the hand.
        self._numbers, self._reader, self._velocities = count(), LineReader(), Differentiator()
        self._wire.open()

    def _link_close(self) -> None:
        self._wire.close()

    def _poll(self) -> Sample | None:
        answer = self._exchange("?")
        if answer is None:
            return None
        stamp_s, positions = self.clock.now_s(), np.array(answer[1:]) / 1e3
        velocities = self._velocities(stamp_s, positions)
        return Sample(stamp_s=stamp_s, positions=positions, velocities=velocities)

    def _switch_on(self, here: Vector) -> None:
        self._insist("GO", *np.rint(1e3 * here).astype(int))

    def _switch_off(self) -> None:
        self._insist("OFF")

    def _send(self, setpoint: Vector) -> None:
        self._exchange("GO", *np.rint(1e3 * setpoint).astype(int))

    def _insist(self, *request: object) -> None:
        if not any(self._exchange(*request) for _ in range(5)):
            raise ConnectionError("the hand does not answer")

    def _exchange(self, *request: object) -> list[int] | None:
        """Return what the hand answers: on or not, then its angles [mrad]; ``None`` if late."""
        number = next(self._numbers)
        self._wire.send(line(number, *request))
        give_up_s = time.monotonic() + ANSWER_S
        while (left_s := give_up_s - time.monotonic()) > 0:
            for text in self._reader.feed(self._wire.receive(left_s)):
                match words(text):
                    case [n, "OK", *values] if n == str(number) and len(values) == 7:
                        return [int(value) for value in values]
                    case [n, "ERR", *reason] if n == str(number):
                        raise RuntimeError(f"the hand reports: {' '.join(reason)}")
        return None
