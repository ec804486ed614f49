"""Every transport, against the emulators' end of it; captures, and their replay."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import serial
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.emulators.link import ByteLink, PtyLink, TcpLink, UdpLink
from dexhil.drivers.emulators.zmq_link import ZmqLink
from dexhil.drivers.errors import ConfigError
from dexhil.drivers.wire import Wire
from dexhil.drivers.wire.capture import CaptureWriter, read_capture
from dexhil.drivers.wire.replay import ReplayWire
from dexhil.drivers.wire.serial import SerialWire
from dexhil.drivers.wire.sockets import TcpWire, UdpWire
from dexhil.drivers.wire.zmq import ZmqWire

Pair = tuple[ByteLink, Wire]
Make = Callable[..., Wire]
WIRES: dict[str, tuple[Callable[[], ByteLink], Make]] = {
    "pty": (lambda: PtyLink("port"), lambda port, **rest: SerialWire(port, 115_200, **rest)),
    "tcp": (TcpLink, TcpWire),
    "udp": (UdpLink, lambda port, **rest: UdpWire(port, "127.0.0.1", **rest)),
    "zmq": (ZmqLink, ZmqWire),
}


@pytest.fixture(params=WIRES)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    make_link, make_wire = WIRES[request.param]
    link = make_link()
    link.open()
    wire = make_wire(**link.options(), capture=tmp_path / "talk.wire", about={"driver": "test"})
    wire.open()
    yield link, wire
    wire.close()
    link.discard()


def heard(wire: Wire, link: ByteLink, message: bytes) -> bytes:
    """Say ``message`` until it is heard: a subscriber may still be connecting."""
    give_up_s = time.monotonic() + 5.0
    while time.monotonic() < give_up_s:
        link.receive()  # Accepts whoever knocks.
        link.send(message)
        if answer := wire.receive(0.05):
            return answer
    raise AssertionError("nothing was heard")


def test_what_the_device_says_is_heard(pair: Pair) -> None:
    link, wire = pair
    assert heard(wire, link, b"\x00\xffhello\n") == b"\x00\xffhello\n"


def test_silence_is_no_error(pair: Pair) -> None:
    _, wire = pair
    assert wire.receive(0.01) == b""


def test_a_closed_wire_refuses_and_may_be_closed_again(pair: Pair) -> None:
    _, wire = pair
    wire.close()
    wire.close()
    with pytest.raises(ConnectionError, match="is closed"):
        wire.receive(0.01)
    with pytest.raises(ConnectionError, match="is closed"):
        wire.send(b"x")


def test_a_capture_holds_both_directions_in_order(pair: Pair, tmp_path: Path) -> None:
    link, wire = pair
    first = heard(wire, link, b"ping")
    wire.receive(0.05)
    sent = not isinstance(wire, ZmqWire)
    if sent:
        wire.send(b"pong")
    wire.close()
    capture = read_capture(tmp_path / "talk.wire")
    assert capture.wire == type(wire).__name__
    assert capture.about == {"driver": "test"}
    assert capture.messages[0].data == first
    assert capture.messages[0].incoming
    assert [message.data for message in capture.messages if not message.incoming] == [
        b"pong"
    ] * sent
    times = [message.time_s for message in capture.messages]
    assert times == sorted(times)


@pytest.mark.parametrize("kind", ["pty", "tcp"])
def test_a_pulled_cable_ends_a_connection(kind: str) -> None:
    make_link, make_wire = WIRES[kind]
    link = make_link()
    link.open()
    wire = make_wire(**link.options())
    wire.open()
    heard(wire, link, b"x")
    link.close()

    def talk() -> None:
        for _ in range(100):
            wire.receive(0.01)
            wire.send(b"y")

    with pytest.raises(ConnectionError, match="is gone"):
        talk()
    wire.close()
    with pytest.raises(ConnectionError, match="cannot open"):
        wire.open()
    link.open()
    wire.open()
    assert heard(wire, link, b"back") == b"back"
    wire.close()
    link.discard()


def test_an_answer_goes_to_whoever_sent_the_last_datagram() -> None:
    link, wire = UdpLink(), UdpWire(0, "127.0.0.1")
    wire.open()
    link.port = wire.port
    link.open()
    with pytest.raises(ConnectionError, match="nobody to answer"):
        wire.send(b"?")
    assert heard(wire, link, b"who") == b"who"
    wire.send(b"me")
    time.sleep(0.02)
    assert [message for message, _ in link.receive()] == [b"me"]
    wire.close()
    link.discard()


def test_faults_happen_between_the_ends() -> None:
    link, wire = UdpLink(), UdpWire(0, "127.0.0.1")
    wire.open()
    link.port = wire.port
    link.open()

    def said(message: bytes) -> bytes:
        link.send(message)
        return wire.receive(0.05)

    link.knobs.drop = 1.0
    assert said(b"lost") == b""
    link.knobs.clear()
    link.knobs.corrupt = 1.0
    changed = said(b"\x00" * 8)
    assert len(changed) == 8
    assert sum(byte.bit_count() for byte in changed) == 1
    link.knobs.clear()
    link.knobs.partial = 1.0
    assert said(b"abcdef") == b"abc"
    link.knobs.clear()
    link.knobs.duplicate = 1.0
    assert said(b"two") == wire.receive(0.05) == b"two"
    link.knobs.clear()
    link.knobs.delay_s = 0.1
    assert said(b"late") == b""
    time.sleep(0.1)
    link.flush()
    assert wire.receive(0.05) == b"late"
    link.knobs.clear()
    link.knobs.frozen = True
    assert said(b"hung") == b""
    link.knobs.clear()
    link.knobs.echo = True
    wire.send(b"echo")
    time.sleep(0.02)
    link.receive()
    assert wire.receive(0.05) == b"echo"
    wire.close()
    link.discard()


messages = st.lists(st.tuples(st.booleans(), st.binary(max_size=50)), max_size=20)


@given(messages)
def test_captures_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, talk: list[tuple[bool, bytes]]
) -> None:
    path = tmp_path_factory.mktemp("captures") / "talk.wire"
    writer = CaptureWriter(path, "UdpWire", {"options": {"port": 1}})
    for incoming, data in talk:
        writer.add(data, incoming=incoming)
    writer.close()
    capture = read_capture(path)
    assert [(message.incoming, message.data) for message in capture.messages] == talk
    assert capture.about == {"options": {"port": 1}}


@given(messages, st.integers(1, 30))
def test_a_crash_costs_at_most_the_last_message(
    tmp_path_factory: pytest.TempPathFactory, talk: list[tuple[bool, bytes]], cut: int
) -> None:
    path = tmp_path_factory.mktemp("captures") / "talk.wire"
    writer = CaptureWriter(path, "UdpWire", {})
    for incoming, data in talk:
        writer.add(data, incoming=incoming)
    writer.close()
    whole = read_capture(path).messages
    data = path.read_bytes()
    last_line = len(data.splitlines()[-1]) if talk else 0
    path.write_bytes(data[: len(data) - min(cut, last_line)] if talk else data)
    assert read_capture(path).messages[: max(0, len(whole) - 1)] == whole[: max(0, len(whole) - 1)]


def test_connecting_again_destroys_no_capture(tmp_path: Path) -> None:
    for data in (b"first", b"second", b"third"):
        writer = CaptureWriter(tmp_path / "talk.wire", "UdpWire", {})
        writer.add(data, incoming=True)
        writer.close()
    files = ["talk.wire", "talk.2.wire", "talk.3.wire"]
    kept = [read_capture(tmp_path / file).messages[0].data for file in files]
    assert kept == [b"first", b"second", b"third"]


def test_a_capture_keeps_its_whole_name(tmp_path: Path) -> None:
    for _ in range(3):
        CaptureWriter(tmp_path / "2026.11.21.wire", "UdpWire", {}).close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["2026.11.21.2.wire", "2026.11.21.3.wire", "2026.11.21.wire"]


def test_a_capture_that_cannot_be_written_leaves_no_wire_open(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wire = UdpWire(0, "127.0.0.1", capture=tmp_path / "file" / "talk.wire")
    with pytest.raises(ConnectionError, match=r"cannot open UDP port \d+ \(.*File exists"):
        wire.open()
    assert wire._socket is None


def test_a_wire_that_breaks_while_it_is_closed_closes_its_capture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = UdpWire(0, "127.0.0.1", capture=tmp_path / "talk.wire")
    wire.open()
    writer, close = wire._writer, wire._close
    assert writer is not None

    def break_down() -> None:
        close()
        raise OSError("gone")

    monkeypatch.setattr(wire, "_close", break_down)
    with pytest.raises(OSError, match="gone"):
        wire.close()
    with pytest.raises(ValueError, match="closed file"):
        writer.add(b"", incoming=True)


def test_a_serial_port_needs_no_low_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object) -> None:
        raise NotImplementedError("as everywhere but on Linux")

    monkeypatch.setattr(serial.Serial, "set_low_latency_mode", cannot)
    link = PtyLink("port")
    link.open()
    wire = SerialWire(**link.options(), baud=115_200)
    wire.open()
    wire.close()
    link.discard()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"capture": 9, "wire": "x"}', "\x00\x01", "5"])
def test_what_is_no_capture_is_said_so(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.wire"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"x\.wire: not a capture"):
        read_capture(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_capture(tmp_path / "none.wire")


def recorded(path: Path) -> None:
    lines = [
        {"capture": 1, "wire": "SerialWire"},
        {"s": 0.0, "in": b"a".hex()},
        {"s": 0.01, "out": b"b".hex()},
        {"s": 0.2, "in": b"c".hex()},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_replay_keeps_the_recorded_times(tmp_path: Path) -> None:
    recorded(tmp_path / "x.wire")
    wire = ReplayWire(tmp_path / "x.wire")
    wire.open()
    start_s = time.monotonic()
    assert wire.receive(1.0) == b"a"
    assert wire.receive(0.01) == b""
    assert wire.receive(5.0) == b"c"
    assert time.monotonic() - start_s >= 0.2
    assert wire.receive(0.01) == b""
    wire.close()


def test_a_replay_in_haste_gives_everything_at_once_and_keeps_what_was_sent(tmp_path: Path) -> None:
    recorded(tmp_path / "x.wire")
    wire = ReplayWire(tmp_path / "x.wire", paced=False)
    wire.open()
    wire.send(b"hello")
    assert [wire.receive(0.0), wire.receive(0.0), wire.receive(0.0)] == [b"a", b"c", b""]
    assert wire.sent == [b"hello"]
    wire.close()
