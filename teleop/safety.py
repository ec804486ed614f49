"""What stands between every source and every device.

``Limiter`` bounds each command; ``Watch`` judges each sample before anyone uses it.
Neither knows who is driving.
"""

import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from dexhil.drivers.device import Stamped
from dexhil.drivers.errors import DeviceError
from dexhil.teleop.errors import DoubtError
from dexhil.teleop.monitors import FrozenMonitor, JumpMonitor
from dexhil.teleop.se3 import Pose, Vector
from dexhil.teleop.timing import Histogram

_BISECTIONS = 12  # Leaves 1/4096 of a step: micrometres.
_ROUNDS = 4  # Of guards that shorten each other's step, before the step is not made at all.
_NO_LIMITS: frozenset[str] = frozenset()
# Metres or radians. Beyond it a number is an overflow, not a measurement.
_PLAUSIBLE = 1e3


class Guard(Protocol):
    """What shortens a step that would go where it must not."""

    def largest_step(self, start: Vector, end: Vector) -> Vector:
        """Return ``end`` itself, or the last point on the way there that is allowed [rad]."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """The box that the palm must not leave.

    Attributes:
        low: Lower corner in the arm's base frame [m]. Shape (3,).
        high: Upper corner in the arm's base frame [m]. Shape (3,).
        fk: Joints [rad] (n,) to ``pose_palm_in_base`` (4, 4).
    """

    low: Vector
    high: Vector
    fk: Callable[[Vector], Pose]

    def clip(self, pose: Pose) -> Pose:
        """Return ``pose`` moved to the nearest point of the box, turned as it was."""
        clipped = pose.copy()
        clipped[:3, 3] = np.minimum(np.maximum(pose[:3, 3], self.low), self.high)
        return clipped

    def largest_step(self, start: Vector, end: Vector) -> Vector:
        """Return ``end``, or the last point on the way there with the palm in the box.

        A palm that starts outside may come back in, but goes no farther out.
        """
        position = self.fk(start)[:3, 3]
        low, high = np.minimum(self.low, position), np.maximum(self.high, position)

        def inside(joints: Vector) -> bool:
            palm = self.fk(joints)[:3, 3]
            return bool((palm >= low).all() and (palm <= high).all())

        if inside(end):
            return end
        safe, fraction, width = start, 0.0, 1.0
        for _ in range(_BISECTIONS):
            width *= 0.5
            candidate = start + (fraction + width) * (end - start)
            if inside(candidate):
                safe, fraction = candidate, fraction + width
        return safe


@dataclass(frozen=True, slots=True, eq=False)
class Limited:
    """A command that may be sent.

    Attributes:
        joint_positions: [rad]. Shape (n,).
        limits: Which limits changed it: ``"position"``, ``"lead"``, ``"velocity"``, or the name
            of a guard.
    """

    joint_positions: Vector
    limits: frozenset[str] = _NO_LIMITS


class Limiter:
    """Bounds on every command of one device, whoever asks.

    Args:
        name: The device, for messages.
        position_limits: Lower and upper [rad]. Shape (n, 2).
        max_step: Largest change from one command to the next, velocity times period
            [rad]. Shape (n,).
        together: Shorten a step as a whole, so that an arm keeps its path. Fingers are
            shortened one by one.
        guards: What else may shorten a step, by name: the box for the palm, collisions.
        lead: Farthest that a command may be from where the joint is [rad], if that is
            bounded: what a position-controlled finger presses with grows with it.
    """

    def __init__(
        self,
        name: str,
        position_limits: Vector,
        max_step: Vector,
        *,
        together: bool,
        guards: Mapping[str, Guard] | None = None,
        lead: float | None = None,
    ) -> None:
        self._name = name
        self._low, self._high = np.ascontiguousarray(position_limits.T)
        self._max_step = max_step
        self._together = together
        self._guards = dict(guards or {})
        self._lead = lead
        self.counts: Counter[str] = Counter()

    def within_range(self, joint_positions: Vector) -> Vector:
        """Return joints clipped to the position limits [rad]. Shape (n,)."""
        clipped: Vector = np.minimum(np.maximum(joint_positions, self._low), self._high)
        return clipped

    def limit(self, target: Vector, last: Vector, measured: Vector | None = None) -> Limited:
        """Return the command nearest to ``target`` that may follow ``last``.

        Args:
            target: What is asked for [rad]. Shape (n,).
            last: The last executed command [rad]. Shape (n,).
            measured: Where the joints are, for the bound on the lead [rad]. Shape (n,).

        Raises:
            DoubtError: The target has the wrong shape or is not finite.
        """
        if target.shape != last.shape:
            raise DoubtError(
                f"{self._name}: the target has shape {target.shape}, expected {last.shape}."
            )
        if not np.isfinite(target).all():
            raise DoubtError(f"{self._name}: the target is not finite at {_bad(target)}.")
        limits: list[str] = []
        allowed = self.within_range(target)
        if (allowed != target).any():
            limits.append("position")
        if self._lead is not None and measured is not None:
            near = np.minimum(np.maximum(allowed, measured - self._lead), measured + self._lead)
            if (near != allowed).any():
                limits.append("lead")
                # Measured joints may lie a little outside their range.
                allowed = self.within_range(near)
        step = allowed - last
        ratio = np.abs(step) / self._max_step
        if ratio.max() > 1.0:
            limits.append("velocity")
            step = step / (ratio.max() if self._together else np.maximum(ratio, 1.0))
            allowed = last + step
        allowed = self._guarded(last, allowed, limits)
        if not limits:
            return Limited(allowed)
        self.counts.update(limits)
        return Limited(allowed, frozenset(limits))

    def _guarded(self, last: Vector, target: Vector, limits: list[str]) -> Vector:
        """Return the step that every guard lets pass as it is."""
        for _ in range(_ROUNDS):
            before = target
            for name, guard in self._guards.items():
                inside = guard.largest_step(last, target)
                if inside is not target:
                    target = inside
                    limits += [] if name in limits else [name]
            # A step that one guard shortened must still please those before it.
            if target is before or len(self._guards) == 1:
                return target
        return last


def _bad(values: Vector) -> str:
    return ", ".join(str(i) for i in np.flatnonzero(~np.isfinite(values)))


ObservationT = TypeVar("ObservationT", bound=Stamped)
ObservationT_co = TypeVar("ObservationT_co", bound=Stamped, covariant=True)


class Observable(Protocol[ObservationT_co]):
    """What can be watched. Every device is."""

    def observe(self, max_age_s: float | None = None) -> ObservationT_co: ...


class Watch(Generic[ObservationT]):
    """The newest sample of one device, and the reason not to use it, if there is one.

    Any loop may look, at any time.

    Args:
        device: What to watch.
        max_age_s: Oldest usable sample [s].
        values: The numbers in a sample that are judged, if any [m, rad or counts].
        frozen: Judges repetition, where the sensor is one that trembles.
        jumps: Judges how far one sample may be from the last, where that is bounded.

    Attributes:
        ages: Of the samples when they were looked at, usable or not.
    """

    def __init__(
        self,
        device: Observable[ObservationT],
        *,
        max_age_s: float,
        values: Callable[[ObservationT], npt.NDArray[Any]] | None = None,
        frozen: FrozenMonitor | None = None,
        jumps: JumpMonitor | None = None,
    ) -> None:
        self._device = device
        self._max_age_s = max_age_s
        self._values = values
        self._frozen = frozen
        self._jumps = jumps
        self.ages = Histogram()
        # Two loops that look at once must not see the newer sample first.
        self._looking = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget every sample."""
        # Sample and doubt are replaced together: whoever reads them takes no lock.
        self._seen: tuple[ObservationT | None, str | None] = (
            None,
            f"{self._device}: not observed yet.",
        )
        for monitor in (self._frozen, self._jumps):
            if monitor is not None:
                monitor.clear()

    @property
    def newest(self) -> ObservationT | None:
        """The newest sample, usable or not."""
        return self._seen[0]

    @property
    def doubt(self) -> str | None:
        """Why the newest sample must not be used, or ``None``."""
        return self._seen[1]

    def look(self, now_s: float) -> None:
        """Take the newest sample and judge it. Never raises for what a device does."""
        self._look(now_s)

    def require(self, now_s: float) -> ObservationT:
        """Take the newest sample.

        Raises:
            DoubtError: It must not be used.
        """
        return _trusted(self._look(now_s))

    @property
    def trusted(self) -> ObservationT:
        """The sample last looked at.

        Raises:
            DoubtError: It must not be used.
        """
        return _trusted(self._seen)

    def distrust(self, reason: str) -> None:
        """Take the device's own word that it faulted. From any thread; waits for nobody."""
        self._seen = (self.newest, reason)

    def age_s(self, now_s: float) -> float:
        """Return the age of the newest sample [s]; infinite if there is none."""
        newest = self.newest
        return math.inf if newest is None else now_s - newest.stamp_s

    def _look(self, now_s: float) -> tuple[ObservationT | None, str | None]:
        with self._looking:
            before = self._seen
            try:
                sample = self._device.observe()
            except (DeviceError, OSError) as error:
                self._seen = (self.newest, str(error) or repr(error))
            else:
                self.ages.add(now_s - sample.stamp_s)
                seen = (sample, self._judge(sample, now_s))
                if self._seen is before:  # Else it faulted since this sample was taken.
                    self._seen = seen
            return self._seen

    def _judge(self, sample: ObservationT, now_s: float) -> str | None:
        age_s = now_s - sample.stamp_s
        # A stamp from the future is from another clock and would never grow stale.
        if not -self._max_age_s <= age_s <= self._max_age_s:
            return (
                f"{self._device}: newest sample is {age_s * 1e3:.0f} ms old, "
                f"allowed {self._max_age_s * 1e3:.0f} ms. Is the device still streaming?"
            )
        newest = self.newest
        if newest is not None and sample.stamp_s < newest.stamp_s:
            back_s = newest.stamp_s - sample.stamp_s
            return (
                f"{self._device}: its clock stepped back by {back_s * 1e3:.0f} ms. "
                "Its ages cannot be trusted."
            )
        if self._values is None:
            return None
        return self._judge_values(sample.stamp_s, self._values(sample))

    def _judge_values(self, stamp_s: float, values: npt.NDArray[Any]) -> str | None:
        if not (np.abs(values) <= _PLAUSIBLE).all():  # Also false for NaN.
            return (
                f"{self._device}: the newest sample is not finite or beyond {_PLAUSIBLE:g}. "
                "Is it tracking?"
            )
        if self._frozen is not None and self._frozen.update(stamp_s, values.tobytes()):
            return (
                f"{self._device}: repeats bit-identical values under fresh stamps, "
                "as a dead sensor does. Reconnect it."
            )
        jump = None if self._jumps is None else self._jumps.update(stamp_s, values)
        if jump is not None:
            return f"{self._device}: {jump}. Did it take something else for the hand?"
        return None


def _trusted(seen: tuple[ObservationT | None, str | None]) -> ObservationT:
    sample, doubt = seen
    if doubt is not None or sample is None:
        raise DoubtError(doubt)
    return sample
