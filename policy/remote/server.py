"""A policy served to others, in openpi's protocol. Needs no torch; its policy may."""

import asyncio
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from hmac import compare_digest
from http import HTTPStatus
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from dexhil.policy.errors import PolicyError, RemoteError
from dexhil.policy.remote.config import DESCRIPTION, RESET, Served
from dexhil.policy.remote.link import LARGEST_BYTES
from dexhil.policy.remote.packing import pack, unpack

HEALTH: Final = "/healthz"
_LOG = logging.getLogger(__name__)


class ServedPolicy(Protocol):
    """What is served."""

    def reset(self) -> None: ...
    def infer(self, observation: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float64]: ...


class PolicyServer:
    """Answers any number of clients, one request at a time; they share the policy's noise.

    Args:
        policy: Who answers.
        about: What it takes and gives.
        host: Address to listen at; ``"0.0.0.0"`` for every network of this machine.
        port: 0 for any that is free.
        api_key: Without it in its header nobody is served, if given.
    """

    def __init__(
        self,
        policy: ServedPolicy,
        about: Served,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        api_key: str | None = None,
    ) -> None:
        self._policy, self._about = policy, about
        self._host, self._port = host, port
        self._api_key = api_key
        self._turn = asyncio.Lock()

    async def run(self, ready: Callable[[str], None] = lambda _: None) -> None:
        """Serve until cancelled.

        Args:
            ready: Told the address once somebody listens there.

        Raises:
            RemoteError: The address cannot be had.
        """
        # Port scanners and health checks of routers are no errors of ours.
        quiet = logging.getLogger(f"{__name__}.wire")
        quiet.setLevel(logging.CRITICAL)
        server = serve(
            self._converse,
            self._host,
            self._port,
            compression=None,
            max_size=LARGEST_BYTES,
            process_request=self._admit,
            logger=quiet,
        )
        try:
            listening = await server
        except OSError as error:
            raise RemoteError(
                f"{self._host}:{self._port}: cannot listen there ({error})."
            ) from error
        async with listening:
            host, port = next(iter(listening.sockets)).getsockname()[:2]
            ready(f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}")
            await listening.serve_forever()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path == HEALTH:
            return connection.respond(HTTPStatus.OK, "OK\n")
        given = request.headers.get("Authorization", "")
        wanted = f"Api-Key {self._api_key}"
        if self._api_key is None or compare_digest(given.encode(), wanted.encode()):
            return None
        return connection.respond(HTTPStatus.UNAUTHORIZED, "Wrong or missing key.\n")

    async def _converse(self, connection: ServerConnection) -> None:
        """Say what the policy is; then answer until the client goes, or asks what is none."""
        is_first, timing = True, dict[str, float]()
        try:
            await connection.send(pack({DESCRIPTION: asdict(self._about)}))
            async for message in connection:
                begin_s = time.monotonic()
                try:
                    request = self._request(message)
                    is_first = is_first or bool(request.get(RESET))
                    observation = self._observation(request)
                    actions, took_s = await self._infer(observation, reset=is_first)
                except Exception as error:  # noqa: BLE001  # Whatever it is, the client reads it.
                    await _refuse(connection, error)
                    break
                is_first = False
                timing["infer_ms"] = 1e3 * took_s
                await connection.send(pack({"actions": actions, "server_timing": timing}))
                timing = {"prev_total_ms": 1e3 * (time.monotonic() - begin_s)}
        except ConnectionClosed:
            pass

    async def _infer(
        self, observation: Mapping[str, npt.NDArray[Any]], *, reset: bool
    ) -> tuple[npt.NDArray[np.float64], float]:
        """Return the actions, and how long they took [s]. In a thread: pings are answered."""
        async with self._turn:
            begin_s = time.monotonic()
            if reset:
                self._policy.reset()
            actions = await asyncio.to_thread(self._policy.infer, observation)
            return actions, time.monotonic() - begin_s

    def _request(self, message: str | bytes) -> dict[str, Any]:
        request = unpack(message) if isinstance(message, bytes) else message
        if not isinstance(request, dict):
            raise RemoteError(f"A request must be a map, this is a {type(request).__name__}.")
        return request

    def _observation(self, request: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
        """Return what the policy takes of a request.

        Raises:
            RemoteError: Something is missing or is not what the policy was trained with.
        """
        names = (*self._about.observations, *self._about.cameras)
        for name in names:
            value = request.get(name)
            if not isinstance(value, np.ndarray):
                has = ", ".join(map(repr, list(request)[:12])) or "nothing"
                raise RemoteError(f"The policy needs an array {name!r}; the request has {has}.")
            if name in self._about.cameras:
                is_picture = value.ndim == 3 and value.shape[2] == 3 and value.size > 0
                if value.dtype != np.uint8 or not is_picture:
                    raise RemoteError(_misshapen(name, value, "(height, width, 3) of uint8"))
            elif value.shape != (size := (self._about.observations[name],)):
                raise RemoteError(_misshapen(name, value, f"{size}"))
            elif not np.isfinite(value).all():
                raise RemoteError(f"{name!r} is not finite.")
        return {name: request[name] for name in names}


def _misshapen(name: str, value: npt.NDArray[Any], wanted: str) -> str:
    return f"{name!r} has shape {value.shape} of {value.dtype}, the policy takes {wanted}."


async def _refuse(connection: ServerConnection, error: Exception) -> None:
    """Tell the client what is wrong, as openpi's servers do: a text, then the end."""
    expected = isinstance(error, PolicyError | ValueError)
    text = f"{type(error).__name__}: {error}" if expected else traceback.format_exc()
    _LOG.warning("A request from %s was refused: %s", connection.remote_address, text)
    await connection.send(text)
    await connection.close(CloseCode.INTERNAL_ERROR, "The frame before says why.")
