"""A whole experiment in the smallest size: everything it promises is there."""

import json
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from dexhil.integration import training
from dexhil.integration.bench import Bench
from dexhil.integration.experiment import run, work
from dexhil.integration.experiment.config import make_config
from dexhil.integration.experiment.plan import plan
from dexhil.integration.experiment.run import run_experiment
from dexhil.policy.checkpoint import Checkpoint
from dexhil.policy.selection import Category, categories_of


class Here(Executor):
    """Works in this process: a worker of its own takes seconds to start."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = Future[Any]()
        future.set_result(fn(*args, **kwargs))
        return future


@contextmanager
def here(_: int) -> Iterator[Executor]:
    yield Here()


def test_an_experiment_leaves_policies_data_results_and_a_page(
    rig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "workers", here)
    monkeypatch.setattr(work, "_bench", lambda *_, **__: bench)
    config = make_config(
        rig=rig,
        arms=("dexhil", "sirius"),
        rounds=1,
        demonstrations=2,
        per_round=1,
        most_trials=2,
        starts=1,
        steps=5,
        round_steps=5,
        batch=16,
        policy={"width": 32},
    )
    with Bench(rig) as bench:
        results = run_experiment(tmp_path, config, processes=1, console=Console(quiet=True))

    assert results["steps_done"] == len(plan(config)) == 8
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    assert [(row["arm"], row["round"]) for row in results["rows"]] == [
        ("warm-up", 0),
        ("dexhil", 1),
        ("sirius", 1),
    ]
    warm_up, dexhil, sirius = results["rows"]
    assert dexhil["round_takeovers"] == sirius["round_takeovers"] == 1
    assert dexhil["human_s"] > warm_up["human_s"] > 0

    first, latest = (
        Checkpoint.load(tmp_path / "seed-0" / name / "checkpoint")
        for name in ("warm-up/policy", "dexhil/round-1/policy")
    )
    assert latest.config == first.config
    assert latest.config.width == 32
    assert latest.training["steps"] == 10, "it goes on from the warm-up"

    corrections = [tmp_path / "seed-0/round-1/corrections/dataset"]
    (kept,), (whole,) = (
        training.corrections(corrections, keep=k) for k in ("last_takeover", "whole_trial")
    )
    assert set(categories_of(kept)) == {Category.INTERVENTION}
    assert (categories_of(whole) == Category.PRE_INTERVENTION).sum() == 15
    np.testing.assert_array_equal(whole.columns["action"][-len(kept) :], kept.columns["action"])
    # The paper's weights, by hand, from what both arms were given.
    demonstrated = warm_up["samples"]
    share = len(kept) / (demonstrated + len(kept))
    assert dexhil["samples"] == demonstrated + len(kept)
    assert dexhil["weights"]["intervention"] == pytest.approx(min(0.5 / share, 10.0))
    assert sirius["samples"] == demonstrated + len(whole)
    assert (tmp_path / "report.html").exists()
