"""The process that a policy thinks in, apart from the loops that drive the robot.

``main`` is the other end of `ProcessPolicy`. Pictures lie in shared memory; the rest are tuples
that begin with a verb:

    in   ("open", Job), first of all   ("ask", Request)
    out  ("ready", execute_steps, cameras)   ("answer", Answer)   ("failed", text), the last
         ("lost", text)   ("lost", None)   ("answer", None), to what was asked of a lost policy

It ends when its policy fails, or when the other process lets go of the pipe or is gone. A policy
with a ``tend`` may be lost and come back: whatever is asked meanwhile has no answer.
"""

import importlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from dexhil.policy.errors import LostError
from dexhil.policy.memory import Pictures, Shape

BEAT_S: Final = 0.1  # Between two signs of life while there is nothing to do [s].
_NICENESS: Final = 5  # Whatever it computes can wait for the robot.


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to run.

    Attributes:
        factory: Makes the policy, as ``"package.module:name"``.
        options: Its keyword arguments.
        shapes: Of the pictures in the memory, by feature.
        parent: Process that asks.
    """

    factory: str
    options: Mapping[str, Any]
    shapes: Mapping[str, Shape]
    parent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a policy is asked.

    Attributes:
        epoch: The drive it is asked for. With a new one, the policy forgets the past.
        stamp_s: When the observation was taken [s].
        numbers: The observation but for its pictures.
        pictures: Those of it that lie in the memory.
    """

    epoch: int
    stamp_s: float
    numbers: Mapping[str, npt.NDArray[Any]]
    pictures: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """A chunk of actions, and what it answers.

    Attributes:
        chunk: [rad]. Shape (horizon, n), arm first.
        epoch: The one of the request.
        stamp_s: When the observation in the request was taken [s].
    """

    chunk: npt.NDArray[Any]
    epoch: int
    stamp_s: float


class _Policy(Protocol):
    execute_steps: int

    def reset(self) -> None: ...
    def infer(self, observation: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]: ...


class _Server:
    """One policy, as long as the process lives."""

    def __init__(self, pipe: Connection, memory: int) -> None:
        self._pipe = pipe
        self._job: Job = pipe.recv()[1]
        self._pictures = Pictures(self._job.shapes, memory)
        self._epoch: int | None = None
        self._lost: str | None = None

    def run(self) -> None:
        """Answer until the end."""
        try:
            policy = _make(self._job)
            os.nice(_NICENESS)  # Not before: starting is not to take forever on a busy machine.
            self._pictures.beat()
            cameras = tuple(getattr(policy, "cameras", self._job.shapes))
            self._tell("ready", policy.execute_steps, cameras)
            while (request := self._next(policy)) is not None:
                answer = self._answer(policy, request)
                # Who no longer waits for an answer waits for signs of life.
                self._pictures.beat()
                self._tell("answer", answer)
        except Exception as error:  # noqa: BLE001  # A policy may raise anything; a person reads it.
            self._tell("failed", f"{type(error).__name__}: {error}")

    def _answer(self, policy: _Policy, request: Request) -> Answer | None:
        if request.epoch != self._epoch:
            self._epoch = request.epoch
            policy.reset()
        pictures = {name: self._pictures[name] for name in request.pictures}
        try:
            chunk = np.array(policy.infer({**request.numbers, **pictures}))
        except LostError as error:
            self._tell_lost(str(error))
            return None
        return Answer(chunk=chunk, epoch=request.epoch, stamp_s=request.stamp_s)

    def _next(self, policy: _Policy) -> Request | None:
        """Return the next request, or ``None`` when there will be no other."""
        tend = getattr(policy, "tend", None)
        while True:
            if tend is not None:
                self._tend(tend)
            self._pictures.beat()
            try:
                if self._pipe.poll(BEAT_S):
                    request: Request = self._pipe.recv()[1]
                    return request
            except (EOFError, OSError):
                return None
            # Another child of the parent may hold the pipe open beyond the parent's end.
            if os.getppid() != self._job.parent:
                return None

    def _tend(self, tend: Callable[[], None]) -> None:
        try:
            tend()
        except LostError as error:
            self._tell_lost(str(error))
        else:
            self._pictures.beat()  # Coming back may have taken a while.
            self._tell_lost(None)

    def _tell_lost(self, why: str | None) -> None:
        if why != self._lost:
            self._lost = why
            self._tell("lost", why)

    def _tell(self, *message: Any) -> None:
        with suppress(OSError):  # Nobody is there: ``_next`` will see.
            self._pipe.send(message)


def _make(job: Job) -> _Policy:
    module, _, name = job.factory.partition(":")
    factory: Any = importlib.import_module(module)
    for part in name.split("."):
        factory = getattr(factory, part)
    policy: _Policy = factory(**job.options)
    return policy


def main() -> None:
    """Serve the pipe and the memory whose descriptors are the arguments."""
    pipe, memory = (int(argument) for argument in sys.argv[1:3])
    # Ctrl-C is for the program that asks. No session of its own: some kernels give each an equal
    # share of the machine, and this one's is that of the robot.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Server(Connection(pipe), memory).run()
