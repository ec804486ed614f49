"""An experiment's steps: what they need, what they share, and what an arm learns from."""

import itertools
from pathlib import Path

import pytest

from dexhil.integration.experiment.config import ExperimentConfig, make_config
from dexhil.integration.experiment.plan import Step, plan
from dexhil.policy.arms import ARMS

EVERYTHING = {"arms": (*ARMS, "dexhil@0.25"), "seeds": (0, 3), "rounds": 3}


def config(**changes: object) -> ExperimentConfig:
    return make_config(**{"rig": Path("rig.toml"), **changes})


@pytest.fixture
def steps() -> dict[str, Step]:
    return {step.name: step for step in plan(config(**EVERYTHING))}


def test_every_step_comes_after_all_that_it_needs() -> None:
    done = set[str]()
    for step in plan(config(**EVERYTHING)):
        assert done.issuperset(step.needs), step
        assert step.name not in done, "two steps in one folder"
        done.add(step.name)


def test_no_step_s_folder_is_inside_another_s(steps: dict[str, Step]) -> None:
    assert not any(a.startswith(b + "/") for a, b in itertools.permutations(steps, 2))


def test_the_arms_of_a_seed_share_warm_up_and_first_corrections(steps: dict[str, Step]) -> None:
    first = [step for step in steps.values() if step.round == 1 and step.kind == "train"]
    seeds = [step for step in first if step.seed == 3]
    assert {step.policy for step in seeds} == {"seed-3/warm-up/policy"}
    corrections = {step.corrections for step in seeds if step.corrections}
    assert corrections == {("seed-3/round-1/corrections",)}


def test_from_the_second_round_an_arm_corrects_its_own_latest_policy(
    steps: dict[str, Step],
) -> None:
    for number, arm in itertools.product((2, 3), ("dexhil", "dagger", "dexhil@0.25")):
        step = steps[f"seed-0/{arm}/round-{number}/corrections"]
        assert step.policy == f"seed-0/{arm}/round-{number - 1}/policy"


def test_a_round_trains_on_all_data_so_far_from_the_policy_before(steps: dict[str, Step]) -> None:
    online = steps["seed-0/iwr/round-2/policy"]
    assert online.policy == "seed-0/iwr/round-1/policy"
    assert online.demonstrations == ("seed-0/demonstrations",)
    assert online.corrections == ("seed-0/round-1/corrections", "seed-0/iwr/round-2/corrections")
    offline = steps["seed-0/offline/round-2/policy"]
    assert offline.corrections == ()
    assert offline.demonstrations == (
        "seed-0/demonstrations",
        *(f"seed-0/round-{number}/demonstrations" for number in (1, 2)),
    )


def test_every_policy_is_evaluated_and_nothing_else(steps: dict[str, Step]) -> None:
    trained = sorted(name for name, step in steps.items() if step.kind == "train")
    tried = sorted(str(step.policy) for step in steps.values() if step.kind == "evaluate")
    assert trained == tried
    assert len(trained) == 2 * (1 + 3 * len(EVERYTHING["arms"]))


def test_arms_seeds_and_rounds_can_be_added_without_changing_a_step() -> None:
    few = plan(config(arms=("dexhil",), seeds=(3,), rounds=2))
    more = {step.name: step for step in plan(config(**EVERYTHING))}
    assert all(more[step.name] == step for step in few)
