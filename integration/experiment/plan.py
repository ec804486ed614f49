"""An experiment as steps, each of which needs what some others left."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dexhil.integration.experiment.config import ExperimentConfig
from dexhil.policy.arms import Arm, find_arm

Kind = Literal["demonstrate", "correct", "train", "evaluate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One unit of work. It is done whole or not at all.

    Attributes:
        name: Its folder below the experiment's; what other steps call it.
        kind: What it does.
        seed: Of the experiment's seeds.
        round: 0 is the warm-up.
        arm: For whom; ``None`` where arms share it.
        policy: Training step whose policy it trains on, corrects or evaluates.
        demonstrations: Steps whose demonstrations it trains on.
        corrections: Steps whose takeovers it trains on.
    """

    name: str
    kind: Kind
    seed: int
    round: int
    arm: Arm | None = None
    policy: str | None = None
    demonstrations: tuple[str, ...] = ()
    corrections: tuple[str, ...] = ()

    @property
    def needs(self) -> tuple[str, ...]:
        """Steps that must be done before."""
        policy = () if self.policy is None else (self.policy,)
        return (*policy, *self.demonstrations, *self.corrections)


def plan(config: ExperimentConfig) -> list[Step]:
    """Return all steps, each after those that it needs."""
    return [step for seed in config.seeds for step in _steps(config, seed)]


def _steps(config: ExperimentConfig, seed: int) -> Iterator[Step]:
    root = f"seed-{seed}"
    first, warm_up = f"{root}/demonstrations", f"{root}/warm-up/policy"
    yield Step(name=first, kind="demonstrate", seed=seed, round=0)
    yield Step(name=warm_up, kind="train", seed=seed, round=0, demonstrations=(first,))
    name = f"{root}/warm-up/evaluation"
    yield Step(name=name, kind="evaluate", seed=seed, round=0, policy=warm_up)
    arms = [find_arm(name) for name in config.arms]
    latest = dict.fromkeys(arms, warm_up)
    added: dict[Arm, tuple[str, ...]] = dict.fromkeys(arms, ())
    shared = set[str]()
    for number in range(1, config.rounds + 1):
        for arm in arms:
            collect = _collect(seed, number, arm, latest[arm])
            if collect.name not in shared:
                yield collect
            shared.add(collect.name)
            added[arm] += (collect.name,)
            more = added[arm] if arm.collect == "demonstrations" else ()
            policy = Step(
                name=f"{root}/{arm.name}/round-{number}/policy",
                kind="train",
                seed=seed,
                round=number,
                arm=arm,
                policy=latest[arm],
                demonstrations=(first, *more),
                corrections=() if more else added[arm],
            )
            yield policy
            latest[arm] = policy.name
            yield Step(
                name=f"{root}/{arm.name}/round-{number}/evaluation",
                kind="evaluate",
                seed=seed,
                round=number,
                arm=arm,
                policy=policy.name,
            )


def _collect(seed: int, number: int, arm: Arm, policy: str) -> Step:
    """Return what adds data to a round. Arms for which it would come out the same share it."""
    shared = f"seed-{seed}/round-{number}"
    if arm.collect == "demonstrations":
        return Step(name=f"{shared}/demonstrations", kind="demonstrate", seed=seed, round=number)
    if number == 1:  # All arms correct the same policy from the same starts.
        name, whose = f"{shared}/corrections", None
    else:
        name, whose = f"seed-{seed}/{arm.name}/round-{number}/corrections", arm
    return Step(name=name, kind="correct", seed=seed, round=number, arm=whose, policy=policy)
