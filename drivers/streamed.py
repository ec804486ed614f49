"""What every real arm and hand shares: one thread that owns the link and streams set points.

Callers set a target; the thread walks a set point towards it at the device's own rate and
never faster than the joints may go. So a policy at 30 Hz gives smooth motion at 500 Hz, a
cable pulled in mid-motion leaves the device at a set point near where it already is, and
every driver holds, faults and stops by the same rules, written once, here.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.clock import Clock
from dexhil.drivers.joints import JointCommand, JointSpec
from dexhil.drivers.sample import Differentiator, Sample
from dexhil.drivers.worker import Worker

__all__ = ["Differentiator", "Sample", "StreamedJoints"]

log = logging.getLogger(__name__)

# Without a fresh sample for this long, or two periods, the set point stays [s]. Told and done, it
# stands still within 100 ms.
BLIND_HOLD_S = 0.07
BLIND_TELL_S = 0.1  # From here on health says so [s].
BLIND_FAULT_S = 0.3  # Driving blind for this long is a fault [s].
SILENT_FAULT_S = 1.0  # A device that only watches may be silent for this long [s].
STIRS = 1e-3  # A set point nearer than this has not moved [rad].
STUCK = 0.03  # A set point that moved this far must show in some measured value [rad].
BEYOND = 0.5  # A position this far outside its range is no position but garbage [rad].
OUTSIDE = 0.1  # A joint this far outside its range is not moved back by enabling [rad].
SWITCH_OFF_S = 0.3  # A device that answers has switched its drives off within this [s].
JOB_TIMEOUT_S = 5.0  # Switching drives on takes the slowest device less than this [s].


class StreamedJoints:
    """The holes of an actuator's driver, filled by a thread. Stands before ``Arm`` or ``Hand``.

    A driver implements the hooks below. They are called from one thread at a time, never
    two at once. ``ConnectionError`` and other ``OSError`` mean a lost link; any other exception is
    the device's own fault. Either latches, its text is what a person reads.
    """

    period_s: float = 0.01  # 0 when ``_poll`` itself waits for the device.
    ramp_s: float = 0.0  # Time over which one command is spread, to interpolate.

    if TYPE_CHECKING:
        name: str
        clock: Clock
        observation_type: ClassVar[type[Any]]

        @property
        def spec(self) -> JointSpec: ...

    _worker: Worker | None = None
    _newest: Sample | None
    _observed: tuple[Sample, Any] | None
    _target: tuple[Vector, float] | None  # And when it was commanded [s]. The caller's to write.
    _held_s: float  # When it last held for want of samples: older commands are void.
    _setpoint: Vector
    _seen_at: Vector  # Where the set point was when a measured value last changed.
    _stirred_s: float  # When the set point was last still there.
    _fresh_s: float  # When the device last showed that it is alive.
    _walked_s: float
    _driving: bool
    _powered: bool = False  # Whether the drives may be on. The thread's own.
    _ended: Worker | None = None  # The last one; it may be stuck in a vendor's library.
    _trouble: str

    # -- What a driver implements -----------------------------------------------------

    def _link_open(self, timeout_s: float) -> None:
        """Open the link. Must neither move anything nor switch drives on."""
        raise NotImplementedError

    def _link_close(self) -> None:
        """Release everything ``_link_open`` took, however far it got."""
        raise NotImplementedError

    def _poll(self) -> Sample | None:
        """Exchange once. ``None`` when the answer was lost, late or corrupt.

        Must not block for more than about 50 ms. Raises when the device reports an error.
        """
        raise NotImplementedError

    def _switch_on(self, here: Vector) -> None:
        """Switch the drives on, holding ``here`` [rad]. Shape (n,)."""
        raise NotImplementedError

    def _switch_off(self) -> None:
        """Leave the device unable to move. Must be idempotent."""
        raise NotImplementedError

    def _send(self, setpoint: Vector) -> None:
        """Send one limited set point [rad]. Shape (n,)."""
        raise NotImplementedError

    def _clear_errors(self) -> None:
        """Clear what the device latched, on a person's request. The link is open."""

    # -- The holes of Device and Actuator, filled. All below is this class's own.

    @final
    def _open(self, timeout_s: float) -> None:
        self._require_to_be_alone()
        self._newest = None
        self._observed = None
        self._driving = self._powered = False
        self._jobs: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._wake = threading.Event()
        self._trouble = "nothing came back"
        self._link_open(timeout_s)
        self._wait_for_first_sample(timeout_s)
        self._deadline_s = time.monotonic()
        self._worker = Worker(self._step, f"{self.name} stream")
        self._worker.start()

    @final
    def _close(self) -> None:
        worker, self._worker = self._worker, None
        try:
            if worker is not None:
                self._ended = worker
                worker.stopping.set()
                self._wake.set()
                worker.stop(JOB_TIMEOUT_S)
        finally:
            self._link_close()

    @final
    def _read(self) -> Any:
        if self._worker is not None:
            self._worker.check()
        sample = self._newest
        if sample is None:
            raise ConnectionError(self._trouble)
        if self._observed is None or self._observed[0] is not sample:
            observation = self.observation_type(
                stamp_s=sample.stamp_s,
                joint_positions=sample.positions,
                joint_velocities=sample.velocities,
                joint_efforts=sample.efforts,
                **sample.extras,
            )
            self._observed = (sample, observation)
        return self._observed[1]

    @final
    def _enable(self) -> None:
        self._ask(self._start_driving)

    @final
    def _disable(self) -> None:
        self._driving = False  # First: from here on no set point is sent.
        if self._worker is not None and self._worker.alive and self._worker.error is not None:
            # Its thread failed and is switching off already. A link that lives lets it end
            # soon; who asks a dead one must not wait for long.
            self._worker.wait(SWITCH_OFF_S)
            return
        self._ask(self._stop_driving)

    @final
    def _write(self, command: JointCommand) -> None:
        if self._worker is not None:
            self._worker.check()
        # One assignment: the thread sees the whole command or none of it.
        self._target = (command.joint_positions, self.clock.now_s())

    def _warnings(self) -> tuple[str, ...]:
        blind_s = self.clock.now_s() - self._fresh_s
        if blind_s > max(BLIND_TELL_S, self._blind_hold_s):
            return (f"no fresh sample for {blind_s * 1e3:.0f} ms: {self._trouble}",)
        return ()

    @final
    def _recover(self, timeout_s: float) -> None:
        self._require_to_be_alone()
        try:
            self._link_open(timeout_s)
            self._clear_errors()
        finally:
            self._link_close()

    # -- The thread --------------------------------------------------------------------

    @final
    def _step(self) -> None:
        try:
            self._cycle()
        except BaseException as error:
            if self._worker is not None:
                self._worker.error = error  # Known at once: switching off may take a while.
            self._driving = False
            if self._powered:
                self._switch_off_quietly()
            raise

    @final
    def _cycle(self) -> None:
        while self._jobs:
            self._run(*self._jobs.popleft())
        sample = self._poll()
        now_s = self.clock.now_s()
        if sample is not None:
            self._accept(sample, now_s)
        blind_s = now_s - self._fresh_s
        if blind_s > (BLIND_FAULT_S if self._driving else SILENT_FAULT_S) + 2 * self.period_s:
            raise ConnectionError(f"no fresh sample for {blind_s * 1e3:.0f} ms: {self._trouble}")
        if self._driving:
            self._walk(now_s, hold=blind_s > self._blind_hold_s)
            self._send(self._setpoint.copy())
        self._pace()

    @final
    def _pace(self) -> None:
        """Wait for the next cycle, or until somebody wants something."""
        if not self.period_s:
            return
        now_s = time.monotonic()
        self._deadline_s = max(self._deadline_s + self.period_s, now_s - self.period_s)
        if now_s >= self._deadline_s:
            return
        if self._wake.wait(self._deadline_s - now_s):
            self._wake.clear()
            self._deadline_s = time.monotonic()
        else:
            # What this machine overslept is no silence of the device.
            self._fresh_s += max(0.0, time.monotonic() - self._deadline_s - self.period_s)

    @final
    def _accept(self, sample: Sample, now_s: float) -> None:
        """Take a sample as the newest one, if it is one."""
        low, high = self.spec.position_limits.T
        for values in (sample.positions, sample.velocities, sample.efforts):
            if values is not None and not np.isfinite(values).all():
                self._trouble = "it reports values that are not finite"
                return
        outside = (sample.positions < low - BEYOND) | (sample.positions > high + BEYOND)
        if outside.any():
            joint = int(np.argmax(outside))
            self._trouble = (
                f"joint {self.spec.joint_names[joint]} reports {sample.positions[joint]:.2f} rad, "
                f"its range is {low[joint]:.2f} to {high[joint]:.2f} rad"
            )
            return
        last, self._newest = self._newest, sample
        if last is None or not sample.same_values(last) or not self._driving:
            self._seen_at = self._setpoint
        asked = np.abs(self._setpoint - self._seen_at).max()
        if asked < STIRS:
            self._stirred_s = now_s
        if asked < STUCK:
            # No fresher than it says itself: it may have waited while this machine was busy.
            self._fresh_s, self._trouble = min(now_s, sample.stamp_s), "nothing came back"
        else:
            # Blind since it was first told to move. Not since the last change: at rest nothing
            # changes for hours, and a device needs some time to show that it begins to move.
            self._fresh_s = min(self._fresh_s, self._stirred_s)
            self._trouble = "it repeats the same values while it is told to move"

    @final
    def _walk(self, now_s: float, *, hold: bool) -> None:
        """Move the set point towards the newest command, within the speed limits."""
        # A stall must not become a leap.
        elapsed_s = min(now_s - self._walked_s, 0.05)
        self._walked_s = now_s
        if hold:
            self._held_s = now_s
        if self._target is None:
            return
        # Never cleared here: that would lose what is commanded at this very moment.
        target, commanded_s = self._target
        if commanded_s <= self._held_s or now_s - commanded_s > self.spec.watchdog_s:
            return  # It takes a new command to go on.
        left_s = max(commanded_s + self.ramp_s - now_s, 0.0)
        step = (target - self._setpoint) * (elapsed_s / (left_s + elapsed_s) if elapsed_s else 0.0)
        reach = self.spec.velocity_limits * elapsed_s
        self._setpoint = self._setpoint + np.clip(step, -reach, reach)

    # -- Jobs ----------------------------------------------------------------------------

    @final
    def _start_driving(self) -> None:
        if self._newest is None or self.clock.now_s() - self._fresh_s > self._blind_hold_s:
            raise ConnectionError(f"it does not say where it is: {self._trouble}")
        here = self._newest.positions
        low, high = self.spec.position_limits.T
        outside = np.abs(np.clip(here, low, high) - here)
        joint = int(np.argmax(outside))
        if outside[joint] > OUTSIDE:
            raise ValueError(
                f"joint {self.spec.joint_names[joint]} stands at {here[joint]:.2f} rad, outside "
                f"its range of {low[joint]:.2f} to {high[joint]:.2f} rad; move it there by hand"
            )
        self._powered = True  # First: half-way on must be switched off as well.
        # Where it is, even slightly outside: a command walks it inside, no faster than it may.
        self._switch_on(here)
        self._setpoint = self._seen_at = here
        self._target = None
        self._walked_s = self._fresh_s = self._stirred_s = self.clock.now_s()
        self._driving = True

    @final
    def _stop_driving(self) -> None:
        self._driving = False  # Enabling may have ended after whoever asked for it gave up.
        self._switch_off()
        self._powered = False

    @final
    def _ask(self, job: Callable[[], None]) -> None:
        """Have ``job`` done by the thread that owns the link; by this one if that has ended."""
        worker = self._worker
        if worker is None or not worker.alive:
            if worker is not None and job != self._stop_driving:
                worker.check()
            return job()
        done: Future[None] = Future()
        self._jobs.append((job, done))
        self._wake.set()
        give_up_s = time.monotonic() + JOB_TIMEOUT_S
        try:
            while worker.alive and time.monotonic() < give_up_s:
                try:
                    return done.result(timeout=0.05)
                except TimeoutError:
                    if done.done():  # In this moment, or it is what the job raised.
                        return done.result()
        finally:
            if job != self._stop_driving:
                done.cancel()  # Nobody waits any more, so it must not begin later.
        if job == self._stop_driving and not worker.alive:
            return job()
        worker.check()
        raise TimeoutError(f"the device did not answer within {JOB_TIMEOUT_S:g} s")

    @staticmethod
    def _run(job: Callable[[], None], done: "Future[None]") -> None:
        if not done.set_running_or_notify_cancel():
            return
        try:
            job()
        except Exception as error:  # noqa: BLE001  # Raised again where it was asked for.
            done.set_exception(error)
        else:
            done.set_result(None)

    @final
    def _switch_off_quietly(self) -> None:
        try:
            self._switch_off()
        except Exception as error:  # noqa: BLE001  # It faulted already; nothing may hide that.
            log.error("%s could not be switched off (%s); use the emergency stop", self, error)

    @final
    def _wait_for_first_sample(self, timeout_s: float) -> None:
        give_up_s = time.monotonic() + timeout_s
        self._setpoint = self._seen_at = np.zeros(self.spec.n_joints)
        self._target, self._held_s = None, -np.inf
        self._walked_s = self._fresh_s = self._stirred_s = self.clock.now_s()
        while True:
            sample = self._poll()
            if sample is not None:
                self._accept(sample, self.clock.now_s())
            if self._newest is not None:
                return
            if time.monotonic() > give_up_s:
                raise TimeoutError(self._trouble)
            time.sleep(min(0.005, self.period_s))

    @final
    def _require_to_be_alone(self) -> None:
        if self._ended is not None and self._ended.alive:
            raise ConnectionError("the last connection still hangs in its driver: end the program")

    @property
    def _blind_hold_s(self) -> float:
        return max(BLIND_HOLD_S, 2 * self.period_s)
