"""The contract of a data glove: the 21 keypoints of a human hand."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector, freeze_fields
from dexhil.drivers.device import Device

N_KEYPOINTS = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class GloveSpec:
    """What a glove is.

    Attributes:
        model: Maker and model.
        side: Which hand wears it.
        rate_hz: How often it gives a fresh sample [1/s].
        simulated: Whether no person wears it.
    """

    model: str
    side: Literal["left", "right"]
    rate_hz: float
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GloveObservation:
    """One sample from a glove.

    Attributes:
        stamp_s: When it was taken, on the host's monotonic clock [s].
        keypoints: Wrist, then thumb to little finger, each from the palm outwards
            (MediaPipe's order), in any frame fixed for one sample [m]. Shape (21, 3).
            May hold NaN where the glove lost track; consumers must check.
        device_stamp_s: When the glove says it was taken, on its own clock [s].
        wrist_position: Of the wrist in the tracker's own fixed right-handed frame [m].
            Shape (3,). ``None`` where the glove has no tracker, NaN where that lost track.
        wrist_orientation: Of the hand in that frame, a unit quaternion, wxyz. Shape (4,).
            ``None`` and NaN as above.
    """

    stamp_s: float
    keypoints: Matrix
    device_stamp_s: float | None = None
    wrist_position: Vector | None = None
    wrist_orientation: Vector | None = None

    def __post_init__(self) -> None:
        freeze_fields(self, "keypoints", "wrist_position", "wrist_orientation")
        if self.keypoints.shape != (N_KEYPOINTS, 3):
            raise ValueError(f"keypoints have shape {self.keypoints.shape}, expected (21, 3).")
        if self.wrist_position is not None and self.wrist_position.shape != (3,):
            raise ValueError(
                f"wrist_position has shape {self.wrist_position.shape}, expected (3,)."
            )
        if self.wrist_orientation is not None and self.wrist_orientation.shape != (4,):
            raise ValueError(
                f"wrist_orientation has shape {self.wrist_orientation.shape}, expected (4,)."
            )

    @property
    def finite(self) -> bool:
        """Whether every keypoint is a number."""
        return bool(np.isfinite(self.keypoints).all())


class Glove(Device[GloveSpec, GloveObservation]):
    """A data glove, real or simulated."""
