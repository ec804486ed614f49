"""Modbus/TCP messages: published examples, and whatever else may come down a socket."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.wire import modbus
from dexhil.drivers.wire.modbus import Message, Parser

messages = st.builds(
    Message,
    transaction=st.integers(0, 0xFFFF),
    unit=st.integers(0, 255),
    function=st.integers(0, 255),
    data=st.binary(max_size=252),
)
words = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=modbus.MAX_WRITE)


def test_messages_are_those_of_the_standard() -> None:
    # MODBUS Application Protocol V1.1b3, 6.3 and 6.12, behind a header of our own making.
    header = bytes.fromhex("15 01 00 00 00 06 FF")
    assert modbus.read_request(0x1501, 0xFF, 0x6B, 3) == header + bytes.fromhex("03 00 6B 00 03")
    header = bytes.fromhex("00 01 00 00 00 0B 11")
    assert modbus.write_request(1, 0x11, 1, [10, 258]) == header + bytes.fromhex(
        "10 00 01 00 02 04 00 0A 01 02"
    )
    answer = Message(1, 1, modbus.READ_HOLDING, bytes.fromhex("06 02 2B 00 00 00 64"))
    assert modbus.registers(answer, 3) == (555, 0, 100)


@given(messages, st.data())
def test_a_message_survives_being_cut_anywhere(message: Message, data: st.DataObject) -> None:
    encoded = message.encode()
    cut = data.draw(st.integers(0, len(encoded)))
    parser = Parser()
    assert parser.feed(encoded[:cut]) + parser.feed(encoded[cut:]) == [message]


@given(messages, messages)
def test_messages_that_come_together_are_told_apart(first: Message, second: Message) -> None:
    assert Parser().feed(first.encode() + second.encode()) == [first, second]


@given(st.lists(st.binary(max_size=64), max_size=40))
def test_any_bytes_at_all_are_taken_and_little_is_kept(chunks: list[bytes]) -> None:
    parser = Parser()
    for chunk in chunks:
        for message in parser.feed(chunk):
            modbus.registers(message, 6)
            modbus.write_values(message)
    assert len(parser._buffer) <= 6 + 254


@given(messages, st.integers(1, 20))
def test_a_message_is_found_after_what_cannot_be_one(message: Message, n_bytes: int) -> None:
    # 0xFFFF is no protocol, so every alignment is given up at once.
    assert message in Parser().feed(b"\xff" * n_bytes + message.encode())


@given(st.integers(0, 0xFFFF), words)
def test_written_values_come_back(address: int, values: list[int]) -> None:
    (request,) = Parser().feed(modbus.write_request(7, 1, address, values))
    assert modbus.write_values(request) == (address, tuple(values))


def test_a_single_write_is_a_write_of_one() -> None:
    request = Message(1, 1, modbus.WRITE_SINGLE, struct.pack(">HH", 1004, 1))
    assert modbus.write_values(request) == (1004, (1,))


def test_negative_values_are_written_modulo_65536() -> None:
    (request,) = Parser().feed(modbus.write_request(1, 1, 1486, [-1, 500]))
    assert modbus.write_values(request) == (1486, (0xFFFF, 500))


@pytest.mark.parametrize(
    "data",
    [b"", b"\x05\xce", struct.pack(">HHB", 1486, 2, 4), struct.pack(">HHBH", 1486, 0, 2, 1)],
)
def test_a_malformed_write_is_none(data: bytes) -> None:
    assert modbus.write_values(Message(1, 1, modbus.WRITE_MULTIPLE, data)) is None


@pytest.mark.parametrize(
    ("function", "data"),
    [
        (modbus.READ_HOLDING, b""),
        (modbus.READ_HOLDING, b"\x04\x00\x01"),
        (modbus.READ_HOLDING, b"\x06\x00\x01\x00\x02"),
        (modbus.READ_HOLDING | modbus.EXCEPTION, b"\x02"),
        (modbus.WRITE_MULTIPLE, b"\x04\x00\x01\x00\x02"),
    ],
)
def test_an_answer_of_another_shape_is_none(function: int, data: bytes) -> None:
    assert modbus.registers(Message(1, 1, function, data), 2) is None
