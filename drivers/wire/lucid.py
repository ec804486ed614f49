"""LucidGloves' serial lines. Source: firmware of github.com/LucidVR/lucidgloves, 76472c7.

Alpha encoding, the default, is letters with numbers, thumb to little finger:

    A0B512C1023D4095E17F2048G2048P0HIJ(AB)2048(BB)2048(CB)2048(DB)2048(EB)2048

A-E bend, F G joystick, P trigger, H-O are there while a button is pressed, (AB)-(EB) splay if
the firmware was built with it. Legacy encoding is 13 numbers between ``&``, bend first.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal

from dexhil.drivers.wire.lines import LineReader

Encoding = Literal["alpha", "legacy"]

_FINGERS: Final = "ABCDE"
_BUTTONS: Final = "HIJKLMNO"
# Two-letter tokens first: (AB) holds an A and a B that are no fingers.
_TOKEN: Final = re.compile(r"(\([A-E]B\)|[A-GP])(-?[0-9]{1,5})|([H-O])", re.ASCII)
_COUNT: Final = re.compile(r"-?[0-9]{1,5}", re.ASCII)
_N_LEGACY: Final = 13


@dataclass(frozen=True, slots=True)
class LucidLine:
    """One line. Counts may lie outside the converter's range: the firmware can leave them so.

    Attributes:
        bend: Thumb to little finger [count], 0 straight.
        splay: Likewise [count], the middle of the range is straight; ``None`` if not sent.
        buttons: Letters of the pressed ones.
    """

    bend: tuple[int, int, int, int, int]
    splay: tuple[int, int, int, int, int] | None = None
    buttons: str = ""


class LucidReader:
    """Reads a stream of lines; whatever is none is left out.

    Args:
        encoding: Which one the firmware was built with.
    """

    def __init__(self, encoding: Encoding) -> None:
        self._parse = parse_alpha if encoding == "alpha" else parse_legacy
        self._lines = LineReader()

    def feed(self, data: bytes) -> list[LucidLine]:
        """Return the lines that ``data`` completes."""
        lines = (self._parse(text) for text in self._lines.feed(data))
        return [line for line in lines if line is not None]


def parse_alpha(text: str) -> LucidLine | None:
    """Return what a line in alpha encoding says, or ``None`` if it is damaged.

    Every character must belong to a token, and no token may come twice: a line that lost
    its end and ran into the next one is no line. The firmware cuts long lines short, so a
    line that lost some of its splay counts is one without splay.
    """
    counts: dict[str, int] = {}
    buttons, end = "", 0
    for match in _TOKEN.finditer(text):
        if match.start() != end or match[1] in counts:
            return None
        end = match.end()
        if match[3]:
            buttons += match[3]
        else:
            counts[match[1]] = int(match[2])
    if any(finger not in counts for finger in _FINGERS):
        return None
    if end != len(text) and not text.startswith("(", end):
        return None
    a, b, c, d, e = (counts[finger] for finger in _FINGERS)
    splay = [counts[f"({finger}B)"] for finger in _FINGERS if f"({finger}B)" in counts]
    if len(splay) < len(_FINGERS) or end != len(text):
        return LucidLine((a, b, c, d, e), buttons=buttons)
    return LucidLine((a, b, c, d, e), (splay[0], splay[1], splay[2], splay[3], splay[4]), buttons)


def parse_legacy(text: str) -> LucidLine | None:
    """Return what a line in legacy encoding says, or ``None`` if it is damaged."""
    fields = text.split("&")
    if len(fields) != _N_LEGACY or not all(map(_COUNT.fullmatch, fields)):
        return None
    a, b, c, d, e, *_ = (int(field) for field in fields)
    return LucidLine((a, b, c, d, e))


def format_alpha(line: LucidLine, highest: int) -> bytes:
    """Write a line as the firmware does, with the joystick at rest."""
    middle = highest // 2
    # The firmware makes the trigger of the second half of the index finger's bend.
    trigger = 2 * max(0, line.bend[1] - middle)
    text = "".join(f"{name}{count}" for name, count in zip(_FINGERS, line.bend, strict=True))
    text += f"F{middle}G{middle}P{min(trigger, highest)}"
    text += "".join(button for button in _BUTTONS if button in line.buttons)
    if line.splay is not None:
        text += "".join(f"({f}B){count}" for f, count in zip(_FINGERS, line.splay, strict=True))
    return text.encode() + b"\n"


def format_legacy(line: LucidLine, highest: int) -> bytes:
    """Write a line in legacy encoding, with the joystick at rest and no button pressed."""
    fields = [*line.bend, highest // 2, highest // 2, *[0] * 6]
    return "&".join(map(str, fields)).encode() + b"\n"
