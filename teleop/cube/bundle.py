"""Bundle adjustment of a few rigid faces over many frames: Levenberg-Marquardt, frames eliminated.

The unknowns are the pose of each face in the cube and of the cube in each frame. A frame's
pose meets the faces only, never another frame, so the frames are eliminated block by block
(Schur complement; Triggs et al. 2000, "Bundle Adjustment - A Modern Synthesis", section 6.1)
and what is left to solve is as small as the cube.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from dexhil.teleop.se3 import exp_rotation

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_ROUNDS: Final = 50
_CONVERGED: Final = 1e-9  # Of the cost, relative: what is left are nanometres.
_HUBER_PX: Final = 1.0  # Corners farther off than this pull linearly only [pixel].
_N_GAUGE: Final = 6  # Nothing says where the cube frame is: the faces may move as one.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sightings:
    """Faces as they were seen: one row for each face of each frame.

    Attributes:
        frame: Which frame. Shape (m,).
        face: Which face. Shape (m,).
        corners: Where its corners are, without the lens's distortion [pixel]. Shape (m, 4, 2).
    """

    frame: IntArray
    face: IntArray
    corners: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bundle:
    """What fits all sightings best.

    Attributes:
        faces: ``pose_face_in_cube`` of each face. Shape (k, 4, 4).
        poses: ``pose_cube_in_camera`` of each frame. Shape (n, 4, 4).
        errors: Seen minus expected [pixel]. Shape (m, 4, 2).
        covariance: Of the faces' position [m] and turning [rad], in their own axes, six after
            six; infinite where the sightings say nothing. Shape (6 k, 6 k).
    """

    faces: FloatArray
    poses: FloatArray
    errors: FloatArray
    covariance: FloatArray

    @property
    def rms_px(self) -> float:
        """Root mean square distance of a corner from where it is expected [pixel]."""
        return float(np.sqrt((self.errors**2).sum(axis=2).mean()))


def adjust(
    faces: FloatArray,
    poses: FloatArray,
    sightings: Sightings,
    corners_in_face: FloatArray,
    matrix: FloatArray,
) -> Bundle:
    """Return the faces and poses under which the corners fall nearest to where they were seen.

    Args:
        faces: First guess of ``pose_face_in_cube``. Shape (k, 4, 4).
        poses: First guess of ``pose_cube_in_camera``. Shape (n, 4, 4).
        sightings: What was seen.
        corners_in_face: The corners of any face [m]. Shape (4, 3).
        matrix: Of the camera [pixel]. Shape (3, 3).
    """
    problem = _Problem(sightings, corners_in_face, matrix)
    damping = 1e-4
    errors = problem.errors(faces, poses)
    for _ in range(_ROUNDS):
        equations = problem.equations(faces, poses, errors)
        cost = _cost(errors)
        while damping < 1e8:
            face_steps, pose_steps = equations.solve(damping)
            moved = _moved(faces, face_steps), _moved(poses, pose_steps)
            after = problem.errors(*moved)
            if _cost(after) < cost:
                break
            damping *= 10.0
        else:
            break  # No step is small enough to improve it: this is the bottom.
        (faces, poses), errors, damping = moved, after, max(0.1 * damping, 1e-9)
        if cost - _cost(errors) < _CONVERGED * cost:
            break
    equations = problem.equations(faces, poses, errors)
    lever_m = float(np.linalg.norm(faces[:, :3, 3], axis=1).mean())
    return Bundle(
        faces=faces,
        poses=poses,
        errors=errors,
        covariance=_covariance(equations.reduced(), errors, len(poses), lever_m),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Equations:
    """The normal equations, in blocks of six: faces, frames, and both with each other."""

    face: FloatArray  # (k, 6, 6)
    frame: FloatArray  # (n, 6, 6)
    mixed: FloatArray  # (n, k, 6, 6): rows of the face, columns of the frame
    face_pull: FloatArray  # (k, 6)
    frame_pull: FloatArray  # (n, 6)

    def solve(self, damping: float) -> tuple[FloatArray, FloatArray]:
        """Return the steps of faces (k, 6) and frames (n, 6)."""
        k, n = len(self.face), len(self.frame)
        frame, face = _damped(self.frame, damping), _damped(self.face, damping)
        mixed = self.mixed.reshape(n, 6 * k, 6)
        eliminated = np.linalg.solve(frame, mixed.transpose(0, 2, 1))
        pulled = np.linalg.solve(frame, self.frame_pull[..., None])
        left = _block_diagonal(face) - np.einsum("nij,njl->il", mixed, eliminated)
        right = self.face_pull.ravel() - np.einsum("nij,njl->i", mixed, pulled)
        steps = np.linalg.solve(left, right)
        frame_steps = (pulled[..., 0] - eliminated @ steps).reshape(n, 6)
        return steps.reshape(k, 6), frame_steps

    def reduced(self) -> FloatArray:
        """Return what the sightings say about the faces alone. Shape (6 k, 6 k)."""
        n = len(self.frame)
        mixed = self.mixed.reshape(n, -1, 6)
        eliminated = np.linalg.solve(self.frame, mixed.transpose(0, 2, 1))
        left: FloatArray = _block_diagonal(self.face) - np.einsum("nij,njl->il", mixed, eliminated)
        return left


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """What was seen, and of what."""

    sightings: Sightings
    corners_in_face: FloatArray  # (4, 3) [m]
    matrix: FloatArray  # (3, 3) [pixel]

    def errors(self, faces: FloatArray, poses: FloatArray) -> FloatArray:
        """Return seen minus expected [pixel]. Shape (m, 4, 2)."""
        pose = poses[self.sightings.frame] @ faces[self.sightings.face]
        points = self.corners_in_face @ pose[:, :3, :3].transpose(0, 2, 1) + pose[:, None, :3, 3]
        focal = self.matrix[[0, 1], [0, 1]]
        expected = focal * points[..., :2] / points[..., 2:] + self.matrix[:2, 2]
        return np.asarray(self.sightings.corners - expected)

    def equations(self, faces: FloatArray, poses: FloatArray, errors: FloatArray) -> _Equations:
        """Return the normal equations at a guess, with its errors."""
        by_face, by_frame = self._slopes(faces, poses)
        # Huber's weights, one for each corner.
        length = np.linalg.norm(errors, axis=2)
        weight = np.repeat(_HUBER_PX / np.maximum(length, _HUBER_PX), 2, axis=1)
        seen = errors.reshape(-1, 8) * weight
        to_face, to_frame = by_face * weight[..., None], by_frame * weight[..., None]
        k, n = len(faces), len(poses)
        result = _Equations(
            np.zeros((k, 6, 6)), np.zeros((n, 6, 6)), np.zeros((n, k, 6, 6)),
            np.zeros((k, 6)), np.zeros((n, 6)),
        )  # fmt: skip
        face, frame = self.sightings.face, self.sightings.frame
        np.add.at(result.face, face, np.einsum("mia,mib->mab", to_face, by_face))
        np.add.at(result.frame, frame, np.einsum("mia,mib->mab", to_frame, by_frame))
        np.add.at(result.mixed, (frame, face), np.einsum("mia,mib->mab", to_face, by_frame))
        np.add.at(result.face_pull, face, np.einsum("mia,mi->ma", by_face, seen))
        np.add.at(result.frame_pull, frame, np.einsum("mia,mi->ma", by_frame, seen))
        return result

    def _slopes(self, faces: FloatArray, poses: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return how pixels move with each face and frame, in their own axes. (m, 8, 6)."""
        face, pose = faces[self.sightings.face], poses[self.sightings.frame]
        corners = self.corners_in_face
        in_cube = corners @ face[:, :3, :3].transpose(0, 2, 1) + face[:, None, :3, 3]
        in_camera = in_cube @ pose[:, :3, :3].transpose(0, 2, 1) + pose[:, None, :3, 3]
        x, y, z = np.moveaxis(in_camera, 2, 0)
        project = np.zeros((*x.shape, 2, 3))
        fx, fy = self.matrix[0, 0], self.matrix[1, 1]
        project[..., 0, 0], project[..., 1, 1] = fx / z, fy / z
        project[..., 0, 2], project[..., 1, 2] = -fx * x / z**2, -fy * y / z**2
        by_cube = project @ pose[:, None, :3, :3]
        by_point = by_cube @ face[:, None, :3, :3]
        by_frame = np.concatenate([by_cube, -by_cube @ _cross(in_cube)], axis=3)
        by_face = np.concatenate([by_point, -by_point @ _cross(corners)], axis=3)
        return by_face.reshape(-1, 8, 6), by_frame.reshape(-1, 8, 6)


def _cost(errors: FloatArray) -> float:
    length = np.linalg.norm(errors, axis=2)
    return float(
        np.where(length < _HUBER_PX, 0.5 * length**2, _HUBER_PX * (length - 0.5 * _HUBER_PX)).sum()
    )


def _covariance(
    information: FloatArray, errors: FloatArray, n_frames: int, lever_m: float
) -> FloatArray:
    """Return the faces' covariance with the cube frame held in their mean. (6 k, 6 k)."""
    # Turning counts as the motion it causes, so that one measure fits all directions.
    scale = np.tile(np.repeat([1.0, 1.0 / lever_m], 3), len(information) // 6)
    values, vectors = np.linalg.eigh(information * np.outer(scale, scale))
    freedom = errors.size - 6 * n_frames - len(information) + _N_GAUGE
    variance = (errors**2).sum() / max(freedom, 1)
    values, vectors = values[_N_GAUGE:], vectors[:, _N_GAUGE:]
    with np.errstate(divide="ignore"):
        known = np.where(values > 1e-9 * values[-1], variance / values, np.inf)
    if not np.isfinite(known).all():
        return np.full_like(information, np.inf)
    return np.asarray((vectors * known) @ vectors.T * np.outer(scale, scale))


def _moved(poses: FloatArray, steps: FloatArray) -> FloatArray:
    moved = np.array(poses)
    for pose, step in zip(moved, steps, strict=True):
        pose[:3, 3] += pose[:3, :3] @ step[:3]
        pose[:3, :3] = pose[:3, :3] @ exp_rotation(step[3:])
    return moved


def _damped(blocks: FloatArray, damping: float) -> FloatArray:
    """Return the blocks with their diagonals raised in proportion (Marquardt)."""
    diagonal = np.einsum("kii->ki", blocks)
    return np.asarray(blocks + (damping * diagonal + 1e-12)[..., None] * np.eye(6))


def _block_diagonal(blocks: FloatArray) -> FloatArray:
    k = len(blocks)
    matrix = np.zeros((k, 6, k, 6))
    matrix[np.arange(k), :, np.arange(k), :] = blocks
    return matrix.reshape(6 * k, 6 * k)


def _cross(points: FloatArray) -> FloatArray:
    """Return the matrices (..., 3, 3) that take the cross product with ``points`` (..., 3)."""
    matrices = np.zeros((*points.shape, 3))
    x, y, z = np.moveaxis(points, -1, 0)
    matrices[..., 0, 1], matrices[..., 0, 2] = -z, y
    matrices[..., 1, 0], matrices[..., 1, 2] = z, -x
    matrices[..., 2, 0], matrices[..., 2, 1] = -y, x
    return matrices
