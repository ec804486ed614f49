"""The policy's clock: observe, propose, and keep what happened in between."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arm import ArmObservation
from dexhil.drivers.camera import CameraObservation
from dexhil.drivers.clock import Clock
from dexhil.drivers.hand import HandObservation
from dexhil.teleop.authority import Authority, Drive
from dexhil.teleop.errors import DoubtError
from dexhil.teleop.follower import Follower, Proposal
from dexhil.teleop.frame import Frame, Sink
from dexhil.teleop.safety import Watch
from dexhil.teleop.se3 import Vector
from dexhil.teleop.takeover import Mode


class Policy(Protocol):
    """What the runtime needs of a policy.

    Attributes:
        execute_steps: Actions of a chunk to execute before asking again.
    """

    execute_steps: int

    def reset(self) -> None:
        """Forget the past: somebody else drove."""

    def infer(self, observation: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Return the next actions [rad]. Shape (horizon, n), arm first."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Watches:
    """Every device that is observed, by what it is."""

    arm: Watch[ArmObservation]
    hand: Watch[HandObservation]
    cameras: Mapping[str, Watch[CameraObservation]]
    glove: Watch[Any]
    tracker: Watch[Any]


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

    def for_policy(self) -> dict[str, npt.NDArray[Any]]:
        observation: dict[str, npt.NDArray[Any]] = {"observation.state": self.state}
        if self.environment_state is not None:
            observation["observation.environment_state"] = self.environment_state
        for name, picture in self.images.items():
            observation[f"observation.images.{name}"] = picture.image
        return observation


class PolicyLoop:
    """Turns observations into proposals for the followers and frames for the sink.

    Args:
        watches: What is observed.
        arm: The arm's follower, for what it executed.
        hand: The hand's follower, for what it executed.
        policy: Proposes, if there is one.
        perception: What the task knows about the world, if it does.
        sink: Takes frames, if anybody wants them.
        shadow: Ask the policy while a person drives, too.
        authority: Says who drives.
        clock: Says when it is.
    """

    def __init__(
        self,
        watches: Watches,
        arm: Follower,
        hand: Follower,
        *,
        policy: Policy | None,
        perception: Callable[[], Vector] | None,
        sink: Sink | None,
        shadow: bool,
        authority: Authority,
        clock: Clock,
    ) -> None:
        self._watches = watches
        self._arm, self._hand = arm, hand
        self._policy = policy
        self._perception = perception
        self._sink = sink
        self._drivers = {Mode.POLICY, Mode.HUMAN} if shadow else {Mode.POLICY}
        self._authority = authority
        self._clock = clock
        # Single slots: written here, read by the followers, replaced as a whole.
        self.arm_proposal: Proposal | None = None
        self.hand_proposal: Proposal | None = None
        self.reset()

    def reset(self) -> None:
        """Begin an episode. A step that is still open is forgotten."""
        self._opened: _Opened | None = None
        self._proposed: Vector | None = None
        self._chunk: deque[Vector] = deque()
        self._epoch = -1
        self._human_ticks = self._count_human_ticks()

    def tick(self) -> None:
        """Close the last step and open the next."""
        self.close()
        drive = self._authority.drive
        self._proposed = None
        try:
            self._opened = self._observe()
            action = self._proposed = self._propose(drive, self._opened)
        except DoubtError as doubt:
            self._authority.doubt(str(doubt))
            return
        if action is not None and drive.mode is Mode.POLICY:
            now_s, n = self._clock.now_s(), len(self._arm.executed)
            self.arm_proposal = Proposal(now_s, drive.epoch, action[:n])
            self.hand_proposal = Proposal(now_s, drive.epoch, action[n:])

    def close(self) -> None:
        """Write the frame of the open step, if there is one."""
        opened, self._opened = self._opened, None
        human_ticks = self._count_human_ticks()
        intervention, self._human_ticks = human_ticks > self._human_ticks, human_ticks
        if opened is None or self._sink is None:
            return
        arm, hand, drive = self._arm, self._hand, self._authority.drive
        both_asked = arm.asked is not None and hand.asked is not None
        self._sink.write(
            Frame(
                stamp_s=opened.stamp_s,
                mode=drive.mode,
                segment=drive.segment,
                intervention=intervention,
                authority=min(arm.share, hand.share),
                arm=opened.arm,
                hand=opened.hand,
                state=opened.state,
                environment_state=opened.environment_state,
                images=opened.images,
                executed=np.concatenate([arm.executed, hand.executed]),
                proposal=self._proposed,
                human=np.concatenate([arm.asked, hand.asked]) if both_asked else None,
                ages_s=opened.ages_s,
                limits=frozenset(
                    {f"arm {limit}" for limit in arm.limits}
                    | {f"hand {limit}" for limit in hand.limits}
                ),
                reason=drive.reason,
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
        )

    def _propose(self, drive: Drive, opened: _Opened) -> Vector | None:
        """Return the policy's action for this step, from its chunk or a new one."""
        if self._policy is None or drive.mode not in self._drivers:
            return None
        if drive.epoch != self._epoch:
            self._epoch = drive.epoch
            self._chunk.clear()
            self._policy.reset()
        if not self._chunk:
            chunk = np.asarray(self._policy.infer(opened.for_policy()), dtype=np.float64)
            n = len(self._arm.executed) + len(self._hand.executed)
            if chunk.ndim != 2 or chunk.shape[1] != n or len(chunk) == 0:
                raise DoubtError(
                    f"policy: actions have shape {chunk.shape}, expected (horizon, {n}). "
                    "Was it trained for this arm and hand?"
                )
            self._chunk.extend(chunk[: self._policy.execute_steps])
        action = self._chunk.popleft()
        if not np.isfinite(action).all():
            self._chunk.clear()
            raise DoubtError("policy: the action is not finite. Check its inputs and its training.")
        return action
