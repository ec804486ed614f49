"""Can this user reach what a rig file names? Ports, input devices and CAN interfaces of Linux."""

import grp
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

DEFAULT_BITRATE = 1_000_000  # Of every hand on a CAN bus that has a driver here [bit/s].
_CAN_TYPE = "280"  # ARPHRD_CAN in linux/if_arp.h.
_IS_UP = 1  # IFF_UP in linux/if.h.
_LATENCY_RULE = (
    'for good, put ACTION=="add", SUBSYSTEM=="usb-serial", DRIVER=="ftdi_sio", '
    'ATTR{latency_timer}="1" into /etc/udev/rules.d/70-dexhil.rules'
)
# Where the kernel lists devices under names that stay.
_FOLDERS = {
    "/dev/tty": "/dev/serial/by-id",
    "/dev/serial": "/dev/serial/by-id",
    "/dev/input": "/dev/input/by-id",
    "/dev/video": "/dev/v4l/by-id",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check.

    Attributes:
        name: What was looked at.
        ok: Whether it is fit.
        measured: What was found, and what to do if it is not fit.
    """

    name: str
    ok: bool
    measured: str


def _may_use(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine, or a folder that looks like one.

    Attributes:
        root: Where ``/dev`` and ``/sys`` are.
        may_use: Whether this user may read and write a file.
    """

    root: Path = Path("/")
    may_use: Callable[[Path], bool] = field(default=_may_use)

    def examine(self, config: Any) -> Iterator[Finding]:
        """Look at every port and interface that a device's configuration names."""
        values = {each.name: getattr(config, each.name) for each in fields(config)}
        for value in values.values():
            if isinstance(value, str | Path) and str(value).startswith("/dev/"):
                yield from self._node(str(value))
        if values.get("interface") == "socketcan":
            yield self._can(str(values["channel"]))

    def _node(self, name: str) -> Iterator[Finding]:
        """Look at a device file and, behind it, at its adapter."""
        path = self._at(name)
        if not path.exists():
            yield Finding(name=name, ok=False, measured=f"is not there. {self._alternatives(name)}")
            return
        node = path.resolve()
        if not self.may_use(node):
            yield Finding(name=name, ok=False, measured=f"no permission. Try: {self._mend(node)}")
            return
        yield Finding(name=name, ok=True, measured="is there and may be used")
        timer = self._at(f"/sys/class/tty/{node.name}/device/latency_timer")
        if timer.is_file():
            yield _latency(name, timer)

    def _can(self, channel: str) -> Finding:
        name, interfaces = f"CAN interface {channel}", self._at("/sys/class/net")
        folder = interfaces / channel
        if not folder.is_dir():
            there = [p.name for p in sorted(interfaces.glob("*")) if _read(p / "type") == _CAN_TYPE]
            found = f"There are: {', '.join(there)}." if there else "There is none."
            mend = "Plug the adapter in and load its kernel driver, or correct the rig file."
            return Finding(name=name, ok=False, measured=f"is not there. {found} {mend}")
        if _read(folder / "type") != _CAN_TYPE:
            return Finding(name=name, ok=False, measured="is no CAN interface; see: ip link")
        if not int(_read(folder / "flags") or "0", 16) & _IS_UP:
            mend = f"sudo ip link set {channel} up type can bitrate {DEFAULT_BITRATE}"
            faster = "and for a CAN-FD hand add: dbitrate 5000000 fd on"
            return Finding(name=name, ok=False, measured=f"is down. Try: {mend} ({faster})")
        return Finding(name=name, ok=True, measured="is up")

    def _alternatives(self, name: str) -> str:
        """Say what of the same sort there is."""
        folder = next((f for start, f in _FOLDERS.items() if name.startswith(start)), None)
        if folder is None:
            return "Plug it in, or correct the rig file."
        there = [f"{folder}/{path.name}" for path in sorted(self._at(folder).glob("*"))]
        found = f"There are: {', '.join(there)}." if there else f"There is nothing in {folder}."
        return f"{found} Plug it in, or correct the rig file."

    def _mend(self, node: Path) -> str:
        """Say how this user gets to use ``node``."""
        if node.name.startswith("hidraw"):
            about = _read(self._at(f"/sys/class/hidraw/{node.name}/device/uevent"))
            found = re.search(r"HID_ID=\w+:0000(\w{4}):", about)
            vendor = found[1].lower() if found else "VENDOR"
            rule = f'KERNEL=="hidraw*", ATTRS{{idVendor}}=="{vendor}", TAG+="uaccess"'
            return (
                f"echo '{rule}' | sudo tee -a /etc/udev/rules.d/70-dexhil.rules; "
                "sudo udevadm control --reload; then plug it in again"
            )
        return f"sudo usermod -aG {_group(node)} $USER, then log in again"

    def _at(self, name: str) -> Path:
        return self.root / name.removeprefix("/")


def _latency(name: str, timer: Path) -> Finding:
    waits_ms = int(_read(timer) or "0")
    measured = f"{waits_ms} ms"
    if waits_ms > 1:  # No failure: ``SerialWire`` asks the kernel for less when it opens the port.
        measured += f" until a driver opens it and asks for 1; {_LATENCY_RULE}"
    return Finding(name=f"latency timer of {name}", ok=True, measured=measured)


def _group(node: Path) -> str:
    try:
        return grp.getgrgid(node.stat().st_gid).gr_name
    except KeyError:
        return str(node.stat().st_gid)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
