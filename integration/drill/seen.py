"""What the devices that watch the person are made to see."""

from collections import deque
from collections.abc import Callable
from typing import Final

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.clock import Clock
from dexhil.integration.operator.person import ShowsKeypoints, ShowsPose
from dexhil.teleop import se3
from dexhil.teleop.cube.filter import CubeFilter

# Of the person's cube, with their tremor [m], [rad].
_COVARIANCE: Final = np.diag(np.repeat([0.002, 0.012], 3) ** 2)
_HISTORY: Final = 10  # Pictures, after which a filter knows how the hand moves.


class Seen:
    """Stands between the person and the devices that watch them, and shows what is not so.

    Args:
        tracker: Shown the cube.
        glove: Shown the fingers.
        clock: Of the pictures.

    Attributes:
        fingers_m: Added to all keypoints but the wrist [m]. Shape (3,).
        cube_m: Added to the cube's place [m]. Shape (3,).
        cube_turn: Turns the cube about itself. Shape (3, 3).
    """

    def __init__(self, tracker: ShowsPose, glove: ShowsKeypoints, clock: Clock) -> None:
        self._tracker, self._glove, self._clock = tracker, glove, clock
        self.clear()

    def clear(self) -> None:
        """See what is there."""
        self.fingers_m, self.cube_m, self.cube_turn = np.zeros(3), np.zeros(3), np.eye(3)
        self._eyes: CubeFilter | None = None
        self._history: deque[tuple[float, Matrix]] = deque(maxlen=_HISTORY)

    def filter_cube(self) -> None:
        """See the cube from now on as a camera's tracker tells of it, having followed it so far."""
        self._eyes = CubeFilter()
        for stamp_s, pose in self._history:
            self._eyes.update(pose, _COVARIANCE, stamp_s)

    def show_cube(self, position: Vector, orientation: Vector) -> None:
        turned = se3.from_quaternion(position, orientation)[:3, :3] @ self.cube_turn
        pose, now_s = se3.make_pose(position + self.cube_m, turned), self._clock.now_s()
        if self._eyes is None:
            self._history.append((now_s, pose))
            self._tracker.show(pose[:3, 3], se3.to_quaternion(turned))
            return
        used = self._eyes.update(pose, _COVARIANCE, now_s)
        if self._eyes.lost_reason is not None:
            self._tracker.show(np.full(3, np.nan), np.full(4, np.nan))
        elif used:  # One picture without the cube gives no sample.
            self._tracker.show(pose[:3, 3], se3.to_quaternion(turned))

    def show_hand(self, keypoints: Matrix) -> None:
        shifted = keypoints.copy()
        shifted[1:] += self.fingers_m
        self._glove.show(shifted)


class Shows:
    """One of the two faces of ``Seen``: what ``Person`` takes for a device."""

    def __init__(self, show: Callable[..., None]) -> None:
        self.show = show
