"""Inspire's serial frames: published examples, and whatever else may come down a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.wire import eb90
from dexhil.drivers.wire.eb90 import ANSWER, REQUEST, Frame, Parser

# Of six angles of 1000, and of five times 500 and "stay".
READ_ANGLES = bytes.fromhex("EB 90 01 04 11 0A 06 0C 32")
ANGLES = bytes.fromhex("90 EB 01 0F 11 0A 06 E8 03 E8 03 E8 03 E8 03 E8 03 E8 03 B3")
WRITE_ANGLES = bytes.fromhex("EB 90 01 0F 12 CE 05 F4 01 F4 01 F4 01 F4 01 F4 01 FF FF BC")
CLEAR_ERROR = bytes.fromhex("EB 90 01 04 12 EC 03 01 07")

frames = st.builds(
    Frame,
    hand_id=st.integers(0, 255),
    command=st.sampled_from([eb90.READ, eb90.WRITE]),
    address=st.integers(0, 0xFFFF),
    payload=st.binary(min_size=1, max_size=eb90.MAX_PAYLOAD),
)


def test_requests_are_those_of_the_manual() -> None:
    assert eb90.read_request(1, 1546, 12) == READ_ANGLES
    stay = (500).to_bytes(2, "little") * 5 + b"\xff\xff"
    assert eb90.write_request(1, 1486, stay) == WRITE_ANGLES
    assert eb90.write_request(1, 1004, b"\x01") == CLEAR_ERROR


def test_an_answer_is_that_of_the_manual() -> None:
    payload = (1000).to_bytes(2, "little") * 6
    assert Parser(ANSWER).feed(ANGLES) == [Frame(1, eb90.READ, 1546, payload)]
    assert Frame(1, eb90.READ, 1546, payload).encode(ANSWER) == ANGLES


@given(frames, st.data())
def test_a_frame_survives_being_cut_anywhere(frame: Frame, data: st.DataObject) -> None:
    encoded = frame.encode(ANSWER)
    cut = data.draw(st.integers(0, len(encoded)))
    parser = Parser(ANSWER)
    assert parser.feed(encoded[:cut]) + parser.feed(encoded[cut:]) == [frame]


@given(frames, frames)
def test_frames_that_come_together_are_told_apart(first: Frame, second: Frame) -> None:
    assert Parser(REQUEST).feed(first.encode(REQUEST) + second.encode(REQUEST)) == [first, second]


@given(st.binary(max_size=40), frames)
def test_a_frame_is_found_after_garbage(garbage: bytes, frame: Frame) -> None:
    # Garbage may look like the head of a long frame; that is over once enough has come.
    parser = Parser(ANSWER)
    found = parser.feed(garbage + frame.encode(ANSWER)) + parser.feed(bytes(600))
    assert frame in found


def test_ones_own_echo_is_no_answer() -> None:
    assert Parser(ANSWER).feed(READ_ANGLES + ANGLES) == Parser(ANSWER).feed(ANGLES)


@pytest.mark.parametrize("position", range(2, len(ANGLES)))
@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_is_noticed(position: int, bit: int) -> None:
    damaged = bytearray(ANGLES)
    damaged[position] ^= 1 << bit
    assert Parser(ANSWER).feed(bytes(damaged) + bytes(600)) == []


@given(st.lists(st.binary(max_size=64), max_size=40))
def test_any_bytes_at_all_are_taken_and_little_is_kept(chunks: list[bytes]) -> None:
    parser = Parser(ANSWER)
    for chunk in chunks:
        for frame in parser.feed(chunk):
            assert 1 <= len(frame.payload) <= eb90.MAX_PAYLOAD
    assert len(parser._buffer) <= eb90.MAX_PAYLOAD + 8


def test_half_a_frame_can_be_forgotten() -> None:
    parser = Parser(ANSWER)
    parser.feed(ANGLES[:9])
    parser.clear()
    assert parser.feed(ANGLES[9:] + ANGLES) == Parser(ANSWER).feed(ANGLES)


@pytest.mark.parametrize("n_bytes", [0, 253])
def test_a_payload_that_does_not_fit_is_refused(n_bytes: int) -> None:
    with pytest.raises(ValueError, match=f"payload has {n_bytes} bytes, allowed 1 to 252"):
        Frame(1, eb90.WRITE, 1486, bytes(n_bytes)).encode(REQUEST)
