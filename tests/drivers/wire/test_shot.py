"""The emulated RealSense's messages: whole ones come through, damaged ones do not."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.wire.shot import BODY_AT, HEAD, MAGIC, Shot, ShotReader


def shot(number: int, width: int = 8, height: int = 4) -> Shot:
    rng = np.random.default_rng(number)
    return Shot(
        number=number,
        time_ms=1.7e12 + number,
        rate_hz=30,
        color=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        depth=rng.integers(0, 65536, (height, width), dtype=np.uint16),
    )


def numbers(reader: ShotReader, data: bytes) -> list[int]:
    return [each.number for each in reader.feed(data)]


def test_a_message_says_all_of_the_shot() -> None:
    before = shot(7)
    (after,) = ShotReader().feed(before.encode())
    assert (after.number, after.time_ms, after.rate_hz) == (7, 1.7e12 + 7, 30)
    np.testing.assert_array_equal(after.color, before.color)
    np.testing.assert_array_equal(after.depth, before.depth)


def test_a_message_is_these_bytes() -> None:
    dark = Shot(1, 2.0, 30, np.zeros((1, 1, 3), np.uint8), np.full((1, 1), 0x0102, np.uint16))
    expected = (
        "44 65 78 52 53 01 f0 0f  01 00 00 00  00 00 00 00 00 00 00 40  01 00  01 00  1e 00"
        "2b 03 76 50  00 00 00  02 01"
    )
    assert dark.encode() == bytes.fromhex(expected)


@given(st.lists(st.integers(1, 300), max_size=30))
def test_a_stream_may_be_cut_anywhere(cuts: list[int]) -> None:
    stream = b"".join(shot(number).encode() for number in range(4))
    reader, found = ShotReader(), []
    for cut in [*cuts, len(stream)]:
        found += numbers(reader, stream[:cut])
        stream = stream[cut:]
    assert found == [0, 1, 2, 3]


@given(st.integers(0, BODY_AT + 5 * 32 - 1), st.integers(0, 7))
def test_one_flipped_bit_costs_a_shot_or_a_few_but_never_gives_a_wrong_one(
    byte: int, bit: int
) -> None:
    messages = [bytearray(shot(number).encode()) for number in range(3)]
    messages[1][byte] ^= 1 << bit
    reader = ShotReader()
    found = reader.feed(b"".join(messages))
    # A damaged size may hold the reader up for as long as the largest image takes.
    for each in found:
        np.testing.assert_array_equal(each.color, shot(each.number).color)
        np.testing.assert_array_equal(each.depth, shot(each.number).depth)
    assert found[0].number == 0
    assert 1 not in [each.number for each in found]


def test_a_shot_that_broke_off_does_not_take_the_next_one_with_it() -> None:
    whole = shot(1).encode()
    reader = ShotReader()
    assert numbers(reader, whole[: len(whole) // 2] + shot(2).encode() + shot(3).encode()) == [2, 3]


@given(st.lists(st.one_of(st.binary(max_size=200), st.just(MAGIC)), max_size=20))
def test_any_bytes_may_come(pieces: list[bytes]) -> None:
    reader = ShotReader()
    for piece in pieces:
        for each in reader.feed(piece):
            assert each.color.shape[:2] == each.depth.shape


def test_an_impossible_size_is_not_waited_for() -> None:
    reader = ShotReader()
    liar = HEAD.pack(MAGIC, 1, 0.0, 65535, 65535, 30) + bytes(4)
    assert numbers(reader, liar + shot(2).encode()) == [2]
    nothing = HEAD.pack(MAGIC, 1, 0.0, 0, 480, 30) + bytes(4)
    assert numbers(reader, nothing + shot(3).encode()) == [3]
