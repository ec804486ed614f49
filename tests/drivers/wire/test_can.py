"""CAN through python-can: both ends of a bus between processes, and what adapters report."""

import select
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import can
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.emulators.can_link import CanLink
from dexhil.drivers.wire.can import (
    BUS_OFF,
    CONTROLLER,
    NO_ACK,
    PROTOCOL,
    TX_PASSIVE,
    CanFrame,
    CanWire,
    FrameClock,
    bus_trouble,
)
from dexhil.drivers.wire.capture import read_capture

WAIT_S = 5.0  # Generous: this machine may be busy.

frames = st.builds(
    CanFrame,
    id=st.integers(0, 0x7FF),
    data=st.binary(max_size=64),
    remote=st.booleans(),
    fd=st.booleans(),
    error=st.booleans(),
)


@pytest.fixture
def link() -> Iterator[CanLink]:
    link = CanLink(fd=True)
    link.open()
    yield link
    link.close()


@pytest.fixture
def wire(link: CanLink) -> Iterator[CanWire]:
    wire = CanWire(**link.options(), fd=True)
    wire.open()
    yield wire
    wire.close()


def heard(link: CanLink, n_frames: int) -> list[CanFrame]:
    """Wait for frames at the device's end."""
    got: list[CanFrame] = []
    while len(got) < n_frames:
        assert select.select(link.descriptors(), [], [], WAIT_S)[0], "nothing came"
        got += [frame for frame, _ in link.receive()]
    return got


@pytest.mark.parametrize(
    "frame",
    [
        CanFrame(0x180, bytes(range(8))),
        CanFrame(0x100),
        CanFrame(0x200, remote=True),
        CanFrame(0x187, bytes(range(48)), fd=True),
    ],
    ids=str,
)
def test_frames_arrive_as_they_were_sent_both_ways(
    link: CanLink, wire: CanWire, frame: CanFrame
) -> None:
    wire.send(frame)
    assert heard(link, 1) == [frame]
    if not frame.remote:
        link.send(frame)
        received = wire.receive(WAIT_S)
        assert received == frame
        assert received.time_s > 0


def test_neither_end_hears_itself(link: CanLink, wire: CanWire) -> None:
    # ``udp_multicast`` gives a bus its own frames back, remote ones included.
    for _ in range(3):
        wire.send(CanFrame(0x200, remote=True))
        link.send(CanFrame(0x80, bytes(8)))
    assert len(heard(link, 3)) == 3
    assert [wire.receive(WAIT_S) for _ in range(3)] == [CanFrame(0x80, bytes(8))] * 3
    assert wire.receive(0.05) is None
    assert link.receive() == []


def test_two_buses_do_not_hear_each_other(link: CanLink, wire: CanWire) -> None:
    other = CanLink(fd=True)
    other.open()
    other.send(CanFrame(0x80, b"other"))
    link.send(CanFrame(0x80, b"mine"))
    received = wire.receive(WAIT_S)
    assert received is not None
    assert received.data == b"mine"
    assert wire.receive(0.05) is None
    other.close()


def test_frames_with_long_identifiers_are_for_somebody_else(link: CanLink, wire: CanWire) -> None:
    options = link.options()
    with can.Bus(
        interface="udp_multicast", channel=options["channel"], port=options["port"]
    ) as stranger:
        stranger.send(can.Message(arbitration_id=0x80, data=b"long", is_extended_id=True))
        stranger.send(can.Message(arbitration_id=0x80, data=b"short", is_extended_id=False))
    received = wire.receive(WAIT_S)
    assert received is not None
    assert received.data == b"short"


def test_draining_forgets_what_came_before(link: CanLink, wire: CanWire) -> None:
    for _ in range(20):
        link.send(CanFrame(0x80, b"old"))
    wire.send(CanFrame(0x200))
    wire.drain()
    assert wire.receive(0.05) is None


def test_a_pulled_cable_is_a_lost_link(link: CanLink, wire: CanWire) -> None:
    link.close()
    with pytest.raises(ConnectionError, match=r"is gone .*bus-off"):
        wire.receive(WAIT_S)


def test_a_disturbed_frame_is_no_frame_and_no_lost_link(link: CanLink, wire: CanWire) -> None:
    link.knobs.corrupt = 1.0
    link.send(CanFrame(0x80, b"disturbed"))
    assert wire.receive(0.2) is None
    link.knobs.corrupt = 0.0
    link.send(CanFrame(0x80, b"sound"))
    received = wire.receive(WAIT_S)
    assert received is not None
    assert received.data == b"sound"


def test_a_short_frame_is_handed_on_for_the_codec_to_judge(link: CanLink, wire: CanWire) -> None:
    link.knobs.partial = 1.0
    link.send(CanFrame(0x80, bytes(8)))
    received = wire.receive(WAIT_S)
    assert received is not None
    assert len(received.data) == 4


@pytest.mark.parametrize(
    ("identifier", "second_byte", "lost"),
    [
        (BUS_OFF, 0, True),
        (NO_ACK, 0, True),
        (CONTROLLER, TX_PASSIVE, True),
        (CONTROLLER, 0, False),
        (PROTOCOL, TX_PASSIVE, False),
    ],
)
def test_reports_that_nobody_hears_us_are_told_from_mere_disturbances(
    identifier: int, second_byte: int, lost: bool
) -> None:
    data = bytes([0, second_byte, 0, 0, 0, 0, 0, 0])
    assert (bus_trouble(CanFrame(identifier, data, error=True)) is not None) == lost
    assert bus_trouble(CanFrame(identifier, data)) is None


def test_a_missing_adapter_says_how_to_bring_it_up() -> None:
    with pytest.raises(ConnectionError, match="sudo ip link set can97 up type can bitrate 1000000"):
        CanWire("socketcan", "can97").open()
    with pytest.raises(ConnectionError, match="bitrate 1000000 dbitrate 5000000 fd on"):
        CanWire("socketcan", "can97", fd=True).open()
    with pytest.raises(ConnectionError, match='Unknown interface type "carrier-pigeon"'):
        CanWire("carrier-pigeon", "can0").open()


def test_a_closed_wire_refuses_and_closes_again(link: CanLink, wire: CanWire) -> None:
    wire.close()
    wire.close()
    with pytest.raises(ConnectionError, match="is closed"):
        wire.send(CanFrame(0x80))
    wire.open()
    link.send(CanFrame(0x80, b"again"))
    assert wire.receive(WAIT_S) is not None


def test_a_capture_holds_every_frame_both_ways(link: CanLink, tmp_path: Path) -> None:
    wire = CanWire(**link.options(), fd=True, capture=tmp_path / "talk.wire")
    wire.open()
    sent, said = CanFrame(0x200, remote=True), CanFrame(0x187, bytes(48), fd=True)
    wire.send(sent)
    link.send(said)
    assert wire.receive(WAIT_S) == said
    wire.close()
    capture = read_capture(tmp_path / "talk.wire")
    assert capture.wire == "CanWire"
    assert [message.incoming for message in capture.messages] == [False, True]
    assert [CanFrame.from_bytes(message.data) for message in capture.messages] == [sent, said]


def test_a_packed_frame_is_the_one_of_linux() -> None:
    # struct can_frame: identifier and flags, length, padding, data.
    assert bytes(CanFrame(0x180, b"\x64\x00")) == bytes.fromhex("80 01 00 00 02 00 00 00 64 00")
    assert bytes(CanFrame(0x200, remote=True)) == bytes.fromhex("00 02 00 40 00 00 00 00")


@given(frames)
def test_packing_loses_nothing(frame: CanFrame) -> None:
    assert CanFrame.from_bytes(bytes(frame)) == frame


@given(st.binary(max_size=100))
def test_anything_can_be_unpacked_or_is_refused(data: bytes) -> None:
    frame = CanFrame.from_bytes(data)
    assert frame is None or (0 <= frame.id <= 0x7FF and len(frame.data) <= 64)


# -- A device's own time -----------------------------------------------------------------------


def test_a_frame_clock_keeps_the_time_of_the_adapter() -> None:
    clock = FrameClock(0.003)
    times_s = [clock(frame_s) for frame_s in (1e9, 1e9 + 0.003, 1e9 + 0.010, 1e9 + 0.0101, 0.0)]
    # Later than a period is later; sooner, or unknown, is a period: it was read late.
    steps_s = [after - before for before, after in pairwise(times_s)]
    assert steps_s == pytest.approx([0.003, 0.007, 0.003, 0.003], abs=1e-6)


@given(st.lists(st.floats(0.0, 1e10), min_size=2))
def test_a_frame_clock_neither_stops_nor_leaps(stamps_s: list[float]) -> None:
    clock = FrameClock(0.01)
    times_s = [clock(stamp_s) for stamp_s in stamps_s]
    assert all(0.0099 < after - before < 1.0001 for before, after in pairwise(times_s))
