"""What stands between every source and every device.

``Limiter`` bounds each command; ``Watch`` judges each sample before anyone uses it.
Neither knows who is driving.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from dexhil.drivers.device import Stamped
from dexhil.drivers.errors import DeviceError
from dexhil.teleop.errors import DoubtError
from dexhil.teleop.se3 import Pose, Vector

_BISECTIONS = 12  # Leaves 1/4096 of a step: micrometres.
_NO_LIMITS: frozenset[str] = frozenset()
# Metres or radians. Beyond it a number is an overflow, not a measurement.
_PLAUSIBLE = 1e3


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
        limits: Which limits changed it: ``"position"``, ``"velocity"``, ``"workspace"``.
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
        workspace: The box for the palm, if the device carries it.
    """

    def __init__(
        self,
        name: str,
        position_limits: Vector,
        max_step: Vector,
        *,
        together: bool,
        workspace: Workspace | None = None,
    ) -> None:
        self._name = name
        self._low, self._high = np.ascontiguousarray(position_limits.T)
        self._max_step = max_step
        self._together = together
        self._workspace = workspace
        self.counts: Counter[str] = Counter()

    def within_range(self, joint_positions: Vector) -> Vector:
        """Return joints clipped to the position limits [rad]. Shape (n,)."""
        clipped: Vector = np.minimum(np.maximum(joint_positions, self._low), self._high)
        return clipped

    def limit(self, target: Vector, last: Vector) -> Limited:
        """Return the command nearest to ``target`` that may follow ``last`` [rad].

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
        step = allowed - last
        ratio = np.abs(step) / self._max_step
        if ratio.max() > 1.0:
            limits.append("velocity")
            step = step / (ratio.max() if self._together else np.maximum(ratio, 1.0))
            allowed = last + step
        if self._workspace is not None:
            inside = self._workspace.largest_step(last, allowed)
            if inside is not allowed:
                limits.append("workspace")
                allowed = inside
        if not limits:
            return Limited(allowed)
        self.counts.update(limits)
        return Limited(allowed, frozenset(limits))


def _bad(values: Vector) -> str:
    return ", ".join(str(i) for i in np.flatnonzero(~np.isfinite(values)))


class FrozenMonitor:
    """Tells a live sensor from one that repeats itself.

    Real sensors tremble. Bit-identical values under advancing stamps mean that a
    live link carries a dead sensor. The same stamp seen twice is the same sample and
    proves nothing; its age does.

    Args:
        max_samples: Longest run of equal samples a live sensor gives.
        max_duration_s: Longest time it gives equal samples [s].
    """

    def __init__(self, max_samples: int, max_duration_s: float) -> None:
        self._max_samples = max_samples
        self._max_duration_s = max_duration_s
        self.clear()

    def clear(self) -> None:
        """Forget every sample."""
        self._stamp_s, self._since_s = -math.inf, -math.inf
        self._values = b""
        self._samples = 0

    def update(self, stamp_s: float, values: bytes) -> bool:
        """Take one sample and return whether the sensor is frozen."""
        if stamp_s != self._stamp_s:
            self._stamp_s = stamp_s
            if values == self._values:
                self._samples += 1
            else:
                self._values, self._since_s, self._samples = values, stamp_s, 1
        return (
            self._samples > self._max_samples
            or self._stamp_s - self._since_s > self._max_duration_s
        )


ObservationT = TypeVar("ObservationT", bound=Stamped)
ObservationT_co = TypeVar("ObservationT_co", bound=Stamped, covariant=True)


class Observable(Protocol[ObservationT_co]):
    """What can be watched. Every device is."""

    def observe(self, max_age_s: float | None = None) -> ObservationT_co: ...


class Watch(Generic[ObservationT]):
    """The newest sample of one device, and the reason not to use it, if there is one.

    Args:
        device: What to watch.
        max_age_s: Oldest usable sample [s].
        values: The numbers in a sample that must be finite, if any [m or rad].
        frozen: Judges repetition, where the sensor is one that trembles.
    """

    def __init__(
        self,
        device: Observable[ObservationT],
        *,
        max_age_s: float,
        values: Callable[[ObservationT], Vector] | None = None,
        frozen: FrozenMonitor | None = None,
    ) -> None:
        self._device = device
        self._max_age_s = max_age_s
        self._values = values
        self._frozen = frozen
        self.clear()

    def clear(self) -> None:
        """Forget every sample."""
        # Sample and doubt are replaced together: two loops may watch one device.
        self._seen: tuple[ObservationT | None, str | None] = (
            None,
            f"{self._device}: not observed yet.",
        )
        if self._frozen is not None:
            self._frozen.clear()

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
        try:
            sample = self._device.observe()
        except (DeviceError, OSError) as error:
            self._seen = (self.newest, str(error) or repr(error))
            return
        self._seen = (sample, self._judge(sample, now_s))

    def require(self, now_s: float) -> ObservationT:
        """Take the newest sample.

        Raises:
            DoubtError: It must not be used.
        """
        self.look(now_s)
        return self.trusted

    @property
    def trusted(self) -> ObservationT:
        """The sample last looked at.

        Raises:
            DoubtError: It must not be used.
        """
        sample, doubt = self._seen
        if doubt is not None or sample is None:
            raise DoubtError(doubt)
        return sample

    def age_s(self, now_s: float) -> float:
        """Return the age of the newest sample [s]; infinite if there is none."""
        newest = self.newest
        return math.inf if newest is None else now_s - newest.stamp_s

    def _judge(self, sample: ObservationT, now_s: float) -> str | None:
        age_s = now_s - sample.stamp_s
        # A stamp from the future is from another clock and would never grow stale.
        if not -self._max_age_s <= age_s <= self._max_age_s:
            return (
                f"{self._device}: newest sample is {age_s * 1e3:.0f} ms old, "
                f"allowed {self._max_age_s * 1e3:.0f} ms. Is the device still streaming?"
            )
        if self._values is None:
            return None
        values = self._values(sample)
        if not (np.abs(values) <= _PLAUSIBLE).all():  # Also false for NaN.
            return (
                f"{self._device}: the newest sample is not finite or beyond {_PLAUSIBLE:g}. "
                "Is it tracking?"
            )
        if self._frozen is not None and self._frozen.update(sample.stamp_s, values.tobytes()):
            return (
                f"{self._device}: repeats bit-identical values under fresh stamps, "
                "as a dead sensor does. Reconnect it."
            )
        return None
