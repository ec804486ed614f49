"""See a session while it runs: one more sink for its frames, which never makes a loop wait."""

import os
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Final, Self

import numpy as np
import tyro
from rich.console import Console
from rich.markup import escape

from dexhil.drivers.arrays import Image
from dexhil.drivers.clock import SimClock
from dexhil.integration.errors import RunError
from dexhil.integration.live import teleop_config
from dexhil.integration.recorder import rig_features
from dexhil.integration.rig import Rig
from dexhil.integration.view.layout import require
from dexhil.integration.view.look import Setup, look_of, words
from dexhil.teleop.frame import Frame
from dexhil.teleop.se3 import from_rpy, make_pose
from dexhil.teleop.session import Session

START_S: Final = 120.0  # Loading rerun from a slow disk and opening a window takes less [s].
CLOSE_S: Final = 5.0  # What is on its way is shown or written in less [s].
PATIENCE_S: Final = 5.0  # On the simulated clock a frame waits this long for its turn [s].
_WIDEST: Final = 640  # Pictures are thinned to this [px].
_MOST_SENTENCES: Final = 32
_DEAD: Final = "its process is gone"

# Not as a module: nothing of the program that is watched may be imported again.
_PROGRAM: Final = "from dexhil.integration.view.live_main import main; main()"


@dataclass(frozen=True, slots=True)
class Viewing:
    """Whether a session is looked at.

    Attributes:
        view: Show it in the Rerun viewer: cameras, robot, keypoints, who drives and why.
        view_out: File, .rrd, to write for the viewer instead.
    """

    view: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    view_out: Path | None = None


class View:
    """Shows frames in the Rerun viewer, or writes them to a file, from a process of its own.

    ``write`` keeps the newest frame alone and returns; a thread hands it on. Where that cannot
    keep up, frames are left out of the view, and counted. Whatever becomes of viewer, process or
    file, the session goes on without it: ``note`` says so. On the simulated clock, where nothing
    can be late, a frame waits for its turn, so that none is left out.

    Args:
        rig: Whose frames; built, not necessarily connected.
        out: File to write, ``.rrd``; opens the viewer when ``None``.
        environment_names: What the task knows about the world, by name.

    Attributes:
        shown: Frames handed on.
        left_out: Frames that were not.
        troubles: Frames and sentences that could not be shown whole.
        patient: Whether a frame waits for its turn: on the simulated clock.
    """

    def __init__(
        self, rig: Rig, out: Path | None = None, environment_names: Sequence[str] = ()
    ) -> None:
        config = teleop_config(rig)
        self._setup = Setup(
            out=None if out is None else out.absolute(),
            features=rig_features(rig, environment_names),
            cameras=tuple(rig.cameras),
            arm=rig.arm.spec.kinematics,
            hand=rig.hand.spec.kinematics,
            workspace=np.array([config.workspace_low, config.workspace_high], np.float64),
            pose_palm_in_cube=make_pose(config.cube_position, from_rpy(config.cube_rpy)),
            arm_scale=config.arm_scale,
        )
        self._clock = rig.clock
        self.patient = isinstance(rig.clock, SimClock)
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._sentences: deque[tuple[float, str]] = deque(maxlen=_MOST_SENTENCES)
        self._refused: str | None = None
        self._closing = False
        self._gone = ""  # Why nothing is shown any more.
        self._trouble = ""
        self.shown = self.left_out = self.troubles = 0

    def __enter__(self) -> Self:
        """Start the process and wait until it is ready.

        Raises:
            RunError: Rerun is missing, or viewer or file cannot be opened.
        """
        require()
        self._process, self._pipe = _start()
        try:
            self._pipe.send(("open", self._setup))
            verb, *said = self._pipe.recv() if self._pipe.poll(START_S) else ("late",)
        except (EOFError, OSError):
            verb, said = "ended", ["its process ended"]
        except BaseException:
            self._end()
            raise
        if verb != "ready":
            self._end()
            why = said[0] if said else f"its process is not ready after {START_S:g} s"
            raise RunError(f"Nothing can be shown: {why}")
        self._thread = threading.Thread(target=self._hand_on, name="view", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():  # The process does not take what it is given.
            self._process.kill()
            self._thread.join()
        try:
            if not self._gone:
                self._pipe.send(("close",))
                if not self._hear(CLOSE_S):
                    self._gone = f"it was not done within {CLOSE_S:g} s"
        except (EOFError, OSError):
            self._gone = _DEAD
        self._end()

    def write(self, frame: Frame) -> None:
        """Take a frame to show. Never raises; waits for nobody on the host's clock."""
        with self._changed:
            if self.patient:
                self._changed.wait_for(self._free, PATIENCE_S)
            if not self._gone:
                self.left_out += self._frame is not None
                self._frame = frame
                self._changed.notify_all()

    def show(self, session: Session) -> None:
        """Show what no frame tells: refusals, and doubts so grave that there are no frames.

        For ``drive(show=...)``; never raises, takes microseconds.
        """
        drive, refused = session.drive, session.refused
        said = [words([mode.name for mode in drive.drivers], drive.reason)] if drive.reason else []
        if refused is not None and refused != self._refused:
            said.append(f"refused: {refused}")
        self._refused = refused
        if said:
            now_s = self._clock.now_s()
            with self._changed:
                self._sentences.extend((now_s, text) for text in said)
                self._changed.notify_all()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def note(self) -> str:
        """Return what is wrong with the view, if anything is."""
        said = []
        if self._gone:
            said.append(f"{self._gone}, the session went on without it")
        if self.troubles:
            said.append(f"{self.troubles} frames or sentences not shown whole ({self._trouble})")
        if self.left_out:
            said.append(f"{self.left_out} of {self.shown + self.left_out} frames left out")
        return f"view: {'; '.join(said)}" if said else ""

    def _free(self) -> bool:
        return self._frame is None or bool(self._gone)

    # -- The thread that waits so that nobody else has to --------------------------------------

    def _hand_on(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(self._something)
                    frame, self._frame = self._frame, None
                    sentences = list(self._sentences)
                    self._sentences.clear()
                    self._changed.notify_all()
                if frame is None and not sentences:
                    return
                if frame is not None:
                    self._send(frame)
                for stamp_s, text in sentences:
                    self._pipe.send(("say", stamp_s, text))
                if self._hear():
                    return
        except (EOFError, OSError):
            self._gone = _DEAD
        except Exception as error:  # noqa: BLE001  # A session must not end for its picture.
            self._gone = repr(error)
        finally:
            with self._changed:
                self._changed.notify_all()

    def _something(self) -> bool:
        return self._closing or self._frame is not None or bool(self._sentences)

    def _send(self, frame: Frame) -> None:
        pictures = {name: _thinned(camera.image) for name, camera in frame.images.items()}
        self._pipe.send(("look", look_of(frame, pictures)))
        for picture in pictures.values():
            self._pipe.send_bytes(picture.reshape(-1).data)
        self.shown += 1

    def _hear(self, timeout_s: float = 0.0) -> bool:
        """Note what the process says; return whether that was its last word."""
        while self._pipe.poll(timeout_s):
            verb, text = self._pipe.recv()
            if verb == "ended":
                self._gone = text
                return True
            self._trouble, self.troubles = text, self.troubles + 1
        return False

    def _end(self) -> None:
        """Let the process show what it has; end it if it takes too long."""
        self._pipe.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(CLOSE_S)
            return
        self._process.kill()
        self._process.wait()


@contextmanager
def watching(
    rig: Rig, viewing: Viewing, console: Console, environment_names: Sequence[str] = ()
) -> Iterator[View | None]:
    """Show what runs on a rig, if wanted, and say at the end if not all of it was.

    Args:
        rig: Built, not necessarily connected.
        viewing: Whether it is wanted.
        console: To say it on.
        environment_names: As for `View`.

    Raises:
        RunError: As `View`; or the file's name does not end in ``.rrd``.
    """
    out = viewing.view_out
    if not viewing.view and out is None:
        yield None
        return
    if out is not None and out.suffix != ".rrd":
        raise RunError(f"--view-out is {out}, must end in .rrd.")
    shown = View(rig, out, environment_names)
    try:
        with shown:
            yield shown
    finally:
        if shown.note():
            console.print(escape(shown.note()), soft_wrap=True)


def _thinned(image: Image) -> Image:
    """Leave out columns and rows of a wide picture; the same one if it is not."""
    step = -(-image.shape[1] // _WIDEST)
    return np.ascontiguousarray(image[::step, ::step])


def _start() -> tuple["subprocess.Popen[bytes]", Connection]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process: subprocess.Popen[Any] = subprocess.Popen(  # noqa: S603  # Ourselves.
            [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={"RUST_LOG": "off", **os.environ},  # What matters of it, it says itself.
            start_new_session=True,  # Ctrl-C and a terminal that closes are not for it.
        )
        return process, Connection(ours.detach())
