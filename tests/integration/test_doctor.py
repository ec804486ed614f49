"""The doctor finds what is wrong with a machine and a rig, and says how to mend it."""

import os
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from dexhil.drivers import registry
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.glove import GloveObservation
from dexhil.drivers.glove.sim import SimGlove
from dexhil.integration import cli, doctor
from dexhil.integration.doctor import drivers
from dexhil.integration.machine import Finding, Machine
from dexhil.teleop import realtime


@dataclass(frozen=True)
class Config:
    """What a driver's configuration may name."""

    port: str = ""
    path: Path | None = None
    interface: str = ""
    channel: str = "can0"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine with nothing in it."""
    for folder in ("dev", "sys/class/net", "sys/class/tty"):
        (tmp_path / folder).mkdir(parents=True)
    return Machine(tmp_path, may_use=lambda _: True)


def put(machine: Machine, name: str, text: str = "") -> None:
    path = machine.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def only(machine: Machine, config: Config) -> Finding:
    (finding,) = machine.examine(config)
    return finding


# -- Ports ---------------------------------------------------------------------------


def test_a_port_that_is_there_is_fit(machine: Machine) -> None:
    put(machine, "dev/ttyACM0")
    assert only(machine, Config(port="/dev/ttyACM0")).ok


def test_a_port_that_is_missing_names_those_that_there_are(machine: Machine) -> None:
    put(machine, "dev/serial/by-id/usb-FTDI_USB-if00")
    finding = only(machine, Config(port="/dev/ttyUSB0"))
    assert not finding.ok
    assert "/dev/serial/by-id/usb-FTDI_USB-if00" in finding.measured


def test_a_port_without_permission_names_the_group_to_join(machine: Machine) -> None:
    put(machine, "dev/ttyUSB0")
    finding = only(replace(machine, may_use=lambda _: False), Config(port="/dev/ttyUSB0"))
    assert not finding.ok
    group = doctor_group(machine.root / "dev/ttyUSB0")
    assert f"sudo usermod -aG {group} $USER" in finding.measured


def doctor_group(path: Path) -> str:
    import grp

    return grp.getgrgid(os.stat(path).st_gid).gr_name


def test_an_input_device_and_a_path_are_looked_at_as_well(machine: Machine) -> None:
    config = Config(port="/dev/input/event3", path=Path("/dev/video7"))
    said = [finding.measured for finding in machine.examine(config)]
    assert "/dev/input/by-id" in said[0]
    assert "/dev/v4l/by-id" in said[1]


def test_a_hid_device_without_permission_gives_the_udev_rule(machine: Machine) -> None:
    put(machine, "dev/hidraw3")
    put(machine, "sys/class/hidraw/hidraw3/device/uevent", "HID_ID=0003:0000256F:0000C635\n")
    finding = only(replace(machine, may_use=lambda _: False), Config(port="/dev/hidraw3"))
    assert not finding.ok
    assert 'ATTRS{idVendor}=="256f"' in finding.measured


@pytest.mark.parametrize(("waits_ms", "short"), [("1", True), ("16", False)])
def test_a_long_latency_timer_of_an_ftdi_adapter_is_told(
    machine: Machine, waits_ms: str, short: bool
) -> None:
    put(machine, "dev/ttyUSB0")
    put(machine, "sys/class/tty/ttyUSB0/device/latency_timer", f"{waits_ms}\n")
    (machine.root / "dev/hand").symlink_to("ttyUSB0")  # As udev names it.
    there, latency = machine.examine(Config(port="/dev/hand"))
    assert there.ok
    assert latency.ok
    assert ("70-dexhil.rules" in latency.measured) == (not short)


# -- CAN -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "type_", "says"),
    [
        ("0x40080", "280", "sudo ip link set can0 up type can bitrate 1000000"),
        ("0x40081", "1", "is no CAN interface"),
        ("0x40081", "280", "is up"),
    ],
)
def test_a_can_interface_must_be_up(machine: Machine, flags: str, type_: str, says: str) -> None:
    put(machine, "sys/class/net/can0/flags", flags)
    put(machine, "sys/class/net/can0/type", type_)
    finding = only(machine, Config(interface="socketcan"))
    assert says in finding.measured
    assert finding.ok == (says == "is up")


def test_a_can_interface_that_is_missing_names_those_that_there_are(machine: Machine) -> None:
    put(machine, "sys/class/net/can4/type", "280")
    put(machine, "sys/class/net/eth0/type", "1")
    finding = only(machine, Config(interface="socketcan"))
    assert not finding.ok
    assert "There are: can4." in finding.measured


def test_an_emulated_bus_needs_no_interface(machine: Machine) -> None:
    assert not list(machine.examine(Config(interface="udp_multicast")))


# -- Packages ------------------------------------------------------------------------


@pytest.mark.parametrize(("allowed", "said"), [(True, "allowed"), (False, "rtprio")])
def test_whether_loops_may_have_priority_is_told_and_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, allowed: bool, said: str
) -> None:
    monkeypatch.setattr(realtime, "claim_priority", lambda _: allowed)
    (finding,) = [each for each in doctor.examine() if each.name == "real-time priority"]
    assert finding.ok
    assert said in finding.measured


def test_a_package_that_is_too_old_or_missing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        del name
        return [
            "numpy>=2",
            "mink>=99",
            "nowhere>=1",
            "torch>=2.5; extra == 'train'",
            "x; extra == 'y'",
        ]

    real = doctor.importlib.metadata.version

    def version(name: str) -> str:
        if name in {"nowhere", "torch"}:
            raise PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(doctor.importlib.metadata, "requires", requires)
    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    found = {finding.name: finding for finding in doctor._packages()}
    assert set(found) == {"numpy", "mink", "nowhere", "torch"}
    assert found["numpy"].ok
    assert "needs >=99" in found["mink"].measured
    assert "pip install 'nowhere>=1'" in found["nowhere"].measured
    assert "pip install 'dexhil[train]'" in found["torch"].measured


def test_every_driver_says_what_to_install_for_it() -> None:
    listed = {(driver.kind, driver.name): driver for driver in drivers()}
    assert listed["hand", "sim"].package == "dexhil"
    assert listed["hand", "sim"].problem is None
    assert {kind for kind, _ in listed} == set(registry.KINDS)


# -- Rigs ----------------------------------------------------------------------------


def examined(tmp_path: Path, text: str, machine: Machine | None = None) -> dict[str, Finding]:
    path = tmp_path / "rig.toml"
    path.write_text(text)
    return {finding.name: finding for finding in doctor._rig(path, machine or Machine())}


def test_a_bench_with_one_device_is_examined_and_told_what_a_rig_needs(tmp_path: Path) -> None:
    found = examined(tmp_path, '[glove.right]\ndriver = "sim"\n')
    assert all(finding.ok for finding in found.values()), found
    assert "needs arm, hand, tracker, switch as well" in found[str(tmp_path / "rig.toml")].measured
    assert "fresh samples a second" in found["SimGlove 'right'"].measured


def test_a_device_that_cannot_be_reached_is_not_even_tried(
    tmp_path: Path, machine: Machine
) -> None:
    found = examined(
        tmp_path, '[switch.pedal]\ndriver = "pedal"\ndevice = "/dev/input/event9"\n', machine
    )
    assert not found["/dev/input/event9"].ok
    assert not any("PedalSwitch" in name for name in found)


def test_an_option_that_is_wrong_is_one_finding(tmp_path: Path) -> None:
    found = examined(
        tmp_path, '[glove.right]\ndriver = "sim"\nrate = 3\n[tracker.t]\ndriver = "sim"\n'
    )
    assert "Did you mean 'rate_hz'?" in found["[glove.right]"].measured
    assert found["SimTracker 't'"].ok, "the others are examined all the same"


def test_an_emulated_device_is_fit(tmp_path: Path) -> None:
    with EmulatorProcess("pedal") as process:
        device = process.options["device"]
        found = examined(tmp_path, f'[switch.pedal]\ndriver = "pedal"\ndevice = "{device}"\n')
        assert found["PedalSwitch 'pedal'"].ok
        process.faults.unplug()
        found = examined(tmp_path, f'[switch.pedal]\ndriver = "pedal"\ndevice = "{device}"\n')
        assert not found["PedalSwitch 'pedal'"].ok


class ClockedGlove(SimGlove):
    """A glove with a clock of its own."""

    speed = 1.0
    offset_s = 0.0

    def _read(self) -> GloveObservation:
        sample = super()._read()
        return replace(
            sample,
            device_stamp_s=500.0 + self.speed * sample.stamp_s,
            stamp_s=sample.stamp_s + self.offset_s,
        )


@pytest.mark.parametrize(
    ("speed", "offset_s", "says"),
    [
        (1.0, 0.0, "runs +0.0% against ours"),
        (1.2, 0.0, "runs +20.0% against ours, allowed 5%"),
        (-1.0, 0.0, "went back by"),
        (1.0, 0.5, "stamps 500 ms in the future"),
    ],
)
def test_a_devices_clock_is_compared_with_ours(
    monkeypatch: pytest.MonkeyPatch, speed: float, offset_s: float, says: str
) -> None:
    monkeypatch.setattr(ClockedGlove, "speed", speed)
    monkeypatch.setattr(ClockedGlove, "offset_s", offset_s)
    glove: Any = ClockedGlove(SimGlove.config_type(), name="right")
    found = [finding for finding in doctor._device(glove) if "clock" in finding.name]
    assert says in found[0].measured
    assert found[0].ok == (speed == 1.0 and offset_s == 0.0)


def test_brackets_survive_the_table(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rig = tmp_path / "rig.toml"
    rig.write_text('[glove.right]\ndriver = "sim"\nrate = 3\n')
    with pytest.raises(SystemExit) as stop:
        cli.main(["doctor", "--rig", str(rig)])
    assert stop.value.code == 1
    # Once as the name of the check, once in what was found.
    assert capsys.readouterr().out.count("[glove.right]") == 2
