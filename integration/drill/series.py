"""Many drills on one rig, one after the other, with their data looked at in the end."""

import logging
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dexhil.integration.drill import emulated, simulated
from dexhil.integration.drill.drill import Fault, Outcome, check_data, run
from dexhil.integration.drill.stage import Frames, Stage

TRIES = 4
Kind = Literal["simulated", "emulated"]
CATALOGUES: dict[Kind, dict[str, Fault]] = {
    "simulated": simulated.FAULTS,
    "emulated": emulated.FAULTS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What to drill.

    Attributes:
        kind: Of the rig.
        rig: File of a simulated rig; only the name of an emulated one.
        drills: Names of faults, each with a seed.
    """

    kind: Kind
    rig: Path
    drills: Sequence[tuple[str, int]]

    @property
    def rig_name(self) -> str:
        """What to call the rig."""
        return self.rig.stem.removeprefix("sim_")


def run_series(series: Series) -> list[Outcome]:
    """Run all of them. Whatever goes wrong in a drill is a problem of that drill."""
    logging.getLogger("dexhil").setLevel(logging.CRITICAL + 1)  # The matrix says it all.
    outcomes = [
        Outcome(fault=fault, rig=series.rig_name, kind=series.kind, seed=seed)
        for fault, seed in series.drills
    ]
    left = list(outcomes)
    with tempfile.TemporaryDirectory() as folder:
        while left:  # A stage on which something broke for good is left for a new one.
            left = _run_some(series, left, Path(folder) / str(len(left)))
    return outcomes


def _run_some(series: Series, outcomes: list[Outcome], root: Path) -> list[Outcome]:
    """Drill until one breaks off, look at the data, and return those that are left."""
    kept: dict[int, Frames] = {}
    faults, done = CATALOGUES[series.kind], 0
    with _opened(series, root) as stage:
        for outcome in outcomes:
            done += 1
            try:
                _run_one(stage, faults[outcome.fault], outcome)
            except Exception as error:  # noqa: BLE001  # Any at all is worth a line.
                outcome.problems.append(f"broke off: {type(error).__name__}: {error}")
                break
            if outcome.episode is not None:
                kept[outcome.episode] = stage.frames
    check_data(root, outcomes[:done], kept)
    return outcomes[done:]


def _run_one(stage: Stage, fault: Fault, outcome: Outcome) -> None:
    """Run a drill, again if a busy machine held everything before anything broke."""
    for _ in range(TRIES):
        outcome.spoilt = False
        run(stage, fault, outcome)
        if not outcome.spoilt:
            return
        outcome.n_spoilt += 1
    outcome.problems.append(f"held before anything broke, {TRIES} times: {outcome.reason}")


def _opened(series: Series, root: Path) -> AbstractContextManager[Stage]:
    if series.kind == "simulated":
        return simulated.SimStage.opened(series.rig, root)
    return emulated.EmulatedStage.opened(root)
