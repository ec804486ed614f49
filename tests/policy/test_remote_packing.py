"""What a stranger sends is a message of numbers and texts, or refused in one way."""

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dexhil.policy.remote.packing import pack, unpack

NUMBERS = st.one_of(
    hnp.integer_dtypes(), hnp.unsigned_integer_dtypes(), hnp.floating_dtypes(sizes=(16, 32, 64))
)


@given(hnp.arrays(NUMBERS | st.just(np.dtype(bool)), hnp.array_shapes(min_dims=0, min_side=0)))
def test_every_array_of_numbers_arrives_as_it_was_sent(array: np.ndarray[Any, Any]) -> None:
    arrived = unpack(pack({"a": array}))["a"]
    assert arrived.dtype == array.dtype
    np.testing.assert_array_equal(arrived, array)


def test_numbers_texts_and_entries_in_entries_arrive_as_they_were_sent() -> None:
    message = {"prompt": "lift", "n": np.float32(0.5), "images": {"top": [1, None, True]}}
    assert unpack(pack(message)) == {**message, "n": 0.5}
    assert isinstance(unpack(pack(np.float32(0.5))), np.float32)


@pytest.mark.parametrize("value", [np.array([object()]), np.array(["text"]), np.zeros(1, complex)])
def test_what_is_no_array_of_numbers_is_not_sent(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be sent"):
        pack({"a": value})


def array(**changes: Any) -> bytes:
    """Return a frame with an array of two float32, or what ``changes`` make of it."""
    whole = {"data": bytes(8), "dtype": "<f4", "shape": [2], **changes}
    body = {b"__ndarray__": True, **{name.encode(): value for name, value in whole.items()}}
    packed: bytes = msgpack.packb({"a": body})
    return packed


@pytest.mark.parametrize(
    "changes",
    [
        {"dtype": "|O"},
        {"dtype": "|V8"},
        {"dtype": "<U2"},
        {"dtype": "<c8"},
        {"dtype": "f4,f4"},
        {"dtype": "<f3"},
        {"dtype": "<b8"},
        {"dtype": None},
        {"dtype": b"<f4"},
        {"shape": [3]},
        {"shape": [1]},
        {"shape": [-2]},
        {"shape": [-1, -2]},
        {"shape": [2.0]},
        {"shape": [True, 2]},
        {"shape": 2},
        {"shape": None},
        {"shape": [2**40, 2**40]},
        {"shape": [2] + [1] * 40},
        {"data": "text"},
        {"data": None},
        {"data": b""},
    ],
)
def test_an_array_that_is_not_what_it_claims_is_refused(changes: dict[str, Any]) -> None:
    assert unpack(array())["a"].shape == (2,)
    with pytest.raises(ValueError, match="no message of openpi's"):
        unpack(array(**changes))


@pytest.mark.parametrize("value", ["text", b"ab", None, [1], 10**18])
def test_a_scalar_that_is_not_what_it_claims_is_refused(value: Any) -> None:
    body = {b"__npgeneric__": True, b"data": value, b"dtype": "|i1"}
    with pytest.raises(ValueError, match="no message"):
        unpack(msgpack.packb(body))


def taken_or_refused(data: bytes) -> bool:
    try:
        unpack(data)
    except ValueError as error:
        return "no message of openpi's" in str(error)
    return True


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    assert taken_or_refused(data)


@given(st.data())
def test_a_message_with_any_byte_changed_is_a_message_or_refused(data: st.DataObject) -> None:
    whole = pack({"actions": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.int8(3)})
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + bytes([data.draw(st.integers(0, 255))]) + whole[at + 1 :]
    for message in (damaged, whole[:at], damaged + whole):
        assert taken_or_refused(message)


def test_entries_in_entries_without_end_are_refused() -> None:
    with pytest.raises(ValueError, match="no message"):
        unpack(b"\x91" * 100_000)
