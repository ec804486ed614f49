"""LucidGloves' lines: as the firmware prints them, and damaged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.wire.lucid import (
    Encoding,
    LucidLine,
    LucidReader,
    format_alpha,
    format_legacy,
    parse_alpha,
    parse_legacy,
)

# What the printf of AlphaEncoding.cpp makes of these numbers; firmware 76472c7.
PLAIN = "A0B512C1023D4095E17F2048G2047P0"
SPLAY = PLAIN + "HJ(AB)10(BB)20(CB)30(DB)40(EB)50"
BEND = (0, 512, 1023, 4095, 17)

counts = st.tuples(*[st.integers(0, 4095)] * 5)


def test_a_plain_line_is_understood() -> None:
    assert parse_alpha(PLAIN) == LucidLine(BEND)


def test_tokens_of_two_letters_are_not_taken_for_fingers() -> None:
    assert parse_alpha(SPLAY) == LucidLine(BEND, (10, 20, 30, 40, 50), "HJ")


def test_legacy_encoding_is_understood() -> None:
    assert parse_legacy("0&512&1023&4095&17&2048&2048&0&1&0&0&0&0") == LucidLine(BEND)


def test_a_line_whose_splay_was_cut_by_the_firmware_has_none() -> None:
    for end in range(len(PLAIN) + 2, len(SPLAY) - 2):
        line = parse_alpha(SPLAY[:end])
        assert line is not None
        assert (line.bend, line.splay) == (BEND, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A1B2C3D4",
        PLAIN + PLAIN,  # The end of the first was lost.
        "x" + PLAIN,
        PLAIN + "x",
        PLAIN.replace("B512", "B"),
        PLAIN.replace("B512", "B512000"),
        PLAIN.replace("B512", "B5.12"),
        PLAIN.replace("C", "c"),
        PLAIN[5:],
    ],
)
def test_a_damaged_line_is_left_out(text: str) -> None:
    assert parse_alpha(text) is None


@pytest.mark.parametrize("text", ["", "1&2&3", "a" + "&0" * 12, "1" + "&0" * 13, "١" + "&0" * 12])
def test_a_damaged_legacy_line_is_left_out(text: str) -> None:
    assert parse_legacy(text) is None


@given(counts, st.none() | counts, st.sets(st.sampled_from("HIJKLMNO")))
def test_what_is_written_is_read(
    bend: tuple[int, ...], splay: tuple[int, ...] | None, buttons: set[str]
) -> None:
    line = LucidLine(bend, splay, "".join(sorted(buttons)))  # type: ignore[arg-type]
    assert LucidReader("alpha").feed(format_alpha(line, 4095)) == [line]
    plain = LucidLine(line.bend)
    assert LucidReader("legacy").feed(format_legacy(plain, 4095)) == [plain]


@given(st.integers(1, 40))
def test_a_stream_may_be_cut_anywhere(size: int) -> None:
    stream = (PLAIN + "\r\n" + SPLAY + "\n").encode() * 3
    reader = LucidReader("alpha")
    pieces = [reader.feed(stream[i : i + size]) for i in range(0, len(stream), size)]
    assert sum(map(len, pieces)) == 6


@given(st.binary(max_size=300), st.sampled_from(["alpha", "legacy"]))
def test_any_bytes_at_all_are_survived(data: bytes, encoding: Encoding) -> None:
    for line in LucidReader(encoding).feed(data + b"\n"):
        assert len(line.bend) == 5


@given(st.integers(0, len(SPLAY) - 1), st.integers(0, 255))
def test_a_damaged_byte_is_survived(position: int, value: int) -> None:
    damaged = bytearray(SPLAY.encode())
    damaged[position] = value
    for line in LucidReader("alpha").feed(bytes(damaged) + b"\n"):
        assert all(abs(count) < 100000 for count in line.bend + (line.splay or ()))
