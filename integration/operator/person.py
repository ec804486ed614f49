"""The body of a simulated operator: a hand that holds a cube and wears a glove.

It acts only where a person acts. It moves its hand and fingers and presses a
pedal; what the system sees of that is a cube pose at 30 Hz and 21 keypoints at
90 Hz, with tremor, sensor noise and latency, in frames the system knows nothing
about.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.clock import Clock
from dexhil.retarget.human import POSTURES, HumanHand
from dexhil.teleop import se3

RATE_HZ = 90
CUBE_EVERY = 3  # The cube's camera runs at 30 Hz.

Posture = Callable[[float], Matrix]
"""Finger joint angles [rad], shape (5, 4), from open (0) to closed (1)."""

# Ready to grasp: fingers open, thumb already opposite them, so that the toy fits between.
_READY = np.vstack([(1.30, 0.70, -0.20, -0.05), POSTURES["relaxed"][1:] * (1.0, 0.8, 0.6, 0.6)])
# How far beyond where the tips meet a pinch goes, to press what is between them.
_PRESSED = 1.15
_SQUEEZE = POSTURES["grasp"] * (1.0, 1.15, 1.15, 1.15)


def grasp_posture(closure: float) -> Matrix:
    """Return finger joint angles from ready (0) to squeezing (1) [rad]. Shape (5, 4)."""
    posture: Matrix = _READY + min(max(closure, 0.0), 1.0) * (_SQUEEZE - _READY)
    return posture


def pinch_posture(hand: HumanHand, *fingers: str) -> Posture:
    """Return the posture of a hand that goes from ready (0) to pinching (1).

    Args:
        hand: Whose thumb meets its fingers at different angles than another's.
        fingers: That meet the thumb; see `HumanHand.pinch`.
    """
    pinched = hand.pinch(*fingers)

    def posture(closure: float) -> Matrix:
        angles: Matrix = _READY + _PRESSED * min(max(closure, 0.0), 1.0) * (pinched - _READY)
        return angles

    return posture


class ShowsPose(Protocol):
    """A simulated tracker."""

    def show(self, position: Vector, orientation: Vector, stamp_s: float | None = None) -> None: ...


class ShowsKeypoints(Protocol):
    """A simulated glove."""

    def show(self, keypoints: Matrix, stamp_s: float | None = None) -> None: ...


class Presses(Protocol):
    """A simulated pedal."""

    def press(self, button: str) -> None: ...
    def release(self, button: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonConfig:
    """How good a body is, and how good the devices are that watch it.

    Attributes:
        hand_scale: Size of the hand against an average adult's.
        hand_jitter: Half-width of the spread of single bones [fraction].
        latency_s: From motion to the sample that shows it [s].
        cube_position_noise: Standard deviation of the seen cube per axis [m].
        cube_rotation_noise: Standard deviation of the seen cube per axis [rad].
        keypoint_noise: Standard deviation of every keypoint per axis [m].
        joint_noise: Standard deviation of every finger joint [rad].
        tremor: Of the hand, per tick of its autoregression [m].
    """

    hand_scale: float = 0.95
    hand_jitter: float = 0.08
    latency_s: float = 0.07
    cube_position_noise: float = 0.0015
    cube_rotation_noise: float = 0.012
    keypoint_noise: float = 0.001
    joint_noise: float = 0.02
    tremor: float = 0.0006


class Person:
    """A hand in the air.

    Attributes:
        closure: How closed the fingers are, from 0 (open) to 1 (closed).
        posture: What they do for a closure: grasp, if nobody says otherwise.
        driven_s: For how long it has been told to move the robot so far [s].
    """

    def __init__(
        self,
        *,
        tracker: ShowsPose,
        glove: ShowsKeypoints,
        switch: Presses,
        clock: Clock,
        rng: np.random.Generator,
        pose_ee_in_cube: Matrix,
        config: PersonConfig | None = None,
    ) -> None:
        self._tracker, self._glove, self._switch = tracker, glove, switch
        self._clock, self._rng = clock, rng
        self._config = config or PersonConfig()
        self._hand = HumanHand(self._config.hand_scale, rng=rng, jitter=self._config.hand_jitter)
        self._grip = pose_ee_in_cube
        # Neither the camera's nor the glove's frame is known to anybody.
        self._cube = se3.make_pose(rng.normal(size=3), se3.exp_rotation(rng.normal(size=3)))
        self._glove_rotation = se3.exp_rotation(rng.normal(size=3))
        self._tremor = np.zeros(3)
        self._ticks = 0
        self._cubes: deque[tuple[float, Vector, Vector]] = deque()
        self._keypoints: deque[tuple[float, Matrix]] = deque()
        self.closure = 0.0
        self.posture: Posture = grasp_posture

    @property
    def hand(self) -> HumanHand:
        """The bones, for whoever must know what a posture looks like."""
        return self._hand

    def press(self, button: str) -> None:
        """Step on the pedal and let go."""
        self._switch.press(button)
        self._switch.release(button)

    def carry(self, motion: Matrix) -> None:
        """Move the hand so that a robot that follows makes ``motion`` in its own palm frame.

        Args:
            motion: Old palm pose to new palm pose. Shape (4, 4).
        """
        # Eq. 3 of DexHiL read backwards for one step; needs no anchor.
        self._cube = self._cube @ self._grip @ motion @ se3.inverse(self._grip)

    def tick(self) -> None:
        """Let the devices see the hand as it was ``latency_s`` ago; to be called at 90 Hz."""
        now_s = self._clock.now_s()
        if self._ticks % CUBE_EVERY == 0:
            self._cubes.append((now_s, *self._seen_cube()))
        self._keypoints.append((now_s, self._seen_keypoints()))
        self._ticks += 1
        # Half a tick of slack keeps rounding from delaying a sample by one more.
        due_s = now_s - self._config.latency_s + 0.5 / RATE_HZ
        while self._cubes and self._cubes[0][0] <= due_s:
            _, position, orientation = self._cubes.popleft()
            self._tracker.show(position, orientation)
        while self._keypoints and self._keypoints[0][0] <= due_s:
            self._glove.show(self._keypoints.popleft()[1])

    def _seen_cube(self) -> tuple[Vector, Vector]:
        config, rng = self._config, self._rng
        self._tremor = 0.9 * self._tremor + config.tremor * rng.normal(size=3)
        position = self._cube[:3, 3] + self._cube[:3, :3] @ self._tremor
        position = position + config.cube_position_noise * rng.normal(size=3)
        turn = se3.exp_rotation(config.cube_rotation_noise * rng.normal(size=3))
        return position, se3.to_quaternion(self._cube[:3, :3] @ turn)

    def _seen_keypoints(self) -> Matrix:
        config, rng = self._config, self._rng
        joints = self.posture(self.closure) + config.joint_noise * rng.normal(size=(5, 4))
        keypoints = self._hand.keypoints(joints) @ self._glove_rotation.T
        return keypoints + config.keypoint_noise * rng.normal(size=(21, 3))
