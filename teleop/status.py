"""All there is to see of a running session, for people and programs that watch it."""

from collections.abc import Mapping
from dataclasses import dataclass

from dexhil.teleop.authority import Drive
from dexhil.teleop.policy_loop import Steps
from dexhil.teleop.timing import LoopStats, Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One look at a session.

    Attributes:
        stamp_s: When [s].
        drive: Who drives, since when, and why nobody does.
        refused: Why the last event was refused, if it was.
        doubts: Why nobody could drive now, by device: of arm, hand, switch and cameras.
        share_arm: The person's share of the arm's last command, 0 to 1.
        share_hand: The person's share of the hand's last command, 0 to 1.
        limits: Limits that changed the last command, such as ``"arm velocity"``.
        steps: Of the policy's clock, and those a person drove in.
        loops: How well each loop kept time, by name.
        ages_s: Of the newest samples now, by device [s]; infinite if there is none. ``policy``
            is the observation behind its newest action.
        used_s: Ages of the samples when loops used them, so far, by device [s].
        late_answers: Of the policy, dropped because they came for another drive.
    """

    stamp_s: float
    drive: Drive
    refused: str | None
    doubts: Mapping[str, str]
    share_arm: float
    share_hand: float
    limits: frozenset[str]
    steps: Steps
    loops: Mapping[str, LoopStats]
    ages_s: Mapping[str, float]
    used_s: Mapping[str, Spread]
    late_answers: int
