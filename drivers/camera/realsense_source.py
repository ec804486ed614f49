"""The two ways in which librealsense hands out frames. Both give pairs of colour and depth.

A pipeline is what most programs use. It owns the camera, and hides which sensor gives what.
With sensors one says so oneself and a syncer makes the pairs; that leaves a camera's other
sensors free for other programs.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrealsense2 as rs

USB_2 = "2."


class ModeError(ValueError):
    """The camera has no such size and rate. The text says which ones it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """What a camera is asked for: images of ``width`` x ``height`` [pixel] at ``rate_hz`` [1/s]."""

    width: int
    height: int
    rate_hz: int
    depth: bool

    def streams(self) -> Iterator[tuple[Any, Any]]:
        """Give each stream with the format of its pixels."""
        yield rs.stream.color, rs.format.rgb8
        if self.depth:
            yield rs.stream.depth, rs.format.z16

    def __str__(self) -> str:
        return f"{self.width} x {self.height} at {self.rate_hz} Hz"


class FrameSource(ABC):
    """Where frames come from."""

    @abstractmethod
    def wait(self, timeout_s: float) -> Any | None:
        """Return the next ``rs.composite_frame``, ``None`` when none came in time."""

    @abstractmethod
    def stop(self) -> None:
        """Stop streaming. Repeating does nothing."""


class PipelineSource(FrameSource):
    """Frames of an ``rs.pipeline``.

    Args:
        context: Where ``device`` was found.
        device: The camera; ``None`` if ``file`` is played.
        mode: What it shall give.
        file: A recording.
        loop: Whether the recording begins again.
    """

    def __init__(
        self, context: Any, device: Any, mode: Mode, file: Path | None = None, *, loop: bool = False
    ) -> None:
        config = rs.config()
        if file is not None:
            config.enable_device_from_file(str(file), repeat_playback=loop)
        else:
            config.enable_device(device.get_info(rs.camera_info.serial_number))
        for stream, pixel in mode.streams():
            config.enable_stream(stream, mode.width, mode.height, pixel, mode.rate_hz)
        self._pipeline: Any = rs.pipeline(context)
        # Asked first: start() would wait 15 s for a camera with such a mode to be plugged in.
        if not config.can_resolve(rs.pipeline_wrapper(self._pipeline)):
            device = device or rs.context().load_device(str(file))
            raise ModeError(f"gives no {mode}, only {describe_modes(device)}")
        self.device = self._pipeline.start(config).get_device()

    def wait(self, timeout_s: float) -> Any | None:
        came, frames = self._pipeline.try_wait_for_frames(round(timeout_s * 1e3))
        return frames if came else None

    def stop(self) -> None:
        if self._pipeline is not None:
            self._pipeline.stop()
            self._pipeline = None


class SensorSource(FrameSource):
    """Frames of one camera's sensors, paired by an ``rs.syncer``."""

    def __init__(self, device: Any, mode: Mode) -> None:
        self.device = device
        self._sensors: list[Any] = []
        # Nothing is let pile up: frames come from a pool of 16, and a syncer keeps what it has.
        self._syncer: Any = rs.syncer(1)
        try:
            for sensor, profiles in self._chosen(mode):
                sensor.open(profiles)
                self._sensors.append(sensor)
            for sensor in self._sensors:
                sensor.start(self._syncer)
        except Exception:
            self.stop()
            raise

    def _chosen(self, mode: Mode) -> list[tuple[Any, list[Any]]]:
        """Return the sensors to open, each with its profiles."""
        missing = dict(mode.streams())
        chosen = []
        for sensor in self.device.query_sensors():
            profiles = []
            for profile in sensor.get_stream_profiles():
                wanted = missing.get(profile.stream_type())
                if wanted == profile.format() and _fits(profile, mode):
                    profiles.append(profile)
                    del missing[profile.stream_type()]
            if profiles:
                chosen.append((sensor, profiles))
        if missing:
            raise ModeError(f"gives no {mode}, only {describe_modes(self.device)}")
        return chosen

    def wait(self, timeout_s: float) -> Any | None:
        came, frames = self._syncer.try_wait_for_frames(round(timeout_s * 1e3))
        return frames if came else None

    def stop(self) -> None:
        sensors, self._sensors = self._sensors, []
        for sensor in sensors:
            for end in (sensor.stop, sensor.close):
                with suppress(RuntimeError):  # It was not started yet, or is unplugged.
                    end()
        self._syncer = None


def find_device(context: Any, serial: str) -> Any:
    """Return the camera with ``serial``, or the only one when empty.

    Raises:
        ConnectionError: There is none, or there are several to choose from.
    """
    devices = {_info(device, rs.camera_info.serial_number): device for device in context.devices}
    found = ", ".join(f"{number} ({describe(device)})" for number, device in devices.items())
    if not devices:
        raise ConnectionError(
            "no RealSense is plugged in; if one is, check its cable, that libusb-1.0-0 is "
            "installed, and the udev rules (https://github.com/realsenseai/librealsense)"
        )
    if serial and serial not in devices:
        raise ConnectionError(f"no RealSense has the serial number {serial!r}; found: {found}")
    if not serial and len(devices) > 1:
        raise ConnectionError(f"there are several, so the rig file must name a serial: {found}")
    return devices[serial or next(iter(devices))]


def describe(device: Any) -> str:
    """Return a camera's name and how it is connected."""
    usb = _info(device, rs.camera_info.usb_type_descriptor)
    return _info(device, rs.camera_info.name) + (f", USB {usb}" if usb else "")


def describe_modes(device: Any) -> str:
    """Return the sizes and rates that a camera gives colour and depth in, and a hint on USB 2."""
    modes = sorted(
        {
            (profile.stream_name(), profile.width(), profile.height(), profile.fps())
            for sensor in device.query_sensors()
            for profile in map(_video, sensor.get_stream_profiles())
            if profile and profile.format() in (rs.format.rgb8, rs.format.z16)
        }
    )
    text = ", ".join(f"{name} {w} x {h} at {fps} Hz" for name, w, h, fps in modes) or "nothing"
    if on_usb_2(device):
        text += ". It hangs on USB 2, which carries less: use a USB 3 port and cable"
    return text


def on_usb_2(device: Any) -> bool:
    """Whether the camera is on a link that carries only a part of its modes."""
    return _info(device, rs.camera_info.usb_type_descriptor).startswith(USB_2)


def _info(device: Any, key: Any) -> str:
    return str(device.get_info(key)) if device.supports(key) else ""


def _video(profile: Any) -> Any | None:
    return profile.as_video_stream_profile() if profile.is_video_stream_profile() else None


def _fits(profile: Any, mode: Mode) -> bool:
    video = _video(profile)
    if video is None:
        return False
    return bool(
        (video.width(), video.height(), video.fps()) == (mode.width, mode.height, mode.rate_hz)
    )
