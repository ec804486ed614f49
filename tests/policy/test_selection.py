import numpy as np
import pytest

from dexhil.policy.episodes import Episode
from dexhil.policy.selection import last_takeover_to_completion, select


def trial(flags: str, success: bool | None = True) -> Episode:
    columns = {
        "frame_index": np.arange(len(flags)),
        "intervention": np.array([flag == "H" for flag in flags]),
    }
    return Episode(columns=columns, task="lift the toy", success=success, fps=20.0)


@pytest.mark.parametrize(
    ("flags", "first_kept"),
    [
        ("AAAHHH", 3),
        ("AHHAAHH", 5),
        ("AHHAAHHAA", 5),  # Handed back: the rest still leads to completion.
        ("HHH", 0),
        ("AAAAH", 4),
        ("HAHAH", 4),
    ],
)
def test_a_successful_trial_keeps_the_frames_from_its_last_takeover(flags, first_kept):
    kept = last_takeover_to_completion(trial(flags))
    assert kept is not None
    assert kept.columns["frame_index"].tolist() == list(range(first_kept, len(flags)))
    assert kept.intervention[0]


@pytest.mark.parametrize(
    ("flags", "success"), [("AAAA", True), ("AAHH", False), ("AAHH", None), ("AAAA", False)]
)
def test_a_trial_without_takeover_or_without_completion_is_dropped(flags, success):
    assert last_takeover_to_completion(trial(flags, success)) is None


def test_selecting_keeps_the_order_of_the_useful_trials():
    kept = select([trial("AAHH"), trial("AAAA"), trial("AHHH"), trial("HH", success=False)])
    assert [len(episode) for episode in kept] == [2, 3]
