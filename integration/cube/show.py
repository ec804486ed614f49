"""``dexhil cube show``: where the cube is, how surely, and why not where it is not."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dexhil.drivers.arrays import Image, Matrix
from dexhil.integration.cube.sources import is_live, pictures
from dexhil.integration.errors import RunError
from dexhil.teleop.cube.intrinsics import Intrinsics
from dexhil.teleop.cube.model import CubeModel
from dexhil.teleop.cube.track import CubePose, CubeTracker
from dexhil.teleop.se3 import Pose, log_rotation

N_ROWS: Final = 12
LIVE_ROW_S: Final = 0.5


@dataclass(slots=True)
class _Watched:
    """What was seen of the cube so far."""

    n_images: int = 0
    stamps_s: list[float] = field(default_factory=list)
    found: list[CubePose] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)
    best: tuple[CubePose, Image] | None = None

    def add(self, found: CubePose | None, image: Image, stamp_s: float, reason: str | None) -> None:
        self.n_images += 1
        self.stamps_s.append(stamp_s)
        if found is None:
            self.reasons[reason or "not found"] += 1
            return
        self.found.append(found)
        if self.best is None or len(found.marker_ids) > len(self.best[0].marker_ids):
            self.best = found, image


def show(
    *, source: str, cube: Path, camera: Path, out: Path | None, seconds: float, console: Console
) -> None:
    """Follow the cube through a source, print where it is, and draw it into one image.

    Args:
        source: See ``sources.pictures``.
        cube: File of the cube.
        camera: File of the camera's intrinsics.
        out: Picture to write (.png, .jpg): the image with most faces, cube and palm drawn in.
        seconds: How long a camera is looked through [s].
        console: Where to print.

    Raises:
        RunError: The source cannot be read, or the cube was never seen.
        CubeError: A file is wrong.
        DeviceError: The camera fails.
    """
    model, lens = CubeModel.load(cube), Intrinsics.load(camera)
    tracker, watched, told_s = CubeTracker(model, lens), _Watched(), -np.inf
    live = is_live(source)
    for picture in pictures(source, seconds):
        found = tracker.update(picture.image, picture.stamp_s)
        watched.add(found, picture.image, picture.stamp_s, tracker.lost_reason)
        if live and picture.stamp_s - told_s > LIVE_ROW_S:
            told_s = picture.stamp_s
            console.print(_line(found) if found else f"[yellow]{tracker.lost_reason}[/]")
    if not watched.n_images:
        raise RunError(f"{source}: gave no images.")
    if not live:
        console.print(_table(watched))
    console.print(_summary(watched, model))
    if watched.best is None:
        raise RunError(f"{source}: the cube was never seen.")
    if out is not None:
        _save(drawn(watched.best[1], watched.best[0].pose_cube_in_camera, model, lens), out)
        console.print(f"Drawn into {escape(str(out))}", soft_wrap=True)


def drawn(image: Image, pose_cube_in_camera: Pose, model: CubeModel, lens: Intrinsics) -> Image:
    """Return the image with the faces' outlines and the axes of cube and palm in it.

    Axes are red, green and blue for x, y and z; the palm's are longer and thinner.
    """
    canvas: Image = np.array(image)
    for corners in model.corners_in_cube:
        seen = corners @ pose_cube_in_camera[:3, :3].T + pose_cube_in_camera[:3, 3]
        if np.cross(seen[3] - seen[0], seen[1] - seen[0]) @ seen[0] < 0:
            outline = _pixels(corners, pose_cube_in_camera, lens)
            cv2.polylines(canvas, [outline], isClosed=True, color=(255, 210, 0), thickness=1)
    axes = model.edge_m * np.vstack([np.zeros(3), np.eye(3)])
    _draw_axes(canvas, _pixels(axes, pose_cube_in_camera, lens), 2)
    palm = pose_cube_in_camera @ model.pose_hand_in_cube
    if model.palm_known:
        _draw_axes(canvas, _pixels(1.5 * axes, palm, lens), 1)
    return canvas


def _draw_axes(canvas: Image, pixels: npt.NDArray[np.int32], thickness: int) -> None:
    start, *ends = pixels
    for end, color in zip(ends, ((255, 40, 40), (40, 200, 40), (60, 90, 255)), strict=True):
        cv2.line(canvas, start.tolist(), end.tolist(), color, thickness, cv2.LINE_AA)


def _pixels(points: Matrix, pose: Pose, lens: Intrinsics) -> npt.NDArray[np.int32]:
    turn, _ = cv2.Rodrigues(pose[:3, :3])
    seen, _ = cv2.projectPoints(points, turn, pose[:3, 3], lens.matrix, lens.distortion)
    return np.round(seen[:, 0]).astype(np.int32)


def _save(image: Image, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(image).save(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be written ({error}).") from error


def _line(found: CubePose) -> str:
    x, y, z = 100 * found.pose_cube_in_camera[:3, 3]
    turn = np.rad2deg(np.linalg.norm(log_rotation(found.pose_cube_in_camera[:3, :3])))
    faces = " ".join(map(str, found.marker_ids))
    return (
        f"{x:6.1f} {y:6.1f} {z:6.1f} cm  turned {turn:4.0f}°  markers {faces:8} "
        f"{found.reprojection_px:.2f} pixels"
    )


def _table(watched: _Watched) -> Table:
    table = Table("time \\[s]", "x \\[cm]", "y", "z", "turned \\[°]", "markers", "pixels", box=None)
    start_s = watched.stamps_s[0]
    rows = np.linspace(0, len(watched.found) - 1, min(N_ROWS, len(watched.found))).astype(int)
    for row in rows:
        found = watched.found[row]
        position = 100 * found.pose_cube_in_camera[:3, 3]
        turn = np.rad2deg(np.linalg.norm(log_rotation(found.pose_cube_in_camera[:3, :3])))
        table.add_row(
            f"{found.stamp_s - start_s:.2f}",
            *(f"{value:.2f}" for value in position),
            f"{turn:.1f}",
            " ".join(map(str, found.marker_ids)),
            f"{found.reprojection_px:.2f}",
        )
    return table


def _summary(watched: _Watched, model: CubeModel) -> str:
    n, n_found = watched.n_images, len(watched.found)
    span_s = watched.stamps_s[-1] - watched.stamps_s[0]
    rate = f", {(n - 1) / span_s:.1f} per second" if span_s > 0 else ""
    lines = [f"{n} images{rate}. The cube was seen in {n_found} of them ({n_found / n:.0%})."]
    if n_found:
        sigma_mm = [1e3 * np.sqrt(np.trace(each.covariance[:3, :3])) for each in watched.found]
        pixels = np.median([each.reprojection_px for each in watched.found])
        lines.append(
            f"Its edges fit to {pixels:.2f} pixels (median). Image noise alone leaves "
            f"{np.median(sigma_mm):.2f} mm of its position unknown; to that add what cube and lens "
            "are off."
        )
        if not model.calibrated:
            lines.append(
                "The cube's faces are not calibrated: expect millimetres. dexhil cube calibrate "
                "--faces finds them."
            )
    lines += [f"Not in {n_times}: {reason}" for reason, n_times in watched.reasons.most_common(5)]
    return "\n".join(lines)
