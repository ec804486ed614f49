"""What real cameras share: a thread that fetches images, and telling a live camera from a dead one.

A driver says how to open its camera, how to wait for one image, and how to let go. Whether
an image is new, late, repeated or missing is decided here, alike for every camera.
"""

import threading
from abc import abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import final

import numpy as np

from dexhil.drivers.arrays import Image, Matrix
from dexhil.drivers.camera.camera import Camera, CameraObservation
from dexhil.drivers.clock import Clock
from dexhil.drivers.errors import DeviceError
from dexhil.drivers.worker import Worker

# A camera that gives no new image for this long, or for three periods of a slow one, is gone [s].
SILENT_S = 1.0
GAP_S = 0.25  # Longer than a live camera pauses, unless it is a slow one [s].
WINDOW_S = 2.0  # Over which the rate is measured and damaged images are remembered [s].


def check_images(width: int, height: int, rate_hz: float, frozen_s: float) -> None:
    """Refuse what no camera gives.

    Raises:
        ValueError: With the unit.
    """
    if width <= 0 or height <= 0:
        raise ValueError(f"the image is {width} x {height} pixels, must be above 0")
    if not rate_hz > 0:
        raise ValueError(f"rate_hz is {rate_hz:g} Hz, must be above 0")
    if not frozen_s >= 0:
        raise ValueError(f"frozen_s is {frozen_s:g} s, must be at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One image as the camera's library gave it. The arrays may be its own: they are copied.

    Attributes:
        stamp_s: When it was taken, on the host's monotonic clock [s].
        image: RGB. Shape (height, width, 3).
        depth: [m]. Shape (height, width). ``None`` if not measured.
    """

    stamp_s: float
    image: Image
    depth: Matrix | None = None


class GrabbedCamera(Camera):
    """A camera whose images a thread fetches as they come, so that the newest is always at hand.

    The stamp advances only with an image that differs in some bit from the one before and
    was taken later. A camera that hangs behind a live link, repeats itself or turns its clock
    back so goes stale, and nobody acts on what it shows.

    Args:
        name: As for every device.
        clock: As for every device.
        rate_hz: How many images are promised [1/s].
        frozen_s: An image that does not change by a single bit for this long is reported [s].
            0 lets identical images pass as new ones, for recordings and test pictures.

    Attributes:
        n_damaged: Images thrown away since connecting because they came damaged.
    """

    def __init__(self, *, name: str, clock: Clock | None, rate_hz: float, frozen_s: float) -> None:
        super().__init__(name=name, clock=clock)
        self._rate_hz = rate_hz
        self._frozen_s = frozen_s
        self._silent_s = max(SILENT_S, 3.0 / rate_hz)
        self._worker: Worker | None = None
        self._first = threading.Event()
        self._newest: CameraObservation | None = None
        self._forget()

    # -- What a driver implements: all but the first are called from the thread ---------------

    @abstractmethod
    def _camera_open(self, timeout_s: float) -> None:
        """Open the camera. A ``DeviceError`` reaches the caller as it is."""

    @abstractmethod
    def _camera_close(self) -> None:
        """Let go of the camera, however far opening got. The thread has ended or is stuck."""

    @abstractmethod
    def _grab(self) -> Frame | None:
        """Wait a fraction of a second for an image; ``None`` when none came or it was damaged.

        Must come back within ``_silent_s`` even if the camera is dead. What it raises becomes
        the fault.
        """

    @final
    def _pause(self, duration_s: float) -> None:
        """Wait in the thread, but not beyond the end of the connection."""
        if self._worker is not None:
            self._worker.stopping.wait(max(0.0, duration_s))

    @final
    def _count_damaged(self) -> None:
        self.n_damaged += 1
        self._damaged_s.append(self.clock.now_s())

    # -- Shared ------------------------------------------------------------------------------

    @final
    def _open(self, timeout_s: float) -> None:
        give_up_s = self.clock.now_s() + timeout_s
        self._forget()
        self._camera_open(timeout_s)
        self._worker = Worker(self._step, f"images of {self}")
        self._worker.start()
        while not self._first.wait(0.02):
            if isinstance(self._worker.error, DeviceError):
                raise self._worker.error  # It says better what is wrong than "no sample".
            self._worker.check()
            if self.clock.now_s() > give_up_s:
                raise TimeoutError("it opened, but no image came")

    @final
    def _close(self) -> None:
        worker, self._worker = self._worker, None
        try:
            if worker is not None:
                worker.stop(2.0 * self._silent_s)
        finally:
            self._camera_close()

    @final
    def _read(self) -> CameraObservation:
        if self._worker is None or self._newest is None:
            raise ConnectionError("no image came")
        self._worker.check()
        # Asked here, not in the thread, which may itself be stuck in the camera's library.
        silent_s = self.clock.now_s() - self._heard_s
        if silent_s > self._silent_s:
            raise ConnectionError(f"no new image came for {silent_s:.1f} s")
        return self._newest

    @final
    def _warnings(self) -> tuple[str, ...]:
        now_s = self.clock.now_s()
        warnings = []
        still_s = now_s - self._changed_s
        if 0 < self._frozen_s < still_s and self._heard_s > self._changed_s:
            warnings.append(f"the image has not changed by a single bit for {still_s:.1f} s")
        if now_s - self._heard_s > max(GAP_S, 2.0 / self._rate_hz):
            warnings.append(f"no new image came for {now_s - self._heard_s:.1f} s")
        n_damaged = sum(now_s - stamp_s < WINDOW_S for stamp_s in list(self._damaged_s))
        if n_damaged:
            warnings.append(f"{n_damaged} images came damaged in the last {WINDOW_S:g} s")
        rate_hz = sum(now_s - stamp_s < WINDOW_S for stamp_s in list(self._heard)) / WINDOW_S
        if now_s - self._opened_s > WINDOW_S and rate_hz < 0.5 * self._rate_hz:
            warnings.append(f"{rate_hz:.0f} images come per second, not {self._rate_hz:g}")
        return tuple(warnings)

    @final
    def _step(self) -> None:
        frame = self._grab()
        if frame is None:
            return
        now_s = self.clock.now_s()
        newest = self._newest
        if newest is not None and frame.stamp_s <= newest.stamp_s:
            return  # Said twice, or late, or its clock was turned back: in doubt it is not new.
        self._heard_s = now_s
        self._heard.append(now_s)
        if newest is not None and self._frozen_s and _identical(frame, newest):
            return
        self._changed_s = now_s
        self._newest = CameraObservation(
            stamp_s=min(frame.stamp_s, now_s), image=frame.image, depth=frame.depth
        )
        self._first.set()

    def _forget(self) -> None:
        self._newest = None
        self._first.clear()
        self._opened_s = self._heard_s = self._changed_s = self.clock.now_s()
        n_remembered = int(2 * WINDOW_S * self._rate_hz) + 1
        self._heard: deque[float] = deque(maxlen=n_remembered)
        self._damaged_s: deque[float] = deque(maxlen=n_remembered)
        self.n_damaged = 0


def _identical(frame: Frame, before: CameraObservation) -> bool:
    # Noise of a live sensor is everywhere: a few rows tell it from a dead one at once.
    if not np.array_equal(frame.image[::16], before.image[::16]):
        return False
    if not np.array_equal(frame.image, before.image):
        return False
    if frame.depth is None or before.depth is None:
        return frame.depth is before.depth
    return np.array_equal(frame.depth, before.depth, equal_nan=True)
