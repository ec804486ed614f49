"""Record without ever waiting for the disk: the writer runs in a process of its own.

A frame is copied once, into shared memory, and told of through a pipe; encoding, statistics
and every write happen in the other process, which outlives a crash of this one and then
finishes what it was given.
"""

import logging
import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from dexhil.policy.episodes.errors import EpisodeError, StorageError
from dexhil.policy.episodes.open_episode import check_images, to_record
from dexhil.policy.episodes.process_main import Job
from dexhil.policy.episodes.schema import Features
from dexhil.policy.episodes.slots import Slots, slot_size
from dexhil.policy.episodes.video import Image
from dexhil.policy.memory import make_memory

log = logging.getLogger(__name__)

BUFFER_S: Final = 4.0  # A disk may stand still for this long [s].
_BUFFER_BYTES: Final = 512 * 2**20
_N_SLOTS = (8, 128)  # Few enough that what tells of them fits into a pipe: telling never waits.
_EXIT_S = 0.1  # A process that closed its end, or was killed, has ended within this [s].
_PATIENCE_S = 300.0  # Copying hours of video to a slow disk takes less [s].
_LAST_WORD = "the last word"  # Nobody says this: whoever waits for it hears all until the end.

# Not as a module: nothing of the program that records may be imported again.
_PROGRAM: Final = "from dexhil.policy.episodes.process_main import main; main()"


class ProcessWriter:
    """Writes episodes as `DatasetWriter` does, in a process of its own.

    ``begin_episode``, ``add_frame``, ``end_episode`` and ``discard_episode`` hand over and
    return; ``flush`` waits for the disk. A disk that stands still for longer than the frames
    that can wait (4 s, or 512 MiB of them) ends the recording: leaving frames out would make
    recorded time lie. What was recorded until then is kept.

    Leaving the ``with`` block, or the program in any way, keeps the open episode and labels it
    neither success nor failure. A process that gives no sign of life for five minutes then, or
    in ``flush``, is killed: whoever opens the dataset next keeps what reached the disk.
    Not for use by several threads at once.

    Args:
        root: Folder of the dataset. Made if missing.
        features: Its columns and cameras.
        fps: Frames per second, a whole number.
        robot_type: Name of the rig, for the record.

    Raises:
        FeaturesError, CorruptError, DatasetError: As `DatasetWriter`.
        StorageError: Once, from the first call after the disk refused a write, could not keep
            up, or the process was ended or hung. The writer is closed then.
    """

    def __init__(
        self, root: Path | str, features: Features, fps: float, robot_type: str = "dexhil"
    ) -> None:
        self._root = Path(root).absolute()
        self._features = features
        self._fps = fps
        self._n_frames: int | None = None  # Of the open episode.
        self._warnings: list[str] = []
        fewest, most = _N_SLOTS
        size = slot_size(features)
        n_slots = max(fewest, min(most, round(BUFFER_S * fps), _BUFFER_BYTES // size))
        memory = make_memory(n_slots * size)
        try:
            self._slots = Slots(features, n_slots, memory)
            self._process, pipe = _start(memory)
        finally:
            os.close(memory)
        self._free = list(range(n_slots))
        self._pipe: Connection | None = pipe
        self._leave = weakref.finalize(self, _leave, self._process, pipe, self._root)
        job = Job(
            root=self._root,
            features=features,
            fps=fps,
            robot_type=robot_type,
            n_slots=n_slots,
            parent=os.getpid(),
        )
        try:
            self._tell("open", job)
            opened = self._hear("opened")
        except BaseException:
            self._leave()
            raise
        self._n_episodes: int = opened[0]
        self._repairs: tuple[str, ...] = opened[1]

    @property
    def repairs(self) -> tuple[str, ...]:
        """What was found broken on opening and put right, in words."""
        return self._repairs

    @property
    def warnings(self) -> tuple[str, ...]:
        """Which episodes on disk were not recorded at the declared rate, in words."""
        return tuple(self._warnings)

    @property
    def n_episodes(self) -> int:
        """How many episodes have ended; after ``flush`` all of them are on disk."""
        return self._n_episodes

    @property
    def n_frames(self) -> int:
        """How many frames the open episode has; 0 if none is open."""
        return self._n_frames or 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def begin_episode(self, task: str) -> None:
        """Open an episode; the one before may still be on its way to the disk.

        Args:
            task: What the robot is asked to do, in words.

        Raises:
            EpisodeError: If one is open, or the writer is closed.
        """
        if self._n_frames is not None:
            raise EpisodeError(f"{self._root}: episode {self._n_episodes} is still open.")
        self._hear()
        self._tell("begin", task)
        self._n_frames = 0

    def add_frame(
        self, frame: Mapping[str, Any], images: Mapping[str, Image] | None = None
    ) -> None:
        """Append a frame: check it and copy it, below a millisecond for two 640x480 images.

        Args:
            frame: As `DatasetWriter.add_frame`.
            images: uint8 (h, w, 3) by camera name.

        Raises:
            FrameError: If a value does not fit. The episode goes on without the frame.
            EpisodeError: If no episode is open.
        """
        n_frames = self._require_open()
        record = to_record(self._features, frame)
        check_images(self._features, images or {})
        self._hear()
        if not self._free:
            self._let_go()
            raise StorageError(
                f"{self._root}: disk or processor cannot keep up, {len(self._slots)} frames "
                f"({len(self._slots) / self._fps:.1f} s) wait for them. The {n_frames} frames of "
                "the open episode are kept, unlabelled. Record to a faster disk, with fewer "
                "cameras, or with less else to do for this machine."
            )
        slot = self._free.pop()
        self._slots.write(slot, record, images or {})
        self._tell("frame", slot)
        self._n_frames = n_frames + 1

    def end_episode(self, success: bool | None = None) -> int:
        """Finish the open episode, without waiting until it is on disk.

        Args:
            success: Whether the robot did the task; ``None`` if nobody says.

        Returns:
            The index that the episode will have.

        Raises:
            EpisodeError: If no episode is open, or it has no frames.
        """
        if not self._require_open():
            raise EpisodeError(f"{self._root}: episode {self._n_episodes} has no frames.")
        self._hear()
        self._tell("end", success)
        self._n_frames = None
        self._n_episodes += 1
        return self._n_episodes - 1

    def discard_episode(self) -> None:
        """Forget the open episode.

        Raises:
            EpisodeError: If none is open.
        """
        self._require_open()
        self._hear()
        self._tell("discard")
        self._n_frames = None

    def flush(self) -> None:
        """Wait until every ended episode is on disk.

        Raises:
            EpisodeError: If the writer is closed.
        """
        self._tell("flush")
        self._hear("flushed")

    def close(self) -> None:
        """Keep the open episode, unlabelled, and wait until all is on disk. Safe to repeat."""
        try:
            if self._pipe is not None:
                self._tell("close")
                self._hear("closed")
        finally:
            self._let_go()
            self._leave()

    def _require_open(self) -> int:
        """Return the number of frames of the open episode."""
        if self._n_frames is None:
            raise EpisodeError(f"{self._root}: no episode is open. Call begin_episode().")
        return self._n_frames

    def _tell(self, *message: Any) -> None:
        try:
            self._the_pipe.send(message)
        except OSError:
            self._hear(_LAST_WORD)

    def _hear(self, awaited: str | None = None) -> tuple[Any, ...]:
        """Note what the other process said, and go on until it says ``awaited``, if given."""
        pipe, error = self._the_pipe, None
        # Before it is open it may have hours to salvage.
        patience_s = {None: 0.0, "opened": None}.get(awaited, _PATIENCE_S)
        try:
            while error is None and pipe.poll(patience_s):
                verb, *values = pipe.recv()
                if verb == "failed":
                    error = values[0]
                elif verb == "taken":
                    self._free += values
                elif verb == "saved":
                    self._note(*values)
                if verb == awaited:
                    return tuple(values)
            if error is None and awaited is not None:
                error = _give_up(self._process, self._root)
        except (EOFError, OSError):
            error = self._gone()
        except BaseException:  # Maybe in the middle of a message: what follows means nothing.
            self._let_go()
            raise
        if error is not None:
            self._let_go()
            raise error
        return ()

    @property
    def _the_pipe(self) -> Connection:
        if self._pipe is None:
            raise EpisodeError(f"{self._root}: the writer is closed.")
        return self._pipe

    def _note(self, warnings: tuple[str, ...]) -> None:
        for warning in warnings:
            self._warnings.append(warning)
            log.warning("%s: %s", self._root, warning)

    def _gone(self) -> StorageError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_S)
        return StorageError(
            f"{self._root}: the process that writes it ended (status {self._process.returncode}). "
            "Finished episodes are whole. Open the dataset again: the open episode is kept."
        )

    def _let_go(self) -> None:
        """Close our end: the other process finishes what it was given, then ends."""
        self._n_frames = None
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None


def _start(memory: int) -> tuple["subprocess.Popen[bytes]", Connection]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        descriptors = (theirs.fileno(), memory)
        process = subprocess.Popen(  # noqa: S603  # Ourselves.
            [sys.executable, "-P", "-c", _PROGRAM, *map(str, descriptors)],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # Ctrl-C and a terminal that closes are not for it. No session of its own: where the
            # kernel shares the processor between sessions, it would have to do with one share.
            process_group=0,
        )
        return process, Connection(ours.detach())


def _leave(process: "subprocess.Popen[bytes]", pipe: Connection, root: Path) -> None:
    """Let the process finish. Runs when the program ends, too, if nobody closed the writer.

    Raises:
        StorageError: If it does not end. It is killed then.
    """
    pipe.close()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise _give_up(process, root) from None


def _give_up(process: "subprocess.Popen[bytes]", root: Path) -> StorageError:
    """Kill a process that hangs. Returns what to say."""
    process.kill()
    with suppress(subprocess.TimeoutExpired):  # A disk that hangs may hold it even then.
        process.wait(_EXIT_S)
    return StorageError(
        f"{root}: the process that writes it did nothing for {_PATIENCE_S:g} s and was killed. "
        "Finished episodes are whole. Look whether the disk answers and open the dataset again: "
        "what reached the disk of the open episode is kept."
    )
