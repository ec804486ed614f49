"""The contract of a tracker: the pose of something a person holds or wears.

An ArUco cube seen by a camera, a headset's wrist, a lighthouse puck. The frame
it reports in is fixed but arbitrary: Eq. 3 of DexHiL needs no extrinsics.
"""

from dataclasses import dataclass

import numpy as np

from dexhil.drivers.arrays import Vector, freeze_fields
from dexhil.drivers.device import Device


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackerSpec:
    """What a tracker is.

    Attributes:
        model: Maker and model.
        rate_hz: How often it gives a fresh sample [1/s].
        simulated: Whether no person holds it.
    """

    model: str
    rate_hz: float
    simulated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrackerObservation:
    """One pose of the tracked body in the tracker's own fixed frame.

    Attributes:
        stamp_s: When it was taken, on the host's monotonic clock [s].
        position: [m]. Shape (3,).
        orientation: Unit quaternion, wxyz. Shape (4,).
    """

    stamp_s: float
    position: Vector
    orientation: Vector

    def __post_init__(self) -> None:
        freeze_fields(self, "position", "orientation")
        if self.position.shape != (3,) or self.orientation.shape != (4,):
            raise ValueError(
                f"position has shape {self.position.shape}, expected (3,); "
                f"orientation has shape {self.orientation.shape}, expected (4,)."
            )

    @property
    def finite(self) -> bool:
        """Whether the pose is made of numbers."""
        return bool(np.isfinite(self.position).all() and np.isfinite(self.orientation).all())


class Tracker(Device[TrackerSpec, TrackerObservation]):
    """A six-degree-of-freedom tracker, real or simulated."""
