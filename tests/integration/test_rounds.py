"""Collecting: what is kept, and that the same seed gives the same bytes."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from dexhil.integration import rounds
from dexhil.integration.bench import Attempt, Bench
from dexhil.integration.recorder import rig_features
from dexhil.policy.episodes import DatasetReader, DatasetWriter, Source


def attempt(seed: int, *, success: bool, alarm: str | None = None) -> Attempt:
    return Attempt(seed=seed, success=success, duration_s=1.0, alarm=alarm)


def record(rig: Path, root: Path, n: int, *, before: int = 0) -> list[Attempt]:
    with Bench(rig) as bench:
        for seed in range(before):  # Other work on the same bench first.
            bench.attempt(seed, role=rounds.Role.DEMONSTRATE)
        features = rig_features(bench.rig, bench.task.environment_names)
        with DatasetWriter(root, features, 20, bench.rig.robot_type) as writer:
            return rounds.demonstrate(bench, writer, n, run=7)


def test_the_families_of_seeds_never_meet() -> None:
    families = (rounds.DEMONSTRATION_SEEDS, rounds.TAKEOVER_SEEDS, rounds.EVALUATION_SEEDS)
    runs = [
        range(f + r * rounds.SEEDS_PER_RUN, f + (r + 1) * rounds.SEEDS_PER_RUN)
        for f in families
        for r in range(50)
    ]
    starts = sorted((run.start, run.stop) for run in runs)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(starts))


def test_rounds_of_a_run_have_starts_of_their_own() -> None:
    each = [rounds.seeds(rounds.TAKEOVER_SEEDS, 3, number) for number in range(10)]
    starts = [set(itertools.islice(one, rounds.STARTS_PER_ROUND)) for one in each]
    assert len(set().union(*starts)) == 10 * rounds.STARTS_PER_ROUND
    assert starts[0] <= set(rounds.seeds(rounds.TAKEOVER_SEEDS, 3))
    assert not set(rounds.seeds(rounds.TAKEOVER_SEEDS, 4)) & set().union(*starts)


def test_the_same_seed_gives_the_same_dataset_byte_for_byte(rig: Path, tmp_path: Path) -> None:
    record(rig, tmp_path / "a", 2)
    record(rig, tmp_path / "b", 2)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a" / "data").rglob("*.*"))
    assert len(files) == 2
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_what_happened_before_on_the_same_bench_changes_nothing(rig: Path, tmp_path: Path) -> None:
    record(rig, tmp_path / "a", 1)
    record(rig, tmp_path / "b", 1, before=1)
    first, second = (DatasetReader(tmp_path / name).episode(0).columns for name in "ab")
    for name, values in first.items():
        if name != "t_mono":  # The clock went on; all else is the same.
            np.testing.assert_array_equal(values, second[name], err_msg=name)


def test_demonstrations_are_human_driven_successes_without_interventions(
    rig: Path, tmp_path: Path
) -> None:
    attempts = record(rig, tmp_path / "a", 2)
    reader = DatasetReader(tmp_path / "a")
    assert len(reader) == 2 == sum(a.success for a in attempts)
    for index in range(2):
        episode = reader.episode(index)
        assert episode.success
        assert not episode.intervention.any()
        assert (episode.columns["source"] == Source.HUMAN).mean() > 0.8
        assert np.isnan(episode.columns["action.policy"]).all()
        assert np.isfinite(episode.columns["action"]).all()


def test_alarms_are_false_in_successes_and_missing_in_failures() -> None:
    evaluation = rounds.Evaluation(
        attempts=(
            attempt(0, success=True),
            attempt(1, success=True, alarm="pushed"),
            attempt(2, success=False, alarm="missed"),
            attempt(3, success=False),
            attempt(4, success=False, alarm="missed"),
        )
    )
    assert (evaluation.rate.successes, evaluation.rate.trials) == (2, 5)
    assert evaluation.false_alarms == rounds.Rate(1, 2)
    assert evaluation.missed_alarms == rounds.Rate(1, 3)
    nobody = rounds.Evaluation(attempts=(attempt(0, success=True),))
    assert nobody.missed_alarms is None


@pytest.mark.timeout(120)
def test_a_supervised_round_records_policy_then_person(rig: Path, tmp_path: Path) -> None:
    class Still:
        """A policy that never gets there: it keeps the robot where it is."""

        execute_steps = 8

        def reset(self) -> None: ...

        def infer(self, observation: dict[str, np.ndarray]) -> np.ndarray:
            state = observation["observation.state"]
            joints = np.concatenate([state[:7], state[7:13] + state[13:19]])
            return np.tile(joints, (16, 1))

    with Bench(rig) as bench:
        features = rig_features(bench.rig, bench.task.environment_names)
        with DatasetWriter(tmp_path, features, 20, bench.rig.robot_type) as writer:
            (trial,) = rounds.correct(bench, Still(), writer, 1, run=3)
    assert trial.success
    assert trial.alarm == "stalled"
    episode = DatasetReader(tmp_path).episode(0)
    driven = episode.intervention
    (changes,) = np.nonzero(np.diff(driven.astype(int)))
    assert len(changes) == 1, "one takeover, to the end"
    assert not driven[0]
    assert driven[-1]
    before = episode.columns["action.policy"][~driven]
    assert np.isfinite(before[2:]).all(), "the policy's proposal is recorded while it drives"
    human = episode.columns["action.human"]
    assert np.isnan(human[~driven]).all()
    # In the very step of the takeover the slower arm loop may not have come round yet.
    assert np.isfinite(human[driven][1:]).all()
