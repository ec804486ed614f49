"""A policy in a process of its own, so that the slowest of them never delays a loop.

The loops and the policy would otherwise share one interpreter and, worse, one thread: what the
policy takes for a chunk, the frames and the devices would wait. Pictures are copied once, into
shared memory; the rest goes through a pipe. This module needs no torch; the process loads it.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from dexhil.policy.errors import PolicyError
from dexhil.policy.memory import Pictures, Shape
from dexhil.policy.process_main import Answer, Job, Request

START_S: Final = 120.0  # Loading torch and a large policy from a slow disk takes less [s].
SILENT_S: Final = 2.0  # A process that is not thinking gives a sign of life every 0.1 s.
ANSWER_S: Final = 10.0  # No policy that drives a robot thinks for so long [s].
_EXIT_S: Final = 5.0

# Not as a module: nothing of the program that asks may be imported again.
_PROGRAM: Final = "from dexhil.policy.process_main import main; main()"


class ProcessPolicy:
    """A policy that answers later. Only ``start`` and ``close`` wait; see `AsyncPolicy`.

    Whatever ends or stops the process is told by ``problem``, once and for all: it is not
    started again, because what ended it would end the next one while it drives. A policy that
    lives elsewhere may be lost and come back: ``problem`` says so as long as it is.

    Args:
        factory: Makes the policy, as ``"package.module:name"``: anything with ``execute_steps``,
            ``reset`` and ``infer``; ``cameras``, if it has them, names the pictures it wants;
            ``tend``, if it has it, is called while nobody asks. Both that and ``infer`` raise
            `LostError` while the policy is out of reach.
        options: Keyword arguments of the factory; must pickle.
        shapes: Height, width and channels of the pictures that observations hold, by feature.

    Attributes:
        execute_steps: Of the policy. Known once started.
        cameras: Pictures that it looks at. Known once started.
    """

    def __init__(
        self, factory: str, options: Mapping[str, Any], shapes: Mapping[str, Shape] | None = None
    ) -> None:
        self._job = Job(factory=factory, options=options, shapes=shapes or {}, parent=os.getpid())
        self._process: subprocess.Popen[bytes] | None = None
        self._problem: str | None = "policy process: it was not started."
        self._lost: str | None = None  # While it is; the other thread says so.
        self._answer: Answer | None = None
        self._asked_s: float | None = None  # Until the answer is taken.
        self.execute_steps = 0
        self.cameras: tuple[str, ...] = ()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self, timeout_s: float = START_S) -> None:
        """Start the process and wait until its policy is ready.

        Raises:
            PolicyError: The policy cannot be made, or takes longer.
        """
        self._answer = self._asked_s = self._lost = None  # A process that ended owes nothing.
        memory = Pictures.make(self._job.shapes)
        try:
            self._pictures = Pictures(self._job.shapes, memory)
            self._process, self._pipe = _start(memory)
        finally:
            os.close(memory)
        self._reader = threading.Thread(target=self._read, name="policy answers", daemon=True)
        try:
            self._pipe.send(("open", self._job))
            verb, *values = self._pipe.recv() if self._pipe.poll(timeout_s) else ("late",)
        except (EOFError, OSError):
            verb, values = "failed", [self._ended()]
        except BaseException:
            self.close()
            raise
        if verb != "ready":
            self.close()
            why = values[0] if values else f"it is not ready after {timeout_s:g} s"
            raise PolicyError(f"policy process: {why}.")
        self.execute_steps, self.cameras = values
        self._problem = None
        self._reader.start()

    def close(self) -> None:
        """End the process. Safe to repeat."""
        process, self._process = self._process, None
        if process is None:
            return
        self._problem = self._problem or "policy process: it was closed."
        self._shut()
        try:
            process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:  # It still thinks; nobody wants to know.
            process.kill()
            process.wait()
        if self._reader.ident is not None:
            self._reader.join()
        self._pipe.close()

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._process is None else self._process.pid

    @property
    def problem(self) -> str | None:
        """Why it will not answer, if it will not."""
        stopped = self._problem or self._lost
        if stopped is not None:
            return stopped
        # Nobody takes an answer while the robot holds; it was given all the same. The answer is
        # read first because it is cleared last, by another thread.
        answer, asked_s = self._answer, self._asked_s
        if answer is None and asked_s is not None:
            owed_s = time.monotonic() - asked_s
            return None if owed_s < ANSWER_S else f"policy process: no answer for {owed_s:.0f} s."
        silent_s = self._pictures.silent_s()
        if silent_s < SILENT_S:
            return None
        return f"policy process: no sign of life for {silent_s:.1f} s. Was it stopped?"

    @property
    def busy(self) -> bool:
        """Whether it still owes an answer, or the last one was not taken."""
        return self._asked_s is not None

    def ask(
        self, observation: Mapping[str, npt.NDArray[Any]], *, epoch: int, stamp_s: float
    ) -> None:
        """Ask for a chunk. It forgets the past when the epoch is a new one. Not while busy.

        Args:
            observation: What is seen. Its pictures have the shapes given to the constructor.
            epoch: Comes back with the answer.
            stamp_s: Comes back with the answer [s].
        """
        pictures = tuple(name for name in self.cameras if name in observation)
        for name in pictures:
            np.copyto(self._pictures[name], observation[name])
        shapes = self._job.shapes
        numbers = {name: value for name, value in observation.items() if name not in shapes}
        request = Request(epoch=epoch, stamp_s=stamp_s, numbers=numbers, pictures=pictures)
        self._asked_s = time.monotonic()
        # One request at a time, far smaller than what a pipe holds: sending never waits.
        with suppress(OSError):  # It is gone; the reader says why.
            self._pipe.send(("ask", request))

    def take(self) -> Answer | None:
        """Return the answer if it is there, once."""
        answer = self._answer
        if answer is not None:
            self._asked_s = None
            self._answer = None
        return answer

    # -- The thread that waits so that nobody else has to --------------------------------------

    def _read(self) -> None:
        try:
            while True:
                verb, value = self._pipe.recv()
                if verb == "failed":
                    self._problem = f"policy process: {value}."
                    return
                if verb == "lost":
                    self._lost = value and f"policy: {value}"
                elif value is None:  # It was lost when it was asked.
                    self._asked_s = None
                else:
                    self._answer = value
        except (EOFError, OSError):
            self._problem = self._problem or f"policy process: {self._ended()}."

    def _ended(self) -> str:
        process = self._process
        if process is None:
            return "it was closed"
        with suppress(subprocess.TimeoutExpired):
            process.wait(_EXIT_S)
        return f"it ended with exit code {process.returncode}"

    def _shut(self) -> None:
        """Wake the reader and the process: both read the end of the pipe."""
        with (
            suppress(OSError),
            socket.socket(fileno=os.dup(self._pipe.fileno())) as end,
        ):
            end.shutdown(socket.SHUT_RDWR)


def _start(memory: int) -> tuple["subprocess.Popen[bytes]", Connection]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        descriptors = (theirs.fileno(), memory)
        process = subprocess.Popen(  # noqa: S603  # Ourselves.
            [sys.executable, "-P", "-c", _PROGRAM, *map(str, descriptors)],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
        )
        return process, Connection(ours.detach())
