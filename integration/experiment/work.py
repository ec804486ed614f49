"""What the steps of an experiment do, one at a time, in a worker process."""

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from dexhil.drivers.errors import DeviceError
from dexhil.integration import training
from dexhil.integration.bench import Attempt, Bench
from dexhil.integration.errors import RunError
from dexhil.integration.experiment.config import ExperimentConfig, replace_json
from dexhil.integration.experiment.plan import Step
from dexhil.integration.recorder import open_dataset
from dexhil.integration.rounds import correct, demonstrate, evaluate
from dexhil.policy.arms import Arm
from dexhil.policy.checkpoint import Checkpoint
from dexhil.policy.episodes import DatasetError
from dexhil.policy.errors import PolicyError
from dexhil.policy.flow import FlowPolicyConfig
from dexhil.policy.runner import Runner
from dexhil.policy.trainer import TrainResult, train
from dexhil.retarget.errors import RetargetError
from dexhil.teleop.errors import TeleopError

RESULT = "result.json"
FIRST_LOSSES = 20  # Kept one by one: here the loss of a new round rises.
BLOCKS = 100  # Of the rest of the curve.

_OUR_ERRORS = (DeviceError, RetargetError, TeleopError, DatasetError, PolicyError, RunError)
_POLICY_CONFIG = TypeAdapter(FlowPolicyConfig)


def do_step(out: Path, config: ExperimentConfig, step: Step) -> dict[str, Any]:
    """Do one step in a folder of its own, from nothing; ``result.json`` comes last.

    Args:
        out: The experiment's folder.
        config: The experiment.
        step: What to do.

    Returns:
        What ``result.json`` holds.

    Raises:
        RunError: It cannot be done.
    """
    folder = out / step.name
    with suppress(FileNotFoundError):  # What a killed worker left.
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    start_s, start_cpu_s = time.monotonic(), time.process_time()
    work = {"demonstrate": _demonstrate, "correct": _correct, "train": _train, "evaluate": _try}
    try:
        result = work[step.kind](out, config, step)
    except _OUR_ERRORS as error:
        raise RunError(f"{step.name}: {error}") from error
    result["wall_s"] = time.monotonic() - start_s
    result["cpu_s"] = time.process_time() - start_cpu_s
    replace_json(folder / RESULT, result)
    return result


@cache
def _bench(rig: Path, task: str, *, cameras: bool) -> Bench:
    """Return the bench of this process. What was tried on it before changes nothing."""
    return Bench(rig, task, cameras=cameras)


def _bench_of(config: ExperimentConfig) -> Bench:
    return _bench(config.rig, config.task, cameras=bool(config.cameras))


def _demonstrate(out: Path, config: ExperimentConfig, step: Step) -> dict[str, Any]:
    bench = _bench_of(config)
    n = config.per_round if step.round else config.demonstrations
    root = out / step.name / "dataset"
    with open_dataset(root, bench.rig, bench.task.environment_names) as writer:
        attempts = demonstrate(
            bench, writer, n, run=step.seed, round_number=step.round, familiar=config.familiar
        )
    return _attempts(attempts)


def _correct(out: Path, config: ExperimentConfig, step: Step) -> dict[str, Any]:
    bench, policy = _bench_of(config), Runner(_checkpoint(out, step), seed=step.seed)
    root = out / step.name / "dataset"
    with open_dataset(root, bench.rig, bench.task.environment_names) as writer:
        attempts = correct(
            bench,
            policy,
            writer,
            config.per_round,
            run=step.seed,
            round_number=step.round,
            most=config.most_trials,
        )
    return _attempts(attempts)


def _try(out: Path, config: ExperimentConfig, step: Step) -> dict[str, Any]:
    result = evaluate(
        _bench_of(config), Runner(_checkpoint(out, step)), config.starts, watched=config.watched
    )
    return _attempts(result.attempts)


def _attempts(attempts: Sequence[Attempt]) -> dict[str, Any]:
    return {"attempts": [asdict(attempt) for attempt in attempts]}


def _train(out: Path, config: ExperimentConfig, step: Step) -> dict[str, Any]:
    demonstrated = [out / name / "dataset" for name in step.demonstrations]
    corrected = [out / name / "dataset" for name in step.corrections]
    init = None if step.policy is None else _checkpoint(out, step)
    policy = _policy_config(config, demonstrated[0]) if init is None else init.config
    arm = step.arm or Arm(name="warm-up", weighting="uniform")
    episodes = [e for root in demonstrated for e in training.demonstrations(root, policy.cameras)]
    episodes += training.corrections(corrected, policy.cameras, arm.keep)
    result = train(
        episodes,
        policy,
        steps=config.round_steps if step.round else config.steps,
        seed=1000 * step.seed + step.round,
        init=init,
        weighting=arm.weighting,
        target_share=arm.target_share,
        balance=arm.balance,
        batch=config.batch,
        learning_rate=config.round_learning_rate if step.round else config.learning_rate,
    )
    if result.interrupted:
        raise KeyboardInterrupt
    result.checkpoint.save(_checkpoint_folder(out, step.name))
    return {"episodes": len(episodes), **_learnt(result)}


def _policy_config(config: ExperimentConfig, root: Path) -> FlowPolicyConfig:
    policy = training.dataset_policy_config(root, config.cameras)
    unknown = config.policy.keys() - {*FlowPolicyConfig.__dataclass_fields__}
    if unknown:
        raise RunError(f"policy: it has no setting {', '.join(sorted(unknown))}.")
    try:
        return _POLICY_CONFIG.validate_python(asdict(policy) | config.policy)
    except ValidationError as error:
        raise RunError(f"policy: {error.errors()[0]['msg']}.") from error


def _learnt(result: TrainResult) -> dict[str, Any]:
    weights, losses = result.weights, np.array(result.losses)
    blocks = np.array_split(losses, min(BLOCKS, len(losses)))
    return {
        "samples": len(weights.values),
        "intervention_share": weights.share,
        "shares": {kind.name.lower(): share for kind, share in weights.shares.items()},
        "weights": {kind.name.lower(): weight for kind, weight in weights.by_category.items()},
        "weights_clipped": weights.clipped,
        "effective_sample_size": weights.effective_sample_size,
        "first_losses": losses[:FIRST_LOSSES].tolist(),
        "losses": [float(block.mean()) for block in blocks],
    }


def _checkpoint(out: Path, step: Step) -> Checkpoint:
    return Checkpoint.load(_checkpoint_folder(out, str(step.policy)))


def _checkpoint_folder(out: Path, training_step: str) -> Path:
    return out / training_step / "checkpoint"
