"""What the columns of an episode must satisfy. Pure functions over arrays; no files.

Each returns sentences that say what is wrong, for people; none if all is well.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dexhil.policy.episodes.schema import BOOKKEEPING, Features, Source, may_be_absent

Columns = Mapping[str, npt.NDArray[Any]]

TIME_TOLERANCE_S: Final = 1e-4  # LeRobot's, between a row and its frame.

_MODES: Final = (0, 1, 2)  # Nobody, policy, person.


def bookkeeping(
    columns: Columns, *, episode_index: int, first_frame: int, task_index: int | None, fps: float
) -> list[str]:
    """Check the five columns by which LeRobot finds a frame."""
    n = len(columns["index"])
    expected: dict[str, npt.NDArray[Any]] = {
        "episode_index": np.full(n, episode_index),
        "frame_index": np.arange(n),
        "index": first_frame + np.arange(n),
    }
    if task_index is not None:
        expected["task_index"] = np.full(n, task_index)
    said = []
    for name, wanted in expected.items():
        bad = columns[name] != wanted
        if np.any(bad):
            k = int(np.argmax(bad))
            said.append(f"{name} is {columns[name][k]} in frame {k}, expected {wanted[k]}")
    late: npt.NDArray[np.float64] = np.abs(columns["timestamp"] - np.arange(n) / fps)
    if not late.max() <= TIME_TOLERANCE_S:
        k = int(np.argmax(np.where(np.isnan(late), np.inf, late)))
        said.append(
            f"timestamp is {columns['timestamp'][k]:.4f} s in frame {k}, expected "
            f"{k / fps:.4f} s at {fps:g} Hz"
        )
    return said


def values(columns: Columns, features: Features) -> list[str]:
    """Check that every number is finite, or that the whole row is absent where it may be."""
    said = []
    for name, feature in features.columns.items():
        if not feature.dtype.startswith("float") or name in BOOKKEEPING:
            continue
        rows = columns[name].reshape(len(columns[name]), -1)
        bad = ~np.isfinite(rows).all(axis=1)
        if may_be_absent(name):
            bad &= ~np.isnan(rows).all(axis=1)
        if bad.any():
            said.append(
                f"{name} is not finite in {bad.sum()} of {len(rows)} frames, "
                f"first in frame {bad.argmax()}"
            )
    return said


def stamps(columns: Columns) -> list[str]:
    """Check that the real stamps increase."""
    if "t_mono" not in columns:
        return []
    bad: npt.NDArray[np.int64] = np.flatnonzero(~(np.diff(columns["t_mono"]) > 0.0))
    if not len(bad):
        return []
    return [f"t_mono does not increase from frame {bad[0]} to {bad[0] + 1} ({len(bad)} times)"]


def outcome(columns: Columns, success: bool | None) -> list[str]:
    """Check that the end is marked, and agrees with the label in the metadata."""
    said = []
    if "next.done" in columns:
        done = columns["next.done"]
        if done[:-1].any() or not done[-1]:
            said.append("next.done is not true in the last frame and only there")
    if "next.success" in columns and success is not None:
        won = bool(columns["next.success"].any())
        if won != success:
            said.append(f"next.success says {won}, the metadata {success}")
    return said


def driver(columns: Columns) -> list[str]:
    """Check that the columns which say who drove do not contradict each other."""
    said = [
        f"{name} is {column[bad.argmax()]:g} in frame {bad.argmax()}, allowed 0 to 1"
        for name, column in columns.items()
        if name.split(".")[0] == "authority" and (bad := (column < 0.0) | (column > 1.0)).any()
    ]
    if "source" not in columns or "authority" not in columns:
        return said
    source, authority = columns["source"], columns["authority"]
    known = {"source": (source, tuple(Source)), "mode": (columns.get("mode"), _MODES)}
    for name, (column, allowed) in known.items():
        if column is not None and (bad := ~np.isin(column, allowed)).any():
            said.append(f"{name} is {column[bad.argmax()]}, which means nothing")
    for who, share in ((Source.POLICY, 0.0), (Source.HUMAN, 1.0)):
        bad = (source == who) & (authority != share)
        if bad.any():
            k = bad.argmax()
            said.append(
                f"source is {who.name} with authority {authority[k]:g} in frame {k}, "
                f"expected {share:g}"
            )
    return said + _flags(columns)


def _flags(columns: Columns) -> list[str]:
    """Check the flag that corrections are found by.

    In a demonstration nobody but the person drives and nothing is marked. Where a policy drove
    too, the person's frames are; but for one at an edge, where the driver changes within the step.
    """
    if "intervention" not in columns:
        return []
    source, marked = columns["source"], columns["intervention"]
    lost = (source == Source.HUMAN) & ~marked
    if (marked.any() or (source == Source.POLICY).any()) and (lost[1:] & lost[:-1]).any():
        return [
            f"a person drove in {np.sum(source == Source.HUMAN)} frames beside the policy, but "
            f"{lost.sum()} of them are not marked as intervention"
        ]
    if marked.any() and not (marked & _shared(columns)).any():
        return [f"{marked.sum()} frames are marked as intervention, but a person drove in none"]
    return []


def _shared(columns: Columns) -> npt.NDArray[np.bool_]:
    """Return in which frames the person had the robot or a share of it. Shape (t,)."""
    shared = np.isin(columns["source"], (Source.HUMAN, Source.BLEND))
    for name, column in columns.items():
        if name.split(".")[0] == "authority":
            shared |= column > 0.0
    return np.asarray(shared)
