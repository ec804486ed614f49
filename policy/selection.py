"""Which frames of a trial are worth learning from, and what each of them is.

Every frame has a category: it was demonstrated, or in a trial under supervision it was a person's
intervention, the policy's own, or the policy's own shortly before a person had to take over.
Categories are given to whole trials, before anything is cut away, and stay with the frames.
"""

from collections.abc import Iterable
from dataclasses import replace
from enum import IntEnum
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from dexhil.policy.episodes import Episode
from dexhil.policy.errors import TrainingError

CATEGORY = "category"  # Column that ``demonstrated`` and ``supervised`` add to an episode.
PRE_FRAMES = 15  # Sirius': 0.75 s at 20 Hz.

Keep = Literal["last_takeover", "whole_trial", "human_frames"]


class Category(IntEnum):
    """What a frame is to the learner."""

    DEMONSTRATION = 0
    INTERVENTION = 1
    PRE_INTERVENTION = 2  # The policy drove, and soon a person took over.
    ROLLOUT = 3  # The policy drove.


def demonstrated(episode: Episode) -> Episode:
    """Return a demonstration with the category of its frames."""
    return _categorised(episode, np.full(len(episode), Category.DEMONSTRATION))


def supervised(episode: Episode, pre_frames: int = PRE_FRAMES) -> Episode:
    """Return a trial under supervision with the category of each frame.

    Args:
        episode: The whole trial: a part of it does not know what came before a takeover.
        pre_frames: How many frames before a takeover are pre-intervention.
    """
    driven = episode.intervention
    categories = np.where(driven, Category.INTERVENTION, Category.ROLLOUT)
    for start in _takeovers(driven):
        before = categories[max(0, start - pre_frames) : start]
        before[before == Category.ROLLOUT] = Category.PRE_INTERVENTION
    return _categorised(episode, categories)


def categories_of(episode: Episode) -> npt.NDArray[np.int64]:
    """Return the category of each frame; without any, what is not intervention is demonstrated.

    Shape (t,).
    """
    if CATEGORY in episode.columns:
        return np.asarray(episode.columns[CATEGORY], dtype=np.int64)
    return np.where(episode.intervention, Category.INTERVENTION, Category.DEMONSTRATION)


def last_takeover_to_completion(episode: Episode) -> Episode | None:
    """Keep a trial from its final takeover to its end; drop the trial if that teaches nothing.

    DexHiL keeps "only the segments from the final intervention to task completion": what the
    policy did before was on its way to failure. The paper leaves three cases open; we decide:

    - A trial that failed, or that nobody judged, is dropped: it has no completion.
    - A trial without a takeover is dropped: the policy agrees with itself, and learning from its
      own successes would change two things at once.
    - Frames after the person handed back stay, marked as they are: they lead to completion, and
      their ``intervention`` flag (false) gives them the weight of ordinary data.

    Args:
        episode: One trial, with its ``intervention`` flags.

    Returns:
        The kept frames, or ``None``.
    """
    kept = select([episode])
    return kept[0] if kept else None


def select(episodes: Iterable[Episode], keep: Keep = "last_takeover") -> list[Episode]:
    """Return what of each trial is to be learned from.

    All choices are between the same trials, those with a takeover that succeeded, so that they
    differ in one thing only.

    Args:
        episodes: Whole trials under supervision.
        keep: ``"last_takeover"`` to completion, as DexHiL; the ``"whole_trial"``; or
            ``"human_frames"``, every stretch that a person drove as an episode of its own.

    Raises:
        TrainingError: There is no such choice.
    """
    if keep not in get_args(Keep):
        allowed = ", ".join(get_args(Keep))
        raise TrainingError(f"Selection: keep is {keep!r}, allowed are {allowed}.")
    useful = [episode for episode in episodes if episode.success and episode.intervention.any()]
    if keep == "whole_trial":
        return useful
    if keep == "human_frames":
        return [part for episode in useful for part in _human_stretches(episode)]
    return [episode.slice(_takeovers(episode.intervention)[-1]) for episode in useful]


def _human_stretches(episode: Episode) -> list[Episode]:
    driven = episode.intervention
    ends = [*_takeovers(~driven), len(episode)]
    starts = _takeovers(driven)
    return [episode.slice(start, min(e for e in ends if e > start)) for start in starts]


def _takeovers(driven: npt.NDArray[np.bool_]) -> list[int]:
    """Return the frames at which ``driven`` becomes true."""
    return [int(i) for i in np.flatnonzero(driven & ~np.concatenate([[False], driven[:-1]]))]


def _categorised(episode: Episode, categories: npt.NDArray[np.int64]) -> Episode:
    return replace(episode, columns={**episode.columns, CATEGORY: categories})
