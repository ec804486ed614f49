"""Hand Tracking Streamer, an app for Quest headsets: lines of text over UDP or TCP.

    Right wrist | f = 12 | t = 3400000:, x, y, z, qx, qy, qz, qw
    Right landmarks | f = 12 | t = 3400000:, 21 times x, y, z

The part between bars is optional: a frame number, and a time in nanoseconds on the clock of
the headset. Landmarks are relative to the wrist and in its axes. Everything is in metres and
in Unity's left-handed axes. Source: github.com/wengmister/hand-tracking-streamer,
CONNECTIONS.md; the bars: its Python SDK 1.1.0.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, cast

from dexhil.drivers.wire.lines import LineReader

Side = Literal["left", "right"]
Kind = Literal["wrist", "landmarks", "pose"]

N_VALUES: Final[dict[Kind, int]] = {"wrist": 7, "landmarks": 63, "pose": 7}
_LABEL: Final = re.compile(r"(Left|Right|Head) (wrist|landmarks|pose)\s*((?:\|[^|]*)*)", re.ASCII)
_NOTE: Final = re.compile(r"\|\s*([a-z_]+)\s*=\s*([0-9]{1,19})\s*(?=\||$)", re.ASCII)
_SIDES: Final[dict[str, Side | None]] = {"Left": "left", "Right": "right", "Head": None}


@dataclass(frozen=True, slots=True)
class HtsLine:
    """One line.

    Attributes:
        kind: ``wrist`` and ``pose``: position and xyzw quaternion; ``landmarks``: 21 points.
        side: Which hand; ``None`` for the head.
        values: As sent, in Unity's axes. May hold NaN and infinity.
        frame: Number of the frame, if the headset was asked to send it.
        stamp_s: On the headset's clock [s], likewise.
    """

    kind: Kind
    side: Side | None
    values: tuple[float, ...]
    frame: int | None = None
    stamp_s: float | None = None


class HtsReader:
    """Reads a stream of lines; whatever is none is left out.

    Args:
        whole_messages: Whether each ``feed`` brings whole lines, as a datagram does. The
            last one of a datagram has no end.
    """

    def __init__(self, *, whole_messages: bool) -> None:
        self._ending = b"\n" if whole_messages else b""
        self._lines = LineReader()

    def feed(self, data: bytes) -> list[HtsLine]:
        """Return the lines that ``data`` completes."""
        lines = (parse_line(line) for line in self._lines.feed(data + self._ending))
        return [line for line in lines if line is not None]


def parse_line(text: str) -> HtsLine | None:
    """Return what a line says, or ``None`` if it is not one of this protocol."""
    label, colon, numbers = text.partition(":")
    match = _LABEL.fullmatch(label.strip())
    if not colon or match is None or len(numbers) > 4096:
        return None
    who, kind, notes = match.groups()
    if (who == "Head") != (kind == "pose"):
        return None
    try:
        values = tuple(float(number) for number in numbers.split(",") if number.strip())
    except ValueError:
        return None
    known = cast("Kind", kind)  # The expression above lists them.
    if len(values) != N_VALUES[known]:
        return None
    said = {name: int(value) for name, value in _NOTE.findall(notes)}
    stamp_ns = said.get("t")
    return HtsLine(
        kind=known,
        side=_SIDES[who],
        values=values,
        frame=said.get("f"),
        stamp_s=None if stamp_ns is None else stamp_ns / 1e9,
    )


def format_line(line: HtsLine) -> str:
    """Write a line as the headset does, without its end: four decimals, of a quaternion three."""
    who = "Head" if line.side is None else line.side.capitalize()
    notes = "" if line.frame is None else f" | f = {line.frame}"
    if line.stamp_s is not None:
        notes += f" | t = {round(line.stamp_s * 1e9)}"
    return f"{who} {line.kind}{notes}:, " + ", ".join(_numbers(line))


def _numbers(line: HtsLine) -> Iterable[str]:
    for i, value in enumerate(line.values):
        if not math.isfinite(value):
            yield "NaN"  # As C# writes it.
        else:
            yield f"{value:.3f}" if line.kind != "landmarks" and i >= 3 else f"{value:.4f}"
