"""A run folder as one page that people want to look at."""

import base64
import io
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
from matplotlib.figure import Figure

import dexhil

mpl.use("agg")

POLICY_COLOUR, HUMAN_COLOUR = "#2660bc", "#d66a14"


def render_page(content: Mapping[str, Any]) -> str:
    """Return the page. ``content`` holds title, subtitle, command, cards and sections."""
    template = files("dexhil.integration").joinpath("report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(version=dexhil.__version__, **content)


def section(title: str, **fields: Any) -> dict[str, Any]:
    """Return one section: text, image with caption, video, or header with rows."""
    empty = dict.fromkeys(("text", "image", "caption", "video", "header", "rows"))
    return {**empty, "title": title, **fields}


def encode(path: Path) -> str:
    """Return a file as base64, so that the page is one file."""
    return base64.b64encode(path.read_bytes()).decode("ascii")


def png(figure: Figure) -> str:
    """Return a figure as a picture in base64."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, bbox_inches="tight")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def success_chart(stages: Sequence[Mapping[str, Any]]) -> str:
    """Draw success by stage with its interval; return the picture as base64."""
    figure = Figure(figsize=(6.4, 3.0))
    axes = figure.add_subplot()
    for i, stage in enumerate(stages):
        low, high = stage["interval"]
        colour = POLICY_COLOUR if i == 0 else HUMAN_COLOUR
        axes.bar(i, stage["success"], width=0.55, color=colour, alpha=0.85)
        axes.errorbar(
            i,
            stage["success"],
            yerr=[[stage["success"] - low], [high - stage["success"]]],
            color="black",
            capsize=5,
        )
        label = f"{stage['successes']}/{stage['trials']}"
        axes.text(i + 0.06, stage["success"] + 0.015, label, ha="left", va="bottom")
    axes.set_xticks(range(len(stages)), [stage["name"] for stage in stages])
    axes.set_ylim(0, 1.08)
    axes.set_ylabel("success rate")
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def loss_chart(curves: Mapping[str, Sequence[float]]) -> str:
    """Draw training loss by step; return the picture as base64."""
    figure = Figure(figsize=(6.4, 2.6))
    axes = figure.add_subplot()
    for (name, losses), colour in zip(curves.items(), (POLICY_COLOUR, HUMAN_COLOUR), strict=False):
        axes.plot(losses, label=name, color=colour, linewidth=1.2)
    axes.set_yscale("log")
    axes.set_xlabel("step (averaged in blocks)")
    axes.set_ylabel("flow-matching loss")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def attempt_chart(attempts: Sequence[Mapping[str, Any]]) -> str:
    """Draw each supervised attempt as a bar: blue the policy, orange the person."""
    figure = Figure(figsize=(6.4, 0.22 * len(attempts) + 0.9))
    axes = figure.add_subplot()
    for i, attempt in enumerate(attempts):
        autonomous_s = attempt["duration_s"] - attempt["human_s"]
        axes.barh(i, autonomous_s, color=POLICY_COLOUR)
        axes.barh(i, attempt["human_s"], left=autonomous_s, color=HUMAN_COLOUR)
        mark = "✓" if attempt["success"] else "✗"
        note = f"{mark} {attempt['alarm'] or 'alone'}"
        axes.text(attempt["duration_s"] + 0.1, i, note, va="center", fontsize=8)
    axes.set_yticks([])
    axes.invert_yaxis()
    axes.set_xlabel("time [s]; blue: policy, orange: person")
    axes.spines[["top", "right", "left"]].set_visible(False)
    return png(figure)
