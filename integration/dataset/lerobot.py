"""A dataset without the columns that only dexhil has, for LeRobot's own tools to merge."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from dexhil.policy.episodes.assembly import (
    Assembly,
    Piece,
    building,
    pieces,
    require_finished,
)
from dexhil.policy.episodes.check import Progress, require_sound
from dexhil.policy.episodes.errors import DatasetError
from dexhil.policy.episodes.layout import Layout, read_json, read_parquet, storing
from dexhil.policy.episodes.schema import BOOKKEEPING, OUTCOME, is_lerobots

IS_INTERVENTION: Final = "complementary_info.is_intervention"  # As LeRobot's HIL-SERL names it.

_EXACT_TYPES: Final = {"bool": pa.bool_(), "int64": pa.int64()}
_OUR_METADATA: Final = ("success", "true_fps", "largest_gap_s")


def export(
    root: Path,
    out: Path,
    *,
    outcome: bool = True,
    is_intervention: bool = False,
    without: Sequence[str] = (),
    progress: Progress = lambda _done, _of: None,
) -> int:
    """Write the dataset ``root`` anew as a plain LeRobot dataset ``out``. Videos are linked.

    Keeps ``action``, ``intervention``, observations and cameras. LeRobot merges datasets of equal
    columns only, so choose those that the others have.

    Args:
        root: The dataset.
        out: Folder to make.
        outcome: Keep ``next.reward``, ``next.done``, ``next.success``.
        is_intervention: Add ``complementary_info.is_intervention``, the flag as a number.
        without: Columns or cameras to leave out, because what it shall be merged with has none.
        progress: Told as it goes.

    Returns:
        How many episodes.

    Raises:
        CorruptError: If a file is damaged.
        DatasetError: If ``out`` is there, the flag is asked for and not recorded, a column to
            leave out is not there, or an episode was interrupted.
        StorageError: If the disk refuses a write.
    """
    info = read_json(Layout(root).info)
    require_finished(root)
    features = _plain(info["features"], outcome=outcome)
    if is_intervention:
        if "intervention" not in features:
            raise DatasetError(f"{root}: no frame says whether it is an intervention.")
        features[IS_INTERVENTION] = {"dtype": "float32", "shape": [1], "names": None}
    for name in without:
        features.pop(_named(root, features, name))
    parts = [_plain_piece(piece, features) for piece in pieces(root)]
    with storing(out), building(out) as folder:
        assembly = Assembly(folder, {**info, "features": features}, [part.row for part in parts])
        for k, piece in enumerate(parts):
            assembly.add(piece, _flag(piece) if is_intervention else None)
            progress(k + 1, 2 * len(parts))
        assembly.finish()
        require_sound(folder, lambda done, of: progress(of + done, 2 * of))
    return assembly.n_episodes


def _plain(features: Mapping[str, Any], *, outcome: bool) -> dict[str, Any]:
    return {
        name: entry
        for name, entry in features.items()
        if is_lerobots(name) and (outcome or name not in OUTCOME)
    }


def _named(root: Path, features: Mapping[str, Any], name: str) -> str:
    """Return the feature that is called so, or that is the camera of that name."""
    optional = [known for known in features if known not in BOOKKEEPING]
    for known in (name, f"observation.images.{name}"):
        if known in optional:
            return known
    raise DatasetError(
        f"{root}: has no column or camera {name!r} to leave out, has {', '.join(optional)}."
    )


def _plain_piece(piece: Piece, features: Mapping[str, Any]) -> Piece:
    """Return an episode with LeRobot's metadata: extremes have the type of their feature."""
    ours = [name for name in _OUR_METADATA if name in piece.row.column_names]
    row = piece.row.drop_columns(ours)
    for name, entry in features.items():
        for column in (f"stats/{name}/min", f"stats/{name}/max"):
            if entry["dtype"] in _EXACT_TYPES and column in row.column_names:
                exact = row[column].cast(pa.list_(_EXACT_TYPES[entry["dtype"]]))
                row = row.set_column(row.schema.get_field_index(column), column, exact)
    return replace(piece, row=row)


def _flag(piece: Piece) -> dict[str, Any]:
    marked = read_parquet(piece.data, ["intervention"])["intervention"]
    return {IS_INTERVENTION: marked.to_numpy().astype(np.float32)}
