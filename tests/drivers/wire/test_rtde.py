"""The packages of Universal Robots' RTDE, pinned by golden vectors and pelted with noise."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.wire.rtde import (
    FORMATS,
    INPUT_TYPES,
    MAX_SIZE,
    OUTPUT_TYPES,
    Kind,
    Package,
    Parser,
    Recipe,
    names_in,
    output_setup,
    parse_output_setup,
    setup_answer,
)

# As ur_rtde 1.6.5 sends them.
GOLDEN = {
    "00 05 56 00 02": Package(Kind.PROTOCOL_VERSION, b"\x00\x02"),
    "00 03 76": Package(Kind.CONTROLLER_VERSION),
    "00 03 53": Package(Kind.START),
    "00 03 50": Package(Kind.PAUSE),
    "00 08 55 04 00 00 00 00": Package(Kind.DATA, b"\x04\x00\x00\x00\x00"),
}
packages = st.builds(Package, st.sampled_from(Kind), st.binary(max_size=200))


@pytest.mark.parametrize(("text", "package"), GOLDEN.items(), ids=list(GOLDEN))
def test_packages_are_the_bytes_of_the_real_client(text: str, package: Package) -> None:
    assert package.encode() == bytes.fromhex(text)
    assert Parser().feed(bytes.fromhex(text)) == [package]


def test_a_servo_command_is_the_bytes_of_the_real_client() -> None:
    # servoJ: recipe 2, command 11, six angles, speed, acceleration, time, lookahead, gain.
    recipe = Recipe(2, ["INT32", *["DOUBLE"] * 11])
    values = [11, 0.1, -0.2, 0.3, -0.4, 0.5, -0.6, 0.0, 0.0, 0.002, 0.1, 300.0]
    data = recipe.encode(values)
    assert data == struct.pack(">HBBi11d", 96, 85, 2, *values)
    assert recipe.decode(data[3:]) == tuple(values)


def test_an_output_setup_is_the_bytes_of_the_real_client() -> None:
    package = output_setup(500.0, ["timestamp", "actual_q"])
    assert package.encode() == bytes.fromhex("00 1e 4f 40 7f 40 00 00 00 00 00") + (
        b"timestamp,actual_q,"
    )
    assert parse_output_setup(package.payload) == (500.0, ("timestamp", "actual_q"))


def test_the_answer_to_a_setup_names_recipe_and_types() -> None:
    package = setup_answer(Kind.SETUP_OUTPUTS, 1, ["DOUBLE", "VECTOR6D"])
    assert package.encode() == b"\x00\x13O\x01DOUBLE,VECTOR6D"
    assert names_in(package.payload[1:]) == ("DOUBLE", "VECTOR6D")


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, 501.0, math.nan, math.inf])
def test_rates_that_no_controller_has_are_refused(rate_hz: float) -> None:
    assert parse_output_setup(output_setup(rate_hz, ["timestamp"]).payload) is None


def test_a_package_too_long_for_the_protocol_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed 4096"):
        Package(Kind.TEXT, bytes(MAX_SIZE)).encode()


def test_every_variable_has_a_type_that_can_be_packed() -> None:
    assert set(OUTPUT_TYPES.values()) | set(INPUT_TYPES.values()) <= set(FORMATS)
    assert OUTPUT_TYPES["actual_q"] == "VECTOR6D"
    assert OUTPUT_TYPES["payload_cog"] == "VECTOR3D"
    assert INPUT_TYPES["input_int_register_47"] == "INT32"


@given(st.lists(packages, max_size=20), st.integers(1, 50))
def test_packages_survive_any_cutting_of_the_stream(sent: list[Package], chunk: int) -> None:
    stream = b"".join(package.encode() for package in sent)
    parser = Parser()
    got = []
    for start in range(0, len(stream), chunk):
        got += parser.feed(stream[start : start + chunk])
    assert got == sent


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_any_bytes_at_all_give_packages_or_nothing_and_the_buffer_stays_small(
    chunks: list[bytes],
) -> None:
    parser = Parser()
    for chunk in chunks:
        for package in parser.feed(chunk):
            assert isinstance(package.kind, Kind)
            assert len(package.payload) <= MAX_SIZE - 3
            parse_output_setup(package.payload)
            names_in(package.payload)
        assert len(parser._buffer) <= MAX_SIZE


@pytest.mark.parametrize("noise", ["ff", "00 00", "00 03 ff", "00 02 53 ff", "ff ff 55"])
def test_packages_are_found_behind_noise(noise: str) -> None:
    start = Package(Kind.START)
    assert Parser().feed(bytes.fromhex(noise) + 2 * start.encode()) == [start, start]


@given(st.lists(packages, min_size=1, max_size=5), st.data())
def test_a_flipped_bit_neither_raises_nor_stops_the_stream_for_good(
    sent: list[Package], data: st.DataObject
) -> None:
    stream = bytearray(b"".join(package.encode() for package in sent))
    place = data.draw(st.integers(0, len(stream) - 1))
    stream[place] ^= 1 << data.draw(st.integers(0, 7))
    parser = Parser()
    parser.feed(bytes(stream))
    # At worst a size that grew swallows the next 4096 bytes; then it is in step again.
    clear = Package(Kind.START)
    after = [got for _ in range(2 * MAX_SIZE // 3) for got in parser.feed(clear.encode())]
    assert after[-10:] == [clear] * 10


@given(st.lists(st.sampled_from(sorted(FORMATS)), max_size=10), st.binary(max_size=600))
def test_data_decodes_to_one_value_per_type_or_to_nothing(types: list[str], payload: bytes) -> None:
    recipe = Recipe(7, types)
    values = recipe.decode(payload)
    if values is not None:
        assert len(values) == len(types)


@given(st.lists(st.floats(allow_nan=False), min_size=7, max_size=7))
def test_values_come_back_as_they_were_sent(numbers: list[float]) -> None:
    recipe = Recipe(1, ["DOUBLE", "VECTOR6D"])
    data = recipe.encode([numbers[0], numbers[1:]])
    assert recipe.decode(data[3:]) == (numbers[0], tuple(numbers[1:]))
    assert recipe.decode(data[3:-1]) is None
    assert recipe.decode(b"\x02" + data[4:]) is None
