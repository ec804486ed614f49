"""``dexhil cube ...``: the marker cube by which an arm is driven."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from dexhil.drivers.models.kinematics import Side
from dexhil.integration.errors import RunError


def _require_opencv() -> None:
    if find_spec("cv2") is None:
        raise RunError("This needs OpenCV, which is missing. Try: pip install 'dexhil[aruco]'")


def print_sheet(
    out: Annotated[Path, tyro.conf.Positional],
    edge_mm: float = 60.0,
    marker_mm: float | None = None,
    faces: Literal[5, 6] = 6,
    first_id: int = 0,
    dictionary: str = "DICT_4X4_50",
    paper: Literal["a4", "letter"] = "a4",
    board: bool = False,
    square_mm: float = 36.0,
) -> None:
    """Make a sheet to print at true size: a cube to cut out and fold, or a board.

    Args:
        out: Sheet to write, .pdf; the cube's own file is written beside it, .toml.
        edge_mm: Of the cube [mm].
        marker_mm: Of the markers [mm]; three quarters of the cube's edge if left out.
        faces: 6, or 5 to leave the side open by which the cube is mounted.
        first_id: Number of the first marker.
        dictionary: Of the markers, as OpenCV calls it.
        paper: To print on.
        board: Make the ChArUco board for `dexhil cube intrinsics` instead.
        square_mm: Of the board's squares [mm].
    """
    _require_opencv()
    from dexhil.integration.cube import sheets

    if board:
        sheets.print_board(out=out, square_mm=square_mm, paper=paper, console=Console())
        return
    sheets.print_cube(
        out=out,
        edge_mm=edge_mm,
        marker_mm=marker_mm,
        faces=faces,
        first_id=first_id,
        dictionary=dictionary,
        paper=paper,
        console=Console(),
    )


def intrinsics(
    source: Annotated[str, tyro.conf.Positional],
    out: Path,
    square_mm: float = 36.0,
    seconds: float = 45.0,
    factory: bool = False,
) -> None:
    """Find how a camera projects, from pictures of the board.

    Args:
        source: A video, a folder of pictures, a rig file with one camera, or a camera driver.
        out: File to write, .toml.
        square_mm: Edge of one of the board's squares, as measured on the print [mm].
        seconds: How long a camera is looked through [s].
        factory: Take what the maker measured, if the camera can tell, instead of the board.
    """
    _require_opencv()
    from dexhil.integration.cube import calibrate as work

    work.intrinsics(
        source=source,
        out=out,
        square_mm=square_mm,
        seconds=seconds,
        factory=factory,
        console=Console(),
    )


def calibrate(
    cube: Path,
    intrinsics: Path,
    out: Path,
    faces: str | None = None,
    flexion: str | None = None,
    deviation: str | None = None,
    side: Side = "right",
    ruler_mm: float = 100.0,
    seconds: float = 30.0,
) -> None:
    """Find how the cube was really folded, and where the palm is in it.

    Sources are videos, folders of pictures, rig files with one camera, or camera drivers.

    Args:
        cube: File of the cube, from `dexhil cube print`.
        intrinsics: File of the camera, from `dexhil cube intrinsics`.
        out: File to write, .toml: the cube as calibrated.
        faces: Source of the cube being turned before the camera.
        flexion: Source of the hand bending towards its palm and back.
        deviation: Source of the hand bending towards its little finger and back.
        side: Which hand.
        ruler_mm: Length of the sheet's ruler of 100 mm, as measured [mm].
        seconds: How long a camera is looked through for each source [s].
    """
    _require_opencv()
    from dexhil.integration.cube import calibrate as work

    work.calibrate(
        cube=cube,
        camera=intrinsics,
        faces=faces,
        flexion=flexion,
        deviation=deviation,
        side=side,
        ruler_mm=ruler_mm,
        out=out,
        seconds=seconds,
        console=Console(),
    )


def show(
    source: Annotated[str, tyro.conf.Positional],
    cube: Path,
    intrinsics: Path,
    out: Path | None = None,
    seconds: float = 20.0,
) -> None:
    """Follow the cube: where it is, how surely, and why not where it is not.

    Args:
        source: A video, a folder of pictures, a rig file with one camera, or a camera driver.
        cube: File of the cube, from `dexhil cube print` or `calibrate`.
        intrinsics: File of the camera, from `dexhil cube intrinsics`.
        out: Picture to write, .png: the image with most faces, with cube and palm drawn in.
        seconds: How long a camera is looked through [s].
    """
    _require_opencv()
    from dexhil.integration.cube import show as work

    work.show(
        source=source, cube=cube, camera=intrinsics, out=out, seconds=seconds, console=Console()
    )


Job = Annotated[
    Annotated[None, tyro.conf.subcommand(name="print", constructor=print_sheet)]
    | Annotated[None, tyro.conf.subcommand(name="intrinsics", constructor=intrinsics)]
    | Annotated[None, tyro.conf.subcommand(name="calibrate", constructor=calibrate)]
    | Annotated[None, tyro.conf.subcommand(name="show", constructor=show)],
    tyro.conf.OmitArgPrefixes,
    tyro.conf.OmitSubcommandPrefixes,
]
