"""Linux input events: ``struct input_event`` of ``<linux/input.h>``, as the kernel hands it out.

Layout on a 64-bit machine: seconds and microseconds (``long``), type and code (``u16``) and
value (``i32``), 24 bytes in all, in the machine's own byte order.
"""

import struct
from dataclasses import dataclass

_EVENT = struct.Struct("llHHi")
SIZE = _EVENT.size

# From <linux/input-event-codes.h>.
EV_SYN, EV_KEY = 0x00, 0x01
SYN_REPORT, SYN_DROPPED = 0, 3
_EV_MAX, _KEY_MAX = 0x1F, 0x2FF
_MICROSECONDS = 1_000_000
_LATEST = 2**34  # Five hundred years on [s].
# Values of a key event.
RELEASED, PRESSED, REPEATED = 0, 1, 2

# What the common three-pedal foot switch types as it leaves the factory, left to right.
PEDAL_CODES = {"KEY_A": 30, "KEY_B": 48, "KEY_C": 46}
# The buttons of its pedals, where a configuration names no others.
DEFAULT_PEDALS = {"KEY_A": "takeover", "KEY_B": "success", "KEY_C": "failure"}


@dataclass(frozen=True, slots=True)
class InputEvent:
    """One event.

    Attributes:
        type: ``EV_KEY`` for a key, ``EV_SYN`` between reports.
        code: Which key.
        value: ``RELEASED``, ``PRESSED`` or ``REPEATED``.
        time_s: When, on the kernel's clock [s].
    """

    type: int
    code: int
    value: int
    time_s: float = 0.0


REPORT = InputEvent(EV_SYN, SYN_REPORT, 0)


def encode(event: InputEvent) -> bytes:
    """Return the event as the kernel would write it."""
    seconds, microseconds = divmod(round(event.time_s * _MICROSECONDS), _MICROSECONDS)
    return _EVENT.pack(seconds, microseconds, event.type, event.code, event.value)


class EventParser:
    """Cuts a stream of bytes into events. Whatever cannot be one is skipped byte by byte."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[InputEvent]:
        """Return the events that ``data`` completes."""
        self._rest += data
        events, at = [], 0
        while at + SIZE <= len(self._rest):
            event = _decode(self._rest, at)
            at += 1 if event is None else SIZE
            if event is not None:
                events.append(event)
        self._rest = self._rest[at:]
        return events


def _decode(data: bytes, at: int) -> InputEvent | None:
    seconds, microseconds, kind, code, value = _EVENT.unpack_from(data, at)
    if not 0 <= seconds <= _LATEST or not 0 <= microseconds < _MICROSECONDS:
        return None
    if kind > _EV_MAX or code > _KEY_MAX or (kind == EV_SYN and code > SYN_DROPPED):
        return None
    if kind in {EV_KEY, EV_SYN} and value not in {RELEASED, PRESSED, REPEATED}:
        return None
    return InputEvent(kind, code, value, seconds + microseconds / _MICROSECONDS)
