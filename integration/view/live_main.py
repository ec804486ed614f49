"""The process that logs frames for the viewer, apart from the loops that drive the robot.

``main`` is the other end of `View`. Messages are tuples that begin with a verb; the pictures of
a frame follow it as bytes, in the order of ``Look.pictures``:

    in   ("open", Setup), first of all   ("look", Look)   ("say", stamp_s, text)   ("close",)
    out  ("ready",)   ("trouble", text)   ("ended", why), the last; "" where all was shown

It ends when it is told to, when the viewer is closed or the file cannot be written, and when the
other process is gone.
"""

import os
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

import numpy as np

from dexhil.drivers.arrays import Image
from dexhil.integration.errors import RunError
from dexhil.integration.view.frames import Frames, live_layout
from dexhil.integration.view.layout import send_to
from dexhil.integration.view.look import Look, Setup

_NICENESS: Final = 10  # Whatever there is to see can wait for the robot.
_PLOT_S: Final = 0.3  # When no frame comes for so long, those that wait are plotted [s].


def main() -> None:
    """Log what comes through the pipe whose descriptor is the program's only argument."""
    pipe = Connection(int(sys.argv[1]))
    with suppress(EOFError, OSError):  # The other side is gone: nobody wants to know.
        _verb, setup = pipe.recv()
        try:
            os.nice(_NICENESS)
            frames = Frames(_open(setup), setup)
        except Exception as error:  # noqa: BLE001  # Whatever it is, a person must read it.
            pipe.send(("ended", str(error) if isinstance(error, RunError) else repr(error)))
            return
        pipe.send(("ready",))
        pipe.send(("ended", _show(pipe, frames)))
        while True:  # Until the other side has heard it and lets go.
            pipe.recv_bytes()


def _open(setup: Setup) -> Any:
    import rerun as rr  # noqa: PLC0415 - an extra, and slow to load

    recording = rr.RecordingStream("dexhil_live")
    send_to(recording, setup.out, live_layout(setup))
    return recording


def _show(pipe: Connection, frames: Frames) -> str:
    """Show what comes until nothing comes any more, or nobody looks; return why that is."""
    verb = ""
    while verb != "close":
        try:
            if not pipe.poll(_PLOT_S):
                frames.plot()
            verb, values, pictures = _next(pipe)
            if verb == "look":
                frames.log(values[0], pictures)
            elif verb == "say":
                frames.say(*values)
            else:
                frames.plot()
        except RunError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  # The next one may be fine.
            pipe.send(("trouble", repr(error)))
    return ""


def _next(pipe: Connection) -> tuple[str, list[Any], dict[str, Image]]:
    try:
        verb, *values = pipe.recv()
        pictures: dict[str, Image] = {}
        if verb == "look":
            look: Look = values[0]
            for name, size in look.pictures.items():
                pixels = np.frombuffer(pipe.recv_bytes(), np.uint8)
                pictures[name] = pixels.reshape(*size, 3)
    except EOFError:
        return "close", [], {}
    return verb, values, pictures
