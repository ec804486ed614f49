"""A network camera: motion JPEG over HTTP, as cheap ones and streaming telephones send it."""

import contextlib
import io
import socket
from typing import Any

from PIL import Image as Pillow

from dexhil.drivers.arrays import Image
from dexhil.drivers.emulators.emulator import Emulator
from dexhil.drivers.emulators.link import EmulatedLink, TcpLink
from dexhil.drivers.emulators.picture import N_PICTURES, pictures

WIDTH, HEIGHT, RATE_HZ = 640, 480, 30.0
PATH = "/video.mjpg"
BOUNDARY = "dexhil-frame"
SLOWEST_S = 0.5  # A reader that takes longer for one image is hung up on [s].
OK = (
    "HTTP/1.0 200 OK\r\nConnection: close\r\nCache-Control: no-cache\r\n"
    f"Content-Type: multipart/x-mixed-replace; boundary={BOUNDARY}\r\n\r\n"
)
NOT_FOUND = "HTTP/1.0 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class MjpegLink(TcpLink):
    """Sends each image to everybody who asked for the stream.

    The knobs act on the image, not on what is around it: TCP loses no bytes in the middle,
    but cameras send images that break off.
    """

    def __init__(self) -> None:
        super().__init__()
        self._requests: dict[socket.socket, bytes] = {}
        self.viewers: list[socket.socket] = []

    def options(self) -> dict[str, Any]:
        return {"source": f"http://{self.host}:{self.port}{PATH}"}

    def close(self) -> None:
        super().close()
        self._requests.clear()

    def hang_up(self, client: socket.socket) -> None:
        super().hang_up(client)
        self._requests.pop(client, None)
        if client in self.viewers:
            self.viewers.remove(client)

    def request(self, data: bytes, client: socket.socket) -> None:
        """Take a piece of a request, and answer it once it is whole."""
        head = self._requests.get(client, b"") + data
        self._requests[client] = head[-4096:]
        if b"\r\n\r\n" not in head or client in self.viewers:
            return
        found = head.split(b" ")[:2] == [b"GET", PATH.encode()]
        with contextlib.suppress(OSError):
            client.sendall((OK if found else NOT_FOUND).encode())
        if found:
            self.viewers.append(client)
        else:
            self.hang_up(client)

    def _say(self, message: bytes, client: Any) -> None:
        del client  # Everybody sees the same.
        head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(message)}\r\n\r\n"
        part = head.encode() + message + b"\r\n"
        for viewer in list(self.viewers):
            try:
                viewer.settimeout(SLOWEST_S)
                viewer.sendall(part)
                viewer.setblocking(False)
            except OSError:
                self.hang_up(viewer)


class OpencvEmulator(Emulator):
    """Thirty pictures a second, all different.

    ``nan`` and ``rewind`` have no counterpart: such a camera measures nothing and has no clock.
    ``resolution WIDTH HEIGHT`` and ``rate HERTZ`` change what it sends, as a camera does that
    does not keep what it promised.
    """

    kind = "camera"
    driver = "opencv"
    period_s = 0.005

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self._link: MjpegLink = self.add(MjpegLink())
        self._original = self._encoded(WIDTH, HEIGHT)
        self.reset()

    def reset(self) -> None:
        self._images = self._original
        self._period_s = 1.0 / RATE_HZ
        self._number = 0
        self._due_s = self.now_s

    def received(self, link: EmulatedLink[Any], message: Any, client: Any) -> None:
        del link
        self._link.request(message, client)

    def step(self, dt_s: float) -> None:
        del dt_s
        if self.now_s < self._due_s:
            return
        self._due_s = max(self._due_s + self._period_s, self.now_s - self._period_s)
        if not self.knobs.repeating:
            self._number += 1
        if self._link.viewers:
            self._link.send(self._picture())

    def state(self) -> dict[str, Any]:
        return {"number": self._number % N_PICTURES, "viewers": len(self._link.viewers)}

    def control(self, verb: str, *values: str) -> None:
        if verb == "resolution" and len(values) == 2:
            self._images = self._encoded(int(values[0]), int(values[1]))
        elif verb == "rate" and len(values) == 1:
            self._period_s = 1.0 / float(values[0])
        else:
            super().control(verb, *values)

    def _picture(self) -> bytes:
        """Return what it shows of the present moment."""
        return self._images[self._number % N_PICTURES]

    def _pictures(self, width: int, height: int) -> list[Image]:
        """Return ``N_PICTURES`` of shape (height, width, 3), RGB."""
        return pictures(width, height, self.rng)

    def _encoded(self, width: int, height: int) -> list[bytes]:
        return self._jpegs(self._pictures(width, height))

    @staticmethod
    def _jpegs(images: list[Image]) -> list[bytes]:
        encoded = []
        for picture in images:
            file = io.BytesIO()
            Pillow.fromarray(picture).save(file, "JPEG", quality=80)
            encoded.append(file.getvalue())
        return encoded
