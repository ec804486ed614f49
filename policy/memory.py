"""Memory that two processes share: pictures, and a sign of life beside them."""

import mmap
import os
import sys
import tempfile
import time
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Shape = tuple[int, int, int]
Image = npt.NDArray[np.uint8]

_BEAT_BYTES = 64  # A cache line of its own.


def make_memory(n_bytes: int) -> int:
    """Return a descriptor of new memory, which the processes that inherit it share."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("dexhil")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, n_bytes)
    return descriptor


class Pictures:
    """One place per picture. Who may touch them when is for the two sides to agree on.

    Args:
        shapes: Height, width and channels by name.
        descriptor: Of the memory, from ``make``. It may be closed afterwards.
    """

    def __init__(self, shapes: Mapping[str, Shape], descriptor: int) -> None:
        memory = mmap.mmap(descriptor, _size(shapes))
        self._beat = np.ndarray((1,), np.float64, memory)
        self._places: dict[str, Image] = {}
        offset = _BEAT_BYTES
        for name, shape in shapes.items():
            self._places[name] = np.ndarray(shape, np.uint8, memory, offset)
            offset += self._places[name].nbytes

    @staticmethod
    def make(shapes: Mapping[str, Shape]) -> int:
        """Return a descriptor of new memory, large enough for these."""
        return make_memory(_size(shapes))

    def __getitem__(self, name: str) -> Image:
        return self._places[name]

    def beat(self) -> None:
        """Give a sign of life."""
        self._beat[0] = time.monotonic()  # The same clock in all processes of a machine.

    def silent_s(self) -> float:
        """Return how long ago the last sign of life was given [s]."""
        return time.monotonic() - float(self._beat[0])


def _size(shapes: Mapping[str, Shape]) -> int:
    return _BEAT_BYTES + sum(int(np.prod(shape)) for shape in shapes.values())
