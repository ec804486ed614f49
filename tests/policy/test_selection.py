import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.policy.episodes import Episode
from dexhil.policy.errors import TrainingError
from dexhil.policy.selection import (
    CATEGORY,
    categories_of,
    demonstrated,
    last_takeover_to_completion,
    select,
    supervised,
)

FLAGS = st.text("AH", min_size=1, max_size=60)
TRIALS = st.lists(st.tuples(FLAGS, st.sampled_from([True, False, None])), max_size=8)


def trial(flags: str, success: bool | None = True) -> Episode:
    columns = {
        "frame_index": np.arange(len(flags)),
        "intervention": np.array([flag == "H" for flag in flags]),
    }
    return Episode(columns=columns, task="lift the toy", success=success, fps=20.0)


def letters(episode: Episode) -> str:
    return "".join("DIPR"[kind] for kind in categories_of(episode))


def frames(episode: Episode) -> list[int]:
    return episode.columns["frame_index"].tolist()


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
    assert frames(kept) == list(range(first_kept, len(flags)))
    assert kept.intervention[0]


@pytest.mark.parametrize(
    ("flags", "success"), [("AAAA", True), ("AAHH", False), ("AAHH", None), ("AAAA", False)]
)
def test_a_trial_without_takeover_or_without_completion_is_dropped(flags, success):
    assert last_takeover_to_completion(trial(flags, success)) is None


@given(FLAGS)
def test_no_frame_before_the_last_takeover_survives_and_every_frame_after_it_does(flags):
    kept = last_takeover_to_completion(trial(flags))
    if "H" not in flags:
        assert kept is None
        return
    assert kept is not None
    start = frames(kept)[0]
    assert frames(kept) == list(range(start, len(flags)))
    assert flags[start] == "H"
    assert start == 0 or flags[start - 1] == "A"
    assert "AH" not in flags[start:], "a later takeover would have been the last"


@given(TRIALS, st.sampled_from(["last_takeover", "whole_trial", "human_frames"]))
def test_all_filters_learn_from_the_same_trials_in_any_order(trials, keep):
    episodes = [trial(*each) for each in trials]
    kept = [(letters(e), frames(e)) for e in select(map(supervised, episodes), keep)]
    backwards = select(map(supervised, reversed(episodes)), keep)
    assert sorted(kept) == sorted((letters(e), frames(e)) for e in backwards)
    useful = [flags for flags, success in trials if success and "H" in flags]
    stretches = sum(len(flags.replace("A", " ").split()) for flags in useful)
    assert len(kept) == (stretches if keep == "human_frames" else len(useful))


def test_the_whole_trial_is_kept_with_what_the_policy_did():
    (kept,) = select([trial("AAHHAAH")], "whole_trial")
    assert frames(kept) == list(range(7))


def test_human_frames_are_one_episode_per_stretch_so_that_no_chunk_bridges_a_gap():
    kept = select([trial("AAHHAAHA")], "human_frames")
    assert [frames(part) for part in kept] == [[2, 3], [6]]
    assert all(part.intervention.all() for part in kept)


def test_selecting_keeps_the_order_of_the_useful_trials():
    kept = select([trial("AAHH"), trial("AAAA"), trial("AHHH"), trial("HH", success=False)])
    assert [len(episode) for episode in kept] == [2, 3]


def test_an_unknown_filter_is_refused_and_the_known_ones_named():
    with pytest.raises(TrainingError, match="'all', allowed are last_takeover, whole_trial"):
        select([], "all")


def test_the_fifteen_frames_before_a_takeover_are_pre_intervention():
    assert letters(supervised(trial("A" * 20 + "HHH"))) == "R" * 5 + "P" * 15 + "III"


def test_a_person_s_frames_stay_interventions_in_the_window_of_the_next_takeover():
    assert letters(supervised(trial("AAAHHAAH"), pre_frames=4)) == "PPPIIPPI"


def test_frames_after_handing_back_are_the_policy_s_own():
    assert letters(supervised(trial("AHHAA"), pre_frames=1)) == "PIIRR"


def test_categories_are_those_of_the_whole_trial_after_cutting_it():
    (kept,) = select([supervised(trial("AHHAAAHA"), pre_frames=2)], "last_takeover")
    assert letters(kept) == "IR"


def test_a_demonstration_is_demonstrated_in_every_frame():
    assert letters(demonstrated(trial("AAAA"))) == "DDDD"
    assert CATEGORY not in trial("AAAA").columns


def test_without_categories_interventions_are_told_by_their_flag():
    assert letters(trial("AAHH")) == "DDII"
