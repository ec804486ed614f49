"""What emulated cameras see: a bar that moves over grey noise, and a number to tell them apart."""

import numpy as np

from dexhil.drivers.arrays import Image

N_PICTURES = 60
N_BITS = 6
BLOCK = (
    16  # Side of the squares that spell the number: two JPEG blocks survive any quality [pixel].
)


def pictures(width: int, height: int, rng: np.random.Generator) -> list[Image]:
    """Paint ``N_PICTURES`` of shape (height, width, 3), RGB, no two of them alike."""
    return [_painted(number, width, height, rng) for number in range(N_PICTURES)]


def number_in(image: Image) -> int:
    """Return which of the pictures ``image`` is."""
    row = image[BLOCK // 2, BLOCK // 2 : BLOCK * N_BITS : BLOCK].mean(axis=1)
    return int(((row > 128) << np.arange(N_BITS)).sum())


def _painted(number: int, width: int, height: int, rng: np.random.Generator) -> Image:
    image = rng.integers(90, 130, (height, width, 3), dtype=np.uint8)
    left = number * (width - width // 8) // N_PICTURES
    image[height // 4 :, left : left + width // 8] += np.array([100, 20, 0], dtype=np.uint8)
    for bit in range(N_BITS):
        image[:BLOCK, BLOCK * bit : BLOCK * (bit + 1)] = 255 * (number >> bit & 1)
    return image
