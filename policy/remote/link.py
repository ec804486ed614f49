"""One connection to a policy server."""

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)
from websockets.protocol import State
from websockets.sync.client import connect

from dexhil.policy.errors import LostError
from dexhil.policy.remote.packing import pack, unpack

CONNECT_S: Final = 5.0
LARGEST_BYTES: Final = 1 << 26  # Of a message: several large pictures.
_CLOSE_S: Final = 0.5
_LONGEST_TEXT: Final = 300


class Link:
    """A connection, from the server's first message until either side ends it.

    Every failure ends it: an answer that comes late would be taken for that of the next request.

    Args:
        url: Of the server.
        api_key: For a server that asks for one.

    Attributes:
        metadata: What the server said of itself.

    Raises:
        LostError: Nobody is there, or nobody who speaks openpi's protocol.
    """

    def __init__(self, url: str, *, api_key: str | None = None) -> None:
        self._url = url
        headers = {} if api_key is None else {"Authorization": f"Api-Key {api_key}"}
        self._stack = ExitStack()
        with self._failing(CONNECT_S):
            connection = connect(
                url,
                additional_headers=headers,
                compression=None,  # Pictures would take longer to compress than to send.
                max_size=LARGEST_BYTES,
                open_timeout=CONNECT_S,
                close_timeout=_CLOSE_S,
                ping_interval=None,  # A server that thinks need not answer a ping; we have limits.
                proxy=None,
            )
            self._connection = self._stack.enter_context(connection)
            self.metadata = self._receive(CONNECT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection. Safe to repeat."""
        self._stack.close()

    @property
    def is_open(self) -> bool:
        """Whether the other side has not let go, as far as the system knows."""
        return self._connection.protocol.state is State.OPEN

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> Any:
        """Return the server's answer.

        Raises:
            LostError: There is none, it came too late, or it is an error. The link is closed.
        """
        with self._failing(timeout_s):
            self._refuse_what_nobody_asked_for()
            _limit_sending(self._connection.socket, timeout_s)
            self._connection.send(pack(request))
            return self._receive(timeout_s)

    def _receive(self, timeout_s: float) -> Any:
        message = self._connection.recv(timeout_s)
        if isinstance(message, str):
            raise ValueError(f"it says: {_last_line(message)}")
        return unpack(message)

    def _refuse_what_nobody_asked_for(self) -> None:
        try:
            self._connection.recv(0)
        except TimeoutError:
            return
        raise ValueError("it sent an answer that nobody asked for")

    @contextmanager
    def _failing(self, timeout_s: float) -> Iterator[None]:
        try:
            yield
        except (OSError, WebSocketException, ValueError) as error:
            self.close()
            raise LostError(f"{self._url}: {_why(error, timeout_s)}.") from error
        except BaseException:
            self.close()
            raise


def _limit_sending(wire: socket.socket, timeout_s: float) -> None:
    """Have a server that does not read fail what is sent to it, which else would wait for ever."""
    if os.name == "posix":
        seconds, rest = divmod(timeout_s, 1.0)
        limit = struct.pack("ll", int(seconds), int(rest * 1e6))
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)


def _last_line(text: str) -> str:
    """Return of a traceback what a person reads first, without what a terminal would obey."""
    lines = ["".join(filter(str.isprintable, line)).strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "nothing")[:_LONGEST_TEXT]


def _why(error: Exception, timeout_s: float) -> str:
    match error:
        case ConnectionRefusedError():
            why = "nobody listens there. Is the server running?"
        case TimeoutError() | ConnectionClosed(__cause__=BlockingIOError()):
            why = f"no answer within {timeout_s:g} s"
        case ConnectionClosed(rcvd=None):
            why = "the connection broke"
        case ConnectionClosed(rcvd=close):
            why = f"it closed the connection ({close})"
        case InvalidStatus(response=response) if response.status_code == HTTPStatus.UNAUTHORIZED:
            why = "it refuses the key, or wants one; see api_key_env in docs/remote.md"
        case InvalidHandshake() | InvalidURI():
            why = f"no policy server is there ({error})"
        case _:
            why = str(error) or type(error).__name__
    return why.rstrip(".")
