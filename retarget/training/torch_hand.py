"""Fingertips of many joint positions at once, differentiable."""

import numpy as np
import torch
from torch import Tensor, nn

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.models.kinematics import Kinematics
from dexhil.retarget.model import FingerModel


class TorchHand(nn.Module):
    """The hand of a `FingerModel`, coupled joints included, in batches.

    Every finger is padded to the longest one with joints that do nothing, so that a
    step along the chains is one operation for all fingers and all rows of a batch.

    Args:
        kinematics: A hand.
        dtype: Of everything.
    """

    limits: Tensor
    flexion_gains: Tensor
    _rotations: Tensor
    _positions: Tensor
    _axes: Tensor
    _gains: Tensor
    _offsets: Tensor
    _tips: Tensor

    def __init__(self, kinematics: Kinematics, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.model = FingerModel(kinematics)
        chains = self.model.chains
        n_fingers, n = len(self.model.fingers), self.model.n_joints
        depth = int(np.diff(chains.starts).max())
        rotations = np.tile(np.eye(3), (depth, n_fingers, 1, 1))
        positions, axes = np.zeros((depth, n_fingers, 3)), np.zeros((depth, n_fingers, 3))
        gains, offsets = np.zeros((depth, n_fingers, n)), np.zeros((depth, n_fingers))
        for finger in range(n_fingers):
            for level, row in enumerate(range(*chains.starts[finger : finger + 2])):
                rotations[level, finger] = chains.rotations[row]
                positions[level, finger] = chains.positions[row]
                axes[level, finger] = chains.axes[row]
                gains[level, finger, chains.columns[row]] = chains.multipliers[row]
                offsets[level, finger] = chains.offsets[row]
        tables = {
            "limits": self.model.limits,
            "flexion_gains": self.model.flexion_gains,
            "_rotations": rotations,
            "_positions": positions,
            "_axes": axes,
            "_gains": gains.reshape(-1, n),
            "_offsets": offsets,
            "_tips": np.asarray(chains.tips),
        }
        for name, table in tables.items():
            self.register_buffer(name, torch.tensor(np.array(table), dtype=dtype))

    def forward(self, q: Tensor) -> Tensor:
        """Return the fingertips in the root frame [m]. Shape (batch, fingers, 3).

        Args:
            q: Commanded joints [rad]. Shape (batch, n).
        """
        depth, n_fingers, _ = self._positions.shape
        angles = (q @ self._gains.T).view(-1, depth, n_fingers) + self._offsets
        sine, versine = torch.sin(angles)[..., None], (1.0 - torch.cos(angles))[..., None]
        points = self._tips.expand(len(q), -1, -1)
        for level in range(depth - 1, -1, -1):  # From the tip to the root: points, no matrices.
            axis = self._axes[level].expand_as(points)
            across = torch.linalg.cross(axis, points)
            turned = (
                points
                + sine[:, level] * across
                + versine[:, level] * torch.linalg.cross(axis, across)
            )
            rotation = self._rotations[level]
            points = torch.einsum("fij,bfj->bfi", rotation, turned) + self._positions[level]
        return points

    def sample_tips(self, n: int, seed: int) -> Tensor:
        """Return fingertips of joint positions drawn evenly within the limits."""
        generator = torch.Generator().manual_seed(seed)
        low, high = self.limits.T
        share = torch.rand((n, len(low)), generator=generator, dtype=self.limits.dtype)
        with torch.no_grad():
            tips: Tensor = self(low + share * (high - low))
        return tips


def tensor(values: Matrix) -> Tensor:
    """Return float32 copies, as the networks take them."""
    return torch.tensor(np.array(values), dtype=torch.float32)
