"""One link, many listeners."""

import socket
import threading

import pytest

from dexhil.drivers.wire.shared import SharedWire
from dexhil.drivers.wire.sockets import UdpWire
from dexhil.drivers.wire.wire import Wire


class StubWire(Wire):
    """Says what it is told to."""

    opened = 0

    def __init__(self, name: str = "stub") -> None:
        super().__init__()
        self.name = name
        self.says: list[bytes | OSError] = []
        self.is_open = False

    def __str__(self) -> str:
        return self.name

    def _open(self) -> None:
        type(self).opened += 1
        self.is_open = True

    def _close(self) -> None:
        self.is_open = False

    def _send(self, message: bytes) -> None:
        raise NotImplementedError

    def _receive(self, timeout_s: float) -> bytes:
        if not self.says:
            self._closed.wait(timeout_s)
            return b""
        said = self.says.pop(0)
        if isinstance(said, OSError):
            raise said
        return said


def heard(wire: Wire) -> bytes:
    for _ in range(100):
        if message := wire.receive(0.05):
            return message
    return b""


def test_everybody_hears_everything_through_one_opening() -> None:
    StubWire.opened = 0
    links = StubWire(), StubWire()
    one, two = (SharedWire(link) for link in links)
    one.open()
    two.open()
    links[0].says += [b"a", b"b"]
    assert [heard(one), heard(one), heard(two), heard(two)] == [b"a", b"b", b"a", b"b"]
    assert StubWire.opened == 1
    one.close()
    assert links[0].is_open
    links[0].says.append(b"c")
    assert heard(two) == b"c"
    two.close()
    assert not links[0].is_open
    one.close()


def test_links_of_other_names_are_apart() -> None:
    links = StubWire("x"), StubWire("y")
    one, two = (SharedWire(link) for link in links)
    one.open()
    two.open()
    links[1].says.append(b"y")
    assert heard(two) == b"y"
    assert one.receive(0.1) == b""
    one.close()
    two.close()


def test_a_lost_link_is_lost_for_all_and_can_be_opened_again() -> None:
    link = StubWire()
    one, two = SharedWire(link), SharedWire(StubWire())
    one.open()
    two.open()
    link.says.append(OSError("gone"))
    for wire in (one, two):
        with pytest.raises(ConnectionError, match="gone"):
            heard(wire)
    one.close()
    one.open()  # While the other one still holds the dead link.
    link.says.append(b"again")
    assert heard(one) == b"again"
    two.close()
    assert link.is_open
    one.close()


def test_a_slow_reader_gets_the_newest() -> None:
    link = StubWire()
    wire = SharedWire(link)
    wire.open()
    link.says += [b"%d" % n for n in range(1000)]
    while link.says:
        threading.Event().wait(0.01)
    threading.Event().wait(0.1)
    messages = []
    while message := wire.receive(0.0):
        messages.append(message)
    assert messages[-1] == b"999"
    assert len(messages) < 500
    wire.close()


def test_a_port_is_free_again_once_all_have_gone() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    one, two = (SharedWire(UdpWire(port, "127.0.0.1")) for _ in range(2))
    one.open()
    two.open()
    one.close()
    two.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", port))


def test_it_only_listens() -> None:
    wire = SharedWire(StubWire())
    wire.open()
    with pytest.raises(ConnectionError, match="only listens"):
        wire.send(b"hello")
    wire.close()
