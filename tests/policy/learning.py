"""Tiny data sets for the learning tests."""

import numpy as np
import torch

from dexhil.policy.episodes import Episode
from dexhil.policy.flow import FlowPolicyConfig

torch.set_num_threads(1)  # More only slow such small networks down.

STATE, PLACE, JOINTS = 4, 3, 2


def config(**changes: object) -> FlowPolicyConfig:
    small = {
        "observations": {"observation.state": STATE, "observation.environment_state": PLACE},
        "action_dim": JOINTS,
        "relative": (0,),
        "horizon": 4,
        "execute_steps": 2,
        "width": 32,
        "depth": 2,
        "observation_noise": 0.0,
    }
    return FlowPolicyConfig(**{**small, **changes})


def episode(seed: int, n: int = 30, *, person: bool = False, bias: float = 0.0) -> Episode:
    """An arm joint that walks towards a place and a hand joint that closes there."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(-1.0, 1.0, PLACE)
    time = np.linspace(0.0, 1.0, n)
    arm = np.outer(time, place[:1])[:, 0] + bias
    hand = np.clip(2.0 * time - 1.0, 0.0, None)
    columns = {
        "observation.state": np.stack([arm, hand, arm * 0.0, time], axis=1).astype(np.float32),
        "observation.environment_state": np.tile(place, (n, 1)).astype(np.float32),
        "action": np.stack([arm + 0.1 * place[0], hand], axis=1).astype(np.float32),
        "intervention": np.full(n, person),
    }
    return Episode(columns=columns, task="reach", success=True, fps=20.0)


def observation(which: Episode, frame: int) -> dict[str, np.ndarray]:
    names = ("observation.state", "observation.environment_state")
    return {name: which.columns[name][frame] for name in names}
