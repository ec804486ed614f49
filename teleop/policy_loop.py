"""The policy's clock: observe, propose, and keep what happened in between."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arm import ArmObservation
from dexhil.drivers.camera import CameraObservation
from dexhil.drivers.clock import Clock
from dexhil.drivers.glove import GloveObservation
from dexhil.drivers.hand import HandObservation
from dexhil.drivers.switch import SwitchObservation
from dexhil.drivers.tracker import TrackerObservation
from dexhil.teleop.actions import Actions
from dexhil.teleop.authority import Authority, Drive
from dexhil.teleop.errors import DoubtError
from dexhil.teleop.follower import Follower, Proposal
from dexhil.teleop.frame import Frame, Sink
from dexhil.teleop.mailbox import Mailbox
from dexhil.teleop.safety import Watch
from dexhil.teleop.se3 import Vector
from dexhil.teleop.takeover import Mode
from dexhil.teleop.timing import Histogram


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Watches:
    """Every device that is observed, by what it is."""

    arm: Watch[ArmObservation]
    hand: Watch[HandObservation]
    cameras: Mapping[str, Watch[CameraObservation]]
    glove: Watch[Any]
    tracker: Watch[Any]
    switch: Watch[SwitchObservation]

    @property
    def needed(self) -> dict[str, Watch[Any]]:
        """Those without which nobody drives anything, under the names that people use."""
        return {"arm": self.arm, "hand": self.hand, **self.cameras}

    @property
    def by_name(self) -> dict[str, Watch[Any]]:
        """All of them, under the names that people use."""
        person = {"glove": self.glove, "tracker": self.tracker, "switch": self.switch}
        return {"arm": self.arm, "hand": self.hand, **person, **self.cameras}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Opened:
    """The half of a frame that is known when its step begins."""

    stamp_s: float
    arm: ArmObservation
    hand: HandObservation
    state: Vector
    environment_state: Vector | None
    images: Mapping[str, CameraObservation]
    ages_s: Mapping[str, float]
    glove: GloveObservation | None
    tracker: TrackerObservation | None

    def for_policy(self) -> dict[str, npt.NDArray[Any]]:
        observation: dict[str, npt.NDArray[Any]] = {"observation.state": self.state}
        if self.environment_state is not None:
            observation["observation.environment_state"] = self.environment_state
        for name, picture in self.images.items():
            observation[f"observation.images.{name}"] = picture.image
        return observation


@dataclass(slots=True)
class Steps:
    """Steps of the policy's clock, and how many of them a person drove in.

    An attempt begins when somebody drives: until then, no step is counted.

    Attributes:
        attempt: In this attempt.
        attempt_human: Of those, with a person driving.
        session: In all attempts since the session was made.
        session_human: Of those, with a person driving.
    """

    attempt: int = 0
    attempt_human: int = 0
    session: int = 0
    session_human: int = 0

    def count(self, *, human: bool, held: bool) -> None:
        """Count one step, unless it is one of waiting for the first driver.

        Args:
            human: A person drove in it.
            held: Nobody drove at its end.
        """
        if self.attempt == 0 and held and not human:
            return
        self.attempt += 1
        self.session += 1
        self.attempt_human += human
        self.session_human += human


class PolicyLoop:
    """Turns observations into proposals for the followers and frames for the sink.

    Args:
        watches: What is observed.
        arm: The arm's follower, for what it executed.
        hand: The hand's follower, for what it executed.
        actions: Of the policy, if there is one.
        perception: What the task knows about the world, if it does.
        sink: Takes frames, if anybody wants them.
        shadow: Ask the policy while a person drives, too.
        authority: Says who drives.
        clock: Says when it is.

    Attributes:
        steps: How many there were, and in how many a person drove.
        age: Of the observations behind the actions, when they were handed over.
        arm_proposals: Stamped with the observation behind them; the arm's follower reads.
        hand_proposals: The same for the hand.
    """

    def __init__(
        self,
        watches: Watches,
        arm: Follower,
        hand: Follower,
        *,
        actions: Actions | None,
        perception: Callable[[], Vector] | None,
        sink: Sink | None,
        shadow: bool,
        authority: Authority,
        clock: Clock,
    ) -> None:
        self._watches = watches
        self._arm, self._hand = arm, hand
        self.actions = actions
        self._perception = perception
        self._sink = sink
        self._shadow = shadow
        self._authority = authority
        self._clock = clock
        self.arm_proposals = Mailbox[Proposal]("proposals for the arm")
        self.hand_proposals = Mailbox[Proposal]("proposals for the hand")
        self.steps = Steps()
        self.age = Histogram()
        self.reset()

    @property
    def arm_proposal(self) -> Proposal | None:
        """The newest for the arm."""
        letter = self.arm_proposals.get()
        return None if letter is None else letter.value

    @property
    def hand_proposal(self) -> Proposal | None:
        """The newest for the hand."""
        letter = self.hand_proposals.get()
        return None if letter is None else letter.value

    @property
    def limits(self) -> frozenset[str]:
        """What changed the last commands, such as ``"arm velocity"``."""
        arm = {f"arm {limit}" for limit in self._arm.limits}
        return frozenset(arm | {f"hand {limit}" for limit in self._hand.limits})

    def reset(self) -> None:
        """Begin an episode. A step that is still open is forgotten."""
        self._opened: _Opened | None = None
        self._proposed: Vector | None = None
        if self.actions is not None:
            self.actions.reset()
        self.arm_proposals.clear()
        self.hand_proposals.clear()
        self.steps.attempt = self.steps.attempt_human = 0
        self._human_ticks = self._count_human_ticks()

    def tick(self) -> None:
        """Close the last step and open the next."""
        self.close()
        drive = self._authority.drive
        self._proposed = None
        try:
            opened = self._opened = self._observe()
        except DoubtError as doubt:
            self._authority.doubt(str(doubt))
            return
        drives = bool(drive.drivers.of(Mode.POLICY))
        shadows = self._shadow and drive.mode is Mode.HUMAN
        # Of a robot whose hand alone a person holds, the policy drives the arm.
        if self.actions is None or not (drives or shadows):
            return
        try:
            action = self.actions.next(opened.for_policy(), drive.epoch, opened.stamp_s)
        except DoubtError as doubt:
            if drives:  # What a policy says that nobody obeys need not stop the person.
                self._authority.doubt(str(doubt))
            return
        self._proposed = action
        if action is not None and drives:
            self._post(self.actions, drive, action)

    def _post(self, actions: Actions, drive: Drive, action: Vector) -> None:
        """Hand the action to the followers, unless somebody took over while it was computed."""
        if self._authority.drive.epoch != drive.epoch:
            actions.late += 1
            return
        now_s, n = self._clock.now_s(), len(self._arm.executed)
        self.age.add(now_s - actions.observed_s)
        self.arm_proposals.put(Proposal(now_s, drive.epoch, action[:n]), actions.observed_s)
        self.hand_proposals.put(Proposal(now_s, drive.epoch, action[n:]), actions.observed_s)

    def close(self) -> None:
        """Write the frame of the open step, if there is one."""
        opened, self._opened = self._opened, None
        human_ticks = self._count_human_ticks()
        intervention, self._human_ticks = human_ticks > self._human_ticks, human_ticks
        if opened is None:
            return
        arm, hand, drive = self._arm, self._hand, self._authority.drive
        self.steps.count(human=intervention, held=drive.mode is Mode.HOLD)
        if self._sink is None:
            return
        self._sink.write(
            Frame(
                stamp_s=opened.stamp_s,
                mode=drive.mode,
                segment=drive.segment,
                intervention=intervention,
                authority_arm=arm.share,
                authority_hand=hand.share,
                arm=opened.arm,
                hand=opened.hand,
                state=opened.state,
                environment_state=opened.environment_state,
                images=opened.images,
                executed=np.concatenate([arm.executed, hand.executed]),
                proposal=self._proposed,
                human=_asked(arm, hand),
                ages_s=opened.ages_s,
                limits=self.limits,
                reason=drive.reason,
                drivers=drive.drivers,
                glove=opened.glove,
                tracker=opened.tracker,
            )
        )

    def _count_human_ticks(self) -> int:
        return self._arm.human_ticks + self._hand.human_ticks

    def _observe(self) -> _Opened:
        now_s, watches = self._clock.now_s(), self._watches
        arm, hand = watches.arm.require(now_s), watches.hand.require(now_s)
        images = {name: watch.require(now_s) for name, watch in watches.cameras.items()}
        q_arm, q_hand = arm.joint_positions, hand.joint_positions
        ages_s = {
            "arm": now_s - arm.stamp_s,
            "hand": now_s - hand.stamp_s,
            "glove": watches.glove.age_s(now_s),
            "tracker": watches.tracker.age_s(now_s),
            **{name: now_s - picture.stamp_s for name, picture in images.items()},
        }
        return _Opened(
            stamp_s=now_s,
            arm=arm,
            hand=hand,
            state=np.concatenate([q_arm, q_hand, self._hand.executed - q_hand]),
            environment_state=None if self._perception is None else self._perception(),
            images=images,
            ages_s=ages_s,
            glove=watches.glove.newest,
            tracker=watches.tracker.newest,
        )


def _asked(arm: Follower, hand: Follower) -> Vector | None:
    """Return what the person wants [rad]; a part they do not hold they want as it is."""
    if arm.asked is None and hand.asked is None:
        return None
    wants = (f.executed if f.asked is None else f.asked for f in (arm, hand))
    return np.concatenate(tuple(wants))
