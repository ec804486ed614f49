"""How the cube was really folded: the pose of each face, from a video of it turned before a camera.

Paper folds to half a millimetre and half a degree at best, which would be most of the
tracker's error. Frames that show two faces at once tie them together; all frames together,
in one bundle adjustment, give each face's pose to a few hundredths of a millimetre. The cube
frame is put where the nominal cube fits the faces best.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Image
from dexhil.teleop.cube.bundle import Bundle, Sightings, adjust
from dexhil.teleop.cube.corners import Camera, candidates
from dexhil.teleop.cube.intrinsics import Intrinsics
from dexhil.teleop.cube.markers import find_dictionary
from dexhil.teleop.cube.model import FACES, CubeModel
from dexhil.teleop.cube.pose import PoseFitter
from dexhil.teleop.errors import CubeError
from dexhil.teleop.se3 import inverse, log_rotation, make_pose

FloatArray = npt.NDArray[np.float64]
Corners = Mapping[int, FloatArray]
"""Of one image: corners of each marker seen, by its number [pixel]. Shape (4, 2) each."""

MIN_FRAMES: Final = 20
MIN_FRAMES_PER_FACE: Final = 6
"""A face must be seen together with another one in this many frames."""

MAX_FRAMES: Final = 200
"""More say the same again: neighbours in a video are alike."""

MAX_RMS_PX: Final = 0.6
"""Rendered images fit to 0.06 pixels; motion blur, bent faces and wrong intrinsics do not."""

MAX_SIGMA_M: Final = 0.0003
MAX_SIGMA_RAD: Final = 0.006
MAX_FOLD_M: Final = 0.005
MAX_FOLD_RAD: Final = 0.1
"""Farther off, a cube was folded wrongly, and is better folded again."""

MAX_PRINT_ERROR: Final = 0.05
"""By how much a ruler may be wrong before it is more likely that it was measured wrongly."""

# Of a marker's edge: how far corners of a frame may be off the nominal cube to begin with.
_UNLIKE: Final = 0.12
_MAX_SCALE_PX: Final = 0.6  # A square whose edges scatter more is no square, or blurred.
_MIN_SHARE: Final = 0.6  # Of its edges, that must be seen.
_BLURRED: Final = 3.0  # Frames worse than the median by this factor are left out.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaceCalibration:
    """A cube as it was folded, and how well it is known.

    Attributes:
        model: With the corners where they really are.
        rms_px: Reprojection error of all corners [pixel].
        n_frames: How many were used.
        n_blurred: How many were left out because they fitted much worse than the others.
        frames_per_face: How many showed each face together with another.
        sigma_m: Standard deviation of each face's position, worst direction [m]. Shape (k,).
        sigma_rad: Of its turning, likewise [rad]. Shape (k,).
        off_m: How far each face is from where it was to be folded to [m]. Shape (k,).
        off_rad: By how much it is turned [rad]. Shape (k,).
    """

    model: CubeModel
    rms_px: float
    n_frames: int
    n_blurred: int
    frames_per_face: tuple[int, ...]
    sigma_m: FloatArray
    sigma_rad: FloatArray
    off_m: FloatArray
    off_rad: FloatArray


class MarkerFinder:
    """Finds a cube's markers in images, each by itself: how they sit to each other is not known.

    OpenCV finds them; their corners are then those of the square that fits the edges of all their
    cells. Corners themselves are rounded off by blur, and lie towards black by some tenths of a
    pixel in any camera that brightens what it saw; that would make the cube too large.

    Args:
        model: Whose markers.
        intrinsics: Of the camera.

    Raises:
        CubeError: OpenCV has no such dictionary.
    """

    def __init__(self, model: CubeModel, intrinsics: Intrinsics) -> None:
        self._model = model
        self._camera = Camera(intrinsics)
        self._fitter = PoseFitter(model, self._camera)
        parameters = cv2.aruco.DetectorParameters()
        parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
        self._detector = cv2.aruco.ArucoDetector(find_dictionary(model.dictionary), parameters)

    def find(self, image: Image) -> Corners:
        """Return the corners of the markers in an image, none if there are none.

        Args:
            image: RGB, of the size that the intrinsics are for. Shape (h, w, 3).
        """
        gray = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        corners, numbers, _ = self._detector.detectMarkers(gray)
        if numbers is None:
            return {}
        found = {}
        for number, four in zip(map(int, numbers.ravel()), corners, strict=True):
            if number in self._model.marker_ids:
                quad = self._fitted(gray, number, np.asarray(four, np.float64).reshape(4, 2))
                if quad is not None:
                    found[number] = quad
        return found

    def _fitted(
        self, gray: npt.NDArray[np.uint8], number: int, quad: FloatArray
    ) -> FloatArray | None:
        face = self._model.marker_ids.index(number)
        for start in candidates(self._model, self._camera, quad[None], [face]):
            found = self._fitter.fit(gray, start, _MAX_SCALE_PX, faces=[face])
            if found is not None and found.scale_px <= _MAX_SCALE_PX and found.share > _MIN_SHARE:
                turned = self._model.corners_in_cube[face] @ found.pose[:3, :3].T
                return self._camera.project(turned, found.pose[:3, 3])[0]
        return None


def scaled(model: CubeModel, ruler_m: float) -> CubeModel:
    """Return the cube as printed by a printer that made the 0.1 m ruler ``ruler_m`` long.

    Raises:
        CubeError: No printer is that far off.
    """
    factor = ruler_m / 0.1
    if not abs(factor - 1.0) <= MAX_PRINT_ERROR:
        raise CubeError(
            f"The ruler of 100 mm measures {1e3 * ruler_m:.1f} mm, allowed {MAX_PRINT_ERROR:.0%} "
            "off. Print again at 100 %, not fitted to the page."
        )
    return replace(
        model,
        edge_m=factor * model.edge_m,
        marker_m=factor * model.marker_m,
        corners_in_cube=factor * model.corners_in_cube,
    )


def calibrate_faces(
    model: CubeModel, intrinsics: Intrinsics, images: Sequence[Corners]
) -> FaceCalibration:
    """Find where each face of a cube really is.

    Args:
        model: The cube at its true scale, as printed or as calibrated before.
        intrinsics: Of the camera.
        images: Markers found in each image, see ``MarkerFinder``.

    Raises:
        CubeError: There are too few images, or too few with two faces; a face is hardly seen;
            they are not this cube's; they are blurred; or a face was folded far off.
    """
    useful = [corners for corners in images if len(corners) >= 2]
    _require_enough(model, useful, len(images))
    step = max(1.0, len(useful) / MAX_FRAMES)
    useful = [useful[int(i * step)] for i in range(min(len(useful), MAX_FRAMES))]
    nominal = [_face_pose(corners) for corners in model.corners_in_cube]
    sightings = _sightings(model, intrinsics, useful)
    poses = _first_poses(model, intrinsics, sightings, len(useful))
    square = _square(model)
    matrix = intrinsics.matrix
    bundle = adjust(np.array(nominal), poses, sightings, square, matrix)
    keep = _sharp(bundle, sightings)
    n_blurred = len(useful) - len(keep)
    if n_blurred:
        _require_enough(model, [useful[i] for i in keep], len(images), n_blurred)
        sightings = _sightings(model, intrinsics, [useful[i] for i in keep])
        bundle = adjust(bundle.faces, bundle.poses[keep], sightings, square, matrix)
    result = _result(model, bundle, sightings, n_blurred)
    _require_good(result)
    return result


# -- Beginning ---------------------------------------------------------------------------


def _require_enough(
    model: CubeModel, useful: Sequence[Corners], n_images: int, n_blurred: int = 0
) -> None:
    blurred = f" ({n_blurred} blurred ones left out)" if n_blurred else ""
    if len(useful) < MIN_FRAMES:
        raise CubeError(
            f"{len(useful)} of {n_images} images show two faces of the cube{blurred}, at least "
            f"{MIN_FRAMES} needed. Turn an edge or a corner of the cube to the camera, near it, "
            f"in good light. Its markers should be {model.dictionary} "
            f"{', '.join(map(str, model.marker_ids))}."
        )
    for i, number in enumerate(model.marker_ids):
        n_seen = sum(number in corners for corners in useful)
        if n_seen < MIN_FRAMES_PER_FACE:
            raise CubeError(
                f"Marker {number} (face {FACES[i]}) was seen with another one in {n_seen} images"
                f"{blurred}, at least {MIN_FRAMES_PER_FACE} needed. Turn the cube so that every "
                "edge faces the camera."
            )


def _sightings(model: CubeModel, intrinsics: Intrinsics, images: Sequence[Corners]) -> Sightings:
    seen = [
        (frame, model.marker_ids.index(number), corners)
        for frame, image in enumerate(images)
        for number, corners in sorted(image.items())
    ]
    pixels = np.array([corners for _, _, corners in seen]).reshape(-1, 1, 2)
    straight = cv2.undistortPoints(
        pixels, intrinsics.matrix, intrinsics.distortion, P=intrinsics.matrix
    )
    return Sightings(
        frame=np.array([frame for frame, _, _ in seen]),
        face=np.array([face for _, face, _ in seen]),
        corners=np.asarray(straight, dtype=np.float64).reshape(-1, 4, 2),
    )


def _first_poses(
    model: CubeModel, intrinsics: Intrinsics, sightings: Sightings, n_frames: int
) -> FloatArray:
    """Return ``pose_cube_in_camera`` of each frame as if the cube were nominal. (n, 4, 4)."""
    poses, worst = np.zeros((n_frames, 4, 4)), np.zeros(n_frames)
    for frame in range(n_frames):
        rows = sightings.frame == frame
        points = model.corners_in_cube[sightings.face[rows]].reshape(-1, 3)
        corners = sightings.corners[rows]
        _, turn, move = cv2.solvePnP(
            points, corners.reshape(-1, 2), intrinsics.matrix, None, flags=cv2.SOLVEPNP_SQPNP
        )
        poses[frame] = make_pose(move.ravel(), np.asarray(cv2.Rodrigues(turn)[0]))
        expected = cv2.projectPoints(points, turn, move, intrinsics.matrix, None)[0]
        off = np.linalg.norm(expected.reshape(-1, 4, 2) - corners, axis=2).max()
        worst[frame] = off / np.linalg.norm(np.diff(corners, axis=1), axis=2).max()
    if np.median(worst) > _UNLIKE:
        raise CubeError(
            f"The markers seen are not where this cube has them: corners are off by "
            f"{np.median(worst):.0%} of a marker's edge, allowed {_UNLIKE:.0%}. Is it the cube of "
            "this file, with every face the right way round, and the camera of these intrinsics?"
        )
    return poses


def _square(model: CubeModel) -> FloatArray:
    """Return the corners of a marker in its face: x to the right, y up, z outwards [m]. (4, 3)."""
    half = 0.5 * model.marker_m
    return half * np.array([(-1.0, 1.0, 0.0), (1.0, 1.0, 0.0), (1.0, -1.0, 0.0), (-1.0, -1.0, 0.0)])


def _face_pose(corners: FloatArray) -> FloatArray:
    x = corners[1] + corners[2] - corners[0] - corners[3]
    y = corners[0] + corners[1] - corners[2] - corners[3]
    x, z = x / np.linalg.norm(x), np.cross(x, y)
    z /= np.linalg.norm(z)
    return make_pose(corners.mean(axis=0), np.stack([x, np.cross(z, x), z], axis=1))


# -- Ending --------------------------------------------------------------------------------


def _sharp(bundle: Bundle, sightings: Sightings) -> list[int]:
    """Return the frames that do not fit much worse than most."""
    n_frames = len(bundle.poses)
    squares = (bundle.errors**2).sum(axis=2).mean(axis=1)
    sums = np.bincount(sightings.frame, squares, n_frames)
    rms = np.sqrt(sums / np.bincount(sightings.frame, minlength=n_frames))
    return [int(i) for i in np.flatnonzero(rms <= _BLURRED * np.median(rms))]


def _result(
    model: CubeModel, bundle: Bundle, sightings: Sightings, n_blurred: int
) -> FaceCalibration:
    square, k = _square(model), model.n_faces
    # A cube that was calibrated before is judged by its paper, too, not by the last calibration.
    printed = model.as_printed().corners_in_cube
    corners = square @ bundle.faces[:, :3, :3].transpose(0, 2, 1) + bundle.faces[:, None, :3, 3]
    corners = _put_on(corners.reshape(-1, 3), printed.reshape(-1, 3)).reshape(k, 4, 3)
    off = [inverse(_face_pose(a)) @ _face_pose(b) for a, b in zip(printed, corners, strict=True)]
    spread = bundle.covariance.reshape(k, 6, k, 6)[np.arange(k), :, np.arange(k), :]
    return FaceCalibration(
        model=replace(model, corners_in_cube=corners),
        rms_px=bundle.rms_px,
        n_frames=len(bundle.poses),
        n_blurred=n_blurred,
        frames_per_face=tuple(np.bincount(sightings.face, minlength=k).tolist()),
        sigma_m=_worst(spread[:, :3, :3]),
        sigma_rad=_worst(spread[:, 3:, 3:]),
        off_m=np.array([np.linalg.norm(each[:3, 3]) for each in off]),
        off_rad=np.array([np.linalg.norm(log_rotation(each[:3, :3])) for each in off]),
    )


def _worst(spread: FloatArray) -> FloatArray:
    if not np.isfinite(spread).all():
        return np.full(len(spread), np.inf)
    return np.asarray(np.sqrt(np.linalg.eigvalsh(spread)[:, -1]))


def _put_on(points: FloatArray, where: FloatArray) -> FloatArray:
    """Return points moved rigidly to fit ``where`` best (Kabsch 1976). Shape (n, 3)."""
    middle, there = points.mean(axis=0), where.mean(axis=0)
    u, _, vt = np.linalg.svd((points - middle).T @ (where - there))
    u[:, -1] *= np.sign(np.linalg.det(u @ vt))
    return np.asarray((points - middle) @ (u @ vt) + there)


def _require_good(result: FaceCalibration) -> None:
    if result.rms_px > MAX_RMS_PX:
        raise CubeError(
            f"The corners fit to {result.rms_px:.2f} pixels (rms), allowed {MAX_RMS_PX:g}. Move "
            "the cube more slowly, in more light; check that the faces are flat and that the "
            "intrinsics are this camera's."
        )
    names = [
        f"marker {number} (face {face})"
        for number, face in zip(result.model.marker_ids, FACES, strict=False)
    ]
    unsure = np.maximum(result.sigma_m / MAX_SIGMA_M, result.sigma_rad / MAX_SIGMA_RAD)
    i = int(np.argmax(unsure))
    if not unsure[i] <= 1.0:
        raise CubeError(
            f"The place of {names[i]} is known to {1e3 * result.sigma_m[i]:.2f} mm and "
            f"{np.rad2deg(result.sigma_rad[i]):.2f}° only, allowed {1e3 * MAX_SIGMA_M:g} mm and "
            f"{np.rad2deg(MAX_SIGMA_RAD):.2f}°. Turn each of its edges to the camera, and nearer."
        )
    off = np.maximum(result.off_m / MAX_FOLD_M, result.off_rad / MAX_FOLD_RAD)
    i = int(np.argmax(off))
    if off[i] > 1.0:
        raise CubeError(
            f"{names[i].capitalize()} is {1e3 * result.off_m[i]:.1f} mm and "
            f"{np.rad2deg(result.off_rad[i]):.1f}° from where it belongs, allowed "
            f"{1e3 * MAX_FOLD_M:g} mm and {np.rad2deg(MAX_FOLD_RAD):.1f}°. Fold the cube again."
        )
