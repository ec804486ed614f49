"""USB and Bluetooth devices that speak HID, read report by report."""

import os
import select
import socket
import stat
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import hid  # type: ignore[import-not-found]  # Compiled, without stubs.

from dexhil.drivers.wire.wire import Wire

LONGEST = 64  # Of a report of a full-speed USB device [byte].
_MULTI_AXIS = (1, 8)  # HID usage page and usage of a controller with six axes.
UDEV_RULE = (
    'Try: echo \'KERNEL=="hidraw*", ATTRS{{idVendor}}=="{vendor:04x}", MODE="0660", '
    'TAG+="uaccess"\' | sudo tee -a /etc/udev/rules.d/70-dexhil.rules; '
    "sudo udevadm control --reload; then plug it in again."
)


class HidWire(Wire):
    """Input reports of one HID device, one at a time, each with its number in front.

    Several programs, or two drivers of one program, may read the same device. Instead of a
    device it takes a Unix socket of packets, whose far end sends reports as a device does.

    Args:
        path: Of the device, e.g. ``/dev/hidraw3``; the first of ``models`` when ``None``.
        models: Vendor and product of the devices wanted.
        capture: See ``Link``.
        about: See ``Link``.
    """

    def __init__(
        self,
        path: str | None,
        models: Collection[tuple[int, int]] = (),
        *,
        capture: Path | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(capture, about)
        self._path, self._models = path, frozenset(models)
        self._device: hid.device | None = None
        self._socket: socket.socket | None = None

    def __str__(self) -> str:
        return f"HID device {self._path or 'of any known model'}"

    @property
    def silence_is_life(self) -> bool:
        """Whether hearing nothing means that all is well: the kernel reports an unplugging."""
        return self._device is not None

    def _open(self) -> None:
        if self._path is not None and _is_socket(self._path):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._socket.connect(self._path)
            return
        path, vendor = (self._path.encode(), 0) if self._path is not None else self._find()
        device = hid.device()
        try:
            device.open_path(path)
        except OSError as error:
            name = path.decode()
            if _is_forbidden(name):
                mend = UDEV_RULE.format(vendor=vendor) if vendor else "Add a udev rule for it."
                raise ConnectionError(f"{name}: no permission. {mend}") from error
            raise
        self._device = device

    def _find(self) -> tuple[bytes, int]:
        found = [
            info
            for info in hid.enumerate()
            if (info["vendor_id"], info["product_id"]) in self._models
        ]
        if not found:
            raise ConnectionError("none is plugged in")
        # A receiver shows several interfaces; only one of them has the axes.
        found.sort(key=lambda info: (info["usage_page"], info["usage"]) != _MULTI_AXIS)
        return bytes(found[0]["path"]), int(found[0]["vendor_id"])

    def _close(self) -> None:
        for opened in (self._device, self._socket):
            if opened is not None:
                opened.close()
        self._device = self._socket = None

    def _send(self, message: bytes) -> None:
        raise ConnectionError(f"{len(message)} bytes were to be sent to what only listens")

    def _receive(self, timeout_s: float) -> bytes:
        if self._device is not None:
            # It takes zero for «for ever».
            return bytes(self._device.read(LONGEST, max(1, round(timeout_s * 1e3))))
        if self._socket is None:
            raise ConnectionError("it was closed")
        if not select.select([self._socket], [], [], max(0.0, timeout_s))[0]:
            return b""
        report = self._socket.recv(LONGEST)
        if not report:
            raise ConnectionError("it was unplugged")
        return report


def _is_socket(path: str) -> bool:
    return stat.S_ISSOCK(os.stat(path).st_mode)


def _is_forbidden(path: str) -> bool:
    return os.access(path, os.F_OK) and not os.access(path, os.R_OK | os.W_OK)
