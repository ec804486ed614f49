"""A glove that replays a recording, frame by frame, at the rate it was recorded."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dexhil.drivers.arrays import Matrix, frozen
from dexhil.drivers.clock import Clock
from dexhil.drivers.errors import ConfigError
from dexhil.drivers.faults import Faults
from dexhil.drivers.glove.glove import N_KEYPOINTS, Glove, GloveObservation, GloveSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayGloveConfig:
    """How to build a ``ReplayGlove``.

    Attributes:
        path: A NumPy file of keypoints [m]. Shape (frames, 21, 3).
        rate_hz: Of the recording [1/s].
        loop: Whether to begin again after the last frame. Otherwise it falls silent.
        side: Which hand was recorded.
    """

    path: Path
    rate_hz: float = 30.0
    loop: bool = False
    side: Literal["left", "right"] = "right"

    def __post_init__(self) -> None:
        if not self.rate_hz > 0:
            raise ValueError(f"rate_hz is {self.rate_hz:g} Hz, must be above 0")


class ReplayGlove(Glove):
    """A recording, started by ``connect``. NaN frames are passed on as they are."""

    config_type = ReplayGloveConfig

    def __init__(self, config: ReplayGloveConfig, *, name: str, clock: Clock | None = None) -> None:
        super().__init__(name=name, clock=clock)
        self.faults: Faults[GloveObservation] = Faults("keypoints")
        self._config = config
        self._spec = GloveSpec(
            model="replay", side=config.side, rate_hz=config.rate_hz, simulated=True
        )
        self._frames = np.empty((0, N_KEYPOINTS, 3))
        self._start_s = 0.0

    @property
    def spec(self) -> GloveSpec:
        return self._spec

    def _open(self, timeout_s: float) -> None:
        del timeout_s  # A file answers at once.
        self._frames = self._load()
        self._start_s = self.clock.now_s()

    def _close(self) -> None:
        self._frames = np.empty((0, N_KEYPOINTS, 3))

    def _read(self) -> GloveObservation:
        # The slack keeps rounding in the stamps from falling one frame back.
        elapsed = (self.clock.now_s() - self._start_s) * self._config.rate_hz + 1e-6
        frame = int(elapsed) if self._config.loop else min(int(elapsed), len(self._frames) - 1)
        return self.faults.apply(
            GloveObservation(
                stamp_s=min(self._start_s + frame / self._config.rate_hz, self.clock.now_s()),
                keypoints=self._frames[frame % len(self._frames)],
                device_stamp_s=frame / self._config.rate_hz,
            )
        )

    def _load(self) -> Matrix:
        path = self._config.path
        try:
            frames = np.load(path, allow_pickle=False)  # A pickle could run any code.
        except (OSError, ValueError, EOFError) as error:
            raise ConfigError(f"{self}: cannot read the recording {path} ({error}).") from error
        if not isinstance(frames, np.ndarray) or not np.issubdtype(frames.dtype, np.floating):
            raise ConfigError(f"{self}: {path} holds no single array of floating-point numbers.")
        if frames.shape[1:] != (N_KEYPOINTS, 3) or len(frames) == 0:
            raise ConfigError(
                f"{self}: {path} has shape {frames.shape}, expected (frames, {N_KEYPOINTS}, 3)."
            )
        return frozen(frames)
