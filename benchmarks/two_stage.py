"""DexHiL's claim: two stages against one network for all fingers, and against GeoRT's losses.

    python benchmarks/two_stage.py                     # 5 seeds, an hour on one core
    python benchmarks/two_stage.py --seeds 0 --quick   # a minute, figures mean nothing

Every seed draws its own people and networks; all maps of a seed see the same frames for the same
number of gradient steps. They are scored on two synthetic glove clips of people that no training
saw. "Paper" is DexHiL's Eq. (1) and (2); "ours" adds the bend of whole fingers to Eq. (1) and
tells the fingers' networks of contact. The claim is about fists at an equal pinch gap, so the
joint network is trained with two contact weights, and its closure is read off at the gap of the
two-stage map, on the line through both.
"""

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import Kinematics, load_kinematics
from dexhil.retarget import HumanProportions
from dexhil.retarget.score import palm_points, score
from dexhil.retarget.synthetic import make_clip
from dexhil.retarget.training.losses import LossWeights
from dexhil.retarget.training.nets import AnyMap, Batch
from dexhil.retarget.training.torch_hand import tensor
from dexhil.retarget.training.train import (
    TrainConfig,
    fit_geort,
    fit_joint,
    fit_two_stage,
    synthetic_batch,
)

PAPER: Final = LossWeights(closing=0.0, closed=0.0)
OURS: Final = LossWeights()
LIGHT: Final = 1.0
"""The contact weight of the second joint network."""
ARMS: Final = {
    "two-stage, paper": ("two-stage", PAPER, False),
    "joint, paper": ("joint", PAPER, False),
    "joint, paper, light contact": ("joint", replace(PAPER, contact=LIGHT, pinch=0.0), False),
    "GeoRT-style": ("geort", PAPER, False),
    "two-stage, ours": ("two-stage", OURS, True),
    "joint, our losses": ("joint", OURS, False),
    "joint, our losses, light contact": (
        "joint",
        replace(OURS, contact=LIGHT, pinch=0.0),
        False,
    ),
}
FIGURES: Final = {
    "fist": ("fist", 1.0, "{:.2f}"),
    "pinch gap mm": ("pinch_gap", 1e3, "{:.1f}"),
    "pinch ok": ("pinch_ok", 1.0, "{:.2f}"),
    "wrist mm": ("wrist", 1e3, "{:.1f}"),
    "pair mm": ("pair", 1e3, "{:.1f}"),
    "flexion": ("flexion", 1.0, "{:.3f}"),
    "jerk": ("jerk", 1.0, "{:.2f}"),
}
T_95: Final = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}
"""Two-sided 95 % quantile of Student's t for as many seeds."""


def trained(arm: str, kinematics: Kinematics, data: Batch, config: TrainConfig) -> AnyMap:
    """Return the map of an arm."""
    kind, weights, meet = ARMS[arm]
    config = replace(config, weights=weights, meet=meet)
    if kind == "joint":
        return fit_joint(kinematics, data, config)
    if kind == "geort":
        return fit_geort(kinematics, data, config)
    return fit_two_stage(kinematics, data, config)


def figures_of(map_: AnyMap, kinematics: Kinematics, clips: list[Matrix]) -> dict[str, float]:
    """Return the mean scores over clips."""
    rows = []
    for clip in clips:
        human = HumanProportions.measure(clip)
        reaches = tensor(human.reaches).expand(len(clip), 5)
        with torch.no_grad():
            q = map_(Batch(tensor(palm_points(clip)), reaches)).q.double().numpy()
        rows.append(asdict(score(q, clip, kinematics, human=human)))
    return {name: float(np.mean([row[name] for row in rows])) for name, _, _ in FIGURES.values()}


def mean_and_interval(values: Vector) -> tuple[float, float]:
    """Return the mean and half of its 95 % interval (Student's t)."""
    if len(values) < 2:
        return float(values.mean()), float("nan")
    return float(values.mean()), float(
        T_95.get(len(values), 2.0) * values.std(ddof=1) / np.sqrt(len(values))
    )


def at_equal_gap(runs: dict[str, list[dict[str, float]]], two_stage: str, joint: str) -> Vector:
    """Return how much more two stages close a fist than the joint network, by seed.

    The joint network's closure is read at the two-stage map's gap, on the line through its two
    contact weights; beyond the light one, there.
    """
    out = []
    for two, *ends in zip(
        runs[two_stage], runs[joint], runs[f"{joint}, light contact"], strict=True
    ):
        ends.sort(key=lambda run: run["pinch_gap"])
        gaps, fists = ([run[key] for run in ends] for key in ("pinch_gap", "fist"))
        out.append(two["fist"] - float(np.interp(two["pinch_gap"], gaps, fists)))
    return np.array(out)


def report(results: dict[str, dict[str, list[dict[str, float]]]], console: Console) -> None:
    """Print one table per hand, and the claim."""
    for hand, runs in results.items():
        table = Table(title=f"{hand}: mean ± 95 % interval over {len(next(iter(runs.values())))}")
        for heading in ("map", *FIGURES, "train s"):
            table.add_column(heading)
        for arm, rows in runs.items():
            cells = []
            for name, factor, form in FIGURES.values():
                mean, half = mean_and_interval(factor * np.array([row[name] for row in rows]))
                cells.append(f"{form.format(mean)} ± {form.format(half)}")
            seconds = np.mean([row["seconds"] for row in rows])
            table.add_row(arm, *cells, f"{seconds:.0f}")
        console.print(table)
        pairs = {
            "paper's losses": ("two-stage, paper", "joint, paper"),
            "our losses": ("two-stage, ours", "joint, our losses"),
            "against GeoRT-style": ("two-stage, paper", "GeoRT-style"),
            "ours against GeoRT-style": ("two-stage, ours", "GeoRT-style"),
        }
        for title, (a, b) in pairs.items():
            words = []
            for label, (name, factor, _) in list(FIGURES.items())[:4]:
                difference = factor * np.array(
                    [x[name] - y[name] for x, y in zip(runs[a], runs[b], strict=True)]
                )
                words.append("{} {:+.2f} ± {:.2f}".format(label, *mean_and_interval(difference)))
            console.print(f"{hand}, {title}, {a} minus {b}: " + ", ".join(words))
        for two_stage, joint in (
            ("two-stage, paper", "joint, paper"),
            ("two-stage, ours", "joint, our losses"),
        ):
            mean, half = mean_and_interval(at_equal_gap(runs, two_stage, joint))
            console.print(
                f"{hand}, fist at the gap of the first, {two_stage} minus {joint}: "
                f"{mean:+.3f} ± {half:.3f}"
            )


def main() -> None:
    """Train, score and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hands", nargs="+", default=["leap", "allegro"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=1000, help="of each stage; joint maps: twice")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--samples", type=int, default=20_000, help="synthetic frames")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="check that it runs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.quick:
        arguments.steps, arguments.samples = 20, 500
    clips = [make_clip(seed, 300 if arguments.quick else 1500) for seed in (900, 901)]
    console = Console(width=160)
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    for hand in arguments.hands:
        kinematics = load_kinematics(hand)
        runs: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
        for seed in arguments.seeds:
            config = TrainConfig(
                seed=seed, steps=arguments.steps, batch=arguments.batch, samples=arguments.samples
            )
            data = synthetic_batch(kinematics, config)
            for arm in ARMS:
                start = time.perf_counter()
                map_ = trained(arm, kinematics, data, config)
                seconds = time.perf_counter() - start
                runs[arm].append(figures_of(map_, kinematics, clips) | {"seconds": seconds})
                console.print(f"{hand} seed {seed} {arm}: {_short(runs[arm][-1])}")
        results[hand] = runs
        if arguments.out is not None:
            content: dict[str, Any] = {"steps": arguments.steps, "results": results}
            arguments.out.write_text(json.dumps(content, indent=1))
    report(results, console)


def _short(row: dict[str, float]) -> str:
    return ", ".join(
        f"{label} {form.format(factor * row[name])}"
        for label, (name, factor, form) in FIGURES.items()
    )


if __name__ == "__main__":
    main()
