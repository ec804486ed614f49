"""Who is driving: the policy, the person, or nobody.

The machine is a table and a pure function. Threads, devices and clocks live
elsewhere; they turn what they see into events and obey the mode they get back.
"""

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType


class Mode(Enum):
    """Who is driving."""

    HOLD = auto()  # Nobody. The robot holds its pose. Initial, and after any doubt.
    POLICY = auto()  # The policy commands the robot.
    HUMAN = auto()  # The person commands the robot.


class Event(Enum):
    """What happened."""

    START = auto()  # The operator asks for the policy, at first or to hand back.
    TAKE_OVER = auto()  # The operator takes the robot. One action, from anywhere.
    RELEASE = auto()  # The operator lets go.
    STOP = auto()  # The operator wants the robot still.
    DOUBT = auto()  # A sample is stale, frozen or malformed, or a device failed.


_NEXT: Mapping[tuple[Mode, Event], Mode] = MappingProxyType(
    {
        (Mode.HOLD, Event.START): Mode.POLICY,
        (Mode.HOLD, Event.TAKE_OVER): Mode.HUMAN,
        (Mode.POLICY, Event.TAKE_OVER): Mode.HUMAN,
        (Mode.HUMAN, Event.START): Mode.POLICY,
        (Mode.HUMAN, Event.RELEASE): Mode.HOLD,
    }
)


def next_mode(mode: Mode, event: Event) -> Mode:
    """Return the mode after ``event``. Events without a rule change nothing.

    STOP and DOUBT always hold, and nothing but START and TAKE_OVER, both of them
    a person's deliberate act, ever leaves HOLD.
    """
    if event in {Event.STOP, Event.DOUBT}:
        return Mode.HOLD
    return _NEXT.get((mode, event), mode)


def anchors_again(mode: Mode, event: Event) -> bool:
    """Return whether ``event`` starts a new drive: another driver, or the clutch pressed again."""
    return next_mode(mode, event) is not mode or (mode, event) == (Mode.HUMAN, Event.TAKE_OVER)
