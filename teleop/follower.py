"""The loop of one actuator: obey whoever drives, smoothly, within limits, at every tick."""

from collections.abc import Callable
from dataclasses import dataclass

from dexhil.drivers.arm import ArmObservation
from dexhil.drivers.clock import Clock
from dexhil.drivers.errors import DeviceError
from dexhil.drivers.hand import HandObservation
from dexhil.retarget.errors import RetargetError
from dexhil.teleop.authority import Authority, Drive
from dexhil.teleop.errors import DoubtError, TeleopError
from dexhil.teleop.human import Human
from dexhil.teleop.safety import Limiter, Watch
from dexhil.teleop.se3 import Vector
from dexhil.teleop.takeover import Mode


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
        authority: Says who drives.
        clock: Says when it is.
        timing: Durations.
    """

    def __init__(
        self,
        watch: Watch[ArmObservation] | Watch[HandObservation],
        send: Callable[[Vector], Vector],
        limiter: Limiter,
        human: Human,
        proposal: Callable[[], Proposal | None],
        *,
        authority: Authority,
        clock: Clock,
        timing: Timing,
    ) -> None:
        self._watch = watch
        self._send = send
        self._limiter = limiter
        self._human = human
        self._newest_proposal = proposal
        self._authority = authority
        self._clock = clock
        self._timing = timing
        self._epoch = -1
        self.human_ticks = 0
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
        self._enter(self._authority.drive, now_s)

    def tick(self) -> None:
        """Send one command."""
        now_s = self._clock.now_s()
        self._human.look(now_s)
        drive = self._authority.drive
        command, self.limits = self.executed, frozenset()
        try:
            self._watch.require(now_s)
            if drive.epoch != self._epoch:
                self._enter(drive, now_s)
            limited = self._limiter.limit(self._target(drive, now_s), self.executed)
            command, self.limits = limited.joint_positions, limited.limits
        except (TeleopError, RetargetError) as doubt:
            self._authority.doubt(str(doubt))
        try:
            self.executed = self._send(command)
        except (DeviceError, OSError) as error:
            self._authority.doubt(str(error))

    def _enter(self, drive: Drive, now_s: float) -> None:
        self._epoch = drive.epoch
        self._since_s = now_s
        self._anchor = self.executed
        self._proposal: Proposal | None = None
        self.asked, self.share = None, 0.0
        if drive.mode is Mode.HUMAN:
            self._human.anchor(self.executed)

    def _target(self, drive: Drive, now_s: float) -> Vector:
        if drive.mode is Mode.HUMAN:
            self.share = self._ramp(now_s)
            self.asked = self._human.target(self.share, self.executed)
            self.human_ticks += 1
            return self.asked
        if drive.mode is Mode.POLICY:
            return self._policy_target(now_s)
        return self.executed

    def _policy_target(self, now_s: float) -> Vector:
        """Approach the newest action so as to be there when the next one is due."""
        newest = self._newest_proposal()
        if newest is None or newest.epoch != self._epoch:
            self._require_young(now_s - self._since_s)
            return self.executed
        self._require_young(now_s - newest.stamp_s)
        if newest is not self._proposal:
            if self._proposal is None:
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

    def _ramp(self, now_s: float) -> float:
        if self._timing.ramp_s <= 0.0:
            return 1.0
        return min(1.0, (now_s - self._since_s) / self._timing.ramp_s)
