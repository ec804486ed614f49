"""Images to calibrate with: a video, a folder of pictures, or a camera at work."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import av
import numpy as np
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from dexhil.drivers.arrays import Image
from dexhil.drivers.camera import Camera
from dexhil.drivers.clock import Clock, MonotonicClock
from dexhil.drivers.registry import RigEntry, load, read_rig
from dexhil.integration.errors import RunError

PICTURES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
FOLDER_RATE_HZ: Final = 30.0
"""Of pictures in a folder, which have no times of their own [1/s]."""

_LOOK_S: Final = 0.002


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One image and when it was taken [s]. RGB, shape (h, w, 3)."""

    stamp_s: float
    image: Image


def is_live(source: str) -> bool:
    """Whether a source is a camera at work, so that somebody must be told what to do."""
    path = Path(source)
    return path.suffix == ".toml" or (path.name == source and not path.suffix and not path.exists())


def pictures(source: str, duration_s: float, clock: Clock | None = None) -> Iterator[Picture]:
    """Give the images of a source, one after the other.

    Args:
        source: A video, a folder of pictures (taken in the order of their names), a rig file
            with one camera, or a camera driver with its defaults, e.g. ``realsense``.
        duration_s: How long a camera is looked through [s].
        clock: Of a camera.

    Raises:
        RunError: There is no such thing, or it holds no images.
        DeviceError: The camera fails.
    """
    path = Path(source)
    if path.is_dir():
        return _folder(path)
    if not path.exists() and not is_live(source):
        raise RunError(f"{path}: there is no such file or folder.")
    if is_live(source):
        return _camera(camera_entry(source), duration_s, clock or MonotonicClock())
    return _video(path)


def camera_entry(source: str) -> RigEntry:
    """Return the camera that a source means: a driver, or the one in a rig file.

    Raises:
        DeviceError: No such driver, or the rig file is wrong.
        RunError: The rig file has no camera, or several.
    """
    if not source.endswith(".toml"):
        load("camera", source)  # To say what there is before anything else is asked.
        return RigEntry("camera", source, source)
    devices = read_rig(Path(source)).devices
    # The camera that looks at the cube is in the cube's own table.
    own = [entry for entry in devices if entry.kind == "tracker" and "camera" in entry.options]
    if len(own) == 1:
        table = dict(own[0].options["camera"])
        driver = str(table.pop("driver", ""))
        return RigEntry("camera", f"{own[0].name}.camera", driver, table, own[0].folder)
    cameras = [entry for entry in devices if entry.kind == "camera"]
    if own or len(cameras) != 1:
        raise RunError(
            f"{source}: has {len(own)} trackers with a camera and {len(cameras)} [camera.NAME] "
            "tables; one of either is needed."
        )
    return cameras[0]


def _folder(path: Path) -> Iterator[Picture]:
    names = sorted(each for each in path.iterdir() if each.suffix.lower() in PICTURES)
    if not names:
        raise RunError(f"{path}: holds no pictures ({', '.join(sorted(PICTURES))}).")
    for number, name in enumerate(names):
        try:
            with Pillow.open(name) as file:
                image = np.asarray(file.convert("RGB"))
        except (OSError, UnidentifiedImageError) as error:
            raise RunError(f"{name}: is not a picture ({error}).") from error
        yield Picture(number / FOLDER_RATE_HZ, image)


def _video(path: Path) -> Iterator[Picture]:
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise RunError(f"{path}: is not a video.")
            last_s = -1.0
            for frame in container.decode(video=0):
                # Some recorders write a time twice, or none: such an image is of no use here.
                if frame.time is not None and frame.time > last_s:
                    last_s = frame.time
                    yield Picture(last_s, np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
    except (OSError, av.FFmpegError) as error:
        raise RunError(f"{path}: is not a video ({error}).") from error


def _camera(entry: RigEntry, duration_s: float, clock: Clock) -> Iterator[Picture]:
    with cast("Camera", entry.build(clock)) as camera:
        end_s, last_s = clock.now_s() + duration_s, -np.inf
        while clock.now_s() < end_s:
            observation = camera.observe()
            if observation.stamp_s > last_s:
                last_s = observation.stamp_s
                yield Picture(last_s, observation.image)
            else:
                clock.sleep(_LOOK_S)
