"""Take over a dexterous robot, correct it, and make its policy better."""

import os
import sys

__version__ = "0.1.0"

if sys.platform == "linux":
    # MuJoCo reads this when it is first imported, and its default needs a display.
    os.environ.setdefault("MUJOCO_GL", "egl")
