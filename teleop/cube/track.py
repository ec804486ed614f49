"""Finds and follows a marker cube in a camera's images.

Each image: the markers' corners give candidate poses, the edges of all visible faces make them
exact, and one is chosen. A pose that two candidates explain about equally well is settled by where
the cube was before; without such a history it is not guessed. Between frames the cube is looked
for where it should be; where its markers cannot be read, it is followed by its edges alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Image, freeze_fields
from dexhil.teleop.cube.corners import Camera, candidates
from dexhil.teleop.cube.filter import JUMPED, CubeFilter, FilterConfig
from dexhil.teleop.cube.intrinsics import Intrinsics
from dexhil.teleop.cube.markers import find_dictionary
from dexhil.teleop.cube.model import CubeModel
from dexhil.teleop.cube.pose import Fit, PoseFitter
from dexhil.teleop.errors import CubeError
from dexhil.teleop.se3 import Pose, distance

FloatArray = npt.NDArray[np.float64]
GrayImage = npt.NDArray[np.uint8]

# A pattern of 36 cells and more is not met by chance: correlation of what is seen with it.
_AGREES: Final = 0.7
# One candidate explains the detected faces so much better than another that it is the one.
_MUCH_BETTER: Final = 1.3
_HOPELESS: Final = 5.0  # A fit that begins so much worse than another ended.
_SAME: Final = (0.01, math.radians(3.0))  # Nearer than this, which one matters little.
_ROUND: Final = 0.87  # Half the diagonal of a cube of edge 1.
_MARGIN_PX: Final = 12.0
_SMALLEST: Final = 0.02  # Perimeter of a marker, of the longer side of the image.


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackConfig:
    """How to look, and what to believe.

    Attributes:
        threshold_px: Windows of the adaptive threshold [pixel], odd; tried in turn, one per
            image, while the cube is not found.
        max_scale_px: A pose whose edges lie farther off is not believed [pixel].
        max_error_px: Nor one at which the RMS distance of the edges of the faces it rests on is
            larger [pixel]. One that is not found counts as a pixel off: a fifth may be hidden.
        filter: How a hand moves.
    """

    threshold_px: tuple[int, ...] = (9, 23)
    max_scale_px: float = 0.2
    max_error_px: float = 0.46
    filter: FilterConfig = field(default_factory=FilterConfig)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CubePose:
    """Where the cube is in one image.

    Attributes:
        stamp_s: Of the image [s].
        pose_cube_in_camera: x to the right, y down, z forward. Shape (4, 4).
        covariance: Of position in the camera's frame [m] and rotation in the cube's [rad].
            Shape (6, 6).
        marker_ids: Of the faces whose pattern was seen.
        reprojection_px: Robust standard deviation of the edges' distances [pixel].
    """

    stamp_s: float
    pose_cube_in_camera: Pose
    covariance: FloatArray
    marker_ids: tuple[int, ...]
    reprojection_px: float

    def __post_init__(self) -> None:
        freeze_fields(self, "pose_cube_in_camera", "covariance")


class CubeTracker:
    """Follows one cube. Not for several threads at once.

    Args:
        model: The cube.
        intrinsics: Of the camera, for images of that size.
        config: How to look.

    Attributes:
        lost_reason: Why the newest image gave no pose; ``None`` if it did.
        filter: The cube's motion so far: smooth, and with a prediction.
    """

    def __init__(
        self, model: CubeModel, intrinsics: Intrinsics, config: TrackConfig | None = None
    ) -> None:
        self._config = config or TrackConfig()
        self._model = model
        self._camera = Camera(intrinsics)
        self._fitter = PoseFitter(model, self._camera)
        self._detectors = [_detector(model, px) for px in self._config.threshold_px]
        self._turn = 0
        self.lost_reason: str | None = "No image has come yet."
        self.filter = CubeFilter(self._config.filter)

    def update(self, image: Image, stamp_s: float) -> CubePose | None:
        """Return where the cube is in an image, or nothing; ``lost_reason`` then says why.

        An image that is no newer than the one before is refused.

        Args:
            image: RGB. Shape (height, width, 3).
            stamp_s: When it was taken, as well as the camera can tell [s]. It may be off the
                middle of the exposure, but always by as much.

        Raises:
            CubeError: The image has another size than the intrinsics.
        """
        height, width = image.shape[:2]
        if (width, height) != self._camera.size:
            raise CubeError(
                f"The image is {width} x {height} pixels, the camera's intrinsics are for "
                f"{self._camera.size[0]} x {self._camera.size[1]}."
            )
        if not stamp_s > self.filter.newest_s:
            self.lost_reason = (
                f"The image of {stamp_s:.6f} s came after one of {self.filter.newest_s:.6f} s."
            )
            return None
        gray = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        found = self._find(gray, self.filter.predict(stamp_s), stamp_s)
        if isinstance(found, str):
            self.filter.miss(stamp_s, found)
            self.lost_reason = found
            self._turn += 1
            return None
        if not self.filter.update(found.pose_cube_in_camera, found.covariance, stamp_s):
            self.lost_reason = JUMPED
            return None
        self.lost_reason = None
        return found

    def _find(self, gray: GrayImage, predicted: Pose | None, stamp_s: float) -> CubePose | str:
        """Return the pose, or why there is none."""
        corners, faces = self._detect(gray, predicted, stamp_s)
        starts = candidates(self._model, self._camera, corners, faces) if faces else []
        if not starts and predicted is None:
            return "No marker of the cube is in sight."
        believed = self._believed(gray, starts, faces)
        if not believed and predicted is not None:
            # Blurred or half hidden: its markers cannot be read where its edges can be followed.
            believed = self._believed(gray, [predicted], ())
        if not believed:
            return "The cube's edges are not where its markers say."
        best = self._chosen(believed, stamp_s)
        if best is None:
            return "The markers in sight allow two poses, and nothing tells which it is."
        return CubePose(
            stamp_s=stamp_s,
            pose_cube_in_camera=best.fit.pose,
            covariance=best.fit.covariance,
            marker_ids=best.seen,
            reprojection_px=best.fit.scale_px,
        )

    def _detect(
        self, gray: GrayImage, predicted: Pose | None, stamp_s: float
    ) -> tuple[FloatArray, list[int]]:
        """Return the corners (m, 4, 2) and faces of the markers near where they should be."""
        left, top, right, bottom = self._region(predicted, stamp_s)
        detector = self._detectors[self._turn % len(self._detectors)]
        corners, ids, _ = detector.detectMarkers(gray[top:bottom, left:right])
        faces, kept = [], []
        for marker_id, four in zip([] if ids is None else ids.ravel(), corners, strict=True):
            if marker_id in self._model.marker_ids:
                face = self._model.marker_ids.index(int(marker_id))
                if face in faces:  # Two of a kind: a reflection, or a copy on the table.
                    continue
                faces.append(face)
                kept.append(four[0].astype(np.float64) + np.array([left, top]))
        return np.array(kept), faces

    def _region(self, predicted: Pose | None, stamp_s: float) -> tuple[int, int, int, int]:
        """Return the part of the image to search: left, top, right, bottom [pixel]."""
        width, height = self._camera.size
        if predicted is None or predicted[2, 3] < self._model.edge_m:
            return 0, 0, width, height
        middle = self._camera.project(np.zeros((1, 3)), predicted[:3, 3])[0][0]
        radius_m = _ROUND * self._model.edge_m + 3.0 * self.filter.spread(stamp_s)
        radius = self._camera.matrix[0, 0] * radius_m / predicted[2, 3] + _MARGIN_PX
        low = np.clip(middle - radius, 0, (width - 1, height - 1)).astype(int)
        high = np.clip(middle + radius, low + 1, (width, height)).astype(int)
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])

    def _believed(
        self, gray: GrayImage, starts: Sequence[Pose], faces: Sequence[int]
    ) -> list["_Judged"]:
        """Return the fits from ``starts`` that the image bears out, judged by these faces."""
        result: list[_Judged] = []
        worst_px = math.inf
        for start in starts:
            found = self._fitter.fit(gray, start, worst_px)
            if found is None or found.scale_px > self._config.max_scale_px:
                continue
            agrees = self._fitter.agreement(gray, found.pose) > _AGREES
            seen = [int(face) for face in np.flatnonzero(agrees)]
            if not seen:
                continue
            error_px = self._fitter.error_px(gray, found, list(faces) or seen)
            if error_px > self._config.max_error_px:
                continue
            worst_px = min(worst_px, _HOPELESS * found.scale_px)
            marker_ids = tuple(self._model.marker_ids[face] for face in seen)
            result.append(_Judged(found, marker_ids, error_px))
        return result

    def _chosen(self, believed: Sequence["_Judged"], stamp_s: float) -> "_Judged | None":
        """Return the pose that no other could be as well, by the image or else by history."""
        unbeaten = [each for each in believed if not any(other.beats(each) for other in believed)]
        best = min(unbeaten, key=lambda each: each.error_px)
        if all(_same(best, other) for other in unbeaten):
            return best
        possible = [  # All of them, while the cube is lost.
            each
            for each in unbeaten
            if self.filter.explains(each.fit.pose, each.fit.covariance, stamp_s)
        ]
        return possible[0] if len(possible) == 1 else None


@dataclass(frozen=True, slots=True)
class _Judged:
    """A fit and what speaks for it.

    Attributes:
        fit: The pose.
        seen: Ids of the faces whose pattern is where it should be.
        error_px: RMS distance of the edges of the faces that all candidates share [pixel].
    """

    fit: Fit
    seen: tuple[int, ...]
    error_px: float

    def beats(self, other: "_Judged") -> bool:
        """Whether the image alone tells that this is the cube's pose and not ``other``."""
        if len(self.seen) > len(other.seen):
            return self.error_px <= other.error_px
        return len(self.seen) == len(other.seen) and _MUCH_BETTER * self.error_px <= other.error_px


def _same(a: _Judged, b: _Judged) -> bool:
    length, angle = distance(a.fit.pose, b.fit.pose)
    return length < _SAME[0] and angle < _SAME[1]


def _detector(model: CubeModel, threshold_px: int) -> cv2.aruco.ArucoDetector:
    parameters = cv2.aruco.DetectorParameters()
    parameters.adaptiveThreshWinSizeMin = threshold_px
    parameters.adaptiveThreshWinSizeMax = threshold_px
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    parameters.minMarkerPerimeterRate = _SMALLEST
    return cv2.aruco.ArucoDetector(find_dictionary(model.dictionary), parameters)
