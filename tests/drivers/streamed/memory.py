"""A streamed device without a wire, and how its tests wait for it and drive it."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.hand import Hand, HandCommand, HandSpec
from dexhil.drivers.streamed import Sample, StreamedJoints
from dexhil.drivers.testing.example import ExampleHand, ExampleHandConfig

SPEC = ExampleHand(ExampleHandConfig(), name="spec").spec


class Memory(StreamedJoints, Hand):
    """A hand that is where it was told to be, and writes down everything."""

    period_s = 0.005

    def __init__(self) -> None:
        super().__init__(name="memory")
        self.here = np.zeros(3)
        self.sent: list[tuple[float, Vector]] = []
        self.on = False
        self.threads: set[str] = set()
        self.open = False
        self.answers = True
        self.follows = True
        self.trouble: Exception | None = None
        self.cleared = 0
        self.slow: dict[str, float] = {}  # How long a call takes [s].
        self.calls: list[str] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)
        time.sleep(self.slow.get(name, 0.0))

    @property
    def spec(self) -> HandSpec:
        return SPEC

    def _link_open(self, timeout_s: float) -> None:
        del timeout_s
        self._called("open")
        self.open = True

    def _link_close(self) -> None:
        self.open = False

    def _poll(self) -> Sample | None:
        self.threads.add(threading.current_thread().name)
        time.sleep(self.slow.get("poll", 0.0))
        if self.trouble is not None:
            raise self.trouble
        if not self.answers:
            return None
        return Sample(
            stamp_s=self.clock.now_s(), positions=self.here.copy(), velocities=np.zeros(3)
        )

    def _switch_on(self, here: Vector) -> None:
        del here
        self._called("on")
        self.on = True

    def _switch_off(self) -> None:
        self._called("off")
        self.on = False

    def _send(self, setpoint: Vector) -> None:
        self.calls.append("send")
        self.sent.append((time.monotonic(), setpoint))
        if self.follows:
            self.here = setpoint

    def _clear_errors(self) -> None:
        assert self.open
        self.cleared += 1
        self.trouble = None


def wait(until: Callable[[], Any], timeout_s: float = 5.0) -> None:
    give_up_s = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < give_up_s, "it never happened"
        time.sleep(0.002)


def drive(hand: Memory, target: list[float], until: Callable[[], Any]) -> None:
    def commanded() -> bool:
        hand.command(HandCommand(joint_positions=np.array(target)))
        return bool(until())

    wait(commanded)
