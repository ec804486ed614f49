"""Text lines in a stream of bytes."""

from typing import Final

MAX_LINE: Final = 4096
"""Longest line of any device that speaks in lines is about 1 kB [byte]."""


class LineReader:
    """Cuts a stream into lines. What grows too long without an end is thrown away."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that ``data`` completes, without their ends.

        Bytes that are no text become U+FFFD, so that the line is refused by its meaning.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            self._rest = b""
        return [
            line.decode("utf-8", errors="replace").strip()
            for line in lines
            if len(line) <= MAX_LINE
        ]
