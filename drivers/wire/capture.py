"""Captures: what went over a wire, in a file that a person can read.

The first line says what was captured, every other line is one message:

    {"capture": 1, "wire": "UdpWire", "driver": "rokoko", "options": {"port": 14043}}
    {"s": 0.013, "in": "04224d18"}
    {"s": 0.021, "out": "7e50a0"}

Times are seconds since the wire was opened; bytes are hexadecimal.
"""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TextIO

from dexhil.drivers.errors import ConfigError

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a capture.

    Attributes:
        time_s: Since the wire was opened [s].
        incoming: Whether the device sent it.
        data: What was sent.
    """

    time_s: float
    incoming: bool
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """A capture read back.

    Attributes:
        wire: Class of the wire.
        about: Who captured it: ``driver`` and ``options`` where a driver said so.
        messages: In the order of time.
    """

    wire: str
    about: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()


class CaptureWriter:
    """Appends messages to a file. Each line is written at once, so a crash loses nothing.

    Attributes:
        path: Where: ``talk.wire``, or ``talk.2.wire`` and so on where that is taken already.
    """

    def __init__(self, path: Path, wire: str, about: Mapping[str, Any]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = _unused(path)
        self._file: TextIO = self.path.open("x", encoding="utf-8", buffering=1)
        self._start_s = time.monotonic()
        self._line({"capture": VERSION, "wire": wire, **about})

    def add(self, data: bytes, *, incoming: bool) -> None:
        """Write one message down."""
        time_s = round(time.monotonic() - self._start_s, 6)
        self._line({"s": time_s, "in" if incoming else "out": data.hex()})

    def close(self) -> None:
        """Close the file. Repeating does nothing."""
        self._file.close()

    def _line(self, record: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")


def read_capture(path: Path) -> Capture:
    """Read a capture. A last line cut short by a crash is left out.

    Raises:
        ConfigError: There is no such file, or it is no capture.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        head = json.loads(lines[0])
        if head.pop("capture") != VERSION:
            raise ValueError(f"not version {VERSION}")
        wire = str(head.pop("wire"))
        messages = [_message(line) for line in lines[1:-1]]
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the capture ({error.strerror}).") from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: not a capture of a wire ({error}).") from error
    with suppress(ValueError, KeyError, TypeError):  # The program died while it wrote this line.
        messages += [_message(line) for line in lines[1:][-1:]]
    return Capture(wire=wire, about=head, messages=tuple(messages))


def _unused(path: Path) -> Path:
    """Return a path at which there is nothing: reconnecting must not destroy a capture."""
    name = path.stem
    for number in count(2):
        if not path.exists():
            return path
        path = path.with_name(f"{name}.{number}{path.suffix}")
    raise AssertionError  # ``count`` does not end.


def _message(line: str) -> Message:
    record = json.loads(line)
    incoming = "in" in record
    data = bytes.fromhex(record["in"] if incoming else record["out"])
    return Message(time_s=float(record["s"]), incoming=incoming, data=data)
