"""A RealSense, as far as a process can be one: it sends what its sensors see through a socket.

The real link is USB, inside the SDK, where no process can stand in. ``SoftwareBus`` (in
``drivers/camera/realsense_bus.py``) sits in the driver's process, receives this and plugs a
camera into the real SDK; from there on all is the SDK's own: finding the camera, pipeline,
syncer, alignment, pool of frames. USB itself, exposure and the firmware are not emulated.
"""

import time
from typing import Any

import numpy as np
import numpy.typing as npt

from dexhil.drivers.emulators.emulator import Emulator
from dexhil.drivers.emulators.link import EmulatedLink, TcpLink
from dexhil.drivers.emulators.picture import N_PICTURES, pictures
from dexhil.drivers.wire.shot import Shot

WIDTH, HEIGHT, RATE_HZ = 640, 480, 30
SLOWEST_S = 0.5  # A reader that takes longer for one image is hung up on [s].


class ShotLink(TcpLink):
    """Sends shots, waiting for a reader a little: they are larger than a socket's buffer."""

    def options(self) -> dict[str, Any]:
        return {"emulator": f"{self.host}:{self.port}"}

    def _say(self, message: bytes, client: Any) -> None:
        del client  # Everybody sees the same.
        for reader in list(self.clients):
            try:
                reader.settimeout(SLOWEST_S)
                reader.sendall(message)
                reader.setblocking(False)
            except OSError:
                self.hang_up(reader)


class RealsenseEmulator(Emulator):
    """A D435 that looks at a wall 1 m away, before which a bar moves at 0.5 m.

    ``nan`` covers the stereo pair: nothing is measured any more.
    """

    kind = "camera"
    driver = "realsense"
    period_s = 0.005

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._link: ShotLink = self.add(ShotLink())
        self._pictures = pictures(WIDTH, HEIGHT, self.rng)
        self._depths = [self._depth(number) for number in range(8)]
        self.reset()

    def reset(self) -> None:
        self._number = 0
        self._due_s = self.now_s

    def received(self, link: EmulatedLink[Any], message: Any, client: Any) -> None:
        """Nobody has anything to tell it."""

    def step(self, dt_s: float) -> None:
        del dt_s
        if self.now_s < self._due_s:
            return
        self._due_s = max(self._due_s + 1.0 / RATE_HZ, self.now_s - 1.0 / RATE_HZ)
        self._number += 1
        if self._link.clients:
            self._link.send(self._shot().encode())

    def state(self) -> dict[str, Any]:
        return {"number": self._number % N_PICTURES, "viewers": len(self._link.clients)}

    def _shot(self) -> Shot:
        seen = 0 if self.knobs.repeating else self._number
        depth = self._depths[seen % len(self._depths)]
        return Shot(
            number=self._number,
            time_ms=(time.time() - self.knobs.rewind_s) * 1e3,
            rate_hz=RATE_HZ,
            color=self._pictures[seen % N_PICTURES],
            depth=np.zeros_like(depth) if self.knobs.nan else depth,
        )

    def _depth(self, number: int) -> npt.NDArray[np.uint16]:
        depth = self.rng.integers(995, 1006, (HEIGHT, WIDTH)).astype(np.uint16)
        left = 100 + 40 * number
        depth[100:300, left : left + 80] //= 2
        depth[:, :40] = 0  # Seen by one eye only.
        return depth
