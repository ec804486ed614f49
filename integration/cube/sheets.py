"""``dexhil cube print``: the sheet, and the file that goes with it."""

from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape

from dexhil.integration.errors import RunError
from dexhil.teleop.cube.charuco import Board
from dexhil.teleop.cube.model import CubeModel
from dexhil.teleop.cube.print import Paper, board_sheet, cube_sheet, save_sheet


def print_cube(
    *,
    out: Path,
    edge_mm: float,
    marker_mm: float | None,
    faces: Literal[5, 6],
    first_id: int,
    dictionary: str,
    paper: Paper,
    console: Console,
) -> None:
    """Write the sheet of a cube, and its file beside it.

    Args:
        out: Sheet to write, .pdf (or .png to look at). The cube's file has the same name, .toml.
        edge_mm: Of the cube [mm].
        marker_mm: Of the markers [mm]; three quarters of the cube's edge if left out.
        faces: 6, or 5 to leave the side open by which the cube is mounted.
        first_id: Number of the first marker.
        dictionary: Of the markers.
        paper: To print on.
        console: Where to say what was written.

    Raises:
        CubeError: Such a cube cannot be printed.
        RunError: There is a calibrated cube already under that name.
    """
    marker_mm = 0.75 * edge_mm if marker_mm is None else marker_mm
    model = CubeModel.nominal(1e-3 * edge_mm, 1e-3 * marker_mm, first_id, dictionary, faces)
    path = out.with_suffix(".toml")
    if path.exists():
        raise RunError(f"{path}: is there already, maybe calibrated. Choose another name.")
    sheet = cube_sheet(model, paper)
    save_sheet(sheet, out)
    model.save(path, [f"By dexhil cube print: the cube of {out.name}, as if folded exactly."])
    console.print(
        f"Wrote {escape(str(out))} and {escape(str(path))}. Print at 100 %, and measure the ruler.",
        soft_wrap=True,
    )


def print_board(*, out: Path, square_mm: float, paper: Paper, console: Console) -> None:
    """Write the sheet of the board by which a camera is calibrated.

    Raises:
        CubeError: Such a board cannot be printed.
    """
    save_sheet(board_sheet(Board(square_m=1e-3 * square_mm), paper), out)
    console.print(f"Wrote {escape(str(out))}. Print at 100 %, and measure the ruler.")
