"""The cube as a tracker: a camera, a thread that looks for the cube, and its newest pose."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, cast

import numpy as np
from pydantic import BeforeValidator

from dexhil.drivers.camera import Camera, CameraObservation
from dexhil.drivers.clock import Clock
from dexhil.drivers.errors import ConfigError, FaultError
from dexhil.drivers.registry import RigEntry, load
from dexhil.drivers.tracker import Tracker, TrackerObservation, TrackerSpec
from dexhil.drivers.worker import Worker
from dexhil.teleop.cube.intrinsics import Intrinsics
from dexhil.teleop.cube.model import CubeModel
from dexhil.teleop.cube.track import CubeTracker
from dexhil.teleop.errors import CubeError
from dexhil.teleop.se3 import to_quaternion

MAX_LEAD_S: Final = 0.1
"""Beyond it a prediction says more about the filter than about the hand [s]."""

_LOOK_S: Final = 0.002  # How often the camera is asked for an image it may have [s].


def _own_camera(table: object) -> RigEntry:
    """Return the device that the table of a camera describes.

    Raises:
        ValueError: It names no driver.
    """
    if isinstance(table, RigEntry):
        return table
    options = dict(table) if isinstance(table, Mapping) else {}
    driver = options.pop("driver", None)
    if not isinstance(driver, str):
        raise ValueError("name the camera's driver, e.g. driver = 'realsense'")
    return RigEntry("camera", "camera", driver, options)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArucoTrackerConfig:
    """How to build an ``ArucoTracker``.

    Attributes:
        cube: File of the cube, from ``dexhil cube print`` or ``dexhil cube calibrate``.
        intrinsics: File of the camera, from ``dexhil cube intrinsics``.
        camera: The table of a camera, with its ``driver``: ``[tracker.NAME.camera]``. It is this
            tracker's own; no other table of the rig file may open it.
        lead_s: Report where the hand will be so long after the image's stamp [s], to make up for
            the delay of the camera and of what follows. The stamp stays that of the image.
        reports: ``palm``, which must have been calibrated, or the ``cube`` itself; then
            ``cube_position`` and ``cube_rpy`` of ``[teleop]`` must say where the palm is in it.
    """

    cube: Path
    intrinsics: Path
    camera: Annotated[RigEntry, BeforeValidator(_own_camera)]
    lead_s: float = 0.0
    reports: Literal["palm", "cube"] = "palm"

    def __post_init__(self) -> None:
        if not 0.0 <= self.lead_s <= MAX_LEAD_S:
            raise ValueError(f"lead_s is {self.lead_s:g} s, must be from 0 to {MAX_LEAD_S:g}")


class ArucoTracker(Tracker):
    """The wearer's palm, found by the marker cube on their hand.

    The pose is that of the palm in the camera's frame, ``pose_cube @ pose_hand_in_cube``, unless
    it is told to report the cube itself. Stamps are the camera's. While the cube is not seen the
    pose is NaN, from the second such image on and until a moment after the cube was found again;
    ``health()`` says why.

    Tested against an emulator, never on hardware.
    """

    config_type = ArucoTrackerConfig

    def __init__(
        self, config: ArucoTrackerConfig, *, name: str, clock: Clock | None = None
    ) -> None:
        super().__init__(name=name, clock=clock)
        self._config = config
        self._camera = self._built_camera()
        spec = self._camera.spec
        self._spec = TrackerSpec(
            model=f"aruco-{spec.model}", rate_hz=spec.rate_hz, simulated=spec.simulated
        )
        self._worker: Worker | None = None

    @property
    def spec(self) -> TrackerSpec:
        return self._spec

    def _built_camera(self) -> Camera:
        entry = replace(self._config.camera, name=f"{self.name}.camera")
        if cast("Any", load("camera", entry.driver)).in_world:
            raise ConfigError(
                f"[tracker.{self.name}.camera]: there is no marker cube in the simulated world to "
                "see."
            )
        return cast("Camera", entry.build(self.clock))

    # -- Life --------------------------------------------------------------------------------

    def _open(self, timeout_s: float) -> None:
        cube, intrinsics = self._read_files()
        whole = self._config.reports == "cube"
        self._pose_told_in_cube = np.eye(4) if whole else cube.pose_hand_in_cube
        self._tracker = CubeTracker(cube, intrinsics)
        self._camera.connect(timeout_s)
        self._newest = _nowhere(-math.inf)
        self._look(self._camera.observe())
        self._worker = Worker(self._step, f"cube of {self}")
        self._worker.start()

    def _close(self) -> None:
        worker, self._worker = self._worker, None
        try:
            if worker is not None:
                worker.stop()
        finally:
            self._camera.disconnect()

    def _read(self) -> TrackerObservation:
        if self._worker is not None:
            self._worker.check()
        return self._newest

    def _warnings(self) -> tuple[str, ...]:
        reasons = [f"its camera: {reason}" for reason in self._camera.health().reasons]
        if self._tracker.filter.lost_reason is not None:
            reasons.append(f"the cube is lost: {self._tracker.filter.lost_reason}")
        return tuple(reasons)

    def _read_files(self) -> tuple[CubeModel, Intrinsics]:
        config, spec = self._config, self._camera.spec
        try:
            cube, intrinsics = CubeModel.load(config.cube), Intrinsics.load(config.intrinsics)
        except CubeError as error:
            raise ConfigError(f"{self}: {error}") from error
        if (intrinsics.width, intrinsics.height) != (spec.width, spec.height):
            raise ConfigError(
                f"{self}: {config.intrinsics} is of images of {intrinsics.width} x "
                f"{intrinsics.height} pixels, the camera gives {spec.width} x {spec.height}. "
                "Calibrate the camera in this mode: dexhil cube intrinsics."
            )
        if config.reports == "palm" and not cube.palm_known:
            raise ConfigError(
                f"{self}: {config.cube} does not say where the palm is in the cube, so the robot "
                "would move another way than the hand. Find it: dexhil cube calibrate --flexion "
                "--deviation. Or set reports = 'cube', and cube_position and cube_rpy of [teleop]."
            )
        return cube, intrinsics

    # -- The thread --------------------------------------------------------------------------

    def _step(self) -> None:
        try:
            observation = self._camera.observe()
        except FaultError as error:
            raise ConnectionError(f"its camera: {self._camera.health().reasons[0]}") from error
        if observation.stamp_s > self._stamp_s:
            self._look(observation)
        elif self._worker is not None:
            self._worker.stopping.wait(_LOOK_S)

    def _look(self, observation: CameraObservation) -> None:
        """Find the cube in a new image."""
        self._stamp_s = stamp_s = observation.stamp_s
        seen = self._tracker.update(observation.image, stamp_s)
        if self._tracker.filter.lost_reason is not None:
            self._newest = _nowhere(stamp_s)
        elif seen is not None:  # One image without the cube may be a blurred one.
            self._newest = self._there(stamp_s)

    def _there(self, stamp_s: float) -> TrackerObservation:
        cube = self._tracker.filter.predict(stamp_s + self._config.lead_s)
        if cube is None:
            return _nowhere(stamp_s)
        told = cube @ self._pose_told_in_cube
        return TrackerObservation(
            stamp_s=stamp_s, position=told[:3, 3], orientation=to_quaternion(told[:3, :3])
        )


def _nowhere(stamp_s: float) -> TrackerObservation:
    return TrackerObservation(
        stamp_s=stamp_s, position=np.full(3, np.nan), orientation=np.full(4, np.nan)
    )
