"""What a marker cube is: which markers, and where their corners are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, Self

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import freeze_fields
from dexhil.teleop.cube import files
from dexhil.teleop.errors import CubeError

FACES: Final = ("+x", "+y", "-x", "-y", "+z", "-z")
"""Which way the face of each marker looks, in the order of the markers."""

# Seen from outside: to the right and upwards, along the cube's axes. The four sides stand
# upright along z; top and bottom are as if folded over from the +x side.
_RIGHT: Final = np.array([(0, 1, 0), (-1, 0, 0), (0, -1, 0), (1, 0, 0), (0, 1, 0), (0, 1, 0)])
_UP: Final = np.array([(0, 0, 1), (0, 0, 1), (0, 0, 1), (0, 0, 1), (-1, 0, 0), (1, 0, 0)])

# Paper folds to within a millimetre; what is farther off is another cube or a mistake.
_MARKER_TOLERANCE: Final = 0.1  # Of the marker's edge.
_RIGID: Final = 1e-6
_AS_PRINTED_M: Final = 1e-7  # Files hold nanometres; no fold is that exact.

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CubeModel:
    """A cube with a marker on each face, nominal or as calibrated.

    The cube frame has its origin at the cube's centre and its axes through the middles of the
    faces, see ``FACES``. A face may be missing where the cube is mounted.

    Attributes:
        dictionary: Of the markers, a name in ``cv2.aruco``, e.g. ``DICT_4X4_50``.
        edge_m: Of the cube [m].
        marker_m: Of a marker, over its black border [m].
        marker_ids: One per face.
        corners_in_cube: Of each marker: top left, top right, bottom right, bottom left as seen
            from outside [m]. Shape (k, 4, 3).
        pose_hand_in_cube: Where the frame of the wearer's palm is; X of DexHiL's Eq. 3. The
            identity until calibrated. Shape (4, 4).

    Raises:
        CubeError: It cannot be a cube.
    """

    dictionary: str
    edge_m: float
    marker_m: float
    marker_ids: tuple[int, ...]
    corners_in_cube: FloatArray
    pose_hand_in_cube: FloatArray

    def __post_init__(self) -> None:
        freeze_fields(self, "corners_in_cube", "pose_hand_in_cube")
        self._check()

    @property
    def n_faces(self) -> int:
        return len(self.marker_ids)

    @property
    def calibrated(self) -> bool:
        """Whether its faces are as they were folded, and not as they were printed."""
        off_m = np.abs(self.corners_in_cube - self.as_printed().corners_in_cube)
        return bool(off_m.max() > _AS_PRINTED_M)

    @property
    def palm_known(self) -> bool:
        """Whether it was calibrated where the wearer's palm is."""
        return not np.array_equal(self.pose_hand_in_cube, np.eye(4))

    def as_printed(self) -> Self:
        """Return this cube as if it were folded exactly."""
        faces: Literal[5, 6] = 5 if self.n_faces == 5 else 6
        printed = CubeModel.nominal(self.edge_m, self.marker_m, faces=faces)
        return replace(self, corners_in_cube=printed.corners_in_cube)

    @classmethod
    def nominal(
        cls,
        edge_m: float = 0.06,
        marker_m: float = 0.045,
        first_id: int = 0,
        dictionary: str = "DICT_4X4_50",
        faces: Literal[5, 6] = 6,
    ) -> Self:
        """Return a perfectly folded cube. With 5 faces, -z is missing: the cube is mounted there.

        Raises:
            CubeError: It cannot be built.
        """
        right, up = 0.5 * marker_m * _RIGHT[:faces], 0.5 * marker_m * _UP[:faces]
        middle = 0.5 * edge_m * np.cross(_RIGHT[:faces], _UP[:faces])
        corners = middle[:, None] + np.stack(
            [up - right, up + right, right - up, -up - right], axis=1
        )
        return cls(
            dictionary=dictionary,
            edge_m=edge_m,
            marker_m=marker_m,
            marker_ids=tuple(range(first_id, first_id + faces)),
            corners_in_cube=corners,
            pose_hand_in_cube=np.eye(4),
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a cube's file.

        Raises:
            CubeError: There is no such file, or it describes no cube.
        """
        file: _File = files.read(path, _File, "cube")
        try:
            return cls(
                dictionary=file.dictionary,
                edge_m=file.edge_m,
                marker_m=file.marker_m,
                marker_ids=tuple(file.marker_ids),
                corners_in_cube=np.array(file.corners_in_cube),
                pose_hand_in_cube=np.array(file.pose_hand_in_cube),
            )
        except CubeError as error:
            raise CubeError(f"{path}: {error}") from error

    def save(self, path: Path, notes: Sequence[str] = ()) -> None:
        """Write the cube's file, whole or not at all.

        Args:
            path: Of the file.
            notes: Lines for people, at its beginning.

        Raises:
            CubeError: The folder cannot be written.
        """
        corners = zip(self.corners_in_cube, self.marker_ids, strict=True)
        lines = [
            *(f"# {note}" for note in notes),
            f"format = {files.FORMAT}",
            f'dictionary = "{self.dictionary}"',
            f"edge_m = {self.edge_m}",
            f"marker_m = {self.marker_m}",
            f"marker_ids = {list(self.marker_ids)}",
            "# Top left, top right, bottom right, bottom left, as seen from outside [m].",
            "corners_in_cube = [",
            *(f"    {files.numbers(each)},  # marker {number}" for each, number in corners),
            "]",
            "# Where the wearer's palm frame is: X of DexHiL's Eq. 3.",
            "pose_hand_in_cube = [",
            *(f"    {files.numbers(row, 12)}," for row in self.pose_hand_in_cube),
            "]",
        ]
        files.write(path, lines)

    def _check(self) -> None:
        if not 0 < self.marker_m < self.edge_m < 1.0:
            raise CubeError(
                f"The cube's edge is {self.edge_m:g} m, that of its markers {self.marker_m:g} m. "
                "Markers must be smaller than the cube, and the cube smaller than 1 m."
            )
        n = self.n_faces
        if n not in {5, 6} or len(set(self.marker_ids)) != n or min(self.marker_ids) < 0:
            raise CubeError(
                f"The cube's marker_ids are {list(self.marker_ids)}, must be 5 or 6 different ones."
            )
        corners = self.corners_in_cube
        if corners.shape != (n, 4, 3) or not np.isfinite(corners).all():
            raise CubeError(
                f"The cube's corners_in_cube have shape {corners.shape}, must be {(n, 4, 3)} and "
                "finite."
            )
        sides = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
        if (np.abs(sides - self.marker_m) > _MARKER_TOLERANCE * self.marker_m).any():
            raise CubeError(
                f"The corners of the cube's markers lie {1e3 * sides.min():.1f} to "
                f"{1e3 * sides.max():.1f} mm apart, the markers' edge is "
                f"{1e3 * self.marker_m:.1f} mm, allowed {_MARKER_TOLERANCE:.0%} off."
            )
        outwards = np.cross(corners[:, 3] - corners[:, 0], corners[:, 1] - corners[:, 0])
        if (np.einsum("kc,kc->k", outwards, corners.mean(axis=1)) <= 0).any():
            raise CubeError("The cube's corners go round the other way: markers are seen inside.")
        turn = self.pose_hand_in_cube[:3, :3]
        if (
            self.pose_hand_in_cube.shape != (4, 4)
            or not np.allclose(turn @ turn.T, np.eye(3), atol=_RIGID)
            or np.linalg.det(turn) < 0
            or not np.array_equal(self.pose_hand_in_cube[3], (0, 0, 0, 1))
        ):
            raise CubeError("The cube's pose_hand_in_cube is no rigid motion (4, 4).")


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    dictionary: str
    edge_m: float
    marker_m: float
    marker_ids: list[int]
    corners_in_cube: list[list[tuple[float, float, float]]]
    pose_hand_in_cube: list[tuple[float, float, float, float]]
