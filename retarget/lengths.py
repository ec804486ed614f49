"""Lengths that a calibration can find: of fingers, of the thumb's offset, of gaps that touch."""

from typing import Final

import numpy as np

from dexhil.drivers.arrays import Matrix
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.human import HumanProportions
from dexhil.retarget.keypoints import FINGERS

MAX_OFFSET_M: Final = 0.025
"""A glove that misplaces the thumb by more is not worn right [m]."""
MAX_TOUCH_GAP_M: Final = 0.015
"""Keypoints lie inside the fingers: they come this close in a pinch, offset corrected [m]."""
REACHES_M: Final = np.array([(0.08, 0.22), (0.11, 0.28), (0.11, 0.28), (0.11, 0.28), (0.09, 0.26)])
"""Wrist to fingertip of any person, from a small child up [m]. Shape (5, 2)."""

_ROUNDING_M: Final = 1e-5  # Of lengths in files.


def reaches_seen() -> Matrix:
    """Return `REACHES_M`; a misplaced thumb may seem longer or shorter. Shape (5, 2)."""
    limits = REACHES_M.copy()
    limits[0] += -MAX_OFFSET_M, MAX_OFFSET_M
    return limits


def check_proportions(proportions: HumanProportions) -> None:
    """Refuse proportions that no calibration gives.

    Raises:
        RetargetError: A finger is too short or too long, the thumb moved too far, or a touch too
            far apart.
    """
    for finger, reach, (low, high) in zip(
        FINGERS, proportions.reaches, reaches_seen(), strict=True
    ):
        if not low <= reach <= high:
            raise RetargetError(
                f"Proportions: wrist to {finger} tip is {1e3 * reach:.0f} mm, allowed "
                f"{1e3 * low:.0f} to {1e3 * high:.0f} mm."
            )
    moved = float(np.linalg.norm(proportions.thumb_offset))
    if not moved <= MAX_OFFSET_M + _ROUNDING_M:
        raise RetargetError(
            f"Proportions: the thumb is moved by {1e3 * moved:.0f} mm, at most "
            f"{1e3 * MAX_OFFSET_M:.0f} mm allowed."
        )
    gap = float(proportions.touch_gaps.max())
    if not gap <= MAX_TOUCH_GAP_M + _ROUNDING_M:
        raise RetargetError(
            f"Proportions: fingers touch at {1e3 * gap:.0f} mm, at most "
            f"{1e3 * MAX_TOUCH_GAP_M:.0f} mm allowed."
        )
