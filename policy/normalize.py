"""Shift and scale to about unit size, and remember how."""

from typing import Self

import torch
from torch import Tensor, nn


class Normalizer(nn.Module):
    """Maps each coordinate to mean 0 and standard deviation 1 over the data it was fitted to.

    Its numbers are buffers: they are saved with the network and, on a warm start, stay
    those of the first round, because the network's weights only make sense with them.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))

    def fit(self, values: Tensor, *, floor: float = 1e-3) -> Self:
        """Fit to ``values``, whose first axis is the sample.

        Args:
            values: The data. Shape (n, ...).
            floor: Added to every scale, so that a coordinate that never moved stays finite;
                in the unit of the data (1e-3 rad or m is below what robots resolve).
        """
        self.mean.copy_(values.mean(dim=0))
        self.scale.copy_(values.std(dim=0, correction=0) + floor)
        return self

    def forward(self, values: Tensor) -> Tensor:
        """Normalise. Shape (..., *shape) both."""
        return (values - self.mean) / self.scale

    def inverse(self, values: Tensor) -> Tensor:
        """Undo ``forward``."""
        return values * self.scale + self.mean
