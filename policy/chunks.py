"""From episodes to what the network trains on: an observation and the actions that followed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from dexhil.policy.episodes import Episode
from dexhil.policy.errors import TrainingError
from dexhil.policy.flow import FlowPolicyConfig
from dexhil.policy.selection import categories_of

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """One sample per frame.

    Attributes:
        numbers: Observation vectors. Shape (n, observation_dim).
        images: Shrunk images, uint8. Shape (n, cameras, 3, size, size).
        chunks: Absolute joint targets from that frame on [rad]. Shape (n, horizon, action_dim).
        categories: ``Category`` of the chunk's first frame. Shape (n,).
    """

    numbers: Tensor
    images: Tensor
    chunks: Tensor
    categories: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)


def make_samples(episodes: Sequence[Episode], config: FlowPolicyConfig) -> Samples:
    """Cut every episode into overlapping chunks.

    At an episode's end the last action is repeated, without a mask: the task is done there and
    the robot shall hold.

    Raises:
        TrainingError: There is no frame, or a column is missing, misshapen or not finite.
    """
    frames = [(i, episode) for i, episode in enumerate(episodes) if len(episode)]
    if not frames:
        raise TrainingError("Training: there is no frame to learn from.")
    for i, episode in frames:
        _check(i, episode, config)
    each = [episode for _, episode in frames]
    return Samples(
        numbers=torch.cat([stack_numbers(episode.columns, config) for episode in each]),
        images=torch.cat([stack_images(episode.columns, config, len(episode)) for episode in each]),
        chunks=torch.cat([_chunks(episode, config) for episode in each]),
        categories=np.concatenate([categories_of(episode) for episode in each]),
    )


def stack_numbers(columns: Arrays, config: FlowPolicyConfig) -> Tensor:
    """Put the observation vectors side by side. Shape (n, observation_dim)."""
    parts = [np.asarray(columns[name], dtype=np.float32) for name in config.observations]
    return torch.from_numpy(np.concatenate(parts, axis=-1))


def stack_images(columns: Arrays, config: FlowPolicyConfig, n: int) -> Tensor:
    """Shrink and stack the cameras' images (n, h, w, 3). Shape (n, cameras, 3, size, size)."""
    size = config.image_size
    images = torch.empty((n, len(config.cameras), 3, size, size), dtype=torch.uint8)
    for i, camera in enumerate(config.cameras):
        # A copy, because frames come read-only and torch wants to own what it wraps.
        whole = torch.from_numpy(np.array(columns[camera])).permute(0, 3, 1, 2)
        shrunk = functional.interpolate(whole.float(), (size, size), mode="area")
        images[:, i] = shrunk.round().to(torch.uint8)
    return images


def _chunks(episode: Episode, config: FlowPolicyConfig) -> Tensor:
    actions = np.asarray(episode.columns["action"], dtype=np.float32)
    frames = np.arange(len(episode))[:, None] + np.arange(config.horizon)
    return torch.from_numpy(actions[np.minimum(frames, len(episode) - 1)])


def _check(index: int, episode: Episode, config: FlowPolicyConfig) -> None:
    """Refuse an episode that does not fit ``config``, by name."""
    for name, size in {**config.observations, "action": config.action_dim}.items():
        if name not in episode.columns:
            raise TrainingError(
                f"Episode {index} has no column {name!r}; it has {', '.join(episode.columns)}."
            )
        shape = episode.columns[name].shape
        if shape != (len(episode), size):
            raise TrainingError(
                f"Episode {index}, column {name!r}: its shape is {shape}, "
                f"the policy takes {(len(episode), size)}."
            )
        if not np.isfinite(episode.columns[name]).all():
            raise TrainingError(f"Episode {index}, column {name!r}: not all numbers are finite.")
    for camera in config.cameras:
        if camera not in episode.columns:
            raise TrainingError(f"Episode {index} has no images {camera!r} among its columns.")
