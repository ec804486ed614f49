"""Who is driving each part of the robot: the policy, the person, or nobody.

The machine is a table and three pure functions. Threads, devices and clocks live
elsewhere; they turn what they see into events and obey the drivers they get back.
"""

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Literal, NamedTuple

Part = Literal["arm", "hand"]
PARTS: frozenset[Part] = frozenset({"arm", "hand"})


class Mode(Enum):
    """Who is driving."""

    HOLD = auto()  # Nobody. The robot holds its pose. Initial, and after any doubt.
    POLICY = auto()  # The policy commands the robot.
    HUMAN = auto()  # The person commands the robot, or a part of it.


class Event(Enum):
    """What happened."""

    START = auto()  # The operator asks for the policy, at first or to hand back.
    TAKE_OVER = auto()  # The operator takes the robot. One action, from anywhere.
    TAKE_ARM = auto()  # The operator takes the arm alone; the hand goes on as it is.
    TAKE_HAND = auto()  # The operator takes the hand alone; the arm goes on as it is.
    RELEASE = auto()  # The operator lets go of all they hold.
    STOP = auto()  # The operator wants the robot still.
    DOUBT = auto()  # A sample is stale, frozen or malformed, or a device failed.


class Drivers(NamedTuple):
    """Who drives each part.

    Of the nine combinations seven can be reached: policy and nobody never share a robot.
    """

    arm: Mode = Mode.HOLD
    hand: Mode = Mode.HOLD

    @property
    def mode(self) -> Mode:
        """Who drives the robot: the person if they hold any part, else whoever there is."""
        for mode in (Mode.HUMAN, Mode.POLICY):
            if mode in self:
                return mode
        return Mode.HOLD

    def of(self, driver: Mode) -> frozenset[Part]:
        """Return the parts that ``driver`` drives."""
        return frozenset(part for part in PARTS if getattr(self, part) is driver)


NOBODY = Drivers()
# What each takeover takes.
TAKEN: Mapping[Event, frozenset[Part]] = MappingProxyType(
    {
        Event.TAKE_OVER: PARTS,
        Event.TAKE_ARM: frozenset({"arm"}),
        Event.TAKE_HAND: frozenset({"hand"}),
    }
)
# Who gets the whole robot, where that depends on who had it.
_NEXT: Mapping[tuple[Mode, Event], Mode] = MappingProxyType(
    {
        (Mode.HOLD, Event.START): Mode.POLICY,
        (Mode.HUMAN, Event.START): Mode.POLICY,
        (Mode.HUMAN, Event.RELEASE): Mode.HOLD,
    }
)


def next_drivers(drivers: Drivers, event: Event) -> Drivers:
    """Return who drives after ``event``. Events without a rule change nothing.

    STOP and DOUBT always hold everything, and nothing but START and the takeovers, each
    of them a person's deliberate act, ever makes a part move that was held.
    """
    if event in {Event.STOP, Event.DOUBT}:
        return NOBODY
    if event in TAKEN:
        return drivers._replace(**dict.fromkeys(TAKEN[event], Mode.HUMAN))
    mode = _NEXT.get((drivers.mode, event))
    return drivers if mode is None else Drivers(mode, mode)


def anchored(drivers: Drivers, event: Event) -> frozenset[Part]:
    """Return the parts for which ``event`` begins a new stretch of driving.

    A part that the person holds already is left alone when they take another one as well,
    and anchored again when they take it once more: the clutch.
    """
    after = next_drivers(drivers, event)
    if event in TAKEN:
        return (after.of(Mode.HUMAN) - drivers.of(Mode.HUMAN)) or TAKEN[event]
    return frozenset() if after == drivers else PARTS


def policy_goes_on(drivers: Drivers, event: Event) -> bool:
    """Return whether the policy drives a part through ``event``, so that its plan stays valid."""
    after = next_drivers(drivers, event)
    goes_on = drivers.of(Mode.POLICY) & after.of(Mode.POLICY)
    return bool(goes_on - anchored(drivers, event))
