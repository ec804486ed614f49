"""A glove with nobody in it: a relaxed hand, until somebody shows it another."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix, Vector, frozen
from dexhil.drivers.clock import Clock
from dexhil.drivers.faults import Faults
from dexhil.drivers.glove.glove import Glove, GloveObservation, GloveSpec

# A drawing of an adult hand about 0.18 m long, not a measurement. Palm frame of a
# right hand: x out of the palm, y to the thumb side, z along the fingers [m].
_KNUCKLES = (
    (0.012, 0.025, 0.020),  # Thumb: the joint at the wrist.
    (0.0, 0.022, 0.088),
    (0.0, 0.0, 0.090),
    (0.0, -0.020, 0.082),
    (0.0, -0.038, 0.072),
)
_PHALANGES = (
    (0.045, 0.032, 0.026),
    (0.040, 0.024, 0.020),
    (0.044, 0.027, 0.021),
    (0.041, 0.026, 0.021),
    (0.033, 0.019, 0.018),
)
_SPLAY = (0.85, 0.08, 0.0, -0.08, -0.18)  # Towards the thumb side, from straight [rad].
_FLEXION = 0.15  # Of each joint of a relaxed finger [rad].
_NOISE = 1e-4  # A sensor at rest still trembles; bit-identical samples mean a dead one [m].


@dataclass(frozen=True, slots=True, kw_only=True)
class SimGloveConfig:
    """How to build a ``SimGlove``.

    Attributes:
        side: Which hand wears it.
        rate_hz: Rate it claims in its spec [1/s].
        seed: Of the sensor noise and the faults.
    """

    side: Literal["left", "right"] = "right"
    rate_hz: float = 60.0
    seed: int = 0


class SimGlove(Glove):
    """A glove that says what it is shown. Shown nothing, it reports a relaxed open hand."""

    config_type = SimGloveConfig

    def __init__(self, config: SimGloveConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(name=name, clock=clock)
        self.faults: Faults[GloveObservation] = Faults("keypoints", seed=config.seed)
        self._spec = GloveSpec(
            model="sim", side=config.side, rate_hz=config.rate_hz, simulated=True
        )
        self._rng = np.random.default_rng(config.seed)
        self._relaxed = relaxed_hand(config.side)
        self._shown: GloveObservation | None = None

    @property
    def spec(self) -> GloveSpec:
        return self._spec

    def show(self, keypoints: npt.ArrayLike, stamp_s: float | None = None) -> None:
        """Be worn by a hand of this shape. It goes stale unless shown again.

        Args:
            keypoints: As in ``GloveObservation`` [m]. Shape (21, 3).
            stamp_s: When it was so; the clock's present when ``None`` [s].

        Raises:
            ValueError: Wrong shape.
        """
        self._shown = GloveObservation(
            stamp_s=self.clock.now_s() if stamp_s is None else stamp_s,
            keypoints=np.asarray(keypoints, dtype=np.float64),
        )

    def _open(self, timeout_s: float) -> None:
        del timeout_s  # Answers at once.

    def _close(self) -> None:
        pass

    def _read(self) -> GloveObservation:
        return self.faults.apply(self._shown or self._at_rest())

    def _at_rest(self) -> GloveObservation:
        tremble = self._rng.normal(0.0, _NOISE, self._relaxed.shape)
        return GloveObservation(stamp_s=self.clock.now_s(), keypoints=self._relaxed + tremble)


def relaxed_hand(side: Literal["left", "right"]) -> Matrix:
    """Return the keypoints of an open, slightly bent hand in its palm frame [m]. Shape (21, 3)."""
    points: list[Vector] = [np.zeros(3)]
    palmar = np.array([1.0, 0.0, 0.0])
    for knuckle, lengths, splay in zip(_KNUCKLES, _PHALANGES, _SPLAY, strict=True):
        point = np.array(knuckle)
        points.append(point)
        for i, length in enumerate(lengths, start=1):
            bend = i * _FLEXION
            along = np.array([0.0, np.sin(splay), np.cos(splay)])
            point = point + length * (np.cos(bend) * along + np.sin(bend) * palmar)
            points.append(point)
    mirror = np.array([1.0, 1.0 if side == "right" else -1.0, 1.0])
    return frozen(np.array(points) * mirror)
