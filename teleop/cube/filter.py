"""The cube's motion, smoothed on SE(3), and where it will be a little later.

An error-state Kalman filter (Sola, Deray and Atchuthan 2018, arXiv:1812.01537): pose and velocity
of the cube, which moves on at constant velocity but for random accelerations. They are small while
the measurements bear that out, so that a still hand stays still; where one does not, a large
acceleration is tried, so that a hand that starts to move is followed at once; where even that does
not explain it, the measurement is an outlier.
"""

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from dexhil.teleop.errors import CubeError
from dexhil.teleop.se3 import Pose, exp_rotation, inverse, log_rotation, make_pose

FloatArray = npt.NDArray[np.float64]

JUMPED: Final = "The cube jumped: no hand moves like that."
FOUND_AGAIN: Final = "The cube was just found again; nothing tells that it is where it was."

_DOUBTFUL: Final = 12.6  # Chi square of 6 degrees of freedom: passed by 95 % of measurements.
_IMPOSSIBLE: Final = 33.1  # By all but 1 in 100,000.
# Turned farther from where its motion leads, it is no motion, however long it was out of sight:
# one face alone allows two poses, and they are apart by 20 degrees and more [rad].
_ANOTHER_RAD: Final = 0.35
_ROUNDING_S: Final = 1e-6  # Of stamps: exactly the horizon ahead is not beyond it.


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterConfig:
    """How a hand moves, and how long it may be out of sight.

    Attributes:
        calm: Accelerations of a hand that does little: linear [m/s^2], angular [rad/s^2].
        lively: Of one that starts, stops or turns.
        start: Velocities with which it may come into sight [m/s], [rad/s].
        horizon_s: Farthest that ``predict`` looks beyond the newest measurement [s].
        patience: Frames in a row without a measurement after which the cube is lost.
        doubt_s: For how long a cube that was found again counts as lost still [s]. Where it was
            before tells nothing of it then: it may be flipped. So long, that every loop that
            drives by it has looked meanwhile, however slowly some image was worked on.
    """

    calm: tuple[float, float] = (1.0, 6.0)
    lively: tuple[float, float] = (8.0, 60.0)
    start: tuple[float, float] = (1.0, 6.0)
    horizon_s: float = 0.1
    patience: int = 2
    doubt_s: float = 0.15

    def __post_init__(self) -> None:
        numbers = (*self.calm, *self.lively, *self.start, self.horizon_s, self.doubt_s)
        if not all(0.0 < number < math.inf for number in numbers):
            raise CubeError("The cube's filter: every number must be above 0 and finite.")
        if self.patience < 1:
            raise CubeError(f"The cube's filter: patience is {self.patience}, must be 1 or more.")


@dataclass(slots=True)
class _State:
    stamp_s: float
    pose: Pose
    velocity: FloatArray = field(default_factory=lambda: np.zeros(6))
    covariance: FloatArray = field(default_factory=lambda: np.zeros((12, 12)))


class CubeFilter:
    """Pose and velocity of the cube, from one camera frame to the next.

    Attributes:
        config: How a hand moves.
        lost_reason: Why there is no pose to drive by; ``None`` while there is one. A cube that
            was found again is followed, but not to be driven by for ``doubt_s``.
    """

    def __init__(self, config: FilterConfig | None = None) -> None:
        self.config = config or FilterConfig()
        self.lost_reason: str | None = "The cube has not been seen yet."
        self._state: _State | None = None
        self._begun_s = -math.inf
        self._newest_s = -math.inf
        self._missed = 0

    @property
    def newest_s(self) -> float:
        """Of the newest frame, whether the cube was in it or not [s]; minus infinity at first."""
        return self._newest_s

    def update(self, pose: Pose, covariance: FloatArray, stamp_s: float) -> bool:
        """Take in one frame's measurement; the first after a loss, or a long gap, begins anew.

        Args:
            pose: Of the cube in the camera's frame. Shape (4, 4).
            covariance: Of position in the camera's frame [m] and rotation in the cube's [rad].
                Shape (6, 6).
            stamp_s: When the frame was taken [s].

        Returns:
            Whether it was used. No hand moves so fast otherwise; that counts as a miss.

        Raises:
            CubeError: Not finite, or no newer than the frame before.
        """
        if not (np.isfinite(pose).all() and np.isfinite(covariance).all()):
            raise CubeError("The cube's filter was given a pose or covariance that is not finite.")
        self._check_stamp(stamp_s)
        if self._state is None or self._too_far(stamp_s):
            self._begin(pose, covariance, stamp_s)
            return True
        for acceleration, limit in (
            (self.config.calm, _DOUBTFUL),
            (self.config.lively, _IMPOSSIBLE),
        ):
            moved = _moved(self._state, stamp_s, acceleration)
            if _corrected(moved, pose, covariance, limit):
                self._state, self._newest_s, self._missed = moved, stamp_s, 0
                if stamp_s - self._begun_s >= self.config.doubt_s:
                    self.lost_reason = None
                return True
        self.miss(stamp_s, JUMPED)
        return False

    def miss(self, stamp_s: float, reason: str) -> None:
        """Take note of a frame in which the cube was not found, and why.

        Raises:
            CubeError: No newer than the frame before.
        """
        self._check_stamp(stamp_s)
        self._newest_s = stamp_s
        self._missed += 1
        if self._missed >= self.config.patience or self._too_far(stamp_s):
            self._state, self.lost_reason = None, reason

    def predict(self, at_s: float) -> Pose | None:
        """Return where the cube is at ``at_s``, or nothing while it is not followed. Shape (4, 4).

        Nor is there anything farther than ``horizon_s`` from the newest measurement, or before
        it.
        """
        state = self._state
        if state is None or self._too_far(at_s) or at_s < state.stamp_s:
            return None
        return _carried(state, at_s - state.stamp_s)

    def spread(self, at_s: float) -> float:
        """Return the standard deviation of the predicted position, along its worst axis [m]."""
        if self._state is None:
            return math.inf
        moved = _moved(self._state, max(at_s, self._state.stamp_s), self.config.lively)
        return float(np.sqrt(np.linalg.eigvalsh(moved.covariance[:3, :3])[-1]))

    def explains(self, pose: Pose, covariance: FloatArray, stamp_s: float) -> bool:
        """Whether a hand could have moved the cube there. Always, while it is lost."""
        if self._state is None or self._too_far(stamp_s):
            return True
        moved = _moved(self._state, max(stamp_s, self._state.stamp_s), self.config.lively)
        return _corrected(moved, pose, covariance, _IMPOSSIBLE)

    def _begin(self, pose: Pose, covariance: FloatArray, stamp_s: float) -> None:
        self._state = _State(stamp_s, pose.copy())
        self._state.covariance[:6, :6] = covariance
        self._state.covariance[6:, 6:] = np.diag(np.repeat(self.config.start, 3)) ** 2
        # The first one of all interrupts nobody: there was nothing to drive by before.
        self.lost_reason = FOUND_AGAIN if math.isfinite(self._begun_s) else None
        self._newest_s, self._missed, self._begun_s = stamp_s, 0, stamp_s

    def _too_far(self, at_s: float) -> bool:
        horizon_s = self.config.horizon_s + _ROUNDING_S
        return self._state is None or at_s - self._state.stamp_s > horizon_s

    def _check_stamp(self, stamp_s: float) -> None:
        if not stamp_s > self._newest_s:
            raise CubeError(
                f"The cube's filter was given a frame of {stamp_s:.6f} s after one of "
                f"{self._newest_s:.6f} s. Frames must come in the order they were taken."
            )


def _carried(state: _State, dt_s: float) -> Pose:
    shift, turn = dt_s * state.velocity[:3], dt_s * state.velocity[3:]
    return make_pose(state.pose[:3, 3] + shift, state.pose[:3, :3] @ exp_rotation(turn))


def _moved(state: _State, stamp_s: float, acceleration: tuple[float, float]) -> _State:
    """Return the state at ``stamp_s``, at a constant random acceleration until then."""
    dt_s = stamp_s - state.stamp_s
    transition = np.eye(12)
    transition[:6, 6:] = dt_s * np.eye(6)
    transition[3:6, 3:6] = exp_rotation(-dt_s * state.velocity[3:])
    push = np.concatenate([0.5 * dt_s**2 * np.eye(6), dt_s * np.eye(6)])
    push *= np.repeat(acceleration, 3)
    return _State(
        stamp_s,
        _carried(state, dt_s),
        state.velocity.copy(),
        transition @ state.covariance @ transition.T + push @ push.T,
    )


def _corrected(state: _State, pose: Pose, covariance: FloatArray, limit: float) -> bool:
    """Correct ``state`` by a measurement; if it does not fit, say so instead."""
    apart = np.concatenate(
        [
            pose[:3, 3] - state.pose[:3, 3],
            log_rotation((inverse(state.pose) @ pose)[:3, :3]),
        ]
    )
    if np.linalg.norm(apart[3:]) > _ANOTHER_RAD:
        return False
    innovation = state.covariance[:6, :6] + covariance
    if apart @ np.linalg.solve(innovation, apart) > limit:
        return False
    gain = np.linalg.solve(innovation, state.covariance[:6]).T
    change = gain @ apart
    state.pose = make_pose(
        state.pose[:3, 3] + change[:3], state.pose[:3, :3] @ exp_rotation(change[3:6])
    )
    state.velocity = state.velocity + change[6:]
    # Joseph's form stays symmetric and positive.
    keep = np.eye(12)
    keep[:, :6] -= gain
    state.covariance = keep @ state.covariance @ keep.T + gain @ covariance @ gain.T
    return True
