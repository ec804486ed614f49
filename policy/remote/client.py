"""A policy that thinks on another machine. Needs no torch."""

import os
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from dexhil.policy.episodes import Features
from dexhil.policy.errors import LostError, RemoteError
from dexhil.policy.remote.config import RemoteConfig
from dexhil.policy.remote.link import Link
from dexhil.policy.remote.translation import Translation

FIRST_S: Final = 100.0  # Many servers compile when they are asked for the first time [s].
AGAIN_S: Final = 1.0  # Between two tries to reach a server that is gone [s].


class RemotePolicy:
    """Asks a policy server, and waits for it. To wait for nothing, put it into a `ProcessPolicy`.

    The server is tried with a blank observation before anything else, so that a policy for another
    robot is refused while the robot is off. From then on whatever goes wrong loses the policy:
    ``tend`` comes back to the server, and tries it again, as soon as it can.

    Args:
        config: Of the server.
        features: What the rig shows and takes.
        task: What the robot is asked to do, unless the configuration says so.
        rate_hz: Of the rig's policy loop, to compare with the configuration's [1/s].

    Attributes:
        execute_steps: Actions of a chunk to execute before asking again.
        cameras: Image features it is shown.

    Raises:
        RemoteError: The server is not there, or it and the rig do not fit.
    """

    def __init__(
        self,
        config: RemoteConfig,
        features: Features,
        *,
        task: str = "",
        rate_hz: float | None = None,
    ) -> None:
        if rate_hz is not None and config.rate_hz not in {None, rate_hz}:
            raise RemoteError(
                f"{config.url}: its actions are for {config.rate_hz:g} Hz, the rig's policy loop "
                f"runs at {rate_hz:g} Hz. Set policy_rate_hz in the rig's [teleop]."
            )
        self._config = config
        self._translation = Translation(config, features, task)
        self._link: Link | None = None
        self._problem, self._next_s = f"{config.url}: it was not asked yet.", 0.0
        self._is_new_drive = True
        self.cameras = tuple(features.cameras[camera] for camera in config.cameras)
        horizon = len(self._connect())
        self.execute_steps = config.execute_steps or max(1, horizon // 2)
        if self.execute_steps > horizon:
            self.close()
            raise RemoteError(
                f"{config.url}: it gives {horizon} actions, fewer than the {self.execute_steps} "
                "of execute_steps."
            )

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
        if self._link is not None:
            self._link.close()

    def reset(self) -> None:
        """Forget the past: somebody else drove. Only servers with a ``reset_key`` are told."""
        self._is_new_drive = True

    def infer(self, observation: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        """Return the next joint targets, arm first [rad]. Shape (horizon, n).

        Raises:
            LostError: The server is gone, late, or talks nonsense.
        """
        return self._ask(observation, self._config.answer_s)

    def tend(self) -> None:
        """Notice that the server is gone; come back to it. To be called while nobody asks.

        Raises:
            LostError: It is not there; says why.
        """
        if self._link is not None:
            if self._link.is_open:
                return
            raise self._lose(LostError(f"{self._config.url}: it closed the connection."))
        if time.monotonic() < self._next_s:
            raise LostError(self._problem)
        self._connect()

    def _connect(self) -> npt.NDArray[np.float64]:
        """Reach the server and return what it answers to a blank observation."""
        try:
            self._link = Link(self._config.url, api_key=os.environ.get(self._config.api_key_env))
        except LostError as error:
            raise self._lose(error) from error
        return self._ask(self._translation.blank(), FIRST_S)

    def _ask(
        self, observation: Mapping[str, npt.NDArray[Any]], timeout_s: float
    ) -> npt.NDArray[np.float64]:
        if self._link is None:
            raise LostError(self._problem)
        request = self._translation.request(observation, reset=self._is_new_drive)
        try:
            chunk = self._translation.actions(self._link.ask(request, timeout_s))
        except LostError as error:
            raise self._lose(error) from error
        except ValueError as error:
            raise self._lose(LostError(f"{self._config.url}: {error}.")) from error
        self._is_new_drive = False
        return chunk

    def _lose(self, error: LostError) -> LostError:
        """Let go of the server, and remember why."""
        self.close()
        self._link = None
        self._problem, self._next_s = str(error), time.monotonic() + AGAIN_S
        return error
