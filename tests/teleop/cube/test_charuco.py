"""A camera is calibrated from pictures of the board, and poor pictures are refused."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dexhil.teleop.cube.charuco import Board, BoardView, calibrate_camera, find_board
from dexhil.teleop.errors import CubeError
from dexhil.teleop.se3 import exp_rotation

WIDTH, HEIGHT = 1280, 720
MATRIX = np.array([[650.0, 0.0, 630.0], [0.0, 648.0, 370.0], [0.0, 0.0, 1.0]])
DISTORTION = np.array([-0.05, 0.06, 0.001, -0.0005, -0.02])
BOARD = Board()
POINTS = np.asarray(BOARD.board.getChessboardCorners(), dtype=np.float64)
MIDDLE = POINTS.mean(axis=0)


def _view(
    rng: np.random.Generator, *, tilt: float = 0.8, spread: float = 1.0, noise_px: float = 0.2
) -> BoardView:
    """Return what a camera sees of the board somewhere in the image."""
    while True:
        z = rng.uniform(0.2, 0.45)
        turn = exp_rotation(rng.uniform(-tilt, tilt, 3))
        x, y = spread * rng.uniform(-1.0, 1.0, 2) * (0.95, 0.55) * z
        place = np.array([x, y, z]) - turn @ MIDDLE
        pixels, _ = cv2.projectPoints(POINTS, cv2.Rodrigues(turn)[0], place, MATRIX, DISTORTION)
        pixels = pixels[:, 0] + rng.normal(0.0, noise_px, (len(POINTS), 2))
        inside = ((pixels > 0) & (pixels < (WIDTH, HEIGHT))).all(axis=1)
        if inside.sum() >= 8:
            return BoardView(on_board=POINTS[inside], in_image=pixels[inside])


def _views(n: int, seed: int = 0, **options: Any) -> list[BoardView]:
    rng = np.random.default_rng(seed)
    return [_view(rng, **options) for _ in range(n)]


def _bend_px(matrix: NDArray[np.float64], distortion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where rays over most of the image fall [pixel]."""
    x, y = np.meshgrid(np.linspace(-0.85, 0.85, 9), np.linspace(-0.45, 0.45, 5))
    rays = np.stack([x.ravel(), y.ravel(), np.ones(45)], axis=1)
    pixels, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), matrix, distortion)
    return np.asarray(pixels[:, 0])


def test_the_projection_is_found_to_a_pixel_all_over_the_image() -> None:
    result = calibrate_camera(_views(30), WIDTH, HEIGHT)
    lens = result.intrinsics
    off = _bend_px(lens.matrix, lens.distortion) - _bend_px(MATRIX, DISTORTION)
    assert np.abs(off).max() < 3.0  # Also where a shifted middle is a turn of the camera.
    assert lens.matrix[0, 0] == pytest.approx(650.0, rel=3e-3)
    assert lens.rms_px == pytest.approx(0.2 * np.sqrt(2), rel=0.1)
    assert (lens.width, lens.height) == (WIDTH, HEIGHT)
    assert result.coverage > 0.9
    assert result.sigma_focal < 0.002
    assert np.rad2deg(result.tilt_rad) > 30.0


def test_blurred_pictures_are_left_out() -> None:
    views = _views(30) + _views(4, seed=1, noise_px=5.0)
    result = calibrate_camera(views, WIDTH, HEIGHT)
    assert result.n_blurred == 4
    assert result.intrinsics.matrix[0, 0] == pytest.approx(650.0, rel=3e-3)


def _halved(views: Sequence[BoardView]) -> list[BoardView]:
    kept = [view.in_image[:, 0] < 0.5 * WIDTH for view in views]
    return [
        BoardView(on_board=view.on_board[keep], in_image=view.in_image[keep])
        for view, keep in zip(views, kept, strict=True)
        if keep.sum() >= 8
    ]


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([], "0 images show 8 corners"),
        (_views(11), "11 images show 8 corners .* at least 12 needed"),
        (_views(9) + _views(4, seed=1, noise_px=20.0), r"\d images show .*, \d more are blurred"),
        (_views(30, noise_px=1.0), r"fit to 1\.\d\d pixels \(rms\), allowed 0\.8"),
        (_halved(_views(60)), "seen in 5\\d% of the image, at least 75% .* (upper|lower) right"),
        (_views(30, tilt=0.02), r"The focal length is known to \d\.\d\d% only"),
    ],
)
def test_pictures_that_cannot_tell_are_refused(views: list[BoardView], message: str) -> None:
    with pytest.raises(CubeError, match=message):
        calibrate_camera(views, WIDTH, HEIGHT)


def test_the_board_is_found_in_a_picture_to_a_fraction_of_a_pixel() -> None:
    turn, place = exp_rotation((0.4, -0.3, 0.1)), np.array([-0.1, -0.06, 0.35])
    n_cells = BOARD.cells().shape
    picture = np.where(BOARD.cells(), 20, 235).astype(np.uint8)
    picture = np.kron(picture, np.ones((12, 12), np.uint8))
    corners = np.array([(0, 0), (7, 0), (7, 5), (0, 5)]) * BOARD.square_m
    pixels, _ = cv2.projectPoints(
        np.column_stack([corners, np.zeros(4)]), cv2.Rodrigues(turn)[0], place, MATRIX, None
    )
    fine = 4.0 * (pixels[:, 0] + 0.5) - 0.5  # Painted larger: a lens averages over a pixel.
    flat = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * (12 * np.array(n_cells[::-1])) - 0.5
    warp = cv2.getPerspectiveTransform(flat.astype(np.float32), fine.astype(np.float32))
    image = cv2.warpPerspective(picture, warp, (4 * WIDTH, 4 * HEIGHT), borderValue=235)
    image = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    view = find_board(BOARD, cv2.cvtColor(image, cv2.COLOR_GRAY2RGB))
    assert view is not None
    assert len(view.in_image) == 24
    seen, _ = cv2.projectPoints(view.on_board, cv2.Rodrigues(turn)[0], place, MATRIX, None)
    np.testing.assert_allclose(view.in_image, seen[:, 0], atol=0.3)
    assert find_board(BOARD, np.full((HEIGHT, WIDTH, 3), 128, np.uint8)) is None
