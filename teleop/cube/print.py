"""Sheets to print at true size: the cube to fold, and the board that calibrates a camera."""

from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from dexhil.teleop.cube.charuco import Board
from dexhil.teleop.cube.markers import marker_cells, require_printable
from dexhil.teleop.cube.model import FACES, CubeModel
from dexhil.teleop.cube.net import FLAP_M, Net, lay_flat
from dexhil.teleop.errors import CubeError

Paper = Literal["a4", "letter"]
FloatArray = npt.NDArray[np.float64]

# Width and height, lying [mm]. ISO 216; ANSI A.
PAPERS_MM: Final[dict[Paper, tuple[float, float]]] = {
    "a4": (297.0, 210.0),
    "letter": (279.4, 215.9),
}
MARGIN_MM: Final = 6.0
"""What printers leave white at the edges of the paper [mm]."""

RULER_MM: Final = 100.0
SQUARE_MM: Final = 50.0
_MM_PER_INCH: Final = 25.4
_POINTS_PER_MM: Final = 72.0 / _MM_PER_INCH
_LINE_MM: Final = 0.2
_TEXT_MM: Final = 2.6


def cube_sheet(model: CubeModel, paper: Paper = "a4") -> Figure:
    """Return the page with a nominal cube's net. The figure's data are millimetres.

    Raises:
        CubeError: The cube does not fit the paper, or its markers cannot be printed.
    """
    require_printable(model)
    net = lay_flat(model)
    width_mm, height_mm = PAPERS_MM[paper]
    size_mm = 1e3 * net.size
    if (size_mm > np.array([width_mm, height_mm]) - 2 * MARGIN_MM).any():
        raise CubeError(
            f"A cube of {1e3 * model.edge_m:g} mm, laid flat, takes {size_mm[0]:.0f} x "
            f"{size_mm[1]:.0f} mm; the largest for {paper} paper has "
            f"{1e3 * largest_edge_m(paper, model.n_faces):.1f} mm. Choose a smaller edge, or 5 "
            "faces."
        )
    figure, page = _page(width_mm, height_mm)
    # The net at the left, in the middle of the height.
    shift = np.array([MARGIN_MM, 0.5 * (height_mm - size_mm[1])]) - 1e3 * net.low
    _draw_net(page, model, net, shift)
    left = shift[0] + 1e3 * (model.edge_m + FLAP_M) + 5.0
    top, right = height_mm - MARGIN_MM - 1.0, width_mm - MARGIN_MM - 1.0
    _draw_square(page, (right - SQUARE_MM, top - SQUARE_MM))
    _write(page, (left, top), _cube_text(model))
    _draw_ruler(page, (left, top - SQUARE_MM))
    return figure


def board_sheet(board: Board, paper: Paper = "a4") -> Figure:
    """Return the page with a ChArUco board. The figure's data are millimetres.

    Raises:
        CubeError: The board does not fit the paper.
    """
    width_mm, height_mm = PAPERS_MM[paper]
    size_mm = 1e3 * board.square_m * np.array([board.columns, board.rows])
    foot_mm = 16.0
    room_mm = np.array([width_mm, height_mm - foot_mm]) - 2 * MARGIN_MM
    if (size_mm > room_mm).any():
        largest_mm = (room_mm / [board.columns, board.rows]).min()
        raise CubeError(
            f"{board.columns} x {board.rows} squares of {1e3 * board.square_m:g} mm do not fit "
            f"{paper} paper; the largest that do have {largest_mm:.1f} mm."
        )
    figure, page = _page(width_mm, height_mm)
    low = np.array([0.5 * (width_mm - size_mm[0]), height_mm - MARGIN_MM - size_mm[1]])
    black = board.cells()
    _fill(page, black, low + np.array([0.0, size_mm[1]]), size_mm[1] / len(black))
    text = [
        f"dexhil  ChArUco board {board.columns} x {board.rows}, squares "
        f"{1e3 * board.square_m:g} mm, {board.dictionary}. Print at 100 % on stiff, flat paper.",
        "Measure the ruler. If it is not 100 mm, pass the true edge of a square as --square-mm.",
    ]
    _write(page, (low[0], low[1] - 4.0), text)
    _draw_ruler(page, (low[0] + size_mm[0] - RULER_MM - 6.0, low[1] - 13.0))
    return figure


def largest_edge_m(paper: Paper, n_faces: int) -> float:
    """Return the edge of the largest cube that fits a sheet [m]."""
    # Four sides from left to right, two or three faces from above, and a flap at each end.
    width_mm, height_mm = PAPERS_MM[paper]
    flap_mm = 1e3 * FLAP_M
    across = (width_mm - 2 * MARGIN_MM - 2 * flap_mm) / 4
    down = (height_mm - 2 * MARGIN_MM - 2 * flap_mm) / (3 if n_faces == 6 else 2)
    return 1e-3 * min(across, down)


def save_sheet(figure: Figure, path: Path) -> None:
    """Write a page as PDF, or as a picture of 300 dots per inch if ``path`` ends in .png.

    Raises:
        CubeError: It cannot be written, or the name ends in something else.
    """
    if path.suffix not in {".pdf", ".png"}:
        raise CubeError(f"{path}: sheets are .pdf, or .png to look at.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # No date, so that the same sheet is the same file.
        undated = {"CreationDate": None} if path.suffix == ".pdf" else None
        figure.savefig(path, dpi=300, metadata=undated)
    except OSError as error:
        raise CubeError(f"{path}: cannot be written ({error.strerror}).") from error


# -- Drawing -----------------------------------------------------------------------------


def _page(width_mm: float, height_mm: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width_mm / _MM_PER_INCH, height_mm / _MM_PER_INCH))
    page = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    page.set_xlim(0.0, width_mm)
    page.set_ylim(0.0, height_mm)
    page.set_axis_off()
    return figure, page


def _draw_net(page: Any, model: CubeModel, net: Net, shift: FloatArray) -> None:
    _lines(page, 1e3 * net.cuts + shift)
    _lines(page, 1e3 * net.folds + shift, dashed=True)
    edge_mm = 1e3 * model.edge_m
    for i, number in enumerate(model.marker_ids):
        black = marker_cells(model.dictionary, number)
        corner = 1e3 * net.markers[i, 0] + shift
        _fill(page, black, corner, 1e3 * model.marker_m / len(black))
        # Grey and small: it must not look like a piece of a marker.
        name = f"{FACES[i]}   id {number}"
        at = 1e3 * net.faces[i, 3] + shift + np.array([0.5 * edge_mm, 0.8])
        _text(page, at, name, min(0.4 * _white_mm(model), 2.0), color="0.55", ha="center")


def _white_mm(model: CubeModel) -> float:
    return 500.0 * (model.edge_m - model.marker_m)


def _cube_text(model: CubeModel) -> list[str]:
    mount = (
        ["The side without a marker, -z, goes on the hand. Its four flaps fold in, for the mount."]
        if model.n_faces == 5
        else ["Mount it by any face: a marker that is hidden is simply not seen."]
    )
    return [
        f"dexhil cube   edge {1e3 * model.edge_m:g} mm   markers {1e3 * model.marker_m:g} mm   "
        f"{model.dictionary}",
        "",
        "1. Print at 100 % (“actual size”, not “fit to page”) on matt, stiff paper.",
        "2. Measure: the ruler must be 100 mm, the square 50 mm both ways.",
        "    Otherwise pass the ruler's length to dexhil cube calibrate --ruler-mm.",
        "3. Cut along the solid lines. Score and fold back along the dashed ones,",
        "    so that the print is outside. Glue the flaps inside. Keep all faces flat:",
        "    best around a solid block. Glossy tape over a marker blinds it.",
        f"4. {mount[0]}",
        "5. dexhil cube calibrate measures how exactly it was folded.",
    ]


def _draw_square(page: Any, low: tuple[float, float]) -> None:
    corners = np.array(low) + SQUARE_MM * np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    _lines(page, np.stack([corners, np.roll(corners, -1, axis=0)], axis=1))
    middle = corners.mean(axis=0)
    _text(page, middle, f"{SQUARE_MM:g} x {SQUARE_MM:g} mm", _TEXT_MM, ha="center")


def _draw_ruler(page: Any, start: tuple[float, float]) -> None:
    ticks_mm = np.arange(0.0, RULER_MM + 1.0)
    heights = np.where(ticks_mm % 10 == 0, 5.0, np.where(ticks_mm % 5 == 0, 3.5, 2.0))
    low = np.array(start) + np.stack([ticks_mm, np.zeros_like(ticks_mm)], axis=1)
    high = low + np.stack([np.zeros_like(heights), heights], axis=1)
    _lines(page, np.stack([low, high], axis=1), width_mm=0.1)
    _lines(page, np.array([[low[0], low[-1]]]))
    for at in (0, 50, 100):
        end = " mm" if at == 100 else ""
        _text(page, high[at] + np.array([0.0, 0.8]), f"{at}{end}", 2.2, ha="center")


def _lines(
    page: Any, ends: FloatArray, *, dashed: bool = False, width_mm: float = _LINE_MM
) -> None:
    # One path: butt ends, because a line's width must not make it longer.
    codes = [Outline.MOVETO, Outline.LINETO] * len(ends)
    page.add_patch(
        PathPatch(
            Outline(ends.reshape(-1, 2), codes),
            fill=False,
            edgecolor="0.5" if dashed else "0.0",
            linewidth=width_mm * _POINTS_PER_MM,
            linestyle=(0, (6.0, 4.0)) if dashed else "solid",
            capstyle="butt",
            snap=False,
        )
    )


def _fill(page: Any, black: npt.NDArray[np.bool_], top_left: FloatArray, cell_mm: float) -> None:
    """Fill the black cells of a picture, as one path: pieces would show hairlines between them."""
    x, y = np.meshgrid(np.arange(black.shape[1]), -np.arange(black.shape[0]))
    low = np.stack([x[black], y[black] - 1], axis=1)
    square = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)])
    points = top_left + cell_mm * (low[:, None] + square)
    codes = [Outline.MOVETO, *[Outline.LINETO] * 3, Outline.CLOSEPOLY] * len(low)
    page.add_patch(
        PathPatch(
            Outline(points.reshape(-1, 2), codes), facecolor="black", linewidth=0.0, snap=False
        )
    )


def _write(page: Any, top_left: tuple[float, float], lines: list[str]) -> None:
    for i, line in enumerate(lines):
        at = np.array(top_left) - [0.0, (i + 1) * 1.45 * _TEXT_MM]
        _text(page, at, line, _TEXT_MM)


def _text(page: Any, at: FloatArray, text: str, height_mm: float, **options: Any) -> None:
    page.text(at[0], at[1], text, fontsize=height_mm * _POINTS_PER_MM, **options)
