"""How fast an episode was really recorded, beside the rate that the dataset declares.

Rows are stored as if frame k lay at k/fps. Where the host could not keep that rate, or the
robot held without a picture, the stored time is false; ``t_mono`` tells the truth.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

_RATE_TOLERANCE = 0.02  # Share of the declared rate.
_LARGEST_GAP = 1.5  # Periods: one frame that was left out makes two.


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The times between the frames of an episode.

    Attributes:
        true_fps: Frames per second from the first to the last.
        largest_gap_s: Longest time between two frames [s].
        ordered: Whether every frame is later than the one before it.
    """

    true_fps: float
    largest_gap_s: float
    ordered: bool

    @classmethod
    def of(cls, stamps_s: npt.NDArray[Any] | None) -> Self | None:
        """Return the pace of frames taken then (t,), or ``None`` of fewer than two."""
        if stamps_s is None or len(stamps_s) < 2:
            return None
        gaps = np.diff(stamps_s)
        duration_s = float(stamps_s[-1] - stamps_s[0])
        return cls(
            true_fps=len(gaps) / duration_s if duration_s > 0 else 0.0,
            largest_gap_s=float(gaps.max()),
            ordered=bool((gaps > 0).all()),
        )

    def departure(self, fps: float) -> str | None:
        """Return how it departs from the declared rate, in words, or ``None`` if it does not."""
        if not self.ordered:
            return "its frames are not in the order of their stamps; the clock was set back"
        found = []
        if abs(self.true_fps - fps) > _RATE_TOLERANCE * fps:
            found.append(f"it has {self.true_fps:.2f} frames per second, declared are {fps:g}")
        if self.largest_gap_s > _LARGEST_GAP / fps:
            found.append(
                f"its longest gap is {self.largest_gap_s * 1e3:.0f} ms, "
                f"declared are {1e3 / fps:.0f} ms"
            )
        return "; ".join(found) or None
