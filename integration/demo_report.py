"""The page of the demo."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dexhil.integration.report import (
    attempt_chart,
    encode,
    loss_chart,
    render_page,
    section,
    success_chart,
)


def write_report(out: Path, result: Mapping[str, Any]) -> None:
    """Write ``out/report.html`` from what ``result.json`` holds and the pictures in ``out``."""
    before, after = result["stages"]
    trials = result["trials"]
    taken = [trial for trial in trials if trial["taken_over"]]
    total_s = sum(trial["duration_s"] for trial in trials)
    human_s = result["human_s"]["takeovers"]
    page = render_page(
        {
            "title": "A policy improved by takeovers",
            "subtitle": f"Rig {result['rig']}, task {result['task']}, seed {result['seed']}, "
            f"{result['wall_s']:.0f} s of work.",
            "command": f"dexhil demo --seed {result['seed']}",
            "cards": [
                _card("before", "Before", before),
                _card("after", "After one round", after),
                {
                    "kind": "",
                    "name": "A person drove",
                    "value": f"{human_s:.0f} s",
                    "note": f"{human_s / total_s:.0%} of the round, {len(taken)} takeovers",
                },
            ],
            "sections": _sections(out, result),
        }
    )
    (out / "report.html").write_text(page, encoding="utf-8")


def _card(kind: str, name: str, stage: Mapping[str, Any]) -> dict[str, str]:
    low, high = stage["interval"]
    return {
        "kind": kind,
        "name": name,
        "value": f"{stage['success']:.0%}",
        "note": f"{stage['successes']} of {stage['trials']} starts, {low:.0%} to {high:.0%}",
    }


def _sections(out: Path, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    before, after = result["stages"]
    size, trials = result["size"], result["trials"]
    reasons = Counter(trial["alarm"] for trial in trials if trial["taken_over"])
    return [
        section(
            "Success",
            text=f"{size['demonstrations']} demonstrations show the toy in a small part of the "
            "table; evaluation puts it anywhere. The same starts are used before and after.",
            image=success_chart(result["stages"]),
            caption="Autonomous success with 95 % intervals.",
        ),
        section(
            "One takeover",
            text="The policy tries, the person takes over without a jump and finishes.",
            image=encode(out / "takeover.png"),
            caption="Blue: the policy drives. Orange: the person drives.",
            video=encode(out / "takeover.mp4"),
        ),
        section(
            "The round",
            text="Every trial under supervision. A trial that the policy did alone adds no data; "
            "of the others, the last takeover to the end is learned from.",
            image=attempt_chart(trials),
            caption="Reasons: "
            + ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()),
        ),
        section(
            "Training",
            image=loss_chart({stage["name"]: stage["losses"] for stage in (before, after)}),
            caption="The round starts from the warm-up's network.",
            header=("", "samples", "interventions", "their weight", "effective samples"),
            rows=[
                (
                    stage["name"],
                    stage["samples"],
                    f"{stage['intervention_share']:.0%}",
                    f"×{stage['intervention_weight']:.2f}",
                    f"{stage['effective_sample_size']:.0f}",
                )
                for stage in (before, after)
            ],
        ),
        section(
            "Was the operator fair?",
            text="Alarms while merely watching the policies, on attempts that then succeeded "
            "without help: takeovers that would not have been needed.",
            header=("policy", "false alarms", "of successes"),
            rows=[
                (stage["name"], *(stage["false_alarms"] or ("–", "–"))) for stage in (before, after)
            ],
        ),
        section(
            "Loop timing",
            text="The same loops on real threads for a few seconds, with the policy driving.",
            header=("loop", "rate", "period p50 / p99", "late p99", "missed"),
            rows=result["timing"],
        ),
    ]
