"""The process that writes a dataset, apart from the one that must not stand still.

``main`` is the other end of `ProcessWriter`. They exchange tuples that begin with a verb, in
order:

    in   ("open", Job), first of all
         ("begin", task) ("frame", slot) ("end", success) ("discard",) ("flush",) ("close",)
    out  ("opened", n_episodes, repairs)  ("taken", slot)  ("saved", warnings)  ("flushed",)
         ("closed",)  ("failed", DatasetError)

It ends when it is told to, by ``close`` or SIGTERM, or when the other process is gone; in any
case it first writes what was handed over, and keeps the open episode, unlabelled.
"""

import logging
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dexhil.policy.episodes.errors import DatasetError
from dexhil.policy.episodes.schema import Features
from dexhil.policy.episodes.slots import Slots
from dexhil.policy.episodes.writer import DatasetWriter

_SYNC_S = 0.5  # A power cut costs no more than twice this of the open episode [s].
_LOOK_S = 0.25  # Between two looks whether anybody is still there [s].


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to write, and for whom: the arguments of `DatasetWriter`, and the slots to read."""

    root: Path
    features: Features
    fps: float
    robot_type: str
    n_slots: int
    parent: int


class _Server:
    """One dataset, as long as the process lives."""

    def __init__(self, pipe: Connection, memory: int) -> None:
        self._pipe = pipe
        self._job: Job = pipe.recv()[1]
        self._slots = Slots(self._job.features, self._job.n_slots, memory)
        self._stopping = self._ending = False
        self._synced_s = time.monotonic()
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # The terminal is the program's, not ours.

    def run(self) -> None:
        """Write until the end."""
        job = self._job
        try:
            with DatasetWriter(job.root, job.features, job.fps, job.robot_type) as writer:
                self._tell("opened", writer.n_episodes, writer.repairs)
                while (message := self._next(writer)) is not None:
                    self._do(writer, *message)
        except DatasetError as error:
            self._tell("failed", error)
        else:
            self._tell("closed")

    def _do(self, writer: DatasetWriter, verb: str, *values: Any) -> None:
        match verb:
            case "frame":
                writer.add_record(*self._slots.read(values[0]))
                self._tell("taken", values[0])
            case "begin":
                writer.begin_episode(values[0])
            case "end":
                n_known = len(writer.warnings)
                writer.end_episode(values[0])
                self._tell("saved", writer.warnings[n_known:])
            case "discard":
                writer.discard_episode()
            case "flush":
                self._tell("flushed")
            case _:
                raise DatasetError(f"{self._job.root}: {verb!r} means nothing to its recorder.")

    def _next(self, writer: DatasetWriter) -> tuple[Any, ...] | None:
        """Return the next message, or ``None`` when there will be no other."""
        while True:
            if time.monotonic() - self._synced_s > _SYNC_S:
                writer.sync()
                self._look_for_room(writer)
                self._synced_s = time.monotonic()
            try:
                if self._pipe.poll(0 if self._stopping else _LOOK_S):
                    message: tuple[Any, ...] = self._pipe.recv()
                    return None if message[0] == "close" else message
            except (EOFError, OSError):
                return None
            # Another child of the parent may hold the pipe open beyond the parent's end.
            if self._stopping or os.getppid() != self._job.parent:
                return None

    def _look_for_room(self, writer: DatasetWriter) -> None:
        """Have the recording end while the disk still takes what was handed over until then."""
        shortage = None if self._ending else writer.shortage()
        if shortage is not None:
            self._tell("failed", shortage)
            self._ending = True

    def _tell(self, *message: Any) -> None:
        with suppress(OSError):  # Nobody is there: ``_next`` will see, after the last message.
            self._pipe.send(message)

    def _stop(self, *_: object) -> None:
        self._stopping = True


def main() -> None:
    """Serve the pipe and the memory whose descriptors are the arguments."""
    pipe, memory = (int(argument) for argument in sys.argv[1:3])
    logging.disable()  # What is worth telling goes through the pipe.
    with suppress(EOFError):  # Whoever started it gave up before it said what to write.
        _Server(Connection(pipe), memory).run()
