"""What the Trio and the computer say to each other: lines of text over a serial port.

    17 ?*19                          how are you?
    17 GO 0 0 500 300 500 300*2e     go to these angles [mrad]
    17 OFF*69                        let the fingers loose
    17 OK 1 0 0 499 301 500 300*33   on or not, then the present angles [mrad]
    17 ERR too hot*64                I cannot

A number begins each line, which the answer repeats; the exclusive or of its characters ends it.
"""


def line(number: int, *words: object) -> bytes:
    """Return a line as it is sent."""
    text = " ".join(map(str, (number, *words)))
    return f"{text}*{_check(text)}\n".encode()


def words(line: str) -> list[str] | None:
    """Return the words of a line that came, the number first; ``None`` if it is damaged."""
    text, _, check = line.rpartition("*")
    return text.split(" ") if check == _check(text) else None


def _check(text: str) -> str:
    value = 0
    for byte in text.encode():
        value ^= byte
    return f"{value:02x}"
