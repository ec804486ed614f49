"""The loop of one actuator: obey whoever drives, smoothly, within limits, at every tick."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from dexhil.drivers.arm import ArmObservation
from dexhil.drivers.clock import Clock
from dexhil.drivers.errors import DeviceError
from dexhil.drivers.hand import HandObservation
from dexhil.retarget.errors import RetargetError
from dexhil.teleop.authority import Authority, Drive
from dexhil.teleop.errors import DoubtError, TeleopError
from dexhil.teleop.human import Human
from dexhil.teleop.mailbox import OneWriter
from dexhil.teleop.safety import Limiter, Watch
from dexhil.teleop.se3 import Vector
from dexhil.teleop.takeover import Mode, Part


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """What the policy wants the device to reach one policy period from ``stamp_s``.

    Attributes:
        stamp_s: When it was made [s].
        epoch: The drive it was made for.
        joint_positions: [rad]. Shape (n,).
    """

    stamp_s: float
    epoch: int
    joint_positions: Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Durations a follower works with [s]."""

    period_s: float
    policy_period_s: float
    policy_max_age_s: float
    ramp_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """What a follower does not do.

    Attributes:
        joint_names: Of the device, for messages.
        first_action_rad: A policy's first action may be this far from each joint's last
            command [rad]; one that is farther was not meant for this pose.
        first_action_option: Which entry of ``[teleop]`` that is, for messages.
        lead_rad: How far a joint may stay behind its command [rad]; more means that
            something is in its way.
    """

    joint_names: tuple[str, ...]
    first_action_rad: float
    first_action_option: str
    lead_rad: float = inf


class Follower:
    """The only writer of one device.

    Every change of drive is anchored at the last executed command, and authority
    grows from there, so no change of driver makes a step. Any doubt holds that
    command in the same tick.

    Args:
        watch: The device's samples.
        send: Commands the device and returns what it took; joints [rad] (n,).
        limiter: Bounds every command.
        human: The person, as this device follows them.
        proposal: Reads the policy's newest proposal for this device.
        part: Which part of the robot it is.
        authority: Says who drives.
        clock: Says when it is.
        timing: Durations.
        caution: What it does not do.

    Attributes:
        executed: The last command that the device took [rad]. Shape (n,).
        asked: What the person asks for [rad] (n,), while they hold this part.
        share: The person's share of the last command, 0 to 1.
        human_ticks: Commands so far in which a person had a say.
        limits: What changed the last command.
        obeyed: The drive that the last command obeyed.
    """

    def __init__(
        self,
        watch: Watch[ArmObservation] | Watch[HandObservation],
        send: Callable[[Vector], Vector],
        limiter: Limiter,
        human: Human,
        proposal: Callable[[], Proposal | None],
        *,
        part: Part,
        authority: Authority,
        clock: Clock,
        timing: Timing,
        caution: Caution,
    ) -> None:
        self._part = part
        self._watch = watch
        self._send = send
        self._limiter = limiter
        self._human = human
        self._newest_proposal = proposal
        self._authority = authority
        self._clock = clock
        self._timing = timing
        self._caution = caution
        self._stretch = -1
        self._writer = OneWriter(f"commands to the {part}")
        self.human_ticks = 0
        self.obeyed = authority.drive
        self.executed: Vector
        self.asked: Vector | None
        self.share: float
        self.limits: frozenset[str]

    def reset(self) -> None:
        """Take where the device is for the last executed command, and look at everything.

        Raises:
            DoubtError: Where the device is cannot be known.
        """
        now_s = self._clock.now_s()
        sample = self._watch.require(now_s)
        self._human.look(now_s)
        self.executed = self._limiter.within_range(sample.joint_positions)
        self.limits = frozenset()
        self._writer.release()
        self._enter(self._authority.drive, now_s)

    def tick(self) -> None:
        """Send one command.

        Raises:
            ScheduleError: Another thread sends them.
        """
        self._writer.check()
        now_s = self._clock.now_s()
        self._human.look(now_s)
        drive = self._authority.drive
        command, self.limits = self.executed, frozenset()
        driver, stretch = drive.of(self._part)
        begins = stretch != self._stretch
        taken = begins and driver is Mode.HUMAN
        if begins:  # Whatever becomes of this tick, the last driver has no say in it.
            self._enter(drive, now_s)
        try:
            measured = self._watch.require(now_s).joint_positions
            if driver is not Mode.HOLD and not taken:
                self._require_near(measured)
                target = self._target(drive, now_s)
                limited = self._limiter.limit(target, self.executed, measured)
                command, self.limits = limited.joint_positions, limited.limits
        except (TeleopError, RetargetError) as doubt:
            self._authority.doubt(str(doubt))
        self._obey(drive, command)
        if taken:
            self._anchor_human()

    def _obey(self, drive: Drive, command: Vector) -> None:
        try:
            self.executed = self._send(command)
        except (DeviceError, OSError) as error:
            self._authority.doubt(str(error))
        self.obeyed = drive

    def _anchor_human(self) -> None:
        """Let the person's pose mean the command just sent.

        It is the last one before they took over, whatever they do, so nobody need wait for
        the milliseconds that it takes to find out what their pose means.
        """
        self.asked = self.executed
        self.human_ticks += 1
        try:
            self._human.anchor(self.executed)
        except (TeleopError, RetargetError) as doubt:
            self._authority.doubt(str(doubt))

    def _enter(self, drive: Drive, now_s: float) -> None:
        self._stretch = drive.of(self._part)[1]
        self._since_s = now_s
        self._anchor = self.executed
        self._proposal: Proposal | None = None
        self.asked, self.share = None, 0.0

    def _target(self, drive: Drive, now_s: float) -> Vector:
        if drive.of(self._part)[0] is Mode.POLICY:
            return self._policy_target(drive.epoch, now_s)
        self.share = self._ramp(now_s)
        self.asked = self._human.target(self.share, self.executed)
        self.human_ticks += 1
        return self.asked

    def _policy_target(self, epoch: int, now_s: float) -> Vector:
        """Approach the newest action so as to be there when the next one is due."""
        newest = self._newest_proposal()
        if newest is None or newest.epoch != epoch:
            self._require_young(now_s - self._since_s)
            return self.executed
        self._require_young(now_s - newest.stamp_s)
        if newest is not self._proposal:
            if self._proposal is None:
                self._require_nearby(newest.joint_positions)
                self._since_s = now_s  # Authority grows from the first action on.
            self._proposal, self._start = newest, self.executed
        goal = self._anchor + self._ramp(now_s) * (newest.joint_positions - self._anchor)
        # Where the device should be when this tick's command ends, not where it begins:
        # the last tick before the next action then reaches this one exactly.
        passed_s = now_s + self._timing.period_s - newest.stamp_s
        # Clocks round; a tick that ends a nanosecond early has still arrived.
        fraction = min(1.0, passed_s / self._timing.policy_period_s + 1e-9)
        return goal if fraction >= 1.0 else self._start + fraction * (goal - self._start)

    def _require_young(self, age_s: float) -> None:
        if age_s > self._timing.policy_max_age_s:
            raise DoubtError(
                f"policy: no action for {age_s * 1e3:.0f} ms, "
                f"allowed {self._timing.policy_max_age_s * 1e3:.0f} ms. Is it still running?"
            )

    def _require_nearby(self, first: Vector) -> None:
        away = np.abs(first - self.executed)
        worst = int(away.argmax())
        if away[worst] > self._caution.first_action_rad:
            raise DoubtError(
                f"policy: its first action is {away[worst]:.2f} rad from {self._part} joint "
                f"{self._caution.joint_names[worst]}, allowed "
                f"{self._caution.first_action_rad:g} rad. Was it trained from this pose? "
                f"Move the robot near, or raise {self._caution.first_action_option}."
            )

    def _require_near(self, measured: Vector) -> None:
        lead = np.abs(self.executed - measured)
        worst = int(lead.argmax())
        if lead[worst] > self._caution.lead_rad:
            raise DoubtError(
                f"{self._part}: joint {self._caution.joint_names[worst]} is "
                f"{lead[worst]:.2f} rad behind its command, allowed "
                f"{self._caution.lead_rad:g} rad. Is something in its way, or is its speed "
                "turned down?"
            )

    def _ramp(self, now_s: float) -> float:
        if self._timing.ramp_s <= 0.0:
            return 1.0
        return min(1.0, (now_s - self._since_s) / self._timing.ramp_s)
