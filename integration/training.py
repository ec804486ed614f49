"""From datasets on disk to a policy."""

from collections.abc import Sequence
from pathlib import Path

from dexhil.policy.episodes import DatasetReader, Episode, Features
from dexhil.policy.flow import FlowPolicyConfig
from dexhil.policy.selection import select

OBSERVATIONS = ("observation.state", "observation.environment_state")


def policy_config(features: Features) -> FlowPolicyConfig:
    """Return a policy for what a dataset holds: vectors in, joint targets out.

    The arm's targets are learnt relative to where the arm is, the hand's absolutely.
    """
    names = features["action"].names or ()
    observations = {name: features[name].shape[0] for name in OBSERVATIONS if name in features}
    return FlowPolicyConfig(
        observations=observations,
        action_dim=features["action"].shape[0],
        relative=tuple(i for i, name in enumerate(names) if name.startswith("arm.")),
    )


def dataset_policy_config(root: Path) -> FlowPolicyConfig:
    """Return a policy for the dataset in ``root``."""
    return policy_config(DatasetReader(root).features)


def demonstrations(root: Path) -> list[Episode]:
    """Return the successful episodes of a dataset."""
    return [episode for episode in _episodes(root) if episode.success]


def corrections(roots: Sequence[Path]) -> list[Episode]:
    """Return, of every trial with a takeover that succeeded, the last takeover to the end."""
    return select(episode for root in roots for episode in _episodes(root))


def _episodes(root: Path) -> list[Episode]:
    reader = DatasetReader(root)
    return [reader.episode(index) for index in range(len(reader))]
