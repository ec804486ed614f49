"""What terminals send, cut into keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.wire.keys import I_AM, STATUS, KeyParser

# Sequences from ECMA-48 and xterm's "Control Sequences".
GOLDEN = [
    (b"a", ["a"]),
    (b" ", ["space"]),
    (b"\r", ["enter"]),
    (b"\n", ["enter"]),
    (b"\x7f", ["backspace"]),
    (b"\t~!", ["tab", "~", "!"]),
    (b"\x1b[A\x1b[D", ["up", "left"]),
    (b"\x1bOPx", ["f1", "x"]),
    (b"\x1b[0n", [STATUS]),
    (b"y\x1b[0ny", ["y", STATUS, "y"]),
    (b"\x1b[15~n", ["n"]),  # F5, which has no name here.
    (b"\x1b[1;5Cn", ["n"]),  # Ctrl with the right arrow.
    (b"\x1bx", ["escape", "x"]),  # Alt and x, or escape, then x.
    (b"\x1b\x1b[A", ["escape", "up"]),
    ("ü".encode(), []),
]


@pytest.mark.parametrize(("data", "keys"), GOLDEN)
def test_keys_are_named(data: bytes, keys: list[str]) -> None:
    assert KeyParser().feed(data) == keys


@pytest.mark.parametrize(("data", "keys"), GOLDEN)
def test_keys_are_named_when_they_come_byte_by_byte(data: bytes, keys: list[str]) -> None:
    parser = KeyParser()
    assert [key for byte in data for key in parser.feed(bytes([byte]))] == keys


def test_a_lone_escape_is_the_key_once_nothing_follows() -> None:
    parser = KeyParser()
    assert parser.feed(b"\x1b") == []
    assert parser.flush() == ["escape"]
    assert parser.flush() == []


def test_a_sequence_that_broke_off_is_no_key() -> None:
    parser = KeyParser()
    assert parser.feed(I_AM[:-1]) == []
    assert parser.flush() == []
    assert parser.feed(b"n") == ["n"]


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_at_all_leave_a_parser_that_works(chunks: list[bytes]) -> None:
    parser = KeyParser()
    for chunk in chunks:
        assert all(parser.feed(chunk))
    parser.flush()
    assert parser.feed(b"y") == ["y"]


@given(st.binary(max_size=200), st.integers(0, 200))
def test_where_the_bytes_are_cut_does_not_matter(data: bytes, cut: int) -> None:
    whole, halves = KeyParser(), KeyParser()
    assert halves.feed(data[:cut]) + halves.feed(data[cut:]) == whole.feed(data)
