"""Rokoko Studio's datagrams: every way its version is written, compression, and damage."""

import json
from typing import Any

import lz4.frame
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.wire.rokoko import (
    JOINTS,
    RokokoActor,
    RokokoFrame,
    RokokoHand,
    format_frame,
    parse,
)

HAND = RokokoHand(np.arange(63.0).reshape(21, 3) / 100, np.array([0.0, 0.0, 0.0, 1.0]))
FRAME = RokokoFrame(1.25, (RokokoActor("Ada", {"right": HAND}),))


def document() -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(format_frame(FRAME, compressed=False))
    return changed


def reread(changed: dict[str, Any]) -> RokokoFrame | None:
    return parse(json.dumps(changed).encode())


@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_written_is_read_compressed_or_not(*, compressed: bool) -> None:
    frame = parse(format_frame(FRAME, compressed=compressed))
    assert frame is not None
    assert frame.stamp_s == 1.25
    (actor,) = frame.actors
    assert (actor.name, list(actor.hands)) == ("Ada", ["right"])
    assert np.array_equal(actor.hands["right"].points, HAND.points)


def test_keypoints_are_in_the_order_of_the_fingers() -> None:
    assert JOINTS[:5] == ("Hand", "ThumbProximal", "ThumbMedial", "ThumbDistal", "ThumbTip")
    assert (JOINTS[8], JOINTS[20], len(JOINTS)) == ("IndexTip", "LittleTip", 21)


@pytest.mark.parametrize("version", [3, 3.0, "3", "3.0", "3,0", "3,1"])
def test_version_three_is_recognized_however_it_is_written(version: object) -> None:
    assert reread({**document(), "version": version}) is not None


@pytest.mark.parametrize("version", [2, "2,5", "4", "three", None, [], "9" * 9999])
def test_other_versions_are_refused(version: object) -> None:
    assert reread({**document(), "version": version}) is None


def test_version_two_and_a_half_that_calls_itself_three_is_refused() -> None:
    assert reread({**document(), "trackers": []}) is None


def test_a_glove_that_is_off_is_left_out_although_its_fingers_are_sent() -> None:
    changed = document()
    changed["scene"]["actors"][0]["meta"]["hasRightGlove"] = False
    frame = reread(changed)
    assert frame is not None
    assert frame.actors[0].hands == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [("null", np.nan), ("NaN", np.nan), ("1e999", np.inf), ("1" + "0" * 400, np.inf)],
)
def test_a_number_that_is_none_is_not_an_error(value: str, expected: float) -> None:
    text = format_frame(FRAME, compressed=False).replace(b'"x": 0.03,', f'"x": {value},'.encode())
    frame = parse(text)
    assert frame is not None
    assert np.array_equal(frame.actors[0].hands["right"].points[1, 0], expected, equal_nan=True)


@pytest.mark.parametrize("value", ["a", True, [], {}])
def test_what_should_be_a_number_and_is_something_else_is_damage(value: object) -> None:
    changed = document()
    changed["scene"]["actors"][0]["body"]["rightIndexTip"]["position"]["y"] = value
    assert reread(changed) is None


def test_a_missing_joint_is_damage() -> None:
    changed = document()
    del changed["scene"]["actors"][0]["body"]["rightIndexTip"]
    assert reread(changed) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"3",
        b"null",
        b'{"version": 3}',
        b'{"version": 3, "scene": 3}',
        b'{"version": 3, "scene": {"actors": 3}}',
        b'{"version": 3, "scene": {"actors": [3]}}',
        b'{"version": 3, "scene": {"actors": {"a": 3}}}',
        b"[" * 60000,
        b'{"a":' * 10000,
        b"\xff\xfe\xff",
        b"\x04\x22\x4d\x18",
    ],
)
def test_what_is_no_frame_is_left_out(data: bytes) -> None:
    assert parse(data) is None


def test_a_frame_that_unpacks_to_gigabytes_is_not_unpacked() -> None:
    text = format_frame(FRAME, compressed=False)
    assert parse(lz4.frame.compress(text + b" " * 1000)) is not None
    bomb = lz4.frame.compress(text + b" " * (4 << 20))
    assert len(bomb) < 65536  # It fits into one datagram.
    assert parse(bomb) is None


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_at_all_are_survived(data: bytes, compressed: bool) -> None:
    parse(b"\x04\x22\x4d\x18" + data if compressed else data)


@given(st.data())
def test_a_damaged_byte_is_survived(data: st.DataObject) -> None:
    whole = format_frame(FRAME, compressed=data.draw(st.booleans()))
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    frame = parse(bytes(damaged))
    for actor in () if frame is None else frame.actors:
        assert all(hand.points.shape == (21, 3) for hand in actor.hands.values())
