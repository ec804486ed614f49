"""What every emulator is: links, something that moves or measures, and knobs to hurt it.

It runs in a process of its own and is told what to do by lines on its standard input:

    drop 0.3        lose three messages of ten        state      say what is true, as JSON
    unplug          pull the cable                    reset      be as if just switched on
    clear           mend everything                   quit       end

Every line is answered by one line of JSON. The first line it prints says that it is ready
and where it can be reached.
"""

import json
import os
import select
import sys
import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar, final

import numpy as np

from dexhil.drivers.emulators.knobs import Knobs
from dexhil.drivers.emulators.link import EmulatedLink

LONGEST_STEP_S = 0.05  # A process that was held up does not leap ahead [s].


class Emulator(ABC):
    """The far end of a driver's wires.

    Args:
        seed: Of noise and of what goes wrong by chance.
    """

    kind: ClassVar[str]
    driver: ClassVar[str]
    period_s: ClassVar[float] = 0.002

    def __init__(self, seed: int = 0) -> None:
        self.knobs = Knobs()
        self.rng = np.random.default_rng(seed)
        self.now_s = time.monotonic()
        self._links: list[EmulatedLink[Any]] = []
        self._plugged = False
        self._quit = False

    @final
    def add(self, link: EmulatedLink[Any]) -> Any:
        """Own ``link``, and return it."""
        link.knobs, link.rng = self.knobs, self.rng
        self._links.append(link)
        return link

    # -- What an emulator implements ---------------------------------------------------

    def options(self) -> dict[str, Any]:
        """Return what a rig file's table needs to reach it."""
        return {key: value for link in self._links for key, value in link.options().items()}

    @abstractmethod
    def received(self, link: EmulatedLink[Any], message: Any, client: Any) -> None:
        """Answer what came in."""

    @abstractmethod
    def step(self, dt_s: float) -> None:
        """Let ``dt_s`` pass: move, and say what is due. ``now_s`` is the present."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return the truth, for tests. Must be fit for JSON."""

    @abstractmethod
    def reset(self) -> None:
        """Be as if just switched on."""

    def control(self, verb: str, *values: str) -> None:
        """Do something that only this device can do.

        Raises:
            ValueError: There is no such thing, or ``values`` do not fit.
        """
        del values
        raise ValueError(f"unknown verb {verb!r}")

    # -- The process -------------------------------------------------------------------

    @final
    def run(self, *, until_eof: bool = False) -> None:
        """Serve until told to quit. The ready line goes to standard output.

        Args:
            until_eof: Whether to end with the standard input, as when a test started it.
        """
        self._plug(plugged=True)
        ready = {"kind": self.kind, "driver": self.driver, "options": self.options()}
        self._say({"ready": True, **ready})
        control = _Lines(sys.stdin.fileno())
        due_s = stepped_s = time.monotonic()
        try:
            while not self._quit and not (control.ended and until_eof):
                self._wait(control, due_s - time.monotonic())
                for line in control.lines():
                    self._say(self._obey(line))
                self.now_s = time.monotonic()
                self._listen()
                if self.now_s >= due_s:
                    self.step(min(self.now_s - stepped_s, LONGEST_STEP_S))
                    stepped_s = self.now_s
                    due_s = max(due_s + self.period_s, self.now_s - LONGEST_STEP_S)
                for link in self._links:
                    link.flush()
        finally:
            for link in self._links:
                link.discard()

    def _wait(self, control: "_Lines", timeout_s: float) -> None:
        descriptors = [each for link in self._links for each in link.descriptors()]
        if not control.ended:
            descriptors.append(control.descriptor)
        select.select(descriptors, [], [], max(0.0, timeout_s))

    def _listen(self) -> None:
        for link in self._links:
            for message, client in link.receive():
                self.received(link, message, client)

    def _obey(self, line: str) -> dict[str, Any]:
        verb, *values = line.split()
        try:
            if verb == "state":
                return {"ok": True, "state": self.state()}
            if verb == "quit":
                self._quit = True
            elif verb == "reset":
                self.knobs.clear()
                for link in self._links:
                    link.forget()
                self.reset()
            elif not self.knobs.turn(verb, *values):
                self.control(verb, *values)
            self._plug(plugged=not self.knobs.unplugged)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            return {"ok": False, "error": str(error)}
        return {"ok": True}

    def _plug(self, *, plugged: bool) -> None:
        if plugged == self._plugged:
            return
        self._plugged = plugged
        for link in self._links:
            if plugged:
                link.open()
            else:
                link.close()
                link.forget()

    @staticmethod
    def _say(record: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()


class _Lines:
    """Lines from a descriptor, without waiting for them."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.ended = False
        self._rest = b""

    def lines(self) -> list[str]:
        if self.ended or not select.select([self.descriptor], [], [], 0)[0]:
            return []
        data = os.read(self.descriptor, 4096)
        self.ended = not data
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [text for line in whole if (text := line.decode(errors="replace").strip())]
