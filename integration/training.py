"""From datasets on disk to a policy."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dexhil.policy.episodes import DatasetReader, Episode, Features
from dexhil.policy.errors import TrainingError
from dexhil.policy.flow import FlowPolicyConfig
from dexhil.policy.selection import Keep, demonstrated, select, supervised

OBSERVATIONS = ("observation.state", "observation.environment_state")


def policy_config(features: Features, cameras: Sequence[str] = ()) -> FlowPolicyConfig:
    """Return a policy for what a dataset holds: vectors in, joint targets out.

    The arm's targets are learnt relative to where the arm is, the hand's absolutely.

    Args:
        features: Of the dataset.
        cameras: Names of cameras that the policy shall look through as well.

    Raises:
        TrainingError: The dataset has no such camera.
    """
    for camera in cameras:
        if camera not in features.cameras:
            known = ", ".join(features.cameras) or "none"
            raise TrainingError(f"The dataset has no camera {camera!r}. It has: {known}.")
    names = features["action"].names or ()
    observations = {name: features[name].shape[0] for name in OBSERVATIONS if name in features}
    return FlowPolicyConfig(
        observations=observations,
        action_dim=features["action"].shape[0],
        cameras=tuple(features.cameras[camera] for camera in cameras),
        relative=tuple(i for i, name in enumerate(names) if name.startswith("arm.")),
    )


def dataset_policy_config(root: Path, cameras: Sequence[str] = ()) -> FlowPolicyConfig:
    """Return a policy for the dataset in ``root``; see ``policy_config``."""
    return policy_config(DatasetReader(root).features, cameras)


def demonstrations(root: Path, images: Sequence[str] = ()) -> list[Episode]:
    """Return the successful episodes of a dataset, with the image features named."""
    return [demonstrated(episode) for episode in _episodes(root, images) if episode.success]


def corrections(
    roots: Sequence[Path], images: Sequence[str] = (), keep: Keep = "last_takeover"
) -> list[Episode]:
    """Return what to keep of every trial with a takeover that succeeded; see ``select``."""
    return select((supervised(e) for root in roots for e in _episodes(root, images)), keep)


def _episodes(root: Path, images: Sequence[str]) -> list[Episode]:
    reader = DatasetReader(root)
    names = {feature: camera for camera, feature in reader.features.cameras.items()}
    episodes = []
    for index in range(len(reader)):
        episode = reader.episode(index)
        pictures = {
            feature: np.stack(list(reader.images(index, names[feature]))) for feature in images
        }
        episodes.append(replace(episode, columns={**episode.columns, **pictures}))
    return episodes
