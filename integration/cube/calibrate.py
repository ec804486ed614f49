"""``dexhil cube intrinsics`` and ``dexhil cube calibrate``: from images to files."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar, cast

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dexhil.drivers.arrays import Image
from dexhil.drivers.camera import Camera
from dexhil.drivers.clock import Clock, MonotonicClock
from dexhil.drivers.models.kinematics import Side
from dexhil.integration.cube.sources import camera_entry, is_live, pictures
from dexhil.integration.errors import RunError
from dexhil.teleop.cube.calibrate import (
    FaceCalibration,
    MarkerFinder,
    calibrate_faces,
    scaled,
)
from dexhil.teleop.cube.charuco import Board, CameraCalibration, calibrate_camera, find_board
from dexhil.teleop.cube.intrinsics import Intrinsics
from dexhil.teleop.cube.model import FACES, CubeModel
from dexhil.teleop.cube.track import CubeTracker
from dexhil.teleop.cube.wrist import HandCalibration, calibrate_hand

TURN: Final = (
    "Turn the cube slowly before the camera, at 20 to 40 cm, so that every edge and corner faces "
    "it once."
)
FLEXION: Final = (
    "Rest the forearm on a table, the hand straight. Bend the hand towards its palm and back, "
    "several times, the forearm still."
)
DEVIATION: Final = (
    "Again begin straight. Bend the hand sideways towards the little finger and back, several "
    "times, the forearm still."
)
BOARD: Final = (
    "Show the board from all sides: near enough to fill a third of the image, tilted by up to 50 "
    "degrees each way, in every corner of the image. Hold it still each time."
)
COUNTDOWN_S: Final = 3
SeenT = TypeVar("SeenT")


def intrinsics(
    *, source: str, out: Path, square_mm: float, seconds: float, factory: bool, console: Console
) -> None:
    """Find how a camera projects, and write its file.

    Args:
        source: See ``sources.pictures``.
        out: File to write.
        square_mm: Edge of one of the board's squares, as measured [mm].
        seconds: How long a camera is looked through [s].
        factory: Take what the maker measured, from the camera itself.
        console: Where to say what is going on.

    Raises:
        RunError: The source cannot be read.
        CubeError: The images do not tell the projection well enough.
        DeviceError: The camera fails.
    """
    if factory:
        _of_the_maker(source).save(out, [f"What the maker of {source} measured."])
        console.print(f"Saved what the camera says of itself in {escape(str(out))}")
        return
    board = Board(square_m=1e-3 * square_mm)
    looking = _Looking(seconds, console)
    views, size = looking.at(source, BOARD, lambda image: find_board(board, image))
    result = calibrate_camera([view for view in views if view is not None], *size)
    result.intrinsics.save(
        out, [f"By dexhil cube intrinsics, from {result.n_views} images of {source}."]
    )
    console.print(_camera_report(result))
    console.print(f"Saved in {escape(str(out))}", soft_wrap=True)


def calibrate(
    *,
    cube: Path,
    camera: Path,
    faces: str | None,
    flexion: str | None,
    deviation: str | None,
    side: Side,
    ruler_mm: float,
    out: Path,
    seconds: float,
    console: Console,
) -> None:
    """Find how the cube was folded, where the palm is in it, or both, and write its file.

    What was found of the faces is written before the swings are looked at.

    Args:
        cube: File of the cube, as printed or as calibrated before.
        camera: File of the camera's intrinsics.
        faces: Source of the cube being turned, see ``sources.pictures``.
        flexion: Source of the hand bending towards its palm.
        deviation: Source of the hand bending towards its little finger.
        side: Which hand.
        ruler_mm: Length of the ruler on the sheet, as measured [mm].
        out: File to write.
        seconds: How long a camera is looked through for each source [s].
        console: Where to say what is going on.

    Raises:
        RunError: Nothing to do, or a source cannot be read.
        CubeError: The images do not tell it well enough.
        DeviceError: The camera fails.
    """
    if faces is None and flexion is None and deviation is None:
        raise RunError("Say what to calibrate: --faces, or --flexion and --deviation, or all.")
    if (flexion is None) != (deviation is None):
        raise RunError("The palm needs both swings of the wrist: --flexion and --deviation.")
    if faces is None and ruler_mm != 100.0:
        raise RunError("--ruler-mm changes the cube's size, so its --faces must be found anew.")
    model, lens = CubeModel.load(cube), Intrinsics.load(camera)
    if ruler_mm != 100.0 and model.calibrated:
        raise RunError(
            f"{cube}: is calibrated already, and its size with it. Pass the file that was printed, "
            "or leave out --ruler-mm."
        )
    looking, notes = _Looking(seconds, console), ["By dexhil cube calibrate."]
    if faces is not None:
        found = looking.faces(faces, scaled(model, 1e-3 * ruler_mm), lens)
        console.print(_faces_report(found))
        notes.append(
            f"Faces from {found.n_frames} images of {faces}, {found.rms_px:.2f} pixels rms."
        )
        model = found.model
        model.save(out, notes)
        console.print(f"Saved the faces in {escape(str(out))}", soft_wrap=True)
    if flexion is not None and deviation is not None:
        bend = looking.poses(flexion, FLEXION, model, lens)
        lean = looking.poses(deviation, DEVIATION, model, lens)
        hand = calibrate_hand(bend, lean, side)
        console.print(_hand_report(hand, side))
        notes.append(
            f"Palm of the {side} hand from {flexion} and {deviation}, the wrist within "
            f"{1e3 * hand.pivot_rms_m:.1f} mm rms."
        )
        replace(model, pose_hand_in_cube=hand.pose_hand_in_cube).save(out, notes)
        console.print(f"Saved the palm in {escape(str(out))}", soft_wrap=True)


# -- Looking -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Looking:
    """How sources are looked through: how long [s], if they are live, and who is told."""

    seconds: float
    console: Console
    clock: Clock = field(default_factory=MonotonicClock)

    def at(
        self,
        source: str,
        task: str,
        look: Callable[[Image], SeenT],
        size: tuple[int, int] | None = None,
    ) -> tuple[list[SeenT], tuple[int, int]]:
        """Return what ``look`` finds in each image, and the images' width and height."""
        self._get_ready(source, task)
        seen = []
        for picture in pictures(source, self.seconds):
            height, width = picture.image.shape[:2]
            size = size or (width, height)
            if (width, height) != size:
                raise RunError(
                    f"{source}: has an image of {width} x {height} pixels, needed are {size[0]} x "
                    f"{size[1]}. Intrinsics are of one size only."
                )
            seen.append(look(picture.image))
        if size is None or not seen:
            raise RunError(f"{source}: gave no images.")
        return seen, size

    def faces(self, source: str, nominal: CubeModel, lens: Intrinsics) -> FaceCalibration:
        finder = MarkerFinder(nominal, lens)
        images, _ = self.at(source, TURN, finder.find, (lens.width, lens.height))
        return calibrate_faces(nominal, lens, images)

    def poses(
        self, source: str, task: str, model: CubeModel, lens: Intrinsics
    ) -> npt.NDArray[np.float64]:
        """Return ``pose_cube_in_camera`` wherever the cube is seen. Shape (n, 4, 4)."""
        self._get_ready(source, task)
        tracker = CubeTracker(model, lens)
        found = [
            tracker.update(each.image, each.stamp_s) for each in pictures(source, self.seconds)
        ]
        poses = [each.pose_cube_in_camera for each in found if each is not None]
        return np.array(poses).reshape(-1, 4, 4)

    def _get_ready(self, source: str, task: str) -> None:
        """Say what to do before a camera, and wait until somebody who is there can do it."""
        if not is_live(source):
            return
        camera_entry(source)  # Nobody gets ready for a camera that there is not.
        self.console.print(f"[bold]{task}[/] {self.seconds:g} s.")
        if not _attended():
            return
        self.console.input("Press Enter when you are ready. ")
        for left_s in range(COUNTDOWN_S, 0, -1):
            self.console.print(f"{left_s} ...")
            self.clock.sleep(1.0)


def _attended() -> bool:
    """Whether somebody can press a key."""
    return sys.stdin is not None and sys.stdin.isatty()


def _of_the_maker(source: str) -> Intrinsics:
    with cast("Camera", camera_entry(source).build()) as camera:
        lens = camera.lens()
        if lens is None:
            raise RunError(
                f"{camera} does not know its own projection. Show it the board instead: "
                "dexhil cube print --board."
            )
        return Intrinsics(
            width=camera.spec.width,
            height=camera.spec.height,
            matrix=lens.matrix,
            distortion=lens.distortion,
        )


# -- Saying ------------------------------------------------------------------------------


def _camera_report(result: CameraCalibration) -> Table:
    table = Table("", "", box=None, show_header=False)
    matrix = result.intrinsics.matrix
    table.add_row("images used", f"{result.n_views}, {result.n_blurred} blurred left out")
    table.add_row("reprojection", f"{result.intrinsics.rms_px:.2f} pixels rms")
    table.add_row("of the image", f"{result.coverage:.0%}")
    table.add_row("focal length", f"{matrix[0, 0]:.1f}, {matrix[1, 1]:.1f} pixels")
    table.add_row("known to", f"{result.sigma_focal:.2%}")
    table.add_row("principal point", f"{matrix[0, 2]:.1f}, {matrix[1, 2]:.1f} pixels")
    return table


def _faces_report(result: FaceCalibration) -> Table:
    table = Table(
        "face",
        "marker",
        "images",
        "off \\[mm]",
        "turned \\[°]",
        "known to \\[mm]",
        "\\[°]",
        box=None,
        caption=f"{result.rms_px:.2f} pixels rms over {result.n_frames} images, "
        f"{result.n_blurred} blurred left out",
    )
    for i, number in enumerate(result.model.marker_ids):
        table.add_row(
            FACES[i],
            str(number),
            str(result.frames_per_face[i]),
            f"{1e3 * result.off_m[i]:.2f}",
            f"{np.rad2deg(result.off_rad[i]):.2f}",
            f"{1e3 * result.sigma_m[i]:.3f}",
            f"{np.rad2deg(result.sigma_rad[i]):.3f}",
        )
    return table


def _hand_report(result: HandCalibration, side: Side) -> Table:
    table = Table("", "", box=None, show_header=False)
    x, y, z = 100 * (-result.pose_hand_in_cube[:3, :3].T @ result.pose_hand_in_cube[:3, 3])
    reach, wobble = np.rad2deg(result.reach_rad), result.wobble
    table.add_row(
        "the cube is",
        f"{abs(x):.1f} cm {'behind' if x < 0 else 'before'} the {side} palm, {z:.1f} cm along the "
        f"fingers and {abs(y):.1f} cm sideways from the wrist",
    )
    table.add_row("the wrist is", f"within {1e3 * result.pivot_rms_m:.1f} mm rms of one point")
    table.add_row("known to", f"{1e3 * result.sigma_m:.1f} mm")
    table.add_row("the swings reach", f"{reach[0]:.0f}° and {reach[1]:.0f}°")
    table.add_row("their axes are", f"{np.rad2deg(result.axes_rad):.0f}° apart, 90° at best")
    table.add_row("and wobble by", f"{wobble[0]:.0%} and {wobble[1]:.0%}")
    return table
