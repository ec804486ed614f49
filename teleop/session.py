"""The runtime: one robot, one person, one policy, three rates, one of them driving.

``Session`` wires devices, mappings and limits together and offers three loops. Run
them with ``run_threads`` on a robot or ``run_events`` in simulation:

    session.begin()
    session.set_event(Event.START)
    run_events(session.loops(), clock, duration_s=10.0)
    session.flush()
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

import numpy as np

from dexhil.drivers.arm import Arm, ArmCommand
from dexhil.drivers.camera import Camera, CameraObservation
from dexhil.drivers.clock import Clock
from dexhil.drivers.glove import Glove
from dexhil.drivers.hand import Hand, HandCommand
from dexhil.drivers.joints import JointObservation, JointSpec
from dexhil.drivers.switch import Switch
from dexhil.drivers.tracker import Tracker
from dexhil.retarget.build import Retargets
from dexhil.retarget.filters import FILTERS, JointFilter
from dexhil.teleop.actions import AsyncPolicy, Policy, actions_of
from dexhil.teleop.authority import Authority, Drive, Verdict
from dexhil.teleop.config import TeleopConfig
from dexhil.teleop.follower import Caution, Follower, Timing
from dexhil.teleop.frame import Sink
from dexhil.teleop.human import HumanArm, HumanHand
from dexhil.teleop.ik import ArmIK
from dexhil.teleop.mapping import ArmMapping, HandMapping
from dexhil.teleop.monitors import (
    FrozenMonitor,
    JumpMonitor,
    PressMonitor,
    keypoint_motions,
    pose_motions,
)
from dexhil.teleop.policy_loop import PolicyLoop, Watches
from dexhil.teleop.safety import Limiter, Watch, Workspace
from dexhil.teleop.schedule import Loop
from dexhil.teleop.se3 import Vector, from_rpy, make_pose
from dexhil.teleop.status import Status
from dexhil.teleop.takeover import TAKEN, Event, Mode

# Real cameras tremble in every picture; in 20 of them at once nothing else repeats itself.
_CAMERA_FROZEN_S = 1.0


class Session:
    """Three loops over connected devices, and the one authority they obey.

    The devices must be connected, and arm and hand enabled, before ``begin``.

    Args:
        arm: Written by the arm loop alone.
        hand: Written by the hand loop alone.
        glove: The person's fingers.
        tracker: The person's wrist.
        switch: The person's buttons: ``takeover``, ``takeover_arm``, ``takeover_hand``,
            ``release``, ``start``, ``stop``, ``success``, ``failure``, ``redo``, ``abort``.
        cameras: By the name under which frames carry them.
        policy: Proposes actions, if there is one.
        perception: What the task knows about the world, if it does.
        sink: Takes one frame per step of the policy's clock, if anybody wants them.
        retargeter: Keypoints to hand joints.
        ik: The arm's kinematics with the palm at its flange.
        config: Rates and limits.
        clock: The clock the devices stamp with.
    """

    def __init__(
        self,
        *,
        arm: Arm,
        hand: Hand,
        glove: Glove,
        tracker: Tracker,
        switch: Switch,
        retargeter: Retargets,
        ik: ArmIK,
        config: TeleopConfig,
        clock: Clock,
        cameras: Mapping[str, Camera] | None = None,
        policy: Policy | AsyncPolicy | None = None,
        perception: Callable[[], Vector] | None = None,
        sink: Sink | None = None,
    ) -> None:
        self._clock = clock
        self._config = config
        self._policy = policy
        self._robot = (arm, hand)
        self._watches = Watches(
            arm=Watch(arm, max_age_s=config.robot_max_age_s, values=_joints),
            hand=Watch(hand, max_age_s=config.robot_max_age_s, values=_joints),
            cameras={name: self._camera_watch(camera) for name, camera in (cameras or {}).items()},
            glove=Watch(
                glove,
                max_age_s=config.glove_max_age_s,
                values=lambda sample: sample.keypoints,
                frozen=FrozenMonitor(config.frozen_samples, config.frozen_s),
                jumps=JumpMonitor(keypoint_motions(config.glove_speed)),
            ),
            tracker=Watch(
                tracker,
                max_age_s=config.tracker_max_age_s,
                values=lambda sample: np.concatenate([sample.position, sample.orientation]),
                frozen=FrozenMonitor(config.frozen_samples, config.frozen_s),
                jumps=JumpMonitor(pose_motions(config.tracker_speed, config.tracker_turn_rate)),
            ),
            switch=Watch(switch, max_age_s=config.switch_max_age_s),
        )
        self._authority = Authority(
            self._watches.switch,
            clock,
            self._refusal,
            PressMonitor(config.presses_per_s),
        )
        self._arm = self._arm_follower(arm, ik)
        self._hand = self._hand_follower(hand, retargeter)
        self._policy_loop = PolicyLoop(
            self._watches,
            self._arm,
            self._hand,
            actions=actions_of(
                policy,
                len(arm.spec.joint_names) + len(hand.spec.joint_names),
                period_s=1.0 / config.policy_rate_hz,
                prefetch_steps=config.policy_prefetch_steps,
            ),
            perception=perception,
            sink=sink,
            shadow=config.shadow,
            authority=self._authority,
            clock=clock,
        )
        # In this order at the same instant: the policy sees the world before the
        # devices move on, and its action is there when they do.
        self._loops = [
            Loop("policy", config.policy_rate_hz, self._policy_loop.tick),
            Loop("arm", config.arm_rate_hz, self._arm_tick),
            Loop("hand", config.hand_rate_hz, self._hand_tick),
        ]

    # -- For whoever runs it -------------------------------------------------

    def loops(self) -> list[Loop]:
        """Return the policy, arm and hand loops, in the order of simultaneous ticks."""
        return list(self._loops)

    def begin(self) -> None:
        """Begin an episode: hold where the robot is. Not while the loops run.

        Raises:
            DoubtError: Where the robot is cannot be known.
        """
        watches, now_s = self._watches, self._clock.now_s()
        for watch in (watches.glove, watches.tracker, *watches.cameras.values()):
            watch.clear()
        for camera in watches.cameras.values():  # The followers look at all that they need.
            camera.look(now_s)
        self._authority.reset()
        self._hear_faults()
        self._arm.reset()
        self._hand.reset()
        self._policy_loop.reset()

    def flush(self) -> None:
        """Write the frame of the last, still open step. Not while the loops run."""
        self._policy_loop.close()

    def set_event(self, event: Event, reason: str = "") -> None:
        """Let an event happen as if the operator had pressed a button. From any thread."""
        self._authority.apply(event, reason)

    # -- What can be seen ----------------------------------------------------

    @property
    def drive(self) -> Drive:
        """Who drives, since when, and why nobody does."""
        return self._authority.drive

    @property
    def mode(self) -> Mode:
        return self._authority.drive.mode

    @property
    def verdict(self) -> Verdict | None:
        """What the operator said about this episode, if anything."""
        return self._authority.verdict

    @property
    def refused(self) -> str | None:
        """Why the last event was refused; ``None`` once one was obeyed."""
        return self._authority.refused

    @property
    def doubts(self) -> dict[str, str]:
        """Why nobody could drive now, by device: of arm, hand, switch and cameras."""
        doubts = {name: watch.doubt for name, watch in self._watches.needed.items()}
        doubts["switch"] = self._authority.unheard
        return {name: doubt for name, doubt in doubts.items() if doubt is not None}

    @property
    def obeyed(self) -> tuple[Drive, Drive]:
        """What the last commands of arm and hand obeyed; a new drive, from their next tick on."""
        return self._arm.obeyed, self._hand.obeyed

    @property
    def executed(self) -> Vector:
        """The last commands that the devices took, arm first [rad]. Shape (n,)."""
        return np.concatenate([self._arm.executed, self._hand.executed])

    def status(self) -> Status:
        """Return all there is to see at this moment. From any thread; takes a millisecond."""
        now_s, loop = self._clock.now_s(), self._policy_loop
        proposed = loop.arm_proposals.get()
        watches = self._watches.by_name
        return Status(
            stamp_s=now_s,
            drive=self.drive,
            refused=self.refused,
            doubts=self.doubts,
            share_arm=self._arm.share,
            share_hand=self._hand.share,
            limits=loop.limits,
            steps=replace(loop.steps),
            loops={each.name: each.stats for each in self._loops},
            ages_s={
                **{name: watch.age_s(now_s) for name, watch in watches.items()},
                "policy": inf if proposed is None else now_s - proposed.stamp_s,
            },
            used_s={
                **{name: watch.ages.spread() for name, watch in watches.items()},
                "policy": loop.age.spread(),
            },
            late_answers=0 if loop.actions is None else loop.actions.late,
        )

    # -- Wiring --------------------------------------------------------------

    def _arm_tick(self) -> None:
        # Both poll: the arm would otherwise wait for the hand to have seen the press.
        self._authority.poll()
        self._arm.tick()

    def _hand_tick(self) -> None:
        self._authority.poll()
        self._hand.tick()

    def _hear_faults(self) -> None:
        """Hold everything as soon as arm or hand faults, before that one is even switched off."""

        def hold(watch: Watch[Any], reason: str) -> None:
            watch.distrust(reason)
            self._authority.doubt(reason)

        arm, hand = self._robot
        arm.on_fault(partial(hold, self._watches.arm))
        hand.on_fault(partial(hold, self._watches.hand))

    def _refusal(self, event: Event) -> str | None:
        taken, watches = TAKEN.get(event, frozenset()), self._watches
        if not taken and event is not Event.START:
            return None
        # The part that sees a doubt holds the other one as well, but not before its next tick.
        needed = list(watches.needed.values())
        needed += [watches.glove] if "hand" in taken else []
        needed += [watches.tracker] if "arm" in taken else []
        doubt = next((each.doubt for each in needed if each.doubt is not None), None)
        if doubt is not None or taken:
            return doubt
        if self._policy is None:
            return "there is no policy to start."
        return self._policy.problem if isinstance(self._policy, AsyncPolicy) else None

    def _camera_watch(self, camera: Camera) -> Watch[CameraObservation]:
        frozen_s = self._config.camera_frozen_s
        if frozen_s is None:
            frozen_s = 0.0 if camera.spec.simulated else _CAMERA_FROZEN_S
        return Watch(
            camera,
            max_age_s=self._config.camera_max_age_s,
            # Every fourth row tells a frozen picture as well as all of them.
            values=(lambda sample: sample.image[::4]) if frozen_s > 0.0 else None,
            frozen=FrozenMonitor(inf, frozen_s),
        )

    def _timing(self, rate_hz: float) -> Timing:
        return Timing(
            period_s=1.0 / rate_hz,
            policy_period_s=1.0 / self._config.policy_rate_hz,
            policy_max_age_s=self._config.policy_max_age_s,
            ramp_s=self._config.ramp_s,
        )

    def _arm_follower(self, arm: Arm, ik: ArmIK) -> Follower:
        config = self._config
        workspace = Workspace(
            np.array(config.workspace_low), np.array(config.workspace_high), ik.fk
        )
        timing = self._timing(config.arm_rate_hz)
        mount = make_pose(config.cube_position, from_rpy(config.cube_rpy))
        mapping = ArmMapping(mount, config.arm_scale)
        return Follower(
            self._watches.arm,
            lambda joints: arm.command(ArmCommand(joint_positions=joints)).joint_positions,
            Limiter(
                str(arm),
                arm.spec.position_limits,
                _max_step(arm.spec, config.arm_speed_fraction, timing),
                together=True,
                guards={"workspace": workspace, "collision": ik.collision},
            ),
            HumanArm(self._watches.tracker, mapping, ik, workspace, timing.period_s),
            lambda: self._policy_loop.arm_proposal,
            part="arm",
            authority=self._authority,
            clock=self._clock,
            timing=timing,
            caution=Caution(
                joint_names=arm.spec.joint_names,
                first_action_rad=config.arm_first_action_rad,
                first_action_option="arm_first_action_rad",
                lead_rad=config.arm_lead_rad,
            ),
        )

    def _hand_follower(self, hand: Hand, retargeter: Retargets) -> Follower:
        config = self._config
        timing = self._timing(config.hand_rate_hz)
        mapping = HandMapping(hand.spec.position_limits, config.bleed_rate)
        smooth = config.hand_filter != "off"
        smoother = JointFilter(FILTERS[config.hand_filter]) if smooth else None
        return Follower(
            self._watches.hand,
            lambda joints: hand.command(HandCommand(joint_positions=joints)).joint_positions,
            Limiter(
                str(hand),
                hand.spec.position_limits,
                _max_step(hand.spec, config.hand_speed_fraction, timing),
                together=False,
                lead=config.hand_lead_rad,
            ),
            HumanHand(self._watches.glove, mapping, retargeter, timing.period_s, smoother),
            lambda: self._policy_loop.hand_proposal,
            part="hand",
            authority=self._authority,
            clock=self._clock,
            timing=timing,
            caution=Caution(
                joint_names=hand.spec.joint_names,
                first_action_rad=config.hand_first_action_rad,
                first_action_option="hand_first_action_rad",
            ),
        )


def _joints(sample: JointObservation) -> Vector:
    return sample.joint_positions


def _max_step(spec: JointSpec, speed_fraction: float, timing: Timing) -> Vector:
    step: Vector = speed_fraction * spec.velocity_limits * timing.period_s
    return step
