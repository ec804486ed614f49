"""Who drives at this moment, and the one place where that changes."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from dexhil.drivers.clock import Clock
from dexhil.drivers.switch import SwitchObservation
from dexhil.teleop.safety import Watch
from dexhil.teleop.takeover import Event, Mode, anchors_again, next_mode

log = logging.getLogger(__name__)

Verdict = Literal["success", "failure"]

_VERDICTS: tuple[Verdict, ...] = ("success", "failure")
# Presses found in the same poll are applied in this order, so the most careful one wins.
_BUTTONS = {
    "start": Event.START,
    "takeover": Event.TAKE_OVER,
    "release": Event.RELEASE,
    "stop": Event.STOP,
}
_REASONS = {Event.RELEASE: "released by the operator", Event.STOP: "stopped by the operator"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """One stretch of driving. Never changes; the next one is another object.

    Attributes:
        mode: Who drives.
        epoch: Grows with every stretch. A command computed in another epoch is void.
        segment: Changes of driver within the episode.
        since_s: When it began [s].
        reason: Why nobody drives, in HOLD; empty otherwise.
    """

    mode: Mode
    epoch: int
    segment: int
    since_s: float
    reason: str = ""


class Authority:
    """The takeover machine with its lock. ``drive`` has no setter.

    Args:
        switch: What the operator presses.
        clock: Stamps changes.
        refusal: Why an event cannot be obeyed at this moment, or ``None``.
    """

    def __init__(
        self,
        switch: Watch[SwitchObservation],
        clock: Clock,
        refusal: Callable[[Event], str | None],
    ) -> None:
        self._switch = switch
        self._clock = clock
        self._refusal = refusal
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._drive = Drive(mode=Mode.HOLD, epoch=0, segment=0, since_s=clock.now_s())
        self.verdict: Verdict | None = None
        self.refused: str | None = None

    @property
    def drive(self) -> Drive:
        return self._drive

    def reset(self) -> None:
        """Hold, and begin an episode. Presses made before now are forgotten."""
        self._switch.look(self._clock.now_s())
        newest = self._switch.newest
        with self._lock:
            self._counts = {} if newest is None else dict(newest.counts)
            self.verdict, self.refused = None, None
            self._drive = Drive(
                mode=Mode.HOLD,
                epoch=self._drive.epoch + 1,
                segment=0,
                since_s=self._clock.now_s(),
                reason="not started",
            )

    def poll(self) -> None:
        """Turn presses since the last poll into events. A dead switch is a doubt."""
        self._switch.look(self._clock.now_s())
        if self._switch.doubt is not None:
            self.doubt(self._switch.doubt)
        if self._switch.newest is None:
            return
        counts = self._switch.newest.counts
        pressed = [name for name, n in counts.items() if n > self._counts.get(name, 0)]
        self._counts = dict(counts)
        for verdict in _VERDICTS:
            if verdict in pressed:
                self.verdict = verdict
        for name, event in _BUTTONS.items():
            if name in pressed:
                self.apply(event)

    def doubt(self, reason: str) -> None:
        """Hold because of ``reason``."""
        self.apply(Event.DOUBT, reason)

    def apply(self, event: Event, reason: str = "") -> None:
        """Let ``event`` happen, unless it must be refused; ``refused`` then says why.

        Args:
            event: What happened.
            reason: A sentence for the log and the frames.
        """
        refusal = self._refusal(event)
        with self._lock:
            if refusal is not None:
                self.refused = refusal
                log.warning("%s refused: %s", event.name, refusal)
                return
            before = self._drive
            if not anchors_again(before.mode, event):
                return
            mode = next_mode(before.mode, event)
            after = replace(
                before,
                mode=mode,
                epoch=before.epoch + 1,
                segment=before.segment + (mode is not before.mode),
                since_s=self._clock.now_s(),
                reason=(reason or _REASONS.get(event, event.name)) if mode is Mode.HOLD else "",
            )
            self._drive, self.refused = after, None
        log.log(
            logging.WARNING if event is Event.DOUBT else logging.INFO,
            "%s -> %s %s",
            before.mode.name,
            after.mode.name,
            after.reason,
        )
