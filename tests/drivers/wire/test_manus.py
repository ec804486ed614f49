"""The messages of Bidex' MANUS client: told apart by their number of fields, and damaged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.wire.manus import (
    NODE_ORDERS,
    Angles,
    Skeleton,
    format_angles,
    format_skeletons,
    parse,
)

NODES = np.arange(175.0).reshape(25, 7) / 1000
ONE = Skeleton("bccdf6ef", NODES)


def test_a_message_is_a_glove_and_its_nodes() -> None:
    text = format_skeletons(ONE)
    assert text.startswith(b"bccdf6ef,0.000,0.001,0.002,0.003")
    assert len(text.split(b",")) == 176
    message = parse(text)
    assert isinstance(message, tuple)
    assert message[0].glove == "bccdf6ef"
    assert np.allclose(message[0].nodes, NODES)


def test_two_gloves_come_in_one_message() -> None:
    message = parse(format_skeletons(Skeleton("60F3738B", NODES), ONE))
    assert isinstance(message, tuple)
    assert [each.glove for each in message] == ["60f3738b", "bccdf6ef"]


def test_forty_numbers_are_angles_left_then_right() -> None:
    left, right = np.arange(20.0).reshape(5, 4), np.arange(20.0, 40.0).reshape(5, 4)
    message = parse(format_angles(Angles(left, right)))
    assert isinstance(message, Angles)
    assert np.array_equal(message.left, left)
    assert np.array_equal(message.right, right)


def test_every_keypoint_has_a_node_of_its_own_and_tips_are_as_published() -> None:
    for order in NODE_ORDERS.values():
        assert len(order) == len(set(order)) == 21
    # read_and_send_zmq.py: the last two nodes of thumb, index, middle, ring, little finger.
    ends = [3, 4, 7, 8, 11, 12, 15, 16, 19, 20]
    core, integrated = NODE_ORDERS["core"], NODE_ORDERS["integrated"]
    assert [core[i] for i in ends] == [3, 4, 8, 9, 13, 14, 18, 19, 23, 24]
    assert [integrated[i] for i in ends] == [23, 24, 4, 5, 9, 10, 19, 20, 14, 15]


@pytest.mark.parametrize("word", ["nan", "-nan", "-nan(ind)", "NaN"])
def test_nan_is_read_as_any_runtime_writes_it(word: str) -> None:
    fields = format_skeletons(ONE).decode().split(",")
    fields[5] = word
    message = parse(",".join(fields).encode())
    assert isinstance(message, tuple)
    assert np.isnan(message[0].nodes[0, 4])


@pytest.mark.parametrize("text", [b"", b"," * 39, b"," * 175, b"x," * 351 + b"x", b"1," * 10**6])
def test_what_is_no_message_is_left_out(text: bytes) -> None:
    assert parse(text) is None


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_survived(data: bytes) -> None:
    parse(data)


@given(st.integers(0, len(format_skeletons(ONE)) - 1), st.integers(0, 255))
def test_a_damaged_byte_is_survived(position: int, value: int) -> None:
    damaged = bytearray(format_skeletons(ONE))
    damaged[position] = value
    message = parse(bytes(damaged))
    assert message is None or (isinstance(message, tuple) and message[0].nodes.shape == (25, 7))
