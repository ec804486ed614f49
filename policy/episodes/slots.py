"""Frames in memory that two processes share."""

import mmap
from collections.abc import Mapping

import numpy as np

from dexhil.policy.episodes.open_episode import Record
from dexhil.policy.episodes.schema import Features
from dexhil.policy.episodes.video import Image

_ALIGNMENT = 64  # A cache line: the row of one slot and the images of the next never share one.


class Slots:
    """A fixed number of places for one frame each: its row and its images.

    The memory has no name, so it cannot outlive the processes that hold it, however they end,
    and only as much of it is taken as was ever written to. Who may use which slot is for the
    two sides to agree on.

    Args:
        features: What a frame is.
        n: How many slots.
        descriptor: Of the memory, from `make_memory`. It may be closed afterwards.
    """

    def __init__(self, features: Features, n: int, descriptor: int) -> None:
        self._n = n
        size = slot_size(features)
        memory = mmap.mmap(descriptor, n * size)
        record_size = _aligned(features.frame_dtype.itemsize)
        self._records: list[Record] = []
        self._images: list[dict[str, Image]] = []
        for slot in range(n):
            offset = slot * size
            self._records.append(np.ndarray((), features.frame_dtype, memory, offset))
            offset += record_size
            images = {}
            for camera, key in features.cameras.items():
                images[camera] = np.ndarray(features[key].shape, np.uint8, memory, offset)
                offset += _aligned(images[camera].nbytes)
            self._images.append(images)

    def __len__(self) -> int:
        return self._n

    def write(self, slot: int, record: Record, images: Mapping[str, Image]) -> None:
        """Copy a frame into a slot."""
        self._records[slot][...] = record
        for camera, place in self._images[slot].items():
            place[...] = images[camera]

    def read(self, slot: int) -> tuple[Record, Mapping[str, Image]]:
        """Return the frame in a slot: a copy of its row, and its images where they lie."""
        return self._records[slot].copy(), self._images[slot]


def slot_size(features: Features) -> int:
    """Return the bytes that one frame takes."""
    images = (int(np.prod(features[key].shape)) for key in features.cameras.values())
    return _aligned(features.frame_dtype.itemsize) + sum(_aligned(size) for size in images)


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT
