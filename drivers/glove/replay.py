"""A glove that replays a recording: keypoints, or what a real glove once sent."""

from bisect import bisect_right
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from dexhil.drivers.clock import Clock
from dexhil.drivers.errors import ConfigError
from dexhil.drivers.faults import Faults
from dexhil.drivers.glove.glove import N_KEYPOINTS, Glove, GloveObservation, GloveSpec
from dexhil.drivers.glove.listening import ListeningGlove
from dexhil.drivers.registry import load, parse
from dexhil.drivers.wire.capture import read_capture


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayGloveConfig:
    """How to build a ``ReplayGlove``.

    Attributes:
        path: A NumPy file of keypoints [m], shape (frames, 21, 3), or a ``.wire`` file that a
            glove wrote because of its option ``capture``.
        rate_hz: Of the recording [1/s]. A ``.wire`` file keeps its own times; for it, this
            is what the spec promises.
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


@dataclass(frozen=True, slots=True)
class _Recording:
    """Frames, each stamped with when it was due since the first one, and the time of a round."""

    frames: tuple[GloveObservation, ...] = ()
    duration_s: float = 1.0


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
        self._recording = _Recording()
        self._start_s = 0.0

    @property
    def spec(self) -> GloveSpec:
        return self._spec

    def _open(self, timeout_s: float) -> None:
        del timeout_s  # A file answers at once.
        self.faults.require_link()
        captured = self._config.path.suffix == ".wire"
        self._recording = self._captured() if captured else self._keypoints()
        self._start_s = self.clock.now_s()

    def _close(self) -> None:
        self._recording = _Recording()

    def _read(self) -> GloveObservation:
        now_s = self.clock.now_s()
        # The slack keeps rounding in the stamps from falling one frame back.
        elapsed_s = now_s - self._start_s + 1e-6 / self._config.rate_hz
        rounds, into_s = divmod(elapsed_s, self._recording.duration_s)
        if not self._config.loop:
            rounds, into_s = 0.0, elapsed_s
        frames = self._recording.frames
        frame = frames[max(0, bisect_right(frames, into_s, key=lambda each: each.stamp_s) - 1)]
        due_s = self._start_s + rounds * self._recording.duration_s + frame.stamp_s
        return self.faults.apply(replace(frame, stamp_s=min(due_s, now_s)))

    def _keypoints(self) -> _Recording:
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
        times_s = np.arange(len(frames) + 1) / self._config.rate_hz
        return _Recording(
            tuple(
                GloveObservation(stamp_s=time_s, device_stamp_s=time_s, keypoints=keypoints)
                for time_s, keypoints in zip(times_s.tolist(), frames, strict=False)
            ),
            float(times_s[-1]),
        )

    def _captured(self) -> _Recording:
        """Understand a capture with the driver that wrote it."""
        path = self._config.path
        capture = read_capture(path)
        decoder = self._captured_glove(capture.about).new_decoder()
        frames: list[GloveObservation] = []
        for message in capture.messages:
            if message.incoming:
                frames += [each.observation(message.time_s) for each in decoder.feed(message.data)]
        if not frames:
            raise ConfigError(f"{self}: there is no sign of {decoder.wants} in {path}.")
        first_s = frames[0].stamp_s
        frames = [replace(frame, stamp_s=frame.stamp_s - first_s) for frame in frames]
        return _Recording(tuple(frames), frames[-1].stamp_s + 1.0 / self._config.rate_hz)

    def _captured_glove(self, about: Any) -> ListeningGlove:
        path, driver, options = self._config.path, about.get("driver"), about.get("options")
        if not isinstance(driver, str) or not isinstance(options, dict):
            raise ConfigError(f"{self}: {path} does not say which glove it was captured from.")
        side = options.get("side", "right")
        if side != self._config.side:
            raise ConfigError(
                f"{self}: {path} was captured from the {side} hand, "
                f"this is the {self._config.side} one. Set `side`."
            )
        glove_type = cast("Any", load("glove", driver))
        if not issubclass(glove_type, ListeningGlove):
            raise ConfigError(f"{self}: {path} was captured from {driver!r}, which sends nothing.")
        config = parse(glove_type.config_type, options, str(path))
        return cast("ListeningGlove", glove_type(config, name=self.name))
