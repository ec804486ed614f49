"""A tracker with nobody holding it: at rest, until somebody shows it a pose."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dexhil.drivers.clock import Clock
from dexhil.drivers.faults import Faults
from dexhil.drivers.tracker.tracker import Tracker, TrackerObservation, TrackerSpec

_NOISE = 1e-4  # A sensor at rest still trembles; bit-identical samples mean a dead one [m].


@dataclass(frozen=True, slots=True, kw_only=True)
class SimTrackerConfig:
    """How to build a ``SimTracker``.

    Attributes:
        rate_hz: Rate it claims in its spec [1/s].
        seed: Of the sensor noise and the faults.
    """

    rate_hz: float = 30.0
    seed: int = 0


class SimTracker(Tracker):
    """A tracker that says what it is shown. Shown nothing, it lies still at its origin."""

    config_type = SimTrackerConfig

    def __init__(self, config: SimTrackerConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(name=name, clock=clock)
        # Noise on a quaternion would not leave it a unit one.
        self.faults: Faults[TrackerObservation] = Faults("position", seed=config.seed)
        self._spec = TrackerSpec(model="sim", rate_hz=config.rate_hz, simulated=True)
        self._rng = np.random.default_rng(config.seed)
        self._shown: TrackerObservation | None = None

    @property
    def spec(self) -> TrackerSpec:
        return self._spec

    def show(
        self, position: npt.ArrayLike, orientation: npt.ArrayLike, stamp_s: float | None = None
    ) -> None:
        """Be held there. It goes stale unless shown again.

        Args:
            position: [m]. Shape (3,).
            orientation: Unit quaternion, wxyz. Shape (4,).
            stamp_s: When it was so; the clock's present when ``None`` [s].

        Raises:
            ValueError: Wrong shape.
        """
        self._shown = TrackerObservation(
            stamp_s=self.clock.now_s() if stamp_s is None else stamp_s,
            position=np.asarray(position, dtype=np.float64),
            orientation=np.asarray(orientation, dtype=np.float64),
        )

    def _open(self, timeout_s: float) -> None:
        del timeout_s  # Answers at once.

    def _close(self) -> None:
        pass

    def _read(self) -> TrackerObservation:
        return self.faults.apply(self._shown or self._at_rest())

    def _at_rest(self) -> TrackerObservation:
        return TrackerObservation(
            stamp_s=self.clock.now_s(),
            position=self._rng.normal(0.0, _NOISE, 3),
            orientation=np.array([1.0, 0.0, 0.0, 0.0]),
        )
