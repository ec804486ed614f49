"""What a terminal sends when a key is pressed, and how it says that it is still there.

A terminal sends characters, not keys: there is no event for letting go, and a key that is
held sends its character again and again. Control sequences: ECMA-48.
"""

ARE_YOU_THERE = b"\x1b[5n"  # Device status report; every terminal since the VT100 answers it.
I_AM = b"\x1b[0n"
STATUS = "status"  # The key that stands for that answer.

# Where a configuration names no others. No character of an answer is among them: one that was
# torn apart must press nothing.
DEFAULT_KEYS = {
    "space": "takeover",
    "a": "takeover_arm",
    "h": "takeover_hand",
    "r": "release",
    "enter": "start",
    "x": "stop",
    "escape": "stop",
    "s": "success",
    "f": "failure",
    "backspace": "redo",
    "q": "abort",
}

_ESCAPE = 0x1B
_NAMES = {
    0x08: "backspace",
    0x09: "tab",
    0x0A: "enter",
    0x0D: "enter",
    0x20: "space",
    0x7F: "backspace",
}
_SEQUENCES = {
    "[A": "up",
    "[B": "down",
    "[C": "right",
    "[D": "left",
    "[H": "home",
    "[F": "end",
    "OP": "f1",
    "OQ": "f2",
    "OR": "f3",
    "OS": "f4",
    "[0n": STATUS,
}
_LONGEST = 32  # No sequence that a key sends is longer [byte].


class KeyParser:
    """Cuts what a terminal sends into names of keys.

    A printable ASCII character is its own name; others are ``space``, ``enter``, ``tab``,
    ``backspace``, ``escape``, ``up``, ``down``, ``left``, ``right``, ``home``, ``end`` and
    ``f1`` to ``f4``. Sequences of other keys, and bytes beyond ASCII, name no key.
    """

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the keys that ``data`` completes."""
        self._rest += data
        keys = []
        while self._rest:
            length = self._sequence_length() if self._rest[0] == _ESCAPE else 1
            if length == 0:
                break  # The rest of the sequence is still on its way.
            token, self._rest = self._rest[:length], self._rest[length:]
            key = _name(token)
            if key is not None:
                keys.append(key)
        return keys

    def flush(self) -> list[str]:
        """Say that nothing follows: a lone escape character was the escape key.

        Call it when nothing came for a while; over a network, parts of a sequence may
        arrive some milliseconds apart.
        """
        rest, self._rest = self._rest, b""
        return ["escape"] if rest == bytes([_ESCAPE]) else []

    def _sequence_length(self) -> int:
        """Return how many bytes the sequence at the head takes; 0 if it is not complete."""
        rest = self._rest
        if len(rest) < 2:
            return 0
        if rest[1:2] == b"O":
            return 3 if len(rest) >= 3 else 0
        if rest[1:2] != b"[":
            return 1  # Escape, then another key; or Alt with that key, which is the same.
        for length in range(2, min(len(rest), _LONGEST)):
            byte = rest[length]
            if 0x40 <= byte <= 0x7E:
                return length + 1
            if not 0x20 <= byte <= 0x3F:
                return length  # No control sequence has such a byte; it is a key by itself.
        return _LONGEST if len(rest) >= _LONGEST else 0


def _name(token: bytes) -> str | None:
    if len(token) > 1:
        return _SEQUENCES.get(token[1:].decode("ascii", "replace"))
    byte = token[0]
    if byte == _ESCAPE:
        return "escape"
    return _NAMES.get(byte) or (chr(byte) if 0x21 <= byte <= 0x7E else None)
