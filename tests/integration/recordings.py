"""Reads back what was written for the Rerun viewer."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest


def logged(path: Path) -> dict[str, dict[str, npt.NDArray[Any]]]:
    """Return what a recording holds, by entity and component, in the order it was logged.

    ``time`` [ns] and ``frame`` are of the rows that are not static.
    """
    chunk = pytest.importorskip("rerun.chunk")
    found: dict[str, dict[str, list[Any]]] = {}
    for part in chunk.RrdReader(path).stream().to_chunks():
        batch = part.to_record_batch()
        entity = found.setdefault(part.entity_path, {})
        for name in batch.schema.names:
            column = batch.column(name)
            if name == "time":
                column = column.to_numpy(zero_copy_only=False).astype(np.int64)
            elif not name.startswith(("rerun.controls", "log_")):
                column = column.to_pylist()
            else:
                continue
            entity.setdefault(name, []).extend(column)
    return {
        entity: {
            name: np.array(values) if name in {"time", "frame"} else _objects(values)
            for name, values in components.items()
        }
        for entity, components in found.items()
    }


def numbers(entity: dict[str, npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    """Return a line that was plotted. Shape (t,)."""
    return np.array([value[0] for value in entity["Scalars:scalars"]], np.float64)


def _objects(values: list[Any]) -> npt.NDArray[Any]:
    boxed = np.empty(len(values), dtype=object)
    boxed[:] = values
    return boxed
