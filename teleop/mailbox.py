"""How loops hand values to each other without waiting for each other."""

import threading
from typing import Generic, NamedTuple, TypeVar

from dexhil.teleop.errors import ScheduleError

T = TypeVar("T")


class Letter(NamedTuple, Generic[T]):
    """What lies in a mailbox.

    Attributes:
        value: What was put there.
        stamp_s: When it was true [s].
        sequence: Counts what was put there, from 1. A gap means that some were never read.
    """

    value: T
    stamp_s: float
    sequence: int


class OneWriter:
    """Sees to it that one thread at a time writes something.

    Args:
        what: It writes, for messages.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._thread: int | None = None

    def check(self) -> None:
        """Make the calling thread the writer, if there is none yet.

        Raises:
            ScheduleError: Another thread is the writer.
        """
        thread = threading.get_ident()
        if self._thread is None:
            self._thread = thread
        elif self._thread != thread:
            raise ScheduleError(
                f"{self._what}: two threads write it. Let one loop own it, or begin again first."
            )

    def release(self) -> None:
        """Let any thread be the writer from now on. Not while loops run."""
        self._thread = None


class Mailbox(Generic[T]):
    """The newest value, and nothing older. One thread writes, any number read, nobody waits.

    The letter is replaced as a whole, so a reader sees all of it or the one before.

    Args:
        name: For messages.
    """

    def __init__(self, name: str) -> None:
        self._letter: Letter[T] | None = None
        self._writer = OneWriter(f"mailbox {name!r}")
        self._sequence = 0

    def put(self, value: T, stamp_s: float) -> None:
        """Replace what is there.

        Raises:
            ScheduleError: Another thread writes here.
        """
        self._writer.check()
        self._sequence += 1
        self._letter = Letter(value, stamp_s, self._sequence)

    def get(self) -> Letter[T] | None:
        """Return the newest letter, if any. It stays."""
        return self._letter

    def clear(self) -> None:
        """Forget the letter and the writer. Not while loops run."""
        self._letter = None
        self._writer.release()
