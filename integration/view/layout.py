"""What a recording for the viewer is called, coloured and laid out like, live and afterwards."""

import importlib.util
import os
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from dexhil.integration.errors import RunError

# What is drawn together for each joint: name of the line, its column, its colour.
LINES: Final = {
    "measured": ("observation.state", 0x667085FF),
    "executed": ("action", 0x2F9C84FF),
    "person": ("action.human", 0xD8743AFF),
    "policy": ("action.policy", 0x3B6FD4FF),
}
DRIVER_COLOURS: Final = {
    "HOLD": 0x98A2B3FF,
    "POLICY": 0x3B6FD4FF,
    "HUMAN": 0xD8743AFF,
    "BLEND": 0x8E5BB5FF,
    "intervention": 0xD8743AFF,
    "none": 0x98A2B3FF,
}
_FLUSH_S: Final = 10.0  # Disk or viewer may stand still for this long [s].
_MEMORY: Final = "25%"  # The viewer forgets the oldest beyond it: loops must never be swapped out.


def require() -> None:
    """Tell early that the viewer is missing.

    Raises:
        RunError: It is.
    """
    if importlib.util.find_spec("rerun") is None:
        raise RunError("To look at it needs rerun. Try: pip install 'dexhil[view]'")


def send_to(recording: Any, out: Path | None, blueprint: Any) -> None:
    """Let a ``rerun.RecordingStream`` open the viewer, or write a file if one is given.

    Raises:
        RunError: It cannot.
    """
    try:
        if out is None:
            with _installed_programs():
                recording.spawn(memory_limit=_MEMORY, default_blueprint=blueprint)
        else:
            out.parent.mkdir(parents=True, exist_ok=True)
            recording.save(out, default_blueprint=blueprint)
    except (OSError, RuntimeError) as error:
        where, why = "the viewer" if out is None else out, str(error).partition("\n")[0]
        raise RunError(f"Cannot open {where} ({why}).") from error


def flush(recording: Any, out: Path | None) -> None:
    """Wait until all that was logged to a ``rerun.RecordingStream`` is shown, or in the file.

    Raises:
        RunError: The viewer is gone, or the file cannot be written.
    """
    try:
        recording.flush(timeout_sec=_FLUSH_S)
    except RuntimeError as error:
        why = str(error).partition(", uri")[0]
        raise RunError(
            f"the viewer is gone ({why})"
            if out is None
            else f"{out} cannot be written any more ({why}; is the disk full?)"
        ) from error


@contextmanager
def _installed_programs() -> Iterator[None]:
    """Let programs that came with this Python be found, whatever ``PATH`` says: the viewer."""
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join((sysconfig.get_path("scripts"), before))
    try:
        yield
    finally:
        os.environ["PATH"] = before


def layout(
    cameras: Sequence[str], joints: Sequence[str], *, robot: bool, events: bool = False
) -> Any:
    """Return a blueprint.

    Args:
        cameras: Their names.
        joints: Names of the joints that actions have.
        robot: Whether the robot is shown in three dimensions.
        events: Whether there is a log of who drives and why.
    """
    import rerun.blueprint as rrb  # noqa: PLC0415 - an extra, and slow to load

    space = rrb.Spatial3DView(
        origin="/world",
        name="robot",
        # From beside and above, towards what the hand reaches; the arm's base is the origin.
        eye_controls=rrb.EyeControls3D(
            position=(1.3, -1.1, 0.9), look_target=(0.35, 0.0, 0.25), eye_up=(0, 0, 1)
        ),
    )
    pictures = [rrb.Spatial2DView(origin=path("cameras", c), name=c) for c in cameras]
    seen = [*([space] if robot else []), *([rrb.Vertical(*pictures)] if pictures else [])]
    graphs = rrb.Grid(
        *(rrb.TimeSeriesView(origin=path("joints", j), name=f"{j} [rad]") for j in joints),
        name="joints",
    )
    timing = rrb.Vertical(
        rrb.TimeSeriesView(origin="/authority", name="the person's share"),
        rrb.TimeSeriesView(origin="/age", name="age of samples [s]"),
        rrb.TimeSeriesView(origin="/period", name="time between frames [s]"),
        name="timing",
    )
    log = [rrb.TextLogView(origin="/events", name="events")] if events else []
    driver = rrb.StateTimelineView(origin="/driver", name="who drives")
    return rrb.Blueprint(
        rrb.Vertical(
            *([rrb.Horizontal(*seen)] if seen else []),
            driver,
            rrb.Tabs(*log, graphs, timing),
            row_shares=[5, 3, 3] if seen else [2, 5],
        ),
        collapse_panels=True,
    )


def colours(*rgba: int) -> Any:
    """Return colours, 0xRRGGBBAA, as Rerun takes any number of them."""
    return np.array(rgba, np.uint32)


def path(*parts: str) -> str:
    """Return the path of an entity; parts may hold any character."""
    import rerun as rr  # noqa: PLC0415

    return str(rr.new_entity_path(list(parts)))
