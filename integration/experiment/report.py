"""An experiment as one page: its table beside the paper's, curves, and the weights used."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dexhil.integration.experiment.results import REFERENCE, WARM_UP, table_lines
from dexhil.integration.report import png, render_page, section

# Successes of 20 after warm-up and three rounds (DexHiL, arXiv 2603.09121, by task and arm).
PAPER_TRIALS = 20
PAPER = {
    "tissue": {"dexhil": (2, 10, 15, 19), "dagger": (2, 7, 9, 16), "offline": (2, 8, 11, 15)},
    "plush": {"dexhil": (0, 4, 6, 13), "dagger": (0, 2, 3, 4), "offline": (0, 0, 3, 7)},
}


def write_report(out: Path, results: Mapping[str, Any]) -> None:
    """Write ``out/report.html`` from what ``results.json`` holds."""
    config = results["config"]
    seeds = ", ".join(map(str, config["seeds"]))
    page = render_page(
        {
            "title": "What takeovers teach",
            "subtitle": f"Rig {config['rig']}, task {config['task']}, seeds {seeds}, "
            f"{config['starts']} starts each; {results['steps_done']} of {results['steps']} steps.",
            "command": "dexhil experiment dexhil",
            "cards": _cards(results),
            "sections": _sections(results),
        }
    )
    (out / "report.html").write_text(page, encoding="utf-8")


def _cards(results: Mapping[str, Any]) -> list[dict[str, str]]:
    pooled = {(entry["arm"], entry["round"]): entry for entry in results["pooled"]}
    wanted = [
        ("before", "Warm-up", pooled.get((WARM_UP, 0))),
        *(
            (
                "after" if arm == REFERENCE else "",
                arm,
                pooled.get((arm, results["config"]["rounds"])),
            )
            for arm in results["config"]["arms"]
        ),
    ]
    return [
        {
            "kind": kind,
            "name": name,
            "value": f"{entry['successes'] / entry['trials']:.0%}",
            "note": "{} of {} starts, {:.0%} to {:.0%}".format(
                entry["successes"], entry["trials"], *entry["interval"]
            ),
        }
        for kind, name, entry in wanted
        if entry is not None
    ]


def _sections(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    config = results["config"]
    rounds = [f"R{number}" for number in range(1, config["rounds"] + 1)]
    sections = [
        section(
            "Success by round",
            text="Every arm goes on from the same warm-up. Differences are in points, with the "
            "95 % interval of a paired bootstrap over "
            + ("seeds and starts." if len(config["seeds"]) > 1 else "starts only: one seed."),
            image=learning_chart(results),
            caption="Success over all seeds with 95 % intervals (Wilson).",
            header=("arm", "warm-up", *rounds, f"{REFERENCE} better by", "human min"),
            rows=table_lines(results),
        )
    ]
    paper = PAPER.get(config["task"])
    if paper is not None:
        sections.append(
            section(
                "The paper's",
                text=f"Successes of {PAPER_TRIALS} trials on a real robot, one training per arm. "
                "Its DAgger* is online without intervention-aware mechanism; whether it keeps "
                "the filter is not said.",
                header=("arm", "warm-up", "R1", "R2", "R3"),
                rows=[(arm, *counts) for arm, counts in paper.items()],
            )
        )
    if results["rows"]:
        sections.append(
            section(
                "Training",
                text="Every round starts where the one before ended; its new data, and the "
                "weights of it, make the loss rise at first.",
                image=loss_chart(results),
                caption=f"Weighted loss, seed {config['seeds'][0]}.",
            )
        )
    sections.append(
        section(
            "What was learned from",
            text="Per policy: takeovers that ended in success and the trials that gave them, how "
            "long a person drove in all, and how much samples counted: shown in a demonstration, "
            "corrected by a person, the policy's own right before that, and its own otherwise.",
            header=(
                *("arm", "seed", "round", "takeovers", "trials", "human s", "samples"),
                *("interventions", "weights", "effective samples"),
            ),
            rows=[_training_line(row) for row in results["rows"]],
        )
    )
    return sections


def _training_line(row: Mapping[str, Any]) -> Sequence[object]:
    names = {
        "demonstration": "shown",
        "intervention": "corrected",
        "pre_intervention": "right\N{NO-BREAK SPACE}before",
        "rollout": "own",
    }
    weights = "\n".join(f"{names[k]}\N{NO-BREAK SPACE}×{w:.2f}" for k, w in row["weights"].items())
    return (
        *(row["arm"], row["seed"], row["round"]),
        *(row["round_takeovers"], row["round_trials"], f"{row['human_s']:.0f}", row["samples"]),
        f"{row['intervention_share']:.0%}",
        weights,
        f"{row['effective_sample_size']:.0f}",
    )


def learning_chart(results: Mapping[str, Any]) -> str:
    """Draw success by round for every arm; return the picture as base64."""
    figure = Figure(figsize=(6.4, 3.4))
    axes = figure.add_subplot()
    config = results["config"]
    warm_up = [entry for entry in results["pooled"] if entry["arm"] == WARM_UP]
    for i, arm in enumerate(config["arms"]):
        entries = [*warm_up, *(entry for entry in results["pooled"] if entry["arm"] == arm)]
        # Side by side, so that intervals can be told apart.
        places = [entry["round"] + 0.05 * (i - len(config["arms"]) / 2) for entry in entries]
        values = [entry["successes"] / entry["trials"] for entry in entries]
        spans = [
            [value - entry["interval"][0] for value, entry in zip(values, entries, strict=True)],
            [entry["interval"][1] - value for value, entry in zip(values, entries, strict=True)],
        ]
        width = 2.4 if arm == REFERENCE else 1.2
        axes.errorbar(places, values, yerr=spans, label=arm, linewidth=width, capsize=3, marker="o")
    ticks = range(config["rounds"] + 1)
    axes.set_xticks(ticks, ["warm-up", *(f"R{number}" for number in ticks[1:])])
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("success rate")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def loss_chart(results: Mapping[str, Any]) -> str:
    """Draw the loss of the first seed over warm-up and rounds; return the picture as base64."""
    figure = Figure(figsize=(6.4, 2.8))
    axes = figure.add_subplot()
    config = results["config"]
    rows = [row for row in results["rows"] if row["seed"] == config["seeds"][0]]
    for arm in config["arms"]:
        mine = [row for row in rows if row["arm"] in {WARM_UP, arm}]
        places = [
            row["round"] + i / len(row["losses"]) for row in mine for i in range(len(row["losses"]))
        ]
        losses = [loss for row in mine for loss in row["losses"]]
        axes.plot(places, losses, label=arm, linewidth=2.0 if arm == REFERENCE else 1.0)
    ticks = range(config["rounds"] + 1)
    axes.set_xticks(ticks, ["warm-up", *(f"R{number}" for number in ticks[1:])])
    axes.set_yscale("log")
    axes.set_ylabel("loss")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)
