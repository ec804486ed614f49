"""Columns of a dataset as lines and bands over time: joints, who drives, authority, ages."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dexhil.integration.recorder import MODE_NUMBERS
from dexhil.integration.view.layout import DRIVER_COLOURS, LINES, colours, path
from dexhil.policy.episodes import Features, Source

_MODES: Final = {number: mode.name for mode, number in MODE_NUMBERS.items()}
_BANDS: Final = {
    "mode": _MODES,
    "arm": _MODES,
    "hand": _MODES,
    "source": {source.value: source.name for source in Source},
    "intervention": {0: "none", 1: "intervention"},
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Some frames in a row, as a dataset has them.

    Attributes:
        columns: As in an episode, those that there are. Each (t, ...).
        times_s: Since the first frame of all [s]. Shape (t,).
        first: Number of the first of them.
    """

    columns: Mapping[str, npt.NDArray[Any]]
    times_s: npt.NDArray[np.float64]
    first: int = 0

    def __len__(self) -> int:
        return len(self.times_s)

    def timelines(self, chosen: npt.NDArray[np.int64] | None = None) -> list[Any]:
        """Return the time columns for ``send_columns``, of all of them or of those chosen."""
        import rerun as rr  # noqa: PLC0415 - an extra, and slow to load

        rows = np.arange(len(self)) if chosen is None else chosen
        nanoseconds = np.round(1e9 * self.times_s[rows]).astype("timedelta64[ns]")
        return [
            rr.TimeColumn("time", duration=nanoseconds),
            rr.TimeColumn("frame", sequence=self.first + rows),
        ]


class Plots:
    """Logs columns to a ``rerun.RecordingStream``, as often as there are more of them.

    Args:
        recording: Where to.
        features: What the columns are.
    """

    def __init__(self, recording: Any, features: Features) -> None:
        self._recording = recording
        self._features = features
        self._state: dict[str, str] = {}  # Of each band, where the last rows ended.
        self._before_s = np.nan
        self._log_styles()

    def log(self, rows: Rows) -> None:
        """Log some frames, later ones than before."""
        for column, values in rows.columns.items():
            kind, _, what = column.partition(".")
            if kind == "authority":
                self._line(rows, ("authority", what or "both"), values)
            elif kind in {"age", "next"}:
                self._line(rows, (kind, what), values)
            elif column in _BANDS:
                words = _BANDS[column]
                states = [words.get(number, str(number)) for number in values.astype(int)]
                self.band(rows, column, states)
            else:
                for parts, element in self._elements(column, values):
                    self._line(rows, parts, element)
        self._line(rows, ("period",), np.diff(rows.times_s, prepend=self._before_s))
        self._before_s = rows.times_s[-1]

    def band(self, rows: Rows, name: str, states: Sequence[str]) -> None:
        """Log a state over time, where it changes. What is ``"none"`` is not painted.

        Args:
            rows: When.
            name: Of the band.
            states: One for each row.
        """
        import rerun as rr  # noqa: PLC0415

        before = [self._state.get(name), *states]
        changes = [row for row, state in enumerate(states) if state != before[row]]
        if name not in self._state:
            self._log_look(name)
        self._state[name] = states[-1]
        if changes:
            self._recording.send_columns(
                path("driver", name),
                indexes=rows.timelines(np.array(changes)),
                columns=rr.StateChange.columns(state=[states[row] for row in changes]),
            )

    def _line(self, rows: Rows, parts: Sequence[str], values: npt.NDArray[Any]) -> None:
        """Log a line; it has gaps where the values are NaN."""
        import rerun as rr  # noqa: PLC0415

        scalars = rr.Scalars.columns(scalars=values.astype(np.float64))
        self._recording.send_columns(path(*parts), indexes=rows.timelines(), columns=scalars)

    def _elements(
        self, column: str, values: npt.NDArray[Any]
    ) -> Iterator[tuple[tuple[str, ...], npt.NDArray[Any]]]:
        """Yield the elements of a vector, each (t,), and the path of each."""
        flat = values.reshape(len(values), -1)
        for name, element in zip(self._names(column, flat.shape[1]), flat.T, strict=True):
            yield from ((parts, element) for parts in self._paths(column, name))

    def _paths(self, column: str, name: str) -> Iterator[tuple[str, ...]]:
        if column == "observation.environment_state":
            yield ("environment", name)
        for line, (source, _) in LINES.items():
            if column == source:
                joint = name in joint_names(self._features)
                yield ("joints", name, line) if joint else ("state", name)

    def _names(self, column: str, n: int) -> Sequence[str]:
        return self._features[column].names or [str(k) for k in range(n)]

    def _log_styles(self) -> None:
        """Log how lines look."""
        import rerun as rr  # noqa: PLC0415

        for line, (column, colour) in LINES.items():
            if column not in self._features:
                continue
            style = rr.SeriesLines(colors=colours(colour), names=[line])
            for name in joint_names(self._features):
                self._recording.log(path("joints", name, line), style, static=True)

    def _log_look(self, name: str) -> None:
        """Log how a band looks. Words that are not known beforehand get colours by the viewer."""
        import rerun as rr  # noqa: PLC0415

        states = list(_BANDS.get(name, {0: "none"}).values())
        look = rr.StateConfiguration(
            values=states,
            colors=colours(*(DRIVER_COLOURS[state] for state in states)),
            visible=[state != "none" for state in states],
        )
        self._recording.log(path("driver", name), look, static=True)


def joint_names(features: Features) -> tuple[str, ...]:
    """Return the names of what actions move; numbers where they have no names."""
    n = features["action"].shape[0] if "action" in features else 0
    return (features["action"].names if n else None) or tuple(str(k) for k in range(n))
