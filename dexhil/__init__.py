"""Take over a dexterous robot, correct it, and make its policy better."""

import ctypes
import os
import sys

__version__ = "0.1.0"


def _choose_renderer() -> None:
    """Tell MuJoCo how to render, which it asks once, when it is first imported.

    Its own default needs a display. Without EGL it would not even import, so rendering
    is switched off then: physics runs, and a camera says what to install.
    """
    if sys.platform != "linux" or os.environ.get("MUJOCO_GL", "egl") != "egl":
        return
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError:
        os.environ["MUJOCO_GL"] = "disable"
    else:
        os.environ["MUJOCO_GL"] = "egl"


_choose_renderer()
