"""Devices that talk without being asked: gloves and trackers that stream.

A ``Decoder`` turns what one of them says into samples: pure, so that a captured stream can
be replayed through it. A ``Listener`` owns the wire and the thread that feeds the decoder,
and knows the newest sample and how long it has been silent.
"""

import math
import time
from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any, ClassVar, Generic, Protocol, TypeVar, final

import numpy as np

from dexhil.drivers.clock import Clock
from dexhil.drivers.wire import Wire
from dexhil.drivers.worker import Worker

_WAIT_S = 0.05  # For a message, before looking whether to stop [s].
_GAP_S = 0.25  # Longer than a healthy device on a busy network ever pauses [s].


class Sample(Protocol):
    """What a decoder makes: a dataclass of arrays, and when the device took it."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def device_stamp_s(self) -> float | None: ...


SampleT = TypeVar("SampleT", bound=Sample)


class Decoder(ABC, Generic[SampleT]):
    """Turns what a device sends into samples. No I/O, no clock.

    Any bytes at all may be fed; what is no message of the device is left out.

    Attributes:
        expects: What it understands, for error messages, e.g. ``"JSON v3 of Rokoko Studio"``.
        wants: What it looks for in that, e.g. ``"a right hand"``.
        n_understood: How many messages it understood so far, whatever they held.
    """

    expects: str
    wants: str

    def __init__(self) -> None:
        self.n_understood = 0
        self._stamp_s: float | None = None

    @final
    def feed(self, data: bytes) -> list[SampleT]:
        """Return the samples that ``data`` completes, without those sent a second time.

        A sample is sent again when the network doubles it, or when the device hangs behind
        a link that lives. Its stamp tells: one equal to the last is no fresh sample. One
        that steps back is, since recordings loop and headsets restart.
        """
        fresh = []
        for sample in self._feed(data):
            if sample.device_stamp_s is None or sample.device_stamp_s != self._stamp_s:
                fresh.append(sample)
            self._stamp_s = sample.device_stamp_s
        return fresh

    @abstractmethod
    def _feed(self, data: bytes) -> list[SampleT]:
        """Return the samples that ``data`` completes; count ``n_understood``."""


def _repeats(sample: Sample, last: Sample) -> bool:
    """Whether no value differs in any bit. Lost track, which is NaN, repeats nothing."""
    names = (field.name for field in fields(sample) if field.name != "device_stamp_s")
    return all(np.array_equal(getattr(sample, name), getattr(last, name)) for name in names)


class Listener(Generic[SampleT]):
    """Listens to a wire in a thread of its own and keeps the newest sample that differs.

    Args:
        wire: Where the device talks.
        decoder: Understands it. Belongs to the thread from ``open`` on.
        clock: Stamps the arrival.
        silence_s: Nothing understood for this long is a fault [s].
        name: Of the thread.
    """

    def __init__(
        self, wire: Wire, decoder: Decoder[SampleT], clock: Clock, *, silence_s: float, name: str
    ) -> None:
        self._wire = wire
        self._decoder = decoder
        self._clock = clock
        self._silence_s = silence_s
        self._worker = Worker(self._step, name)
        self._received_s: float | None = None
        self._understood_s: float | None = None
        self._heard_s: float | None = None
        self._newest: tuple[float, SampleT] | None = None

    def open(self, timeout_s: float) -> None:
        """Open the wire and wait for the first sample.

        Raises:
            ConnectionError: The wire cannot be opened, or is gone.
            TimeoutError: No sample came in time; the text says what came instead.
        """
        self._wire.open()
        self._worker.start()
        give_up_s = time.monotonic() + timeout_s
        while self._newest is None:
            self._worker.check()
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"{self._missing()} on {self._wire}")
            time.sleep(0.005)

    def close(self) -> None:
        """End the thread and let go of the wire. Repeating does nothing."""
        try:
            self._worker.stop()
        finally:
            self._wire.close()

    def newest(self) -> tuple[float, SampleT]:
        """Return when the newest sample arrived, on the host's clock [s], and the sample.

        Raises:
            ConnectionError: The link is gone, or nothing was understood for too long.
        """
        self._worker.check()
        silent_s = self._since(self._understood_s)
        if silent_s > self._silence_s or self._newest is None:
            raise ConnectionError(f"{self._missing()} for {silent_s:.1f} s on {self._wire}")
        return self._newest

    def warnings(self) -> tuple[str, ...]:
        """Say so when there was no sample for longer than a healthy device pauses."""
        if self._newest is None:
            return ()
        missing_s = self._since(self._newest[0])
        if missing_s <= _GAP_S:
            return ()
        if self._since(self._heard_s) <= _GAP_S:
            return (f"it repeats itself bit by bit for {missing_s:.1f} s on {self._wire}",)
        return (f"{self._missing()} for {missing_s:.1f} s on {self._wire}",)

    def _missing(self) -> str:
        """Say what does not come, after it has not come for a while."""
        if self._since(self._understood_s) <= _GAP_S:
            return f"no sign of {self._decoder.wants}"
        if self._since(self._received_s) <= _GAP_S:
            return f"nothing but what is not {self._decoder.expects}"
        return "nothing received"

    def _since(self, time_s: float | None) -> float:
        return math.inf if time_s is None else self._clock.now_s() - time_s

    def _step(self) -> None:
        data = self._wire.receive(_WAIT_S)
        if not data:
            return
        self._received_s = now_s = self._clock.now_s()
        understood = self._decoder.n_understood
        samples = self._decoder.feed(data)
        if self._decoder.n_understood > understood:
            self._understood_s = now_s
        if not samples:
            return
        self._heard_s = now_s
        # A living hand trembles: what repeats itself bit by bit is dead behind a live link.
        if self._newest is None or not _repeats(samples[-1], self._newest[1]):
            self._newest = (now_s, samples[-1])
