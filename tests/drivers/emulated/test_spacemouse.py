"""The SpaceMouse's driver against HID reports through a Unix socket."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.errors import ConnectError
from dexhil.drivers.switch.spacemouse import SpaceMouseConfig, SpaceMouseSwitch
from dexhil.drivers.wire import hid as hid_wire
from dexhil.drivers.wire.spacemouse import encode_buttons
from tests.drivers.emulated.helpers import EmulatedSwitch, until, until_fault

EMULATOR = "spacemouse"


class TestSpaceMouse(EmulatedSwitch):
    emulator = EMULATOR


def test_moving_the_cap_presses_nothing(
    make: Callable[..., SpaceMouseSwitch], emulator: EmulatorProcess
) -> None:
    with make() as mouse:
        emulator.tell("move", 1, -1, 1, -1, 1, -1)
        emulator.tell("press", "release")
        until(lambda: mouse.observe().counts["release"] == 1)
        emulator.tell("move", 0, 0, 0, 0, 0, 0)
        emulator.tell("release", "release")
        until(lambda: not mouse.observe().pressed)
        assert dict(mouse.observe().counts) == {"takeover": 0, "release": 1}


# -- A device, as far as one can be had without the kernel -------------------------------


class FakeHid:
    """Stands for ``hid.device``."""

    reports: list[bytes]
    unplugged: bool
    path: bytes

    def open_path(self, path: bytes) -> None:
        if b"hidraw" not in path:
            raise OSError("open failed")
        type(self).path, type(self).reports, type(self).unplugged = path, [], False

    def read(self, longest: int, timeout_ms: int) -> list[int]:
        assert timeout_ms > 0, "waits for ever"
        if self.unplugged:
            raise OSError("read error")
        if not self.reports:
            time.sleep(timeout_ms / 1e3)
            return []
        return list(self.reports.pop(0)[:longest])

    def close(self) -> None:
        pass


def interface(path: bytes, product: int, usage_page: int, usage: int) -> dict[str, Any]:
    return {
        "path": path,
        "vendor_id": 0x256F,
        "product_id": product,
        "usage_page": usage_page,
        "usage": usage,
    }


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    found = [
        interface(b"/dev/hidraw0", 0x0001, 1, 6),
        interface(b"/dev/hidraw1", 0xC652, 1, 6),
        interface(b"/dev/hidraw2", 0xC652, 1, 8),
    ]
    monkeypatch.setattr(hid_wire.hid, "device", FakeHid)
    monkeypatch.setattr(hid_wire.hid, "enumerate", lambda: found)
    return iter([found])


def test_the_interface_with_the_axes_is_found(bus: object) -> None:
    del bus
    with SpaceMouseSwitch(SpaceMouseConfig(), name="mouse"):
        assert FakeHid.path == b"/dev/hidraw2"


def test_a_device_at_rest_is_alive_and_its_buttons_are_heard(bus: object) -> None:
    del bus
    with SpaceMouseSwitch(SpaceMouseConfig(buttons={"stop": 22}), name="mouse") as mouse:
        time.sleep(0.5)
        mouse.observe(max_age_s=0.4)
        FakeHid.reports.append(encode_buttons({22}))
        until(lambda: mouse.observe().counts["stop"] == 1)


def test_an_unplugged_device_is_a_fault(bus: object) -> None:
    del bus
    with SpaceMouseSwitch(SpaceMouseConfig(), name="mouse") as mouse:
        FakeHid.unplugged = True
        until_fault(mouse.observe, match="read error")


def test_none_plugged_in_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hid_wire.hid, "enumerate", list)
    with pytest.raises(ConnectError, match="none is plugged in"):
        SpaceMouseSwitch(SpaceMouseConfig(), name="mouse").connect(timeout_s=0.1)


def test_without_permission_it_gives_the_udev_rule(
    bus: Iterator[list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    node = tmp_path / "raw0"
    node.touch()
    next(bus)[:] = [interface(str(node).encode(), 0xC635, 1, 8)]
    monkeypatch.setattr(hid_wire, "_is_forbidden", lambda path: path == str(node))
    with pytest.raises(ConnectError, match=r'idVendor\}=="256f"'):
        SpaceMouseSwitch(SpaceMouseConfig(), name="mouse").connect(timeout_s=0.1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"buttons": {}}, "buttons is empty"), ({"buttons": {"takeover": 32}}, "allowed 0 to 31")],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SpaceMouseConfig(**wrong)
