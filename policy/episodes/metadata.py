"""The rows of metadata, one for each episode, and the table of tasks, as LeRobot lays them out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dexhil.policy.episodes import stats
from dexhil.policy.episodes.errors import CorruptError
from dexhil.policy.episodes.layout import read_parquet
from dexhil.policy.episodes.schema import Features

Row = Mapping[str, Any]

EXACT: Final = ("min", "max", "mean", "std", "count")  # LeRobot estimates quantiles by histograms.
_STATS_TOLERANCE: Final = 1e-4  # Of a feature's range; LeRobot computes in single precision.


def read_tasks(path: Path) -> dict[str, int]:
    """Return the number of each task, by its words.

    Raises:
        CorruptError: If the table cannot be read.
    """
    table = read_parquet(path)
    # The words are an index of pandas, which has a name or not.
    words = [name for name in table.column_names if name != "task_index"]
    if "task_index" not in table.column_names or not words:
        raise CorruptError(f"{path}: has no column 'task_index' or none of words.")
    numbers = table["task_index"].to_pylist()
    return dict(zip(table[words[0]].to_pylist(), numbers, strict=True))


def row_stats(row: Row, features: Features) -> dict[str, stats.Stats]:
    """Return the statistics that a row of metadata holds, by feature, where it does."""
    found: dict[str, stats.Stats] = {}
    for name in features:
        entry = {key: row.get(f"stats/{name}/{key}") for key in stats.KEYS}
        if all(value is not None for value in entry.values()):
            found[name] = {key: np.array(value) for key, value in entry.items()}
    return found


def stats_differ(
    found: Mapping[str, Any], expected: stats.Stats, keys: Sequence[str] = stats.KEYS
) -> str | None:
    """Return the first of the figures ``keys`` that is not as expected, or ``None``."""
    if not expected["count"][0]:
        return None
    high, low = (np.asarray(expected[end], np.float64) for end in ("max", "min"))
    span = float(np.max(high - low))
    for key in keys:
        value: npt.NDArray[Any] = np.asarray(found.get(key, np.nan), np.float64)
        wanted = expected[key]
        if value.shape != np.shape(wanted) or not np.allclose(
            value, wanted, rtol=_STATS_TOLERANCE, atol=_STATS_TOLERANCE * span
        ):
            return key
    return None


def stats_entry(entry: Mapping[str, Any]) -> stats.Stats:
    """Return a feature's statistics from ``stats.json`` or a row of metadata."""
    return {key: np.array(entry[key]) for key in stats.KEYS}
