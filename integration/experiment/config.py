"""What an experiment is, and that a folder holds the results of one experiment only."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

import dexhil
from dexhil.drivers.registry import read_rig
from dexhil.integration.errors import RunError
from dexhil.integration.rounds import SEEDS_PER_RUN, STARTS_PER_ROUND
from dexhil.policy.arms import find_arm
from dexhil.policy.episodes.layout import publish, write_json

FILE = "experiment.json"
_FORMAT = 1
# They say which steps there are, not what comes out of one: a folder may be extended by them.
_EXTENSIBLE = frozenset(("rig", "arms", "seeds", "rounds"))

Count = Annotated[int, Field(ge=1)]
# As many again may fail, and every round has starts of its own.
Collected = Annotated[int, Field(ge=1, le=STARTS_PER_ROUND // 2)]
Trials = Annotated[int, Field(ge=1, le=STARTS_PER_ROUND)]
Starts = Annotated[int, Field(ge=1, le=SEEDS_PER_RUN)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class ExperimentConfig:
    """What to compare, and how much to do.

    Attributes:
        rig: Rig file with a simulated world.
        task: Simulated task.
        arms: Their names, see ``policy/arms.py``.
        seeds: Of everything: each has its own demonstrations, network and trials.
        rounds: After the warm-up.
        demonstrations: Of the warm-up.
        per_round: What a round adds: successful takeovers, or more demonstrations.
        most_trials: A round ends after so many trials, however few takeovers they needed.
        starts: Of every evaluation; the same for all.
        familiar: Demonstrate from familiar starts only, not from all.
        watched: Have an operator watch the evaluations to count needless alarms; costs most of
            the time.
        cameras: What the policy looks through, besides vectors.
        steps: Gradient steps of the warm-up.
        round_steps: Gradient steps of every round.
        batch: Samples per step.
        learning_rate: Peak of the warm-up's.
        round_learning_rate: Peak of every round's.
        policy: Fields of the policy's own configuration that differ from its defaults.
    """

    rig: Path
    task: str = "plush"
    arms: tuple[str, ...] = ("dexhil", "dagger_filtered", "dagger", "offline")
    seeds: tuple[Annotated[int, Field(ge=0, le=99)], ...] = (0,)
    rounds: Annotated[int, Field(ge=0, le=9)] = 3
    demonstrations: Collected = 30
    per_round: Collected = 10
    most_trials: Trials = 100
    starts: Starts = 100
    familiar: bool = False
    watched: bool = False
    cameras: tuple[str, ...] = ()
    steps: Count = 2000
    round_steps: Count = 1000
    batch: Count = 256
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    round_learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    policy: dict[str, Any] = field(default_factory=dict)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        for name in ("arms", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{name} is {values}, allowed are one or more different ones")
        for arm in self.arms:
            find_arm(arm)
        return self


_CONFIG = TypeAdapter(ExperimentConfig)


def make_config(**settings: object) -> ExperimentConfig:
    """Return the configuration with these settings.

    Raises:
        RunError: A setting is out of range, or there is no such arm.
    """
    try:
        return _CONFIG.validate_python(settings)
    except ValidationError as error:
        raise RunError(f"Experiment: {_first(error)}") from error


def claim(out: Path, config: ExperimentConfig) -> None:
    """Note in ``out`` that it holds this experiment.

    Raises:
        RunError: It holds another one, or ``experiment.json`` is damaged.
        DeviceError: The rig file is wrong.
    """
    read_rig(config.rig)
    digest = hashlib.sha256(config.rig.read_bytes()).hexdigest()
    file = out / FILE
    if file.exists():
        known, known_digest = read_config(out), _read(file)["rig_sha256"]
        differences = list(_differences(known, config))
        if digest != known_digest:
            differences.append(f"the rig file was not what {config.rig} says now")
        if differences:
            raise RunError(
                f"{file} was begun with other settings: {'; '.join(differences)}. "
                "Go on with those, or choose another --out."
            )
    settings = _CONFIG.dump_python(config, mode="json")
    about = {"format": _FORMAT, "version": dexhil.__version__, "rig_sha256": digest}
    replace_json(file, {**about, "config": settings})


def read_config(out: Path) -> ExperimentConfig:
    """Return what the folder ``out`` was begun with.

    Raises:
        RunError: There is no experiment, or its file is damaged.
    """
    file = out / FILE
    try:
        return _CONFIG.validate_python(_read(file)["config"])
    except ValidationError as error:
        raise RunError(f"{file}: {_first(error)}") from error


def replace_json(file: Path, content: dict[str, Any]) -> None:
    """Write ``content`` so that ``file`` is whole at every moment."""
    staged = file.with_name(file.name + ".partial")
    write_json(content, staged)
    publish(staged, file)


def _read(file: Path) -> dict[str, Any]:
    try:
        about = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: cannot read it ({error}).") from error
    known = isinstance(about, dict) and about.get("format") == _FORMAT
    if not known or not {"config", "rig_sha256"} <= about.keys():
        raise RunError(f"{file}: not an experiment of format {_FORMAT}.")
    return dict(about)


def _differences(known: ExperimentConfig, asked: ExperimentConfig) -> Iterator[str]:
    before, now = asdict(known), asdict(asked)
    for name, value in before.items():
        if name not in _EXTENSIBLE and value != now[name]:
            yield f"{name} was {value}, now {now[name]}"


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    said = first["msg"].removeprefix("Value error, ").rstrip(".")
    return f"{'.'.join(map(str, first['loc']))}: {said}.".removeprefix(": ")
