"""What tells a live sensor from a dead, a blind or a mad one, by its samples alone."""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dexhil.teleop.se3 import Vector

# What noise may add to a motion between two samples.
_NOISE_M = 0.02
_NOISE_RAD = 0.2
# Samples from a network arrive in bunches: this much sooner after each other than they were taken.
_JITTER_S = 0.02


class FrozenMonitor:
    """Tells a live sensor from one that repeats itself.

    Real sensors tremble. Bit-identical values under advancing stamps mean that a
    live link carries a dead sensor. The same stamp seen twice is the same sample and
    proves nothing; its age does.

    Args:
        max_samples: Longest run of equal samples a live sensor gives.
        max_duration_s: Longest time it gives equal samples [s].
    """

    def __init__(self, max_samples: float, max_duration_s: float) -> None:
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


@dataclass(frozen=True, slots=True)
class Motion:
    """One way in which a person moves, and how fast they can.

    Attributes:
        between: How far apart two samples are [m or rad].
        speed: Fastest that a person moves so [m/s or rad/s].
        noise: What the sensor may add [m or rad].
        unit: Of ``noise``.
    """

    between: Callable[[Vector, Vector], float]
    speed: float
    noise: float
    unit: str


class JumpMonitor:
    """Tells a person who moves from a tracker that lost them and found something else.

    A cube seen from its flipped side, a glove that takes one hand for the other: the
    samples are fresh, finite and wrong. Nobody moves that fast.

    Args:
        motions: How the person may move from one sample to the next.
    """

    def __init__(self, motions: Sequence[Motion]) -> None:
        self._motions = motions
        self.clear()

    def clear(self) -> None:
        """Forget every sample."""
        self._last: tuple[float, Vector] | None = None
        self._jump: str | None = None

    def update(self, stamp_s: float, values: Vector) -> str | None:
        """Take one sample and return how it jumped, if it did; the next one is judged by it."""
        last, self._last = self._last, (stamp_s, values)
        if last is None:
            self._jump = None
        elif stamp_s != last[0]:  # The same stamp is the same sample.
            self._jump = self._judge(stamp_s - last[0], last[1], values)
        return self._jump

    def _judge(self, dt_s: float, before: Vector, after: Vector) -> str | None:
        for motion in self._motions:
            moved = motion.between(before, after)
            allowed = motion.speed * (dt_s + _JITTER_S) + motion.noise
            if not moved <= allowed:  # Also true for NaN.
                return (
                    f"moved {moved:.2f} {motion.unit} in {dt_s * 1e3:.0f} ms, "
                    f"allowed {allowed:.2f} {motion.unit}"
                )
        return None


def pose_motions(speed: float, turn_rate: float) -> tuple[Motion, Motion]:
    """Return how a tracked pose moves, for values of position and quaternion, (7,).

    Args:
        speed: Fastest [m/s].
        turn_rate: Fastest [rad/s].
    """
    return (
        Motion(lambda a, b: float(np.linalg.norm(b[:3] - a[:3])), speed, _NOISE_M, "m"),
        Motion(_turn, turn_rate, _NOISE_RAD, "rad"),
    )


def keypoint_motions(speed: float) -> tuple[Motion]:
    """Return how 21 keypoints (21, 3) move against their wrist, the first of them.

    Args:
        speed: Fastest [m/s].
    """

    def between(before: Vector, after: Vector) -> float:
        moved = (after - after[0]) - (before - before[0])
        return float(np.sqrt((moved * moved).sum(axis=1).max()))

    return (Motion(between, speed, _NOISE_M, "m"),)


def _turn(before: Vector, after: Vector) -> float:
    """Return the angle between two orientations, quaternions in the last four places [rad]."""
    a, b = before[3:], after[3:]
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norm == 0.0:
        return math.nan
    return 2.0 * math.acos(min(1.0, abs(float(a @ b)) / norm))


class PressMonitor:
    """Tells a person's presses from those of a loose contact or of something lying on a key.

    Args:
        max_presses: Most presses of one button that a person makes in a second.
    """

    WINDOW_S = 1.0

    def __init__(self, max_presses: int) -> None:
        self._max_presses = max_presses
        self._pressed: deque[tuple[float, str, int]] = deque()

    def update(self, now_s: float, presses: Mapping[str, int]) -> str | None:
        """Take the presses since the last call and return what is wrong with them, if anything.

        It stays wrong until a second has passed with fewer presses.
        """
        self._pressed.extend((now_s, button, n) for button, n in presses.items())
        while self._pressed and now_s - self._pressed[0][0] > self.WINDOW_S:
            self._pressed.popleft()
        counts: dict[str, int] = {}
        for _, button, n in self._pressed:
            counts[button] = counts.get(button, 0) + n
        for button, n in counts.items():
            if n > self._max_presses:
                return (
                    f"switch: {button} was pressed {n} times in {self.WINDOW_S:g} s, allowed "
                    f"{self._max_presses}. Is its contact loose, or does something lie on it?"
                )
        return None
