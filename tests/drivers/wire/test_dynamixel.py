"""The codec of the motors' bus: published examples, the maker's library, and noise."""

import struct

import pytest
from dynamixel_sdk import Protocol2PacketHandler  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.emulators.dynamixel import Motor, MotorBus
from dexhil.drivers.wire import dynamixel as wire
from dexhil.drivers.wire.dynamixel import Packet, PacketParser

SDK = Protocol2PacketHandler()

# The ping and its answer are those of ROBOTIS' e-Manual, the others an independent script's.
GOLDEN = {
    "ping": ("FFFFFD00010300 01 194E", Packet(1, wire.PING)),
    "pong": (
        "FFFFFD00010700 55 00B00434 B2D4",
        Packet(1, wire.STATUS, bytes([0]) + struct.pack("<HB", 1200, 0x34)),
    ),
    "torque": ("FFFFFD00000600 03 400001 C8E7", Packet(0, wire.WRITE, bytes([64, 0, 1]))),
    "sync write": (
        "FFFFFD00FE1100 83 74000400 0000080000 0100080000 F7AC",
        Packet(
            wire.BROADCAST,
            wire.SYNC_WRITE,
            struct.pack("<HH", 116, 4) + struct.pack("<BiBi", 0, 2048, 1, 2048),
        ),
    ),
    "sync read": (
        "FFFFFD00FE0900 82 7E000A00 0001 3114",
        Packet(wire.BROADCAST, wire.SYNC_READ, struct.pack("<HH", 126, 10) + bytes([0, 1])),
    ),
    "fast sync read": (
        "FFFFFD00FE0900 8A 7E000A00 0001 B29C",
        Packet(wire.BROADCAST, wire.FAST_SYNC_READ, struct.pack("<HH", 126, 10) + bytes([0, 1])),
    ),
    "stuffed": (
        "FFFFFD00010A00 03 7400 FFFFFDFD00 21E7",
        Packet(1, wire.WRITE, struct.pack("<HI", 116, 0x00FDFFFF)),
    ),
}
packets = st.builds(
    Packet,
    st.integers(0, 0xFE),
    st.integers(1, 0xFE),
    # Mostly the bytes that headers are made of.
    st.lists(
        st.sampled_from([0xFF, 0xFF, 0xFD, 0x00, 0x55]) | st.integers(0, 255), max_size=60
    ).map(bytes),
)


@pytest.mark.parametrize("name", GOLDEN)
def test_published_packets_are_made_and_understood(name: str) -> None:
    text, packet = GOLDEN[name]
    data = bytes.fromhex(text)
    assert wire.encode(packet) == data
    assert PacketParser().feed(data) == [packet]


@given(st.binary(max_size=300))
def test_the_checksum_is_the_makers(data: bytes) -> None:
    assert wire.crc16(data) == SDK.updateCRC(0, data, len(data))


@given(st.lists(packets, max_size=5), st.integers(1, 20))
def test_what_is_encoded_is_parsed_however_it_is_cut(sent: list[Packet], size: int) -> None:
    data = b"".join(map(wire.encode, sent))
    parser = PacketParser()
    found = [p for i in range(0, len(data), size) for p in parser.feed(data[i : i + size])]
    assert found == sent


@given(packets)
def test_the_maker_unstuffs_as_we_do(packet: Packet) -> None:
    plain = SDK.removeStuffing(list(wire.encode(packet)))
    length = plain[5] | plain[6] << 8
    assert bytes(plain[7 : 7 + length - 2]) == bytes([packet.instruction]) + packet.parameters


@given(packets)
def test_no_header_is_inside_a_packet(packet: Packet) -> None:
    assert wire.HEADER not in wire.encode(packet)[4:-2]


@given(packets, st.data())
def test_a_flipped_bit_is_never_taken_for_a_packet(packet: Packet, data: st.DataObject) -> None:
    damaged = bytearray(wire.encode(packet))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert PacketParser().feed(bytes(damaged)) == []


@given(st.lists(st.binary(max_size=40) | packets.map(wire.encode), max_size=20))
def test_noise_neither_raises_nor_piles_up(chunks: list[bytes]) -> None:
    parser = PacketParser()
    for chunk in chunks:
        for packet in parser.feed(chunk):
            assert 0 <= packet.id <= 255
            assert len(packet.parameters) <= wire.MAX_LENGTH
    assert len(parser._buffer) <= wire.MAX_LENGTH + 7


@given(st.binary(max_size=40), packets)
def test_after_noise_a_packet_gets_through(noise: bytes, packet: Packet) -> None:
    parser = PacketParser()
    parser.feed(noise)
    found: list[Packet] = []
    # Noise may promise a packet of any length, which hides what comes within that length.
    for _ in range(2 + (wire.MAX_LENGTH + 7) // len(wire.encode(packet))):
        found += parser.feed(wire.encode(packet))
    assert packet in found


def test_packets_behind_a_promise_that_is_not_kept_are_found() -> None:
    ping = wire.encode(Packet(1, wire.PING))
    promise = wire.HEADER + bytes([1, 64, 0])
    assert PacketParser().feed(promise + 8 * ping) == 8 * [Packet(1, wire.PING)]


@given(st.lists(st.tuples(st.integers(0, 252), st.binary(min_size=4, max_size=4)), min_size=1))
def test_a_fast_answer_is_one_packet_by_the_makers_checksum(rows: list[tuple[int, bytes]]) -> None:
    data = wire.encode_fast_status([(0, motor, row) for motor, row in rows], len(rows))
    assert int.from_bytes(data[5:7], "little") == len(data) - 7
    for end in range(8 + 8, len(data) + 1, 8):  # Every motor's block ends in a checksum so far.
        assert SDK.updateCRC(0, data, end - 2) == int.from_bytes(data[end - 2 : end], "little")


@given(
    st.lists(
        st.builds(
            Packet,
            st.sampled_from([0, 1, 2, wire.BROADCAST]),
            st.sampled_from([0x01, 0x02, 0x03, 0x08, 0x10, 0x55, 0x82, 0x83, 0x8A]),
            st.binary(max_size=30)
            | st.builds(
                lambda address, size, rest: struct.pack("<HH", address, size) + rest,
                st.integers(0, 300),
                st.integers(0, 300),
                st.binary(max_size=30),
            ),
        ),
        max_size=10,
    )
)
def test_motors_survive_whatever_they_are_told(told: list[Packet]) -> None:
    bus = MotorBus(Motor(each, 1200, 6) for each in (0, 1))
    for k, packet in enumerate(told):
        bus.heard(wire.encode(packet), float(k))
        for motor in bus.motors.values():
            motor.watch(float(k))
            assert 0 <= motor.get(102, 2) <= 1750 or motor.get(102, 2) >= 2**16 - 1750
            assert motor.get(64) in (0, 1)
            assert len(motor.table) == 256
