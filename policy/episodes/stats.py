"""Statistics of features, per episode and merged, in the form of LeRobot's ``stats.json``.

Means, deviations and extremes merge exactly. Merged quantiles are weighted means
of the episodes' quantiles, as LeRobot's are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
KEYS = ("min", "max", "mean", "std", "count", *QUANTILES)

Stats = dict[str, npt.NDArray[Any]]


def column_stats(values: npt.NDArray[Any]) -> Stats:
    """Return the statistics of a column (t,) or (t, n), each of shape (n,).

    Rows of NaN are absent: they do not count. Without any row all are zero, count too.
    """
    rows = values.reshape(len(values), -1).astype(np.float64)
    rows = rows[~np.isnan(rows).any(axis=1)]
    count = np.array([len(rows)], dtype=np.int64)
    if not len(rows):
        nothing = np.zeros(rows.shape[1])
        return {key: count if key == "count" else nothing for key in KEYS}
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    return {
        "min": rows.min(axis=0),
        "max": rows.max(axis=0),
        "mean": rows.mean(axis=0),
        "std": rows.std(axis=0),
        "count": count,
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


def image_stats(images: Sequence[npt.NDArray[np.uint8]]) -> Stats:
    """Return the statistics of sampled images (h, w, 3) in 0 to 1, each of shape (3, 1, 1).

    The count is that of images. Quantiles are levels that occur.
    """
    # Histograms: a byte has 256 levels, an episode millions of pixels.
    levels = np.arange(256) / 255.0
    channels = np.moveaxis(np.stack(images), -1, 0)
    histograms = np.stack([np.bincount(channel.ravel(), minlength=256) for channel in channels])
    cumulative = histograms.cumsum(axis=1)
    shares = histograms / cumulative[:, -1:]
    mean = shares @ levels

    def quantile(share: float) -> npt.NDArray[np.float64]:
        wanted = np.maximum(share * cumulative[:, -1:], 1)
        return np.asarray(levels[(cumulative < wanted).sum(axis=1)])

    stats = {
        "min": quantile(0.0),
        "max": quantile(1.0),
        "mean": mean,
        "std": np.sqrt((shares * (levels - mean[:, None]) ** 2).sum(axis=1)),
        **{key: quantile(share) for key, share in QUANTILES.items()},
    }
    count = np.array([len(images)], dtype=np.int64)
    return {**{key: value.reshape(3, 1, 1) for key, value in stats.items()}, "count": count}


def merge(one: Mapping[str, Stats], other: Mapping[str, Stats]) -> dict[str, Stats]:
    """Return the statistics of two data sets together, feature by feature."""
    return {
        name: _merge_feature(one[name], other[name]) if name in one else other[name]
        for name in other
    }


def to_json(stats: Mapping[str, Stats]) -> dict[str, dict[str, Any]]:
    """Return plain lists, for ``stats.json``."""
    return {name: {key: entry[key].tolist() for key in KEYS} for name, entry in stats.items()}


def _merge_feature(one: Stats, other: Stats) -> Stats:
    if not other["count"][0]:
        return one
    if not one["count"][0]:
        return other
    count = one["count"] + other["count"]
    share = other["count"][0] / count[0]
    shift = other["mean"] - one["mean"]
    variance = (
        (1 - share) * one["std"] ** 2 + share * other["std"] ** 2 + share * (1 - share) * shift**2
    )
    return {
        "min": np.minimum(one["min"], other["min"]),
        "max": np.maximum(one["max"], other["max"]),
        "mean": one["mean"] + share * shift,
        "std": np.sqrt(variance),
        "count": count,
        **{q: (1 - share) * one[q] + share * other[q] for q in QUANTILES},
    }
