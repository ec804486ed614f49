"""``dexhil retarget view``: look at how a robot hand follows recorded keypoints."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from rich.console import Console
from rich.markup import escape

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.models.kinematics import Kinematics, Side
from dexhil.integration.errors import RunError
from dexhil.integration.retargeting.clips import load_clip, load_hand
from dexhil.integration.retargeting.measures import Measures, hardest, measure
from dexhil.integration.retargeting.run import (
    Retargeted,
    person_of,
    retarget_clip,
)
from dexhil.retarget.build import Method, chosen_method
from dexhil.retarget.filters import FilterName
from dexhil.retarget.human import HumanProportions
from dexhil.retarget.score import WARM_UP, score

if TYPE_CHECKING:
    from dexhil.integration.retargeting.sheet import Tile

SUFFIXES: Final = (".html", ".png", ".rrd")


def view(
    *,
    hand: str,
    keypoints: Path,
    out: Path | None,
    method: Method | None,
    user: str | None,
    filter_name: FilterName,
    side: Side,
    rate_hz: float,
    frames: int,
    console: Console,
    weights: Path | None = None,
) -> None:
    """Retarget a clip and show it: as a sheet, as a recording, or live in the Rerun viewer.

    Raises:
        RunError: A file or an option is wrong, or what would paint is not installed.
    """
    if out is not None and out.suffix not in SUFFIXES:
        raise RunError(f"--out is {out}, must end in {', '.join(SUFFIXES)}.")
    if not 1 <= frames <= 60:
        raise RunError(f"--frames is {frames}, allowed 1 to 60.")
    if not 0.0 < rate_hz < np.inf:
        raise RunError(f"--rate-hz is {rate_hz:g} Hz, must be above 0.")
    kinematics, clip = load_hand(hand, side), load_clip(keypoints)
    method = chosen_method(kinematics, method, weights)
    if out is None or out.suffix == ".rrd":
        from dexhil.integration.retargeting import stream  # noqa: PLC0415 - an extra

        stream.require()
    human = person_of(clip, side, user)
    answer = retarget_clip(
        kinematics,
        clip,
        method=method,
        human=human,
        filter_name=filter_name,
        rate_hz=rate_hz,
        weights=weights,
    )
    shown = _Shown(
        kinematics=kinematics,
        clip=clip,
        human=human,
        answer=answer,
        measures=measure(kinematics, clip, answer, human),
        rate_hz=rate_hz,
    )
    if out is None or out.suffix == ".rrd":
        stream.show(kinematics, shown.answer, shown.measures, rate_hz, out)
    else:
        subtitle = (
            f"{keypoints.name}: {len(clip)} frames at {rate_hz:g} Hz, "
            f"{shown.answer.valid.mean():.1%} answered; method {method}, filter {filter_name}"
        )
        _write_sheet(shown, out, frames, subtitle)
    if out is not None:
        console.print(f"Wrote {escape(str(out))}.", highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Shown:
    kinematics: Kinematics
    clip: Matrix
    human: HumanProportions
    answer: Retargeted
    measures: Measures
    rate_hz: float


def _write_sheet(shown: _Shown, out: Path, frames: int, subtitle: str) -> None:
    # Here and not above: it loads matplotlib, which a recording does not need.
    from dexhil.integration.retargeting import sheet  # noqa: PLC0415

    kinematics, answer = shown.kinematics, shown.answer
    page = sheet.Sheet(
        title=f"{kinematics.model.capitalize()} hand, {kinematics.side}",
        subtitle=subtitle,
        kinematics=kinematics,
        scores=score(
            answer.joint_positions,
            shown.clip,
            kinematics,
            human=shown.human,
            valid=answer.valid,
            # A clip of a few frames is all there is to see.
            warm_up=WARM_UP if answer.valid[WARM_UP:].any() else 0,
        ),
        tiles=_tiles(shown, frames),
        measures=shown.measures,
        rate_hz=shown.rate_hz,
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".html":
            sheet.write_html(page, out, "dexhil retarget view")
        else:
            sheet.write_png(page, out)
    except OSError as error:
        raise RunError(f"Cannot write {out} ({error}).") from error


def _tiles(shown: _Shown, frames: int) -> list["Tile"]:
    from dexhil.integration.retargeting.pictures import HandPainter  # noqa: PLC0415 - MuJoCo
    from dexhil.integration.retargeting.sheet import Tile  # noqa: PLC0415

    tiles = []
    measures = shown.measures
    with HandPainter(
        shown.kinematics,
        joint_positions=shown.answer.joint_positions,
        points=measures.points,
        targets=measures.targets,
    ) as painter:
        for pick in hardest(measures, frames):
            number = pick.number
            person = painter.person(measures.points[number])
            q = shown.answer.joint_positions[number]
            robot = painter.robot(q, measures.targets[number], measures.tips[number])
            errors = dict(zip(shown.kinematics.tips, 1e3 * measures.wrist[number], strict=True))
            tiles.append(Tile(pick=pick, image=np.hstack((person, robot)), errors=errors))
    return tiles
