"""The pose of a marker cube in one image: candidates from the corners, one fit to the edges.

Corners name the faces and start the fit. The pose is then the one at which the edges of all faces
that the camera can see, detected or not, lie where the image has them:

    position of an edge  d = w - area,  area = integral over (-w, w) of (I - dark)/(bright - dark)

along the normal of the projected edge, from dark to bright. Symmetric blur does not shift it. What
a camera does to brightness after blurring does: every edge moves towards dark by the same amount.
That amount is estimated beside the pose; the cells' edges, which face both ways, tell it from a
change of distance.

Poses are ``pose_cube_in_camera``; the camera's frame is OpenCV's: x right, y down, z forward.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from dexhil.teleop.cube.corners import Camera
from dexhil.teleop.cube.edges import EdgePoints
from dexhil.teleop.cube.model import CubeModel
from dexhil.teleop.se3 import Pose, exp_rotation, make_pose

FloatArray = npt.NDArray[np.float64]
GrayImage = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

_MIN_COSINE: Final = 0.2  # Faces seen flatter than this (78 degrees off) are not used.
_MIN_CELL_PX: Final = 2.0  # Patterns of narrower cells cannot be read.
_PLAIN_CELL_PX: Final = 6.0  # Narrower than this, blur mixes them with what lies beyond.
_MIN_POINTS: Final = 24
_MIN_CONTRAST: Final = 0.02  # Of white, in linear light.
_MIN_DEVIATION: Final = 4.0  # Of a pattern's stored values, of 255; less is noise.
# Half the length of the normals, in cells and at most in pixels: first to catch, then to measure.
_CATCH: Final = (0.8, 4.0)
_MEASURE: Final = (0.6, 2.5)
_CATCHES, _ROUNDS = 1, 4  # Rounds that catch, and all of them.
_SAMPLES: Final = 11  # Along each normal.
_TRAPEZOID: Final = np.array([0.5] + [1.0] * (_SAMPLES - 2) + [0.5])
_NO_CONTRAST: Final = 1e-6
_TONE_PX: Final = 0.3  # How far the tone curve may shift edges, one standard deviation.
_MIN_SCALE_PX: Final = 0.02
_MIN_GAIN: Final = 0.3
# Neighbouring points share their errors: blur, the camera's pixels, the paper. Measured on
# rendered images (benchmarks/cube.py): so that the normalised error squared is 6 on average.
_INFLATION: Final = 3.0
_CONVERGED: Final = (1e-5, 1e-4)  # [m] and [rad].
# Light from a stored value: cameras store about the power 1 / 2.2 of it (sRGB).
_LIGHT: Final = (np.arange(256) / 255.0) ** 2.2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """A pose fitted to the edges of an image.

    Attributes:
        pose: Of the cube in the camera's frame. Shape (4, 4).
        covariance: Of position in the camera's frame [m] and rotation in the cube's [rad].
            Shape (6, 6).
        scale_px: Robust standard deviation of the edges' distances [pixel].
        share: Of the edge points that should be seen, those that are.
        tone_px: How far towards dark the camera's tone curve moves edges, negative [pixel].
    """

    pose: Pose
    covariance: FloatArray
    scale_px: float
    share: float
    tone_px: float


@dataclass(frozen=True, slots=True)
class _View:
    """The edges found in an image around one pose.

    Attributes:
        jacobian: Of the distances by turn, shift and tone. Shape (n, 7).
        distances: From where they should be, towards bright [pixel]. Shape (n,).
        share: Of those that should be seen.
        trust: From 0 to 1: how the precision of each compares with the best's. Shape (n,).
    """

    jacobian: FloatArray
    distances: FloatArray
    share: float
    trust: FloatArray


class PoseFitter:
    """Fits one cube's pose to images of one camera, and says how well poses agree with them.

    Args:
        model: The cube.
        camera: Its projection.
    """

    def __init__(self, model: CubeModel, camera: Camera) -> None:
        self._camera = camera
        self._edges = EdgePoints.of(model)

    def fit(
        self,
        gray: GrayImage,
        start: Pose,
        worst_px: float = math.inf,
        faces: Sequence[int] | None = None,
    ) -> Fit | None:
        """Return the pose near ``start`` that lies best on the image's edges.

        Args:
            gray: Shape (height, width).
            start: Right to half a cell.
            worst_px: Edges that lie farther off after the first round are not worth another.
            faces: The only ones to look at; all that the camera can see if left out.

        Returns:
            Nothing where too few edges are found, or too far off.
        """
        some = None if faces is None else np.isin(self._edges.face, faces)
        pose, tone_px, share = start, 0.0, 0.0
        for i in range(_ROUNDS):
            view = self._look(gray, pose, _CATCH if i < _CATCHES else _MEASURE, some)
            if view is None:
                return None
            step, information, scale_px = _solve_robustly(view, tone_px)
            if scale_px > worst_px:
                return None
            tone_px, share = float(step[6]), view.share
            pose = make_pose(pose[:3, 3] + step[3:6], pose[:3, :3] @ exp_rotation(step[:3]))
            if i > _CATCHES and _small(step):
                break
        shift_first = [3, 4, 5, 0, 1, 2]
        covariance = _INFLATION * np.linalg.inv(information)[np.ix_(shift_first, shift_first)]
        return Fit(
            pose=pose,
            covariance=np.asarray(covariance, dtype=np.float64),
            scale_px=scale_px,
            share=share,
            tone_px=tone_px,
        )

    def error_px(self, gray: GrayImage, found: Fit, faces: Sequence[int]) -> float:
        """Return the RMS distance of these faces' edges; one not found counts as a pixel off."""
        view = self._look(gray, found.pose, _MEASURE, np.isin(self._edges.face, faces))
        if view is None:
            return 1.0
        errors = np.minimum(np.abs(view.distances - found.tone_px), 1.0)
        return math.sqrt(view.share * float(np.mean(errors**2)) + 1.0 - view.share)

    def agreement(self, gray: GrayImage, pose: Pose) -> FloatArray:
        """Return how each face's pattern correlates with the image, -1 to 1. Shape (k,).

        The whole pattern, or its code alone if that is worse: all markers share the border. NaN
        for faces that the camera cannot see, or whose cells it cannot tell apart.
        """
        result = np.full(len(self._edges.cells), np.nan)
        for face in np.flatnonzero(self._seen_faces(pose)):
            turned = self._edges.cells[face] @ pose[:3, :3].T
            pixels, _ = self._camera.project(turned, pose[:3, 3])
            inside = (pixels >= 0).all() and (pixels <= np.array(self._camera.size) - 1).all()
            if not inside or _narrowest_cell_px(pixels) < _MIN_CELL_PX:
                continue
            u, v = pixels.astype(np.float32).T
            seen = cv2.remap(gray, u[:, None], v[:, None], cv2.INTER_LINEAR)
            values = seen[:, 0].astype(np.float64)
            if values.std() > _MIN_DEVIATION:
                white, code = self._edges.white[face], self._edges.code
                result[face] = min(
                    _correlation(values, white), _correlation(values[code], white[code])
                )
        return result

    def _seen_faces(self, pose: Pose) -> Flags:
        """Return which faces look at the camera. Shape (k,)."""
        middles = self._edges.middles @ pose[:3, :3].T + pose[:3, 3]
        normals = self._edges.normals @ pose[:3, :3].T
        cosines = -np.einsum("kc,kc->k", middles, normals) / np.linalg.norm(middles, axis=1)
        return np.asarray(cosines > _MIN_COSINE)

    def _look(
        self, gray: GrayImage, pose: Pose, reach: tuple[float, float], some: Flags | None = None
    ) -> _View | None:
        """Return the edges found, of ``some`` of the points; nothing if they are too few."""
        chosen = self._seen_faces(pose)[self._edges.face]
        if some is not None:
            chosen &= some
        if not chosen.any():
            return None
        rotation = pose[:3, :3]
        pixels, derivatives = self._camera.project(
            self._edges.points[chosen] @ rotation.T, pose[:3, 3]
        )
        by_turn, by_shift = derivatives[:, :, :3] @ rotation, derivatives[:, :, 3:]
        along = np.einsum("nij,nj->ni", by_shift, self._edges.along[chosen] @ rotation.T)
        bright = np.einsum("nij,nj->ni", by_shift, self._edges.to_bright[chosen] @ rotation.T)
        normals, cells_px = _normals(along, bright)
        reach_px = np.minimum(reach[0] * cells_px, reach[1])
        distances, contrast = _edge_distances(gray, pixels, normals, reach_px)
        far_in = (pixels > reach[1]) & (pixels < np.array(self._camera.size) - 1 - reach[1])
        expected = far_in.all(axis=1)
        found = expected & (contrast > _MIN_CONTRAST) & (np.abs(distances) < 0.9 * reach_px)
        if found.sum() < _MIN_POINTS:
            return None
        across = normals[found]
        jacobian = np.column_stack(
            [
                np.einsum("ni,nij->nj", across, by_turn[found]),
                np.einsum("ni,nij->nj", across, by_shift[found]),
                np.ones(len(across)),
            ]
        )
        share = float(found.sum() / expected.sum())
        return _View(
            jacobian, distances[found], share, np.minimum(cells_px[found] / _PLAIN_CELL_PX, 1.0)
        )


def _normals(along: FloatArray, bright: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return unit normals in the image, towards bright, and the cells' widths along them."""
    normals = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    cells_px = np.einsum("ni,ni->n", normals, bright)
    return normals * np.sign(cells_px)[:, None], np.abs(cells_px)


def _narrowest_cell_px(pixels: FloatArray) -> float:
    """Return how narrow the cells of a pattern (n * n, 2) are seen."""
    side = math.isqrt(len(pixels))
    grid = pixels.reshape(side, side, 2)[1:-1, 1:-1]  # The paper around may be wider.
    right, down = grid[0, -1] - grid[0, 0], grid[-1, 0] - grid[0, 0]
    area = abs(right[0] * down[1] - right[1] * down[0])
    longest = max(np.linalg.norm(right), np.linalg.norm(down))
    return float(area / longest / (side - 3))


def _edge_distances(
    gray: GrayImage, pixels: FloatArray, normals: FloatArray, reach_px: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return how far along its normal each edge lies [pixel], and its contrast in light."""
    half = _SAMPLES // 2
    steps = np.arange(-half - 1, half + 2) / half  # One more at either end.
    at = pixels[:, None] + (reach_px[:, None] * steps)[..., None] * normals[:, None]
    at32 = at.astype(np.float32)
    light = cv2.remap(
        gray, at32[..., 0], at32[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    values = _LIGHT[light]
    step_px = reach_px / half
    before, middle, after = (_distance_in(values[:, i : i + _SAMPLES], step_px) for i in range(3))
    # Blur beyond the window makes distances come out too small; a window moved by a step either
    # way shows by how much.
    usable = middle[1] > _MIN_CONTRAST
    gains = (before[0] - after[0])[usable] / (2.0 * step_px[usable])
    gain = min(max(_median(gains), _MIN_GAIN), 1.0) if len(gains) else 1.0
    return middle[0] / gain, middle[1]


def _distance_in(values: FloatArray, step_px: FloatArray) -> tuple[FloatArray, FloatArray]:
    dark = 0.5 * (values[:, 0] + values[:, 1])
    contrast = 0.5 * (values[:, -1] + values[:, -2]) - dark
    divisor = np.where(np.abs(contrast) > _NO_CONTRAST, contrast, _NO_CONTRAST)
    area = (values @ _TRAPEZOID - (_SAMPLES - 1) * dark) / divisor
    return (_SAMPLES // 2 - area) * step_px, contrast


def _solve_robustly(view: _View, tone_px: float) -> tuple[FloatArray, FloatArray, float]:
    """Return step (7,), information (7, 7) and scale, by Tukey's biweight."""
    jacobian, distances = view.trust[:, None] * view.jacobian, view.trust * view.distances
    step = np.array([0.0] * 6 + [tone_px])
    for _ in range(2):
        left = distances - jacobian @ step
        scale = max(1.4826 * _median(np.abs(left)), _MIN_SCALE_PX)
        weights = np.clip(1.0 - (left / (4.685 * scale)) ** 2, 0.0, None) ** 2 / scale**2
        weighted = jacobian * weights[:, None]
        information = weighted.T @ jacobian
        information[6, 6] += 1.0 / _TONE_PX**2
        step = np.linalg.solve(information, weighted.T @ distances)
    return step, information, scale


def _correlation(values: FloatArray, white: Flags) -> float:
    a, b = values - values.mean(), white - white.mean()
    scale = math.sqrt((a @ a) * (b @ b))
    return float(a @ b) / scale if scale > 0.0 else 0.0


def _median(values: FloatArray) -> float:
    """Return the upper median; NumPy's takes five times as long on a few hundred values."""
    middle = len(values) // 2
    return float(np.partition(values, middle)[middle])


def _small(step: FloatArray) -> bool:
    return bool(np.abs(step[3:6]).max() < _CONVERGED[0] and np.abs(step[:3]).max() < _CONVERGED[1])
