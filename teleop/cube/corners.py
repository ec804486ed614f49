"""The poses that the corners of detected markers allow.

A pose is ``pose_cube_in_camera``; the camera's frame is OpenCV's: x to the right, y down, z
forward. Pixels are those of the image, the middle of the top left one being (0, 0).
"""

from collections.abc import Sequence
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dexhil.teleop.cube.intrinsics import Intrinsics
from dexhil.teleop.cube.model import CubeModel
from dexhil.teleop.se3 import Pose, distance, exp_rotation, make_pose

FloatArray = npt.NDArray[np.float64]

_SAME: Final = (0.01, 0.1)  # Candidates nearer than this to each other are one [m], [rad].
_NO_TURN: Final = np.zeros(3)


class Camera:
    """Projects points of the camera's frame, with derivatives."""

    def __init__(self, intrinsics: Intrinsics) -> None:
        self.matrix, self.distortion = intrinsics.matrix, intrinsics.distortion
        self.size = (intrinsics.width, intrinsics.height)

    def project(self, turned: FloatArray, position: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return pixels and how they change with a turn about ``position`` and a shift.

        Args:
            turned: Points relative to ``position``, along the camera's axes [m]. Shape (n, 3).
            position: [m]. Shape (3,).

        Returns:
            Pixels, shape (n, 2), and derivatives, shape (n, 2, 6): rotation, then position.
        """
        pixels, jacobian = cv2.projectPoints(
            turned, _NO_TURN, position, self.matrix, self.distortion
        )
        derivatives = np.asarray(jacobian, dtype=np.float64).reshape(len(turned), 2, -1)
        return np.asarray(pixels[:, 0], dtype=np.float64), derivatives[:, :, :6]

    def straighten(self, pixels: FloatArray) -> FloatArray:
        """Return pixels as a camera without distortion, of the same matrix, would see them."""
        straight = cv2.undistortPoints(
            pixels.reshape(-1, 1, 2), self.matrix, self.distortion, P=self.matrix
        )
        return np.asarray(straight[:, 0], dtype=np.float64)


def candidates(
    model: CubeModel, camera: Camera, corners: FloatArray, faces: Sequence[int]
) -> list[Pose]:
    """Return the poses that detected corners allow, best first.

    A square has two poses (IPPE, Collins and Bartoli 2014), and two faces can mirror. Each of
    the largest face's two and the joint solution (SQPNP, Terzakis and Lourakis 2020) is refined
    on all corners; those at which a detected face looks away cannot be.

    Args:
        model: Of the cube.
        camera: Its projection.
        corners: Of the detected markers [pixel]. Shape (m, 4, 2).
        faces: Which face each is.
    """
    straight = camera.straighten(corners.reshape(-1, 2))
    points = model.corners_in_cube[list(faces)]
    largest = int(np.argmax([cv2.contourArea(face.astype(np.float32)) for face in corners]))
    starts = _of_one_face(points[largest], straight[4 * largest : 4 * largest + 4], camera, model)
    if len(faces) > 1:
        starts += _solve(points.reshape(-1, 3), straight, camera, cv2.SOLVEPNP_SQPNP)
    found: list[tuple[float, Pose]] = []
    for start in starts:
        error, pose = _refined(points.reshape(-1, 3), straight, camera, start)
        if _all_face_camera(points, pose) and not any(_same(pose, other) for _, other in found):
            found.append((error, pose))
    return [pose for _, pose in sorted(found, key=lambda each: each[0])]


def _of_one_face(
    points: FloatArray, pixels: FloatArray, camera: Camera, model: CubeModel
) -> list[Pose]:
    """Return both poses of a square."""
    half = 0.5 * model.marker_m
    square = half * np.array([(-1, 1, 0), (1, 1, 0), (1, -1, 0), (-1, -1, 0)], dtype=np.float64)
    right, up = points[1] - points[0], points[0] - points[3]
    x = right / np.linalg.norm(right)
    z = np.cross(right, up)
    z /= np.linalg.norm(z)
    pose_cube_in_face = np.eye(4)
    pose_cube_in_face[:3, :3] = np.array([x, np.cross(z, x), z])
    pose_cube_in_face[:3, 3] = -pose_cube_in_face[:3, :3] @ points.mean(axis=0)
    faces = _solve(square, pixels, camera, cv2.SOLVEPNP_IPPE_SQUARE)
    return [face @ pose_cube_in_face for face in faces]


def _solve(points: FloatArray, pixels: FloatArray, camera: Camera, method: int) -> list[Pose]:
    _, turns, positions, _ = cv2.solvePnPGeneric(
        points, pixels[:, None], camera.matrix, None, flags=method
    )
    return [
        make_pose(position.ravel(), exp_rotation(turn.ravel()))
        for turn, position in zip(turns, positions, strict=True)
    ]


def _refined(
    points: FloatArray, pixels: FloatArray, camera: Camera, start: Pose
) -> tuple[float, Pose]:
    turn: Any = cv2.Rodrigues(start[:3, :3])[0]
    turn, position = cv2.solvePnPRefineLM(
        points, pixels[:, None], camera.matrix, None, turn, start[:3, 3:].copy()
    )
    seen = cv2.projectPoints(points, turn, position, camera.matrix, None)[0][:, 0]
    error = float(np.sqrt(np.mean(np.sum((seen - pixels) ** 2, axis=1))))
    return error, make_pose(position.ravel(), exp_rotation(turn.ravel()))


def _all_face_camera(corners: FloatArray, pose: Pose) -> bool:
    """Whether all faces (m, 4, 3), clockwise from outside, are in front and turned to it."""
    seen = corners @ pose[:3, :3].T + pose[:3, 3]
    normals = np.cross(seen[:, 3] - seen[:, 0], seen[:, 1] - seen[:, 0])
    towards = np.einsum("mc,mc->m", normals, seen.mean(axis=1)) < 0
    return bool((seen[..., 2] > 0.0).all() and towards.all())


def _same(a: Pose, b: Pose) -> bool:
    length, angle = distance(a, b)
    return length < _SAME[0] and angle < _SAME[1]
