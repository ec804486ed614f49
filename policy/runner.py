"""A trained policy as the runtime wants it: observation in, chunk of joint targets out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dexhil.policy.checkpoint import Checkpoint
from dexhil.policy.chunks import stack_images, stack_numbers
from dexhil.policy.errors import PolicyError


class Runner:
    """Answers one observation at a time.

    The same seed and observations give the same actions: ``reset`` starts the noise anew.

    Attributes:
        execute_steps: Actions of a chunk to execute before asking again.
        cameras: Image features it looks at.
    """

    def __init__(self, checkpoint: Checkpoint, *, seed: int = 0) -> None:
        self._policy = checkpoint.policy()
        self._seed = seed
        self._generator = torch.Generator()
        self.execute_steps = checkpoint.config.execute_steps
        self.cameras = checkpoint.config.cameras
        self.reset()

    @classmethod
    def load(cls, checkpoint: Path, *, seed: int = 0) -> "Runner":
        """Make one from a folder, e.g. in a process of its own.

        Raises:
            CheckpointError: It is missing, damaged or from another version.
        """
        return cls(Checkpoint.load(checkpoint), seed=seed)

    def reset(self) -> None:
        """Forget the past: a new attempt begins, or somebody else drove."""
        self._generator.manual_seed(self._seed)

    def infer(self, observation: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        """Return the next joint targets, arm first [rad]. Shape (horizon, n).

        Raises:
            PolicyError: The observation lacks something the policy was trained with, or has
                another size.
        """
        config = self._policy.config
        for name in (*config.observations, *config.cameras):
            if name not in observation:
                raise PolicyError(
                    f"Policy: it was trained with {name!r}; the rig shows only "
                    f"{', '.join(observation)}."
                )
        for name, size in config.observations.items():
            if observation[name].shape != (size,):
                raise PolicyError(
                    f"Policy: {name!r} has shape {observation[name].shape}, "
                    f"it was trained with {(size,)}."
                )
        seen = {name: observation[name][None] for name in (*config.observations, *config.cameras)}
        chunk = self._policy.sample(
            stack_numbers(seen, config), stack_images(seen, config, 1), self._generator
        )
        return chunk[0].numpy().astype(np.float64)
