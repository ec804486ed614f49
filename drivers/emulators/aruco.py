"""A network camera before which somebody waves a marker cube."""

from typing import Any, Final

import numpy as np

from dexhil.drivers.arrays import Image, Matrix
from dexhil.drivers.emulators.cube_picture import CAMERA, CUBE, CubePainter
from dexhil.drivers.emulators.opencv import RATE_HZ, OpencvEmulator
from dexhil.drivers.emulators.picture import N_PICTURES

_N_ROOMS: Final = 4  # Empty ones. No two alike: a live camera's pictures never are.
_DISTANCE_M: Final = 0.35
# The cube's z upwards in the picture, where the camera's y points down; its x to the camera.
_UPRIGHT: Final = np.array([(0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (-1.0, 0.0, 0.0)])


class ArucoEmulator(OpencvEmulator):
    """The camera of ``opencv`` with another picture: 30 a second, of a cube on a closed path.

    ``nan`` takes the cube out of the picture; ``flip`` turns the picture upside down and back, and
    with it the cube by half a turn. The cube and the camera are described by
    ``aruco_cube.toml`` and ``aruco_camera.toml`` beside this file.
    """

    kind = "tracker"
    driver = "aruco"

    def options(self) -> dict[str, Any]:
        painter = self._painter
        size = {"width": painter.width, "height": painter.height, "rate_hz": RATE_HZ}
        return {
            "cube": str(CUBE),
            "intrinsics": str(CAMERA),
            "reports": "cube",  # Nobody wears it.
            "camera": {"driver": "opencv", **super().options(), **size},
        }

    def state(self) -> dict[str, Any]:
        pose = waved(self._number % N_PICTURES)
        return {**super().state(), "pose_cube_in_camera": pose.tolist()}

    def reset(self) -> None:
        super().reset()
        self._flipped = False

    def control(self, verb: str, *values: str) -> None:
        if verb == "flip" and not values:
            self._flipped = not self._flipped
        else:
            super().control(verb, *values)

    def _pictures(self, width: int, height: int) -> list[Image]:
        del width, height  # The camera's table says so.
        self._painter = CubePainter.read()
        rooms = [self._painter.paint(None, self.rng) for _ in range(_N_ROOMS)]
        self._rooms = self._jpegs(rooms)
        upright = [self._painter.paint(waved(number), self.rng) for number in range(N_PICTURES)]
        self._upside_down = self._jpegs([np.rot90(image, 2) for image in upright])
        return upright

    def _picture(self) -> bytes:
        if self.knobs.nan:
            return self._rooms[self._number % _N_ROOMS]
        if self._flipped:
            return self._upside_down[self._number % N_PICTURES]
        return super()._picture()


def waved(number: int) -> Matrix:
    """Return ``pose_cube_in_camera`` in one of the pictures. Shape (4, 4)."""
    phase = 2.0 * np.pi * number / N_PICTURES
    pose = np.eye(4)
    tilt = _about(0, 0.5 + 0.2 * np.sin(phase)) @ _about(2, 0.2 * np.cos(phase))
    pose[:3, :3] = tilt @ _UPRIGHT @ _about(2, 0.7 + 0.3 * np.sin(phase))
    pose[:3, 3] = (0.04 * np.sin(phase), 0.03 * np.cos(phase), _DISTANCE_M)
    return pose


def _about(axis: int, angle: float) -> Matrix:
    """Return the rotation by ``angle`` [rad] about one axis. Shape (3, 3)."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    rotation = np.eye(3)
    rotation[[i, j], [i, j]] = np.cos(angle)
    rotation[j, i], rotation[i, j] = np.sin(angle), -np.sin(angle)
    return rotation
