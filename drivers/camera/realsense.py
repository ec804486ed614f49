"""RealSense cameras: colour, and depth laid over it."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyrealsense2 as rs

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.camera.camera import CameraSpec, Lens
from dexhil.drivers.camera.grabbing import Frame, GrabbedCamera, check_images
from dexhil.drivers.camera.realsense_bus import SoftwareBus
from dexhil.drivers.camera.realsense_source import (
    FrameSource,
    Mode,
    ModeError,
    PipelineSource,
    SensorSource,
    describe,
    find_device,
    on_usb_2,
)
from dexhil.drivers.clock import Clock
from dexhil.drivers.errors import ConfigError

log = logging.getLogger(__name__)

WAIT_S = 0.1  # For one frame; then the camera is asked whether it is still there [s].


@dataclass(frozen=True, slots=True, kw_only=True)
class RealsenseCameraConfig:
    """How to build a ``RealsenseCamera``.

    Attributes:
        serial: Printed on the camera. May be empty if there is only one.
        width: Of both images [pixel].
        height: Of both images [pixel].
        rate_hz: How often it gives them [1/s]. The camera must have exactly this mode.
        depth: Whether to measure depth. It is seen from where the colour camera is.
        source: ``"pipeline"``, or ``"sensor"`` to take only the sensors that are needed.
        file: A recording (``.db3``) to play instead, at the times it was recorded.
        loop: Whether the recording begins again. Otherwise it falls silent at its end.
        frozen_s: Images that stay identical for this long are reported [s]; 0 allows it.
        emulator: Address of ``dexhil emulate realsense`` (``HOST:PORT``), in place of USB.
    """

    serial: str = ""
    width: int = 640
    height: int = 480
    rate_hz: int = 30
    depth: bool = True
    source: Literal["pipeline", "sensor"] = "pipeline"
    file: Path | None = None
    loop: bool = False
    frozen_s: float = 0.5
    emulator: str = ""

    def __post_init__(self) -> None:
        check_images(self.width, self.height, self.rate_hz, self.frozen_s)
        if self.file is not None and self.source != "pipeline":
            raise ValueError("a recording is played by source = 'pipeline', must not be 'sensor'")
        if self.emulator and not self.emulator.rpartition(":")[2].isdecimal():
            raise ValueError(f"emulator is {self.emulator!r}, must be HOST:PORT")


class RealsenseCamera(GrabbedCamera):
    """A RealSense through its SDK.

    Stamps are when the camera began to send, which is after the exposure, where the SDK knows
    it on the host's clock ("global time", the default of D400 cameras), else of arrival.

    Tested against an emulator, never on hardware.
    """

    config_type = RealsenseCameraConfig

    def __init__(
        self, config: RealsenseCameraConfig, *, name: str, clock: Clock | None = None
    ) -> None:
        super().__init__(name=name, clock=clock, rate_hz=config.rate_hz, frozen_s=config.frozen_s)
        self._config = config
        self._spec = CameraSpec(
            model="realsense", width=config.width, height=config.height, rate_hz=config.rate_hz
        )
        self._bus: SoftwareBus | None = None
        self._context: Any = None
        self._source: FrameSource | None = None
        self._serial = ""
        self._align: Any = None
        self._lens: Lens | None = None

    @property
    def spec(self) -> CameraSpec:
        return self._spec

    def lens(self) -> Lens | None:
        return self._lens

    # -- Opening -------------------------------------------------------------------------------

    def _camera_open(self, timeout_s: float) -> None:
        if self._config.emulator:
            self._bus = SoftwareBus(self._config.emulator)
            self._bus.open(timeout_s)
            self._context = self._bus.context
        else:
            self._context = rs.context()
        try:
            self._source = self._play() if self._config.file else self._stream()
        except ModeError as error:
            raise ConfigError(f"{self}: the camera {error}.") from error
        self._align = rs.align(rs.stream.color) if self._config.depth else None

    def _stream(self) -> FrameSource:
        device = find_device(self._context, self._config.serial)
        self._serial = device.get_info(rs.camera_info.serial_number)
        if on_usb_2(device):
            log.warning("%s hangs on USB 2 and may lose images: %s", self, describe(device))
        if self._config.source == "sensor":
            return SensorSource(device, self._mode)
        return PipelineSource(self._context, device, self._mode)

    def _play(self) -> FrameSource:
        path = Path(str(self._config.file))
        if not path.is_file():
            raise ConfigError(f"{self}: there is no recording {path}.")
        if path.suffix != ".db3":
            raise ConfigError(
                f"{self}: {path} is not a .db3 file, and this SDK ({rs.__version__}) plays no "
                "other. Convert a .bag: pyrealsense2.context().convert_bag_to_db3(...)"
            )
        try:
            return PipelineSource(self._context, None, self._mode, path, loop=self._config.loop)
        except RuntimeError as error:
            raise ConfigError(f"{self}: cannot play {path} ({error}).") from error

    @property
    def _mode(self) -> Mode:
        config = self._config
        return Mode(
            width=config.width, height=config.height, rate_hz=config.rate_hz, depth=config.depth
        )

    def _camera_close(self) -> None:
        source, self._source = self._source, None
        bus, self._bus = self._bus, None
        try:
            if source is not None:
                source.stop()
        finally:
            if bus is not None:
                bus.close()
            self._context = self._align = self._lens = None

    # -- Images --------------------------------------------------------------------------------

    def _grab(self) -> Frame | None:
        source = self._source
        if source is None:
            raise ConnectionError("it was closed")
        frames = source.wait(WAIT_S)
        now_s = self.clock.now_s()
        if frames is None:
            self._require_plugged()
            return None
        color = frames.get_color_frame()
        if not color:
            return None
        if self._lens is None:
            self._lens = _lens(color.profile.as_video_stream_profile().get_intrinsics())
        stamp_s = now_s if self._config.file else now_s - _age_s(color)
        if self._align is not None:
            if not frames.get_depth_frame():
                return None  # As the first ones after a start, before pairs are made.
            frames = self._align.process(frames)
        # Both are copied before the frames go back to the SDK, whose pool holds 16 of them.
        return Frame(
            stamp_s=stamp_s,
            image=np.asanyarray(color.get_data()),
            depth=_metres(frames.get_depth_frame()) if self._align is not None else None,
        )

    def _require_plugged(self) -> None:
        if self._config.file:
            return
        serials = [each.get_info(rs.camera_info.serial_number) for each in self._context.devices]
        if self._serial not in serials:
            raise ConnectionError(f"the camera {self._serial} left the bus")


def _lens(told: Any) -> Lens | None:
    """Return what the SDK says of a stream's projection, if OpenCV's model can say it too."""
    # D400 cameras name "inverse Brown-Conrady" for colour. Where its numbers are not zero it
    # goes from pixels to rays, and OpenCV's the other way: they must not be taken for each other.
    if any(told.coeffs) and told.model != rs.distortion.brown_conrady:
        return None
    return Lens(
        matrix=np.array([[told.fx, 0.0, told.ppx], [0.0, told.fy, told.ppy], [0.0, 0.0, 1.0]]),
        distortion=np.array(told.coeffs),
    )


def _age_s(frame: Any) -> float:
    """Return how long ago ``frame`` was taken, 0 if its clock is not ours [s]."""
    ours = (rs.timestamp_domain.global_time, rs.timestamp_domain.system_time)
    if frame.get_frame_timestamp_domain() not in ours:
        return 0.0
    return max(0.0, time.time() - float(frame.get_timestamp()) * 1e-3)


def _metres(frame: Any) -> Matrix:
    raw = np.asanyarray(frame.get_data())
    depth: Matrix = np.multiply(raw, frame.get_units(), dtype=np.float64)
    depth[raw == 0] = np.nan  # The SDK's word for "not measured".
    return depth
