"""The near end of the RealSense emulator: it plugs a software camera into the real SDK."""

import contextlib
import socket
import time
from typing import Any

import pyrealsense2 as rs

from dexhil.drivers.wire.shot import Shot, ShotReader
from dexhil.drivers.worker import Worker

SERIAL = "000000000001"
CHUNK = 1 << 20
FOCAL_LENGTH = 600.0  # Of a D435 at this size, roughly [pixel].
BASELINE = 0.015  # From the colour to the left infrared camera of a D435 [m].


class SoftwareBus:
    """Stands for USB: a camera appears in ``context`` once the emulator shows something.

    When the emulator's cable is pulled, the camera leaves the context, as far as the SDK
    lets a software camera leave: who streams from it holds on to it, and gets no more images.

    Args:
        address: Of the emulator, ``"HOST:PORT"``.
    """

    def __init__(self, address: str) -> None:
        self.context = rs.context()
        self._address = address
        self._socket: socket.socket | None = None
        self._reader = ShotReader()
        self._camera: SoftwareCamera | None = None
        self._plugged: list[Any] = []
        self._worker = Worker(self._step, f"emulated USB {address}")

    def open(self, timeout_s: float) -> None:
        """Plug in. An emulator that is not there leaves the bus empty, as on a real machine."""
        host, _, port = self._address.rpartition(":")
        give_up_s = time.monotonic() + timeout_s
        try:
            self._socket = socket.create_connection((host, int(port)), timeout_s)
        except OSError:
            return
        self._socket.settimeout(0.1)
        self._worker.start()
        while not self._plugged and self._worker.alive and time.monotonic() < give_up_s:
            time.sleep(0.005)

    def close(self) -> None:
        """Unplug. Repeating does nothing."""
        self._worker.stop()
        self._unplug()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.context = None

    def _step(self) -> None:
        if self._socket is None:
            raise ConnectionError("it was closed")
        try:
            data = self._socket.recv(CHUNK)
        except TimeoutError:
            return
        except OSError:
            data = b""
        if not data:
            self._unplug()
            raise ConnectionError("the emulator hung up")
        for shot in self._reader.feed(data):
            if self._camera is None:
                self._plug(shot)
            if self._camera is not None:
                self._camera.show(shot)

    def _plug(self, shot: Shot) -> None:
        # A context lists a software camera only while somebody holds the list that announced it.
        self.context.set_devices_changed_callback(
            lambda event: self._plugged.append(event.get_new_devices())
        )
        self._camera = SoftwareCamera(shot)
        self._camera.device.add_to(self.context)

    def _unplug(self) -> None:
        self._plugged.clear()
        self._camera = None


class SoftwareCamera:
    """Two sensors of the SDK that show what they are given."""

    def __init__(self, shot: Shot) -> None:
        self.device = rs.software_device()
        self.device.register_info(rs.camera_info.name, "Emulated RealSense D435")
        self.device.register_info(rs.camera_info.serial_number, SERIAL)
        self.device.register_info(rs.camera_info.usb_type_descriptor, "3.2")
        self._depth_sensor = self.device.add_sensor("Stereo Module")
        self._color_sensor = self.device.add_sensor("RGB Camera")
        depth = _stream(shot, rs.stream.depth, rs.format.z16, 2)
        color = _stream(shot, rs.stream.color, rs.format.rgb8, 3)
        self._depth = self._depth_sensor.add_video_stream(depth).as_video_stream_profile()
        self._color = self._color_sensor.add_video_stream(color).as_video_stream_profile()
        self._depth_sensor.add_read_only_option(rs.option.depth_units, 0.001)
        where = rs.extrinsics()
        where.rotation = [1, 0, 0, 0, 1, 0, 0, 0, 1]  # All zeros otherwise, and so all depths.
        where.translation = [BASELINE, 0, 0]
        self._depth.register_extrinsics_to(self._color, where)

    def show(self, shot: Shot) -> None:
        for sensor, profile, pixels in (
            (self._depth_sensor, self._depth, shot.depth),
            (self._color_sensor, self._color, shot.color),
        ):
            frame = rs.software_video_frame()
            frame.pixels = pixels
            frame.stride = pixels.strides[0]
            frame.bpp = pixels.strides[1]
            frame.timestamp = shot.time_ms
            frame.domain = rs.timestamp_domain.global_time
            frame.frame_number = shot.number
            frame.profile = profile
            frame.depth_units = 0.001
            # A sensor refuses while it is being opened or closed; a real one is not asked either.
            with contextlib.suppress(RuntimeError):
                sensor.on_video_frame(frame)


def _stream(shot: Shot, kind: Any, pixel: Any, n_bytes: int) -> Any:
    height, width = shot.depth.shape
    stream = rs.video_stream()
    stream.type, stream.fmt, stream.bpp = kind, pixel, n_bytes
    stream.index = 0
    stream.uid = int(kind)
    stream.width, stream.height, stream.fps = width, height, shot.rate_hz
    lens = rs.intrinsics()
    lens.width, lens.height = width, height
    lens.ppx, lens.ppy = width / 2, height / 2
    lens.fx = lens.fy = FOCAL_LENGTH
    lens.model, lens.coeffs = rs.distortion.brown_conrady, [0.0] * 5
    stream.intrinsics = lens
    return stream
