"""A trained policy on disk: safetensors and a JSON file, nothing that executes code.

``config.json`` names its weights file and that file's digest, and is replaced last. So a kill
at any moment leaves the old checkpoint or the new one, never a mixture.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from dexhil.policy.errors import CheckpointError
from dexhil.policy.flow import FlowPolicy, FlowPolicyConfig

FORMAT = 1
CONFIG_FILE = "config.json"
_CONFIG = TypeAdapter(FlowPolicyConfig)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """A policy and where it came from.

    Attributes:
        config: Of the policy.
        tensors: Its weights and scales by name.
        training: Facts about its training, for people; JSON values only.
    """

    config: FlowPolicyConfig
    tensors: Mapping[str, Tensor]
    training: Mapping[str, Any] = field(default_factory=dict)

    def policy(self) -> FlowPolicy:
        """Build the policy, ready to sample from."""
        # Building draws initial weights that are overwritten here; leave the caller's seed alone.
        with torch.random.fork_rng(devices=[]):
            policy = FlowPolicy(self.config)
        policy.load_state_dict(dict(self.tensors))
        return policy.eval()

    def save(self, folder: Path) -> None:
        """Write into ``folder``, replacing the checkpoint that may be there.

        Raises:
            CheckpointError: The disk does not take it.
        """
        data = safetensors.torch.save(dict(self.tensors))
        digest = hashlib.sha256(data).hexdigest()
        policy = _CONFIG.dump_python(self.config, mode="json")
        about = {
            "format": FORMAT,
            "weights": f"weights-{digest[:12]}.safetensors",
            "weights_sha256": digest,
            "policy_sha256": _policy_digest(policy),
            "policy": policy,
            "training": dict(self.training),
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _replace(folder / str(about["weights"]), data)
            _replace(folder / CONFIG_FILE, json.dumps(about, indent=2).encode())
            for stale in folder.glob("weights-*.safetensors"):
                if stale.name != about["weights"]:
                    stale.unlink()
        except OSError as error:
            raise CheckpointError(f"{folder}: cannot write the checkpoint ({error}).") from error

    @classmethod
    def load(cls, folder: Path) -> "Checkpoint":
        """Read the checkpoint in ``folder``.

        Raises:
            CheckpointError: It is missing, damaged or from another version.
        """
        file = folder / CONFIG_FILE
        about = _about(file)
        try:
            config = _CONFIG.validate_python(about["policy"])
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "policy"
            raise CheckpointError(f"{file}: {where}: {first['msg']}.") from error
        weights = folder / about["weights"]
        data = _bytes(weights)
        if hashlib.sha256(data).hexdigest() != about["weights_sha256"]:
            raise CheckpointError(f"{weights}: the file is damaged, its digest is not the saved.")
        try:
            tensors = safetensors.torch.load(data)
        except SafetensorError as error:
            raise CheckpointError(f"{weights}: not a safetensors file ({error}).") from error
        _compare(weights, tensors, config)
        return cls(config=config, tensors=tensors, training=about["training"])


def _about(file: Path) -> dict[str, Any]:
    """Read and check what ``config.json`` says around the policy's own configuration."""
    try:
        about = json.loads(_bytes(file))
    except ValueError as error:
        raise CheckpointError(f"{file}: not JSON ({error}).") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise CheckpointError(f"{file}: not a policy checkpoint of format {FORMAT}.")
    kinds = {"weights": str, "weights_sha256": str, "policy": dict, "training": dict}
    for key, kind in kinds.items():
        if not isinstance(about.get(key), kind):
            raise CheckpointError(f"{file}: {key!r} is missing or not a {kind.__name__}.")
    if Path(about["weights"]).name != about["weights"]:
        raise CheckpointError(f"{file}: 'weights' must name a file beside it.")
    if _policy_digest(about["policy"]) != about.get("policy_sha256"):
        raise CheckpointError(f"{file}: 'policy' was changed after it was saved.")
    return about


def _compare(file: Path, tensors: Mapping[str, Tensor], config: FlowPolicyConfig) -> None:
    """Refuse tensors that are not those of a policy with this ``config``."""
    with torch.device("meta"):
        expected = FlowPolicy(config).state_dict()
    if tensors.keys() != expected.keys():
        names = sorted(tensors.keys() ^ expected.keys())
        raise CheckpointError(f"{file}: does not fit its config.json, which differs in {names[0]}.")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape or tensor.dtype != expected[name].dtype:
            raise CheckpointError(
                f"{file}: {name} is {tuple(tensor.shape)} {tensor.dtype}, its config.json "
                f"says {tuple(expected[name].shape)} {expected[name].dtype}."
            )
        if not tensor.isfinite().all():
            raise CheckpointError(f"{file}: {name} is not finite everywhere.")


def _policy_digest(policy: object) -> str:
    return hashlib.sha256(json.dumps(policy).encode()).hexdigest()


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL byte.
        raise CheckpointError(f"{file}: cannot read it ({error}).") from error


def _replace(file: Path, data: bytes) -> None:
    """Write ``data`` so that ``file`` is whole at every moment."""
    partial = file.with_name(file.name + ".partial")
    with partial.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)
