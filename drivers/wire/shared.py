"""One link that several devices of this process listen to.

Both hands of a studio's stream, or the fingers and the wrist of a headset's, come to one
port, which only one socket can have. Each device owns a ``SharedWire``; the first to open it
opens the link, everybody gets every message, and the last to close it closes the link.
"""

import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dexhil.drivers.wire.wire import Wire
from dexhil.drivers.worker import Worker

_BACKLOG = 256  # A reader this far behind lost the present; it gets the newest ones.
_WAIT_S = 0.05

_lock = threading.Lock()
_hubs: dict[str, "_Hub"] = {}


class SharedWire(Wire):
    """A listener's share of a link. It only listens.

    Args:
        link: The link itself, unopened; shared with all whose link has the same ``str``.
        capture: See ``Link``.
        about: See ``Link``.
    """

    def __init__(
        self,
        link: Wire,
        *,
        capture: Path | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(capture, about)
        self._link = link
        self._name = str(link)
        self._hub: _Hub | None = None
        self._messages: deque[bytes] = deque(maxlen=_BACKLOG)

    def __str__(self) -> str:
        return self._name

    def _open(self) -> None:
        with _lock:
            hub = _hubs.get(self._name)
            if hub is None or not hub.alive:
                hub = _hubs[self._name] = _Hub(self._link)
            self._messages.clear()
            hub.join(self._messages)
            self._hub = hub

    def _close(self) -> None:
        hub, self._hub = self._hub, None
        if hub is None:
            return
        with _lock:
            if hub.leave(self._messages) and _hubs.get(self._name) is hub:
                del _hubs[self._name]

    def _send(self, message: bytes) -> None:
        del message
        raise ConnectionError("a shared link only listens")

    def _receive(self, timeout_s: float) -> bytes:
        if self._hub is None:
            raise ConnectionError("it was closed")
        return self._hub.next(self._messages, timeout_s)


class _Hub:
    """The link and everybody's share of what came. Made and joined under the lock above."""

    def __init__(self, link: Wire) -> None:
        self._link = link
        self._shares: list[deque[bytes]] = []
        self._news = threading.Condition()
        self._worker = Worker(self._step, f"listening on {link}")
        link.open()
        self._worker.start()

    @property
    def alive(self) -> bool:
        return self._worker.alive

    def join(self, share: deque[bytes]) -> None:
        with self._news:
            self._shares.append(share)

    def leave(self, share: deque[bytes]) -> bool:
        """Forget ``share``. Returns whether nobody is left, and the link was closed."""
        with self._news:
            self._shares = [each for each in self._shares if each is not share]
            if self._shares:
                return False
        try:
            self._worker.stop()
        finally:
            # A link that was lost is closed, and may have been opened again by another hub.
            if self._worker.error is None:
                self._link.close()
        return True

    def next(self, share: deque[bytes], timeout_s: float) -> bytes:
        with self._news:
            if not share:
                self._news.wait(timeout_s)
            if share:
                return share.popleft()
        self._worker.check()
        return b""

    def _step(self) -> None:
        try:
            message = self._link.receive(_WAIT_S)
        except BaseException:
            self._link.close()  # So that a device which connects again can have the port.
            raise
        if message:
            with self._news:
                for share in self._shares:
                    share.append(message)
                self._news.notify_all()
