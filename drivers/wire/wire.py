"""What every wire is: bytes out, bytes in, and a capture of both for whoever wants one."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar, final

from dexhil.drivers.wire.capture import CaptureWriter

MessageT = TypeVar("MessageT")


class Link(ABC, Generic[MessageT]):
    """A link that carries messages of one type.

    Everything raises the builtin ``ConnectionError`` when the link is gone, as a vendor's
    library would; ``Device`` turns that into our errors. One thread uses it at a time;
    stop that thread before closing.

    Args:
        capture: File to write everything down in, see ``capture.py``.
        about: What the capture's first line shall say of the device.
    """

    def __init__(self, capture: Path | None = None, about: Mapping[str, Any] | None = None) -> None:
        self._capture = capture
        self._about = about or {}
        self._writer: CaptureWriter | None = None
        self._closed = threading.Event()
        self._closed.set()

    @final
    def open(self) -> None:
        """Open the link.

        Raises:
            ConnectionError: It cannot be opened; the text says where and why.
        """
        try:
            self._open()
            if self._capture is not None:
                self._writer = CaptureWriter(self._capture, type(self).__name__, self._about)
        except OSError as error:
            self._close()
            raise ConnectionError(f"cannot open {self} ({error})") from error
        self._closed.clear()

    @final
    def close(self) -> None:
        """Let go of the link. Repeating does nothing."""
        self._closed.set()
        writer, self._writer = self._writer, None
        try:
            self._close()
        finally:
            if writer is not None:
                writer.close()

    @final
    def send(self, message: MessageT) -> None:
        """Send one message.

        Raises:
            ConnectionError: The link is gone.
        """
        self._require_open()
        try:
            self._send(message)
        except OSError as error:
            raise ConnectionError(f"{self} is gone ({error})") from error
        if self._writer is not None:
            self._writer.add(self._encoded(message), incoming=False)

    @final
    def _next(self, timeout_s: float) -> MessageT | None:
        self._require_open()
        try:
            message = self._receive(timeout_s)
        except OSError as error:
            raise ConnectionError(f"{self} is gone ({error})") from error
        if self._writer is not None and message:
            self._writer.add(self._encoded(message), incoming=True)
        return message

    def _require_open(self) -> None:
        if self._closed.is_set():
            raise ConnectionError(f"{self} is closed")

    # -- What a transport implements: any OSError means that the link is gone ----------

    @abstractmethod
    def __str__(self) -> str:
        """Say where it leads, e.g. ``serial port /dev/ttyUSB0``."""

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _close(self) -> None: ...

    @abstractmethod
    def _send(self, message: MessageT) -> None: ...

    @abstractmethod
    def _receive(self, timeout_s: float) -> MessageT | None:
        """Return the next message, or ``None`` when none came in time."""

    @abstractmethod
    def _encoded(self, message: MessageT) -> bytes:
        """Return what a capture shall hold of ``message``."""


class Wire(Link[bytes]):
    """A link that carries bytes: a stream of them, or one datagram at a time."""

    @final
    def receive(self, timeout_s: float) -> bytes:
        """Return what came, at most one datagram, or ``b""`` when nothing came in time.

        Args:
            timeout_s: Longest wait [s].

        Raises:
            ConnectionError: The link is gone.
        """
        return self._next(timeout_s) or b""

    def _encoded(self, message: bytes) -> bytes:
        return message
