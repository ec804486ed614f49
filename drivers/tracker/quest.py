"""The wrist as a Quest headset sees it: it drives an arm without a cube to hold."""

from dataclasses import dataclass

import numpy as np

from dexhil.drivers.clock import Clock
from dexhil.drivers.glove.listening import HandSample, table
from dexhil.drivers.glove.quest import QuestGloveConfig, QuestHandDecoder, quest_wire
from dexhil.drivers.listener import Listener
from dexhil.drivers.tracker.tracker import Tracker, TrackerObservation, TrackerSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestTrackerConfig(QuestGloveConfig):
    """How to build a ``QuestTracker``. It listens to the same stream as a ``QuestGlove``."""


class QuestTracker(Tracker):
    """The wrist of one hand of the stream, which a glove of this process may share.

    Its frame is the headset's room, x forward, y left, z up, from where it was last recentred.
    Tested against an emulator, never on hardware.
    """

    config_type = QuestTrackerConfig

    def __init__(
        self, config: QuestTrackerConfig, *, name: str, clock: Clock | None = None
    ) -> None:
        super().__init__(name=name, clock=clock)
        self._config = config
        self._spec = TrackerSpec(model="quest-hts", rate_hz=config.rate_hz)
        self._listener: Listener[HandSample] | None = None

    @property
    def spec(self) -> TrackerSpec:
        return self._spec

    def _open(self, timeout_s: float) -> None:
        config = self._config
        about = {"driver": "quest", "options": table(config)}
        self._listener = Listener(
            quest_wire(config.transport, config.port, config.capture, about),
            QuestHandDecoder(config.side, config.transport),
            self.clock,
            silence_s=config.silence_s,
            name=f"listening for {self}",
        )
        self._listener.open(timeout_s)

    def _close(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def _read(self) -> TrackerObservation:
        assert self._listener is not None  # noqa: S101  # ``_open`` made it.
        stamp_s, sample = self._listener.newest()
        hand = sample.observation(stamp_s)
        nowhere = np.full(4, np.nan)
        return TrackerObservation(
            stamp_s=stamp_s,
            position=nowhere[:3] if hand.wrist_position is None else hand.wrist_position,
            orientation=nowhere if hand.wrist_orientation is None else hand.wrist_orientation,
        )

    def _warnings(self) -> tuple[str, ...]:
        return () if self._listener is None else self._listener.warnings()
