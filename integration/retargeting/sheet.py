"""A sheet of pictures: the person's and the robot's hand side by side where it is hardest."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jinja2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image as Picture

import dexhil
from dexhil.drivers.arrays import Image
from dexhil.drivers.models.kinematics import Kinematics
from dexhil.integration.retargeting.colours import COLOURS
from dexhil.integration.retargeting.measures import Measures, Pick
from dexhil.retarget.keypoints import FINGERS
from dexhil.retarget.score import Scores, human_row

_INK: Final = "#1d2430"
_DIM: Final = "#667085"
_MEAN, _WORST = "#3a78c2", "#b9c9e0"
_COLUMNS: Final = 3

HOW_TO_READ: Final = (
    "Left the person, right the robot, seen by the same camera. A ball is where a fingertip "
    "should be: the person's, scaled to the robot's reach. Below, how far off each one is."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """One frame: the person's hand and the robot's.

    Attributes:
        pick: Which frame, and why.
        image: Both hands side by side. RGB.
        errors: Of each fingertip, by the robot's name of the finger [mm].
    """

    pick: Pick
    image: Image
    errors: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sheet:
    """All that is drawn.

    Attributes:
        title: What it shows.
        subtitle: How it came about.
        kinematics: The robot hand.
        scores: Of the whole clip.
        tiles: The hardest frames.
        measures: Frame by frame.
        rate_hz: Frames per second.
    """

    title: str
    subtitle: str
    kinematics: Kinematics
    scores: Scores
    tiles: Sequence[Tile]
    measures: Measures
    rate_hz: float


def write_html(sheet: Sheet, path: Path, command: str) -> None:
    """Write one page that needs no other file."""
    template = files("dexhil.integration.retargeting").joinpath("sheet.html")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    figure = Figure(figsize=(10.5, 5.4))
    _plot(sheet, figure.subplots(3, 1, sharex=True))
    figure.tight_layout()
    page = environment.from_string(template.read_text(encoding="utf-8")).render(
        version=dexhil.__version__,
        command=command,
        title=sheet.title,
        subtitle=sheet.subtitle,
        how_to_read=HOW_TO_READ,
        figures=figures_of(sheet.scores),
        plot=_svg(figure),
        legend=[(finger, _colour(finger)) for finger in sheet.kinematics.tips],
        tiles=[_tile_of(tile, sheet.rate_hz) for tile in sheet.tiles],
    )
    path.write_text(page, encoding="utf-8")


def write_png(sheet: Sheet, path: Path) -> None:
    """Write one picture."""
    rows = -(-len(sheet.tiles) // _COLUMNS)
    tile_height, head, foot = 3.1, 2.1, 4.6
    height = head + rows * tile_height + foot
    figure = Figure(figsize=(4.9 * _COLUMNS, height), facecolor="white")
    _head(sheet, figure, height)
    grid = figure.add_gridspec(
        rows,
        _COLUMNS,
        left=0.02,
        right=0.98,
        top=1.0 - head / height,
        bottom=foot / height,
        wspace=0.05,
        hspace=0.34,
    )
    for number, tile in enumerate(sheet.tiles):
        _draw_tile(figure.add_subplot(grid[divmod(number, _COLUMNS)]), tile, sheet.rate_hz)
    plots = figure.add_gridspec(
        3, 1, left=0.06, right=0.98, top=(foot - 0.5) / height, bottom=0.5 / height, hspace=0.25
    )
    axes = [figure.add_subplot(plots[row]) for row in range(3)]
    _plot(sheet, axes)
    for each in axes[:2]:
        each.tick_params(labelbottom=False)
    figure.savefig(path, dpi=110)


def figures_of(scores: Scores) -> list[tuple[str, str, str]]:
    """Return name, value and meaning of what the whole clip scored."""

    def mm(value: float) -> str:
        return "none" if np.isnan(value) else f"{1e3 * value:.1f} mm"

    def percent(value: float) -> str:
        return "none" if np.isnan(value) else f"{100.0 * value:.1f} %"

    return [
        ("Fingertip error", mm(scores.wrist), "tip against the scaled human tip, mean"),
        ("Thumb-to-finger error", mm(scores.pair), "vector from thumb tip to fingertip, mean"),
        ("Pinch gap", mm(scores.pinch_gap), f"in {scores.pinches} human pinches"),
        ("Pinches closed", percent(scores.pinch_ok), "robot gap below 20 mm"),
        ("False pinches", percent(scores.false_pinch), "robot touches, person does not"),
        ("Fist", percent(scores.fist), f"least closed finger, {scores.fists} fist frames"),
        ("Jerk", f"{scores.jerk:.2f}", "1 is as jerky as the keypoints"),
        ("Step, 99th percentile", f"{scores.step99:.3f} rad", f"largest {scores.step_max:.3f}"),
        ("Lag", f"{scores.lag} frames", f"{mm(scores.lag_free)} error without it"),
        ("Fingers overlap", percent(scores.overlap_fingers), "of frames, by more than 3 mm"),
    ]


def _head(sheet: Sheet, figure: Figure, height: float) -> None:
    def down(inches: float) -> float:
        return 1.0 - inches / height

    figure.text(0.02, down(0.42), sheet.title, fontsize=19, weight="bold", color=_INK)
    figure.text(0.02, down(0.7), sheet.subtitle, fontsize=10.5, color=_DIM)
    figure.text(0.02, down(0.93), HOW_TO_READ, fontsize=10.5, color=_DIM)
    figures = figures_of(sheet.scores)
    for number, (name, value, _) in enumerate(figures):
        left = 0.02 + 0.96 * number / len(figures)
        figure.text(left, down(1.24), name, fontsize=8.5, color=_DIM)
        figure.text(left, down(1.46), value, fontsize=12, weight="bold", color=_INK)


def _draw_tile(axes: Axes, tile: Tile, rate_hz: float) -> None:
    axes.imshow(tile.image, interpolation="lanczos")
    axes.set_axis_off()
    number = tile.pick.number
    place: dict[str, Any] = {"transform": axes.transAxes, "va": "bottom"}
    axes.text(0.0, 1.09, tile.pick.title, fontsize=11.5, weight="bold", color=_INK, **place)
    axes.text(
        1.0,
        1.09,
        f"frame {number}, {number / rate_hz:.1f} s",
        fontsize=8.5,
        color=_DIM,
        ha="right",
        **place,
    )
    axes.text(0.0, 1.02, tile.pick.note, fontsize=9.5, color=_DIM, **place)
    step = 1.0 / len(tile.errors)
    for column, (finger, error) in enumerate(tile.errors.items()):
        axes.text(
            step * (column + 0.5),
            -0.015,
            f"{finger} {error:.0f} mm",
            fontsize=9,
            color=_colour(finger),
            weight="bold",
            ha="center",
            va="top",
            transform=axes.transAxes,
        )


def _plot(sheet: Sheet, panels: Sequence[Axes]) -> None:
    """Draw errors, gaps and steps over time, with the pictured frames marked."""
    measures = sheet.measures
    time_s = np.arange(len(measures.valid)) / sheet.rate_hz
    error, gap, step = panels
    error.fill_between(time_s, 1e3 * measures.wrist.max(axis=1), color=_WORST, lw=0, label="worst")
    error.plot(time_s, 1e3 * measures.wrist.mean(axis=1), color=_MEAN, lw=1.1, label="mean")
    error.set_ylabel("fingertip\nerror [mm]")
    gap.plot(time_s, 1e3 * measures.human_gaps.min(axis=1), color=_DIM, lw=1.1, label="person")
    gap.plot(time_s, 1e3 * measures.gaps.min(axis=1), color="#d8743a", lw=1.1, label="robot")
    gap.set_ylabel("smallest thumb\ngap [mm]")
    step.plot(time_s, measures.steps, color="#2f9c84", lw=0.9)
    step.set_ylabel("largest joint\nstep [rad]")
    step.set_xlabel("time [s]")
    for axes in panels:
        axes.set_xlim(0.0, max(time_s[-1], 1e-9))
        axes.set_ylim(bottom=0.0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.yaxis.label.set_fontsize(8.5)
        for tile in sheet.tiles:
            axes.axvline(tile.pick.number / sheet.rate_hz, color=_INK, lw=0.7, alpha=0.35)
        held = ~measures.valid
        if held.any():
            axes.fill_between(
                time_s,
                0.0,
                1.0,
                where=held.tolist(),
                color="#c0392b",
                alpha=0.18,
                lw=0,
                transform=axes.get_xaxis_transform(),
                label="held" if axes is error else None,
            )
    error.legend(frameon=False, fontsize=8, ncols=3, loc="upper right")
    gap.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")


def _tile_of(tile: Tile, rate_hz: float) -> dict[str, Any]:
    buffer = io.BytesIO()
    Picture.fromarray(tile.image).save(buffer, format="png", optimize=True)
    return {
        "title": tile.pick.title,
        "note": tile.pick.note,
        "when": f"frame {tile.pick.number}, {tile.pick.number / rate_hz:.1f} s",
        "image": base64.b64encode(buffer.getvalue()).decode("ascii"),
        "errors": [(name, f"{error:.0f}", _colour(name)) for name, error in tile.errors.items()],
    }


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    return base64.b64encode(buffer.getvalue().encode()).decode("ascii")


def _colour(finger: str) -> str:
    return COLOURS[FINGERS[human_row(finger)]]
