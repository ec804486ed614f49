"""The camera's own calibration, from pictures of a ChArUco board."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Image
from dexhil.teleop.cube.intrinsics import Intrinsics
from dexhil.teleop.cube.markers import find_dictionary
from dexhil.teleop.errors import CubeError

FloatArray = npt.NDArray[np.float64]

MIN_VIEWS: Final = 12
MAX_VIEWS: Final = 60
"""More cost time and say the same again."""

MIN_CORNERS: Final = 8
"""Of one image: fewer fit nearly any camera."""

GRID: Final = (4, 6)
"""Rows and columns into which the image is cut to see where the board has been."""

MIN_COVERAGE: Final = 0.75
MAX_RMS_PX: Final = 0.8
"""OpenCV finds corners of sharp images to 0.1 to 0.3 pixels."""

MAX_SIGMA_FOCAL: Final = 0.003
"""As a share. Of a cube 0.6 m away this is 1.8 mm of depth."""


@dataclass(frozen=True, kw_only=True)
class Board:
    """A chessboard with a marker in each white square.

    Attributes:
        columns: Squares from left to right.
        rows: Squares from top to bottom.
        square_m: Edge of a square, as measured on the print [m].
        dictionary: Of the markers. Not the cube's, so that neither is taken for the other.
    """

    columns: int = 7
    rows: int = 5
    square_m: float = 0.036
    dictionary: str = "DICT_5X5_50"

    def __post_init__(self) -> None:
        if not (self.columns >= 3 and self.rows >= 3 and 0 < self.square_m < 1):
            raise CubeError(
                f"A board of {self.columns} x {self.rows} squares of {1e3 * self.square_m:g} mm "
                "cannot be: at least 3 x 3, and squares between 0 and 1000 mm."
            )

    @cached_property
    def board(self) -> Any:
        """OpenCV's own."""
        # One cell of white around each marker, so that the board is made of whole cells.
        return cv2.aruco.CharucoBoard(
            (self.columns, self.rows),
            self.square_m,
            self.square_m * (self._cells_per_square - 2) / self._cells_per_square,
            find_dictionary(self.dictionary),
        )

    @property
    def _cells_per_square(self) -> int:
        return int(find_dictionary(self.dictionary).markerSize) + 4

    def cells(self) -> npt.NDArray[np.bool_]:
        """Return which cells of the printed board are black. Shape (rows * c, columns * c)."""
        n = self._cells_per_square
        size = (self.columns * n, self.rows * n)
        black: npt.NDArray[np.bool_] = self.board.generateImage(size) == 0
        return black


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BoardView:
    """The board's inner corners that one image shows.

    Attributes:
        on_board: Where they are on the board [m]. Shape (n, 3).
        in_image: Where they are in the image [pixel]. Shape (n, 2).
    """

    on_board: FloatArray
    in_image: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CameraCalibration:
    """A camera's projection, and how well it is known.

    Attributes:
        intrinsics: With the reprojection error.
        n_views: How many images were used.
        n_blurred: How many were left out because they fitted much worse than the others.
        coverage: Share of the image's area in which corners were seen.
        sigma_focal: Standard deviation of the focal length, as a share of it.
        tilt_rad: How far the board was tilted, at the most [rad].
    """

    intrinsics: Intrinsics
    n_views: int
    n_blurred: int
    coverage: float
    sigma_focal: float
    tilt_rad: float


def find_board(board: Board, image: Image) -> BoardView | None:
    """Return the corners of the board in an image, ``None`` if it shows too few.

    Args:
        board: As printed.
        image: RGB. Shape (h, w, 3).
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    corners, numbers, _, _ = cv2.aruco.CharucoDetector(board.board).detectBoard(grey)
    if numbers is None or len(numbers) < MIN_CORNERS:
        return None
    on_board, in_image = board.board.matchImagePoints(corners, numbers)
    return BoardView(
        on_board=np.asarray(on_board, dtype=np.float64).reshape(-1, 3),
        in_image=np.asarray(in_image, dtype=np.float64).reshape(-1, 2),
    )


def calibrate_camera(views: Sequence[BoardView], width: int, height: int) -> CameraCalibration:
    """Find how a camera projects, with OpenCV's five numbers of distortion.

    Args:
        views: Of the board, from ``find_board``.
        width: Of the images [pixel].
        height: Of the images [pixel].

    Raises:
        CubeError: Too few images show the board, parts of the image never do, the board was
            never tilted, or the images are blurred.
    """
    _require_views(views, 0)
    step = max(1.0, len(views) / MAX_VIEWS)
    views = [views[int(i * step)] for i in range(min(len(views), MAX_VIEWS))]
    fit = _fit(views, width, height)
    sharp = [v for v, rms in zip(views, fit.rms, strict=True) if rms <= 3.0 * np.median(fit.rms)]
    n_blurred = len(views) - len(sharp)
    if n_blurred:
        _require_views(sharp, n_blurred)
        fit = _fit(sharp, width, height)
    seen = _coverage(sharp, width, height)
    result = CameraCalibration(
        intrinsics=Intrinsics(
            width=width,
            height=height,
            matrix=fit.matrix,
            distortion=fit.distortion,
            rms_px=fit.rms_px,
        ),
        n_views=len(sharp),
        n_blurred=n_blurred,
        coverage=float(seen.mean()),
        sigma_focal=fit.sigma_focal,
        tilt_rad=fit.tilt_rad,
    )
    _require_good(result, seen)
    return result


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    matrix: FloatArray
    distortion: FloatArray
    rms_px: float
    rms: FloatArray  # Of each view [pixel].
    sigma_focal: float
    tilt_rad: float


def _fit(views: Sequence[BoardView], width: int, height: int) -> _Fit:
    points = [view.on_board.astype(np.float32) for view in views]
    pixels = [view.in_image.astype(np.float32) for view in views]
    try:
        rms_px, matrix, distortion, turns, _, sigmas, _, rms = cv2.calibrateCameraExtended(
            points, pixels, (width, height), np.eye(3), np.zeros(5)
        )
    except cv2.error as error:
        raise CubeError(
            "OpenCV finds no camera that could have taken these images. Show the board tilted, "
            "from many sides."
        ) from error
    # The board's normal against the optical axis.
    tilts = [np.arccos(min(1.0, abs(float(cv2.Rodrigues(turn)[0][2, 2])))) for turn in turns]
    focal = float(np.asarray(sigmas).ravel()[:2].max() / min(matrix[0, 0], matrix[1, 1]))
    return _Fit(
        matrix=np.asarray(matrix, dtype=np.float64),
        distortion=np.asarray(distortion, dtype=np.float64).ravel(),
        rms_px=float(rms_px),
        rms=np.asarray(rms, dtype=np.float64).ravel(),
        sigma_focal=focal,
        tilt_rad=float(max(tilts)),
    )


def _coverage(views: Sequence[BoardView], width: int, height: int) -> npt.NDArray[np.bool_]:
    """Return which cells of the image ever showed a corner. Shape (rows, columns)."""
    pixels = np.concatenate([view.in_image for view in views])
    counts, _, _ = np.histogram2d(
        pixels[:, 1], pixels[:, 0], bins=GRID, range=((0, height), (0, width))
    )
    return np.asarray(counts > 0)


def _require_views(views: Sequence[BoardView], n_blurred: int) -> None:
    if len(views) >= MIN_VIEWS:
        return
    blurred = f", {n_blurred} more are blurred" if n_blurred else ""
    raise CubeError(
        f"{len(views)} images show {MIN_CORNERS} corners of the board or more{blurred}; at least "
        f"{MIN_VIEWS} needed. Hold the board still for a moment, in good light, at 20 to 60 cm."
    )


def _require_good(result: CameraCalibration, seen: npt.NDArray[np.bool_]) -> None:
    if result.intrinsics.rms_px > MAX_RMS_PX:
        raise CubeError(
            f"The corners fit to {result.intrinsics.rms_px:.2f} pixels (rms), allowed "
            f"{MAX_RMS_PX:g}. Glue the board to something flat and hold it still."
        )
    if result.coverage < MIN_COVERAGE:
        rows, columns = np.nonzero(~seen)
        # The empty cell farthest from the middle is where people forget to go.
        far = np.abs(rows - (GRID[0] - 1) / 2) + np.abs(columns - (GRID[1] - 1) / 2)
        i = int(np.argmax(far))
        where = (
            f"{'upper' if rows[i] < GRID[0] / 2 else 'lower'} "
            f"{'left' if columns[i] < GRID[1] / 2 else 'right'}"
        )
        raise CubeError(
            f"The board was seen in {result.coverage:.0%} of the image, at least "
            f"{MIN_COVERAGE:.0%} needed: the lens is unknown elsewhere. Bring it to the edges, "
            f"above all the {where}."
        )
    if not result.sigma_focal <= MAX_SIGMA_FOCAL:
        raise CubeError(
            f"The focal length is known to {result.sigma_focal:.2%} only, allowed "
            f"{MAX_SIGMA_FOCAL:.1%}; the board was tilted by {np.rad2deg(result.tilt_rad):.0f}° at "
            "most. Tilt it by 30 to 50 degrees, each way, near the camera."
        )
