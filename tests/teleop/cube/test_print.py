"""The printed sheet is measured as a person would: drawn, cut out and folded."""

import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dexhil.teleop.cube import CubeModel
from dexhil.teleop.cube.charuco import Board
from dexhil.teleop.cube.markers import find_dictionary
from dexhil.teleop.cube.net import lay_flat
from dexhil.teleop.cube.print import (
    MARGIN_MM,
    PAPERS_MM,
    Paper,
    board_sheet,
    cube_sheet,
    largest_edge_m,
    save_sheet,
)
from dexhil.teleop.errors import CubeError
from dexhil.teleop.se3 import exp_rotation

DPI = 200.0
MM_PER_PIXEL = 25.4 / DPI
CUBES: list[tuple[CubeModel, Paper]] = [
    (CubeModel.nominal(), "a4"),
    (CubeModel.nominal(0.05, 0.04, 3, faces=5), "letter"),
    (CubeModel.nominal(0.04, 0.028, 20, "DICT_APRILTAG_36h11"), "a4"),
]


def _scanned(figure: Figure) -> Any:
    """Return the page as a scanner of 200 dots per inch gives it, grey."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return cv2.cvtColor(np.asarray(canvas.buffer_rgba())[..., :3], cv2.COLOR_RGB2GRAY)


@functools.cache
def _scanned_cube(number: int) -> Any:
    return _scanned(cube_sheet(*CUBES[number]))


def _on_page_mm(pixels: np.ndarray, height: int) -> np.ndarray:
    """Return places on the page from its lower left corner; a pixel's middle is half inside it."""
    x, y = np.moveaxis(pixels, -1, 0)
    return MM_PER_PIXEL * np.stack([x + 0.5, height - 0.5 - y], axis=-1)


@pytest.mark.parametrize("number", range(len(CUBES)))
def test_every_marker_is_printed_at_its_place_and_size(number: int) -> None:
    (model, paper), page = CUBES[number], _scanned_cube(number)
    assert MM_PER_PIXEL * np.array(page.shape[::-1]) == pytest.approx(PAPERS_MM[paper], abs=0.1)
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    detector = cv2.aruco.ArucoDetector(find_dictionary(model.dictionary), parameters)
    corners, numbers, _ = detector.detectMarkers(page)
    assert sorted(numbers.ravel()) == sorted(model.marker_ids)
    net = lay_flat(model)
    found = {
        int(n): _on_page_mm(c[0].astype(float), len(page))
        for n, c in zip(numbers.ravel(), corners, strict=True)
    }
    seen = np.array([found[number] for number in model.marker_ids])
    expected = 1e3 * net.markers
    shift = (seen - expected).mean(axis=(0, 1))
    np.testing.assert_allclose(seen - shift, expected, atol=0.2)
    sides = np.linalg.norm(np.roll(seen, -1, axis=1) - seen, axis=2)
    np.testing.assert_allclose(sides, 1e3 * model.marker_m, atol=0.2)


@pytest.mark.parametrize("number", range(len(CUBES)))
def test_ruler_and_square_have_the_length_that_they_say(number: int) -> None:
    page = _scanned_cube(number) < 128
    height = len(page)
    # The check square is the only closed box of 50 mm at the upper right.
    box = page[: height // 3, 2 * page.shape[1] // 3 :]
    rows, columns = np.flatnonzero(box.mean(axis=1) > 0.5), np.flatnonzero(box.mean(axis=0) > 0.5)
    line_mm = 0.3  # A line, and a pixel.
    assert MM_PER_PIXEL * np.ptp(rows) == pytest.approx(50.0, abs=line_mm)
    assert MM_PER_PIXEL * np.ptp(columns) == pytest.approx(50.0, abs=line_mm)
    # The ruler is the only line of 100 mm in the middle, on the square's lower edge.
    row = page[rows.max() - 2 : rows.max() + 3].any(axis=0)[: 2 * page.shape[1] // 3]
    runs = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]]))).reshape(-1, 2)
    longest = MM_PER_PIXEL * np.diff(runs, axis=1).max()
    assert longest == pytest.approx(100.0, abs=line_mm)


@pytest.mark.parametrize("faces", [5, 6])
def test_the_net_folds_to_the_cube(faces: int) -> None:
    model = CubeModel.nominal(0.06, 0.045, faces=faces)  # type: ignore[arg-type]
    folded = _folded(model)
    np.testing.assert_allclose(folded, model.corners_in_cube, atol=1e-12)


def _folded(model: CubeModel) -> np.ndarray:
    """Fold the net by hand: lay it on a table print up, and bend each neighbour down by 90°."""
    net, edge = lay_flat(model), model.edge_m
    # Print up, the first face's middle at the origin: x right, y up on the paper, z to the reader.
    flat = net.markers - net.faces[0].mean(axis=0)
    sheets = np.concatenate([flat, np.zeros((*flat.shape[:2], 1))], axis=2)
    for hinge_at, axis, turned in (
        ((2.5 * edge, 0, 0), (0, 1, 0), (3,)),
        ((1.5 * edge, 0, 0), (0, 1, 0), (2, 3)),
        ((0.5 * edge, 0, 0), (0, 1, 0), (1, 2, 3)),
        ((0, 0.5 * edge, 0), (-1, 0, 0), (4,)),
        ((0, -0.5 * edge, 0), (1, 0, 0), (5,)),
    ):
        fold = exp_rotation(np.pi / 2 * np.array(axis))
        for face in turned:
            if face < len(sheets):
                sheets[face] = (sheets[face] - hinge_at) @ fold.T + hinge_at
    # The first face is +x, upright: the reader is in front of it, paper's right is +y, up is +z.
    return np.stack([sheets[..., 2] + 0.5 * edge, sheets[..., 0], sheets[..., 1]], axis=-1)


@pytest.mark.parametrize("faces", [5, 6])
def test_every_edge_of_the_cube_is_folded_or_glued_once(faces: int) -> None:
    net = lay_flat(CubeModel.nominal(faces=faces))  # type: ignore[arg-type]
    # A closed cube has 12 edges: 5 hold the net together, 7 are glued, each by one flap; all
    # of these are folded. An open one has 4 folds and 4 glued edges, and 4 flaps for the mount.
    assert len(net.folds) == 12
    glued = {6: 7, 5: 8}[faces]
    flaps = [cut for cut in net.cuts if np.linalg.norm(cut[1] - cut[0]) < 0.0599]
    assert len(flaps) == 3 * glued
    assert len(net.cuts) - len(flaps) == 2 * {6: 7, 5: 4}[faces] - {6: 7, 5: 4}[faces]


@pytest.mark.parametrize("paper", PAPERS_MM)
@pytest.mark.parametrize("faces", [5, 6])
def test_the_largest_cube_just_fits(paper: Paper, faces: int) -> None:
    edge = largest_edge_m(paper, faces)
    net = lay_flat(CubeModel.nominal(edge, 0.75 * edge, faces=faces))  # type: ignore[arg-type]
    spare_mm = np.array(PAPERS_MM[paper]) - 2 * MARGIN_MM - 1e3 * net.size
    assert spare_mm.min() == pytest.approx(0.0, abs=1e-6)
    cube_sheet(CubeModel.nominal(edge - 1e-6, 0.75 * edge, faces=faces), paper)  # type: ignore[arg-type]
    with pytest.raises(CubeError, match=rf"the largest for {paper} paper has {1e3 * edge:.1f} mm"):
        cube_sheet(CubeModel.nominal(edge + 1e-4, 0.75 * edge, faces=faces), paper)  # type: ignore[arg-type]


@pytest.mark.parametrize("faces", [5, 6])
def test_nothing_is_printed_where_printers_leave_the_paper_white(faces: int) -> None:
    edge = largest_edge_m("a4", faces) - 1e-6
    page = _scanned(cube_sheet(CubeModel.nominal(edge, 0.75 * edge, faces=faces)))  # type: ignore[arg-type]
    margin = round((MARGIN_MM - 0.3) / MM_PER_PIXEL)
    middle = page[margin:-margin, margin:-margin]
    assert (page < 250).sum() == (middle < 250).sum()


def test_markers_that_nobody_could_find_are_refused() -> None:
    with pytest.raises(CubeError, match=r"2\.0 mm of white .* at least half a cell"):
        cube_sheet(CubeModel.nominal(0.06, 0.056))
    with pytest.raises(CubeError, match="markers 0 to 49, none with number 50"):
        cube_sheet(CubeModel.nominal(first_id=45))
    with pytest.raises(CubeError, match="Did you mean 'DICT_4X4_50'"):
        cube_sheet(CubeModel.nominal(dictionary="DICT_4X4_60"))


@pytest.mark.parametrize("paper", PAPERS_MM)
def test_the_board_is_printed_at_its_size(paper: Paper) -> None:
    board = Board()
    page = _scanned(board_sheet(board, paper))
    corners, numbers, _, _ = cv2.aruco.CharucoDetector(board.board).detectBoard(page)
    assert len(numbers) == 6 * 4
    places = _on_page_mm(corners.reshape(-1, 2).astype(float), len(page))
    expected = 1e3 * board.board.getChessboardCorners()[numbers.ravel(), :2] * [1, -1]
    shift = (places - expected).mean(axis=0)
    np.testing.assert_allclose(places - shift, expected, atol=0.1)


def test_a_board_that_does_not_fit_is_refused() -> None:
    with pytest.raises(CubeError, match=r"the largest that do have 36\.4 mm"):
        board_sheet(Board(square_m=0.04))
    with pytest.raises(CubeError, match="at least 3 x 3"):
        Board(columns=2)


def test_a_sheet_is_written_as_pdf_and_is_always_the_same(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "cube.pdf", tmp_path / "cube.pdf"]
    for path in paths:
        save_sheet(cube_sheet(CubeModel.nominal()), path)
    first, second = (path.read_bytes() for path in paths)
    assert first.startswith(b"%PDF")
    assert first == second
    # Lying A4 in points of 1/72 inch.
    assert b"/MediaBox [ 0 0 841.889" in first
    assert b"595.27" in first
    with pytest.raises(CubeError, match=r"sheets are \.pdf"):
        save_sheet(cube_sheet(CubeModel.nominal()), tmp_path / "cube.docx")
    with pytest.raises(CubeError, match="cannot be written"):
        save_sheet(cube_sheet(CubeModel.nominal()), paths[1] / "cube.pdf")
