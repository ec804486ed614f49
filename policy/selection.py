"""Which part of a trial is worth learning from."""

from collections.abc import Iterable

import numpy as np

from dexhil.policy.episodes import Episode


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
    if not episode.success or not episode.intervention.any():
        return None
    driven = episode.intervention
    took_over = driven & ~np.concatenate([[False], driven[:-1]])
    return episode.slice(int(np.flatnonzero(took_over)[-1]))


def select(episodes: Iterable[Episode]) -> list[Episode]:
    """Apply ``last_takeover_to_completion`` to many trials and drop those without any use."""
    return [
        kept for episode in episodes if (kept := last_takeover_to_completion(episode)) is not None
    ]
