"""How far a step of an arm may go, and the best step that goes no farther."""

from collections.abc import Sequence
from ctypes import c_int
from dataclasses import dataclass

import daqp
import numpy as np

from dexhil.teleop.errors import KinematicsError
from dexhil.teleop.pursuit import stoppable
from dexhil.teleop.se3 import Vector

UNBOUNDED = 1e30  # What DAQP takes for no bound.


@dataclass(frozen=True, slots=True, eq=False)
class Barriers:
    """How far some lengths may change in a step.

    Attributes:
        rows: Gradients of the lengths [m/rad]. Shape (k, n).
        least: Smallest change [m]. Shape (k,).
        most: Largest change [m]. Shape (k,).
    """

    rows: Vector
    least: Vector
    most: Vector

    def allow(self, step: Vector) -> bool:
        """Return whether a step [rad] (n,) changes no length too much."""
        change = self.rows @ step
        return bool((change <= self.most).all() and (change >= self.least).all())

    def after(self, step: Vector) -> "Barriers":
        """Return what is left of them after a first part of the step [rad] (n,)."""
        change = self.rows @ step
        return Barriers(self.rows, self.least - change, self.most - change).at_most_closed()

    def at_most_closed(self) -> "Barriers":
        """Return barriers that let standing still pass: nobody is driven back from one."""
        return Barriers(self.rows, np.minimum(self.least, 0.0), np.maximum(self.most, 0.0))


def way_to(room: Vector, change: float, back: float) -> Vector:
    """Return how far a step may go with ``room`` to a wall: ``back`` from beyond it [m]."""
    ahead = stoppable(np.maximum(room, 0.0), change)
    return np.where(room > 0.0, ahead, np.maximum(room, -back))


def best_step(p: Vector, q: Vector, bounds: Sequence[tuple[Vector, Vector, Barriers]]) -> Vector:
    """Return the step x that minimises x'Px/2 + q'x. Shape (n,).

    Args:
        p: Positive definite. Shape (n, n).
        q: Shape (n,).
        bounds: Least and most of each joint [rad] (n,), and the barriers. The first that leave
            a step at all count. A joint's own are a box, which DAQP takes as it is; as mink's
            general limits they would cost half of a solve.

    Raises:
        KinematicsError: None of them leaves a step.
    """
    for least, most, barriers in bounds:
        upper, lower = np.append(most, barriers.most), np.append(least, barriers.least)
        kinds = np.zeros(upper.size, dtype=c_int)
        step, _, flag, _ = daqp.solve(p, q, barriers.rows, upper, lower, kinds)
        if flag > 0:
            within: Vector = np.clip(step, least, most)
            return within
    raise KinematicsError(
        f"Inverse kinematics found no step (DAQP says {flag}). Release and take over again."
    )
