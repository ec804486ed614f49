"""The pedal's driver against events as the kernel writes them, through a named pipe."""

import os
import time
from pathlib import Path
from typing import Any

import evdev
import pytest
from evdev import ecodes

from dexhil.drivers.errors import ConnectError
from dexhil.drivers.switch.pedal import PedalConfig, PedalSwitch
from dexhil.drivers.wire import input as input_wire
from dexhil.drivers.wire.evdev import EV_KEY, EV_SYN, REPORT, SYN_DROPPED, InputEvent, encode
from tests.drivers.emulated.helpers import EmulatedSwitch, until, until_fault


class TestPedal(EmulatedSwitch):
    emulator = "pedal"


# -- A device node, as far as one can be had without the kernel --------------------------


class FakeDevice:
    """Stands for ``evdev.InputDevice``: its descriptor is a pipe's."""

    grabbed = 0

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = {"/dev/input/event3": "PCsensor FootSwitch Mouse"}.get(
            path, "PCsensor FootSwitch Keyboard"
        )
        self.far: int | None
        self.fd, self.far = os.pipe()
        self.held: list[int] = []
        type(self).last = self

    last: "FakeDevice"

    def capabilities(self) -> dict[int, list[int]]:
        keys = [ecodes.BTN_LEFT] if "Mouse" in self.name else list(range(1, 100))
        return {EV_KEY: keys}

    def active_keys(self) -> list[int]:
        return self.held

    def grab(self) -> None:
        type(self).grabbed += 1

    def close(self) -> None:
        os.close(self.fd)
        self.unplug()

    def unplug(self) -> None:
        if self.far is not None:
            os.close(self.far)
            self.far = None

    def say(self, *events: InputEvent) -> None:
        assert self.far is not None
        os.write(self.far, b"".join(map(encode, events)))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> type[FakeDevice]:
    def list_devices() -> list[str]:
        return ["/dev/input/event3", "/dev/input/event4"]

    FakeDevice.grabbed = 0
    monkeypatch.setattr(evdev, "InputDevice", FakeDevice)
    monkeypatch.setattr(evdev, "list_devices", list_devices)
    monkeypatch.setattr(input_wire, "_is_pipe", lambda path: "/event" not in path)
    return FakeDevice


def test_the_device_is_found_by_name_and_by_the_keys_that_it_has(kernel: type[FakeDevice]) -> None:
    with PedalSwitch(PedalConfig(device="footswitch"), name="pedal"):
        assert kernel.last.path == "/dev/input/event4"


def test_a_device_of_an_unknown_name_lists_those_that_there_are(
    kernel: type[FakeDevice],
) -> None:
    with pytest.raises(ConnectError, match="Found: PCsensor FootSwitch Mouse, PCsensor"):
        PedalSwitch(PedalConfig(device="Elgato"), name="pedal").connect(timeout_s=0.1)
    assert kernel.grabbed == 0


@pytest.mark.parametrize("grab", [True, False])
def test_it_is_grabbed_only_if_wanted(kernel: type[FakeDevice], grab: bool) -> None:
    with PedalSwitch(PedalConfig(grab=grab), name="pedal"):
        assert kernel.grabbed == grab


def test_a_device_at_rest_is_alive(kernel: type[FakeDevice]) -> None:
    del kernel
    with PedalSwitch(PedalConfig(), name="pedal") as pedal:
        time.sleep(0.5)
        pedal.observe(max_age_s=0.4)


def test_keys_lost_by_the_kernel_are_asked_for(kernel: type[FakeDevice]) -> None:
    with PedalSwitch(PedalConfig(), name="pedal") as pedal:
        kernel.last.say(InputEvent(EV_KEY, ecodes.KEY_A, 1), REPORT)
        until(lambda: pedal.observe().pressed == {"takeover"})
        kernel.last.held = [ecodes.KEY_B]
        kernel.last.say(InputEvent(EV_SYN, SYN_DROPPED, 0), REPORT)
        until(lambda: pedal.observe().pressed == {"success"})
        assert dict(pedal.observe().counts) == {"takeover": 1, "success": 1, "failure": 0}


def test_an_unplugged_device_is_a_fault(kernel: type[FakeDevice]) -> None:
    with PedalSwitch(PedalConfig(), name="pedal") as pedal:
        kernel.last.unplug()
        until_fault(pedal.observe, match="unplugged")


def test_without_permission_it_says_which_group_to_join(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    node = tmp_path / "event0"
    node.touch()
    monkeypatch.setattr(evdev, "InputDevice", refused)
    with pytest.raises(ConnectError, match="sudo usermod -aG input"):
        PedalSwitch(PedalConfig(device=str(node)), name="pedal").connect(timeout_s=0.1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"keys": {}}, "keys is empty"), ({"keys": {"KEY_Ä": "takeover"}}, "unknown to Linux")],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PedalConfig(**wrong)
