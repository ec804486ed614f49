"""Who drives at this moment, and the one place where that changes."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from dexhil.drivers.clock import Clock
from dexhil.drivers.switch import SwitchObservation
from dexhil.teleop.monitors import PressMonitor
from dexhil.teleop.safety import Watch
from dexhil.teleop.takeover import (
    NOBODY,
    TAKEN,
    Drivers,
    Event,
    Mode,
    Part,
    anchored,
    next_drivers,
    policy_goes_on,
)

log = logging.getLogger(__name__)

Verdict = Literal["success", "failure", "redo", "abort"]

# Presses found in the same poll are applied in this order, so the most careful one wins.
_VERDICTS: tuple[Verdict, ...] = ("success", "failure", "redo", "abort")
_BUTTONS = {
    "start": Event.START,
    "takeover": Event.TAKE_OVER,
    "takeover_arm": Event.TAKE_ARM,
    "takeover_hand": Event.TAKE_HAND,
    "release": Event.RELEASE,
    "stop": Event.STOP,
}
_STOP = "stop"
_REASONS = {Event.RELEASE: "released by the operator", Event.STOP: "stopped by the operator"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """One stretch of driving. Never changes; the next one is another object.

    Attributes:
        drivers: Who drives each part.
        epoch: Grows whenever what the policy planned becomes void: with every stretch,
            except when a person takes one part and leaves another one to the policy.
        stretches: Of arm and hand: grows whenever that part is to be anchored again.
        segment: Changes of driver within the episode.
        since_s: When it began [s].
        reason: Why nobody drives, in HOLD; empty otherwise.
    """

    drivers: Drivers = NOBODY
    epoch: int
    stretches: tuple[int, int]
    segment: int
    since_s: float
    reason: str = ""

    @property
    def mode(self) -> Mode:
        """Who drives the robot: the person if they hold any part, else whoever there is."""
        return self.drivers.mode

    @property
    def parts(self) -> frozenset[Part]:
        """The parts that the person holds."""
        return self.drivers.of(Mode.HUMAN)

    def of(self, part: Part) -> tuple[Mode, int]:
        """Return who drives ``part``, and the number of that stretch."""
        i = ("arm", "hand").index(part)
        return self.drivers[i], self.stretches[i]


class Authority:
    """The takeover machine with its locks. ``drive`` has no setter.

    Args:
        switch: What the operator presses.
        clock: Stamps changes.
        refusal: Why an event cannot be obeyed at this moment, or ``None``.
        presses: Tells a person's foot from a loose contact.

    Attributes:
        unheard: Why nothing that the switch says is believed now, if it is not.
    """

    def __init__(
        self,
        switch: Watch[SwitchObservation],
        clock: Clock,
        refusal: Callable[[Event], str | None],
        presses: PressMonitor,
    ) -> None:
        self._switch = switch
        self._clock = clock
        self._refusal = refusal
        self._presses = presses
        self._lock = threading.Lock()
        self._polling = threading.Lock()
        self._counts: dict[str, int] = {}
        self._drive = Drive(epoch=0, stretches=(0, 0), segment=0, since_s=clock.now_s())
        self.verdict: Verdict | None = None
        self.refused: str | None = None
        self.unheard: str | None = None

    @property
    def drive(self) -> Drive:
        return self._drive

    def reset(self) -> None:
        """Hold, and begin an episode. Presses made before now are forgotten."""
        with self._polling:
            self._switch.look(self._clock.now_s())
            newest, self.unheard = self._switch.newest, self._switch.doubt
            self._counts = {} if newest is None else dict(newest.counts)
        with self._lock:
            self.verdict, self.refused = None, None
            arm, hand = self._drive.stretches
            self._drive = Drive(
                epoch=self._drive.epoch + 1,
                stretches=(arm + 1, hand + 1),
                segment=0,
                since_s=self._clock.now_s(),
                reason="not started",
            )

    def poll(self) -> None:
        """Turn presses since the last poll into events. A dead or mad switch is a doubt.

        Every loop that moves something polls, so that none waits for another to have seen
        the press; whichever comes first obeys it.
        """
        with self._polling:
            now_s = self._clock.now_s()
            self._switch.look(now_s)
            newest, doubt = self._switch.newest, self._switch.doubt
            pressed: dict[str, int] = {}
            if newest is not None:
                pressed = {name: n - self._counts.get(name, 0) for name, n in newest.counts.items()}
                pressed = {name: n for name, n in pressed.items() if n > 0}
                self._counts = dict(newest.counts)
                doubt = doubt or self._presses.update(now_s, pressed)
            self.unheard = doubt
            if doubt is not None:
                # Nothing that such a switch says may move the robot or judge the attempt.
                self.doubt(doubt)
                pressed = {}
            self._obey(pressed)

    def _obey(self, pressed: dict[str, int]) -> None:
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
        refusal = self._refused(event)
        with self._lock:
            if refusal is not None:
                self.refused = refusal
                log.warning("%s refused: %s", event.name, refusal)
                return
            before = self._drive
            parts = anchored(before.drivers, event)
            if not parts:
                return
            after = self._drive = self._after(before, event, parts, reason)
            self.refused = None
        log.log(
            logging.WARNING if event is Event.DOUBT else logging.INFO,
            "%s -> %s %s",
            _say(before),
            _say(after),
            after.reason,
        )

    def _refused(self, event: Event) -> str | None:
        newest = self._switch.newest
        if event in {Event.START, *TAKEN} and newest is not None and _STOP in newest.pressed:
            return "stop is held down. Let it go first."
        return self._refusal(event)

    def _after(self, before: Drive, event: Event, parts: frozenset[Part], reason: str) -> Drive:
        drivers = next_drivers(before.drivers, event)
        arm, hand = before.stretches
        reason = reason or _REASONS.get(event, event.name)
        return replace(
            before,
            drivers=drivers,
            epoch=before.epoch + (not policy_goes_on(before.drivers, event)),
            stretches=(arm + ("arm" in parts), hand + ("hand" in parts)),
            segment=before.segment + (drivers != before.drivers),
            since_s=self._clock.now_s(),
            reason=reason if drivers == NOBODY else "",
        )


def _say(drive: Drive) -> str:
    whole = len(drive.parts) != 1
    return drive.mode.name if whole else f"{drive.mode.name} ({', '.join(drive.parts)})"
