"""Joints that pursue moving goals within limits of speed, acceleration and position."""

from dataclasses import dataclass

import numpy as np

from dexhil.teleop.se3 import Vector

_NEAR = 1e-6  # A joint so near to its goal delays no other [rad].
_ROUNDING = 1e-9  # So that whoever checks the speed finds it kept.


def stoppable(distance: Vector, change: float) -> Vector:
    """Return the largest step from which steps that shrink by ``change`` stop in ``distance``.

    Sampled motion cannot brake within a step, so sqrt(2 a d) would be too fast by up to one. Steps
    s, s - c, s - 2c, ... down to the n-th and last above zero reach (n + 1) s - c n (n + 1) / 2.

    Args:
        distance: To where the motion has to stop, not negative. Any shape.
        change: Of a step from one to the next: acceleration times period squared.
    """
    n = np.floor(0.5 * (np.sqrt(1.0 + 8.0 * distance / change) - 1.0))
    largest: Vector = distance / (n + 1.0) + 0.5 * change * n
    return largest


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A step of joints.

    Attributes:
        wanted: The best one, between ``least`` and ``most`` [rad]. Shape (n,).
        least: The smallest within the joints' own limits [rad]. Shape (n,).
        most: The largest [rad]. Shape (n,).
    """

    wanted: Vector
    least: Vector
    most: Vector


class Pursuit:
    """Follows goals as closely as limits allow, without overshooting them.

    A goal that moves within the limits is met at every tick, without lag. After any other the
    joints come up at full acceleration and brake in time, joint by joint. Towards a position limit
    they brake in time whatever the goal does.

    Args:
        position_limits: Lower and upper [rad]. Shape (n, 2).
        speeds: Largest [rad/s]. Shape (n,).
        acceleration: Largest [rad/s²].
        period_s: From one step to the next [s].
    """

    def __init__(
        self, position_limits: Vector, speeds: Vector, acceleration: float, period_s: float
    ) -> None:
        self._low, self._high = position_limits.T
        self._longest = (1.0 - _ROUNDING) * speeds * period_s
        self._change = acceleration * period_s**2

    def begin(self, joints: Vector) -> None:
        """Stand still at joints that are the goal [rad]. Shape (n,)."""
        self._goal, self._executed = joints, joints

    def step(self, goal: Vector, executed: Vector, *, led: bool) -> Step:
        """Return the best step towards a goal.

        Args:
            goal: Where to be at the end of this step [rad]. Shape (n,).
            executed: Where the last step led, after all limits [rad]. Shape (n,).
            led: The goal moves as somebody leads it, and will move on: the joints keep up with it
                and brake relative to it. Else it may stop at once.
        """
        last, self._executed = executed - self._executed, executed
        moved = goal - self._goal if led else np.zeros_like(goal)
        behind = goal - moved - executed
        self._goal = goal
        up = stoppable(np.maximum(self._high - executed, 0.0), self._change)
        down = stoppable(np.maximum(executed - self._low, 0.0), self._change)
        most = np.minimum(np.minimum(last + self._change, self._longest), up)
        least = np.maximum(np.maximum(last - self._change, -self._longest), -down)
        # Whoever is led against a limit by something else brakes harder than that.
        least, most = np.minimum(least, up), np.maximum(most, -down)
        # The same share of what each joint is behind: all arrive together, and the palm does not
        # swing aside because some came early.
        room = np.where(behind > 0.0, most - moved, moved - least)
        room = np.clip(room, 0.0, stoppable(np.abs(behind), self._change))
        far = np.abs(behind) > _NEAR
        share = np.min(room[far] / np.abs(behind[far]), initial=1.0)
        return Step(np.clip(moved + share * behind, least, most), least, most)
