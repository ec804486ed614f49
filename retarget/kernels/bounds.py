"""What a plausible hand is, for those who judge it and those who say what is wrong with it."""

from typing import Final

MIN_BONE_M: Final = 0.002
MAX_BONE_M: Final = 0.2
MIN_PALM_M: Final = 0.005
"""Of a palm's length and of its width [m]."""
MIN_HANDEDNESS: Final = -1.0
"""Beyond this the hand bends the wrong way. A tracked right hand stayed above 0, its
mirror image mostly below -2; see `dexhil.retarget.keypoints.handedness`."""
