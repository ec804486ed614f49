"""One attempt at a task, as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Episode:
    """The frames of one attempt, column by column.

    Attributes:
        columns: Arrays whose first axis is the frame, by feature name, e.g.
            ``"observation.state"`` (t, n), ``"action"`` (t, m), ``"intervention"`` (t,).
            Videos are not among them; see ``DatasetReader.images``.
        task: What the robot was asked to do, in words.
        success: Whether it did. ``None`` if nobody said.
        fps: Frames per second.
    """

    columns: Mapping[str, npt.NDArray[Any]]
    task: str
    success: bool | None
    fps: float

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def intervention(self) -> npt.NDArray[np.bool_]:
        """Whether a person drove. Shape (t,)."""
        return np.asarray(self.columns["intervention"], dtype=np.bool_).reshape(len(self))

    def slice(self, start: int, stop: int | None = None) -> "Episode":
        """Return the frames from ``start`` up to ``stop``."""
        cut = {name: values[start:stop] for name, values in self.columns.items()}
        return Episode(columns=cut, task=self.task, success=self.success, fps=self.fps)
