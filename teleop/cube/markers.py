"""Markers by name and number, as OpenCV knows them."""

from difflib import get_close_matches
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from dexhil.teleop.cube.model import CubeModel
from dexhil.teleop.errors import CubeError


def find_dictionary(name: str) -> Any:
    """Return the ``cv2.aruco.Dictionary`` called ``name``.

    Raises:
        CubeError: There is none.
    """
    known = [each for each in dir(cv2.aruco) if each.startswith("DICT_")]
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known)}."
        raise CubeError(f"OpenCV has no marker dictionary {name!r}. {hint}")
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name))


def marker_cells(name: str, number: int) -> npt.NDArray[np.bool_]:
    """Return which cells of a marker are black, its border included. Shape (n, n).

    Raises:
        CubeError: There is no such dictionary, or no such marker in it.
    """
    dictionary = find_dictionary(name)
    n_markers, n_cells = len(dictionary.bytesList), dictionary.markerSize + 2
    if not 0 <= number < n_markers:
        raise CubeError(f"{name} has the markers 0 to {n_markers - 1}, none with number {number}.")
    black: npt.NDArray[np.bool_] = cv2.aruco.generateImageMarker(dictionary, number, n_cells) == 0
    return black


def require_printable(model: CubeModel) -> None:
    """Refuse a cube whose markers do not exist or could not be found in an image.

    Raises:
        CubeError: It says what is wrong.
    """
    for number in model.marker_ids:
        marker_cells(model.dictionary, number)
    n_cells = find_dictionary(model.dictionary).markerSize + 2
    white_m, cell_m = 0.5 * (model.edge_m - model.marker_m), model.marker_m / n_cells
    # Less than this of white around a marker, and its outline grows together with the edge.
    if white_m < 0.5 * cell_m:
        largest_mm = 1e3 * model.edge_m * n_cells / (n_cells + 1)
        raise CubeError(
            f"{1e3 * white_m:.1f} mm of white around the markers are too little, at least half a "
            f"cell ({500 * cell_m:.1f} mm) is needed. Make the markers {largest_mm:.0f} mm or less."
        )
