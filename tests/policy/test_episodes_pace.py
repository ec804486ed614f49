"""What the true stamps say about the declared rate."""

import numpy as np
import pytest

from dexhil.policy.episodes.pace import Pace

FPS = 20


def departure(gaps_s: list[float]) -> str | None:
    pace = Pace.of(1000.0 + np.cumsum([0.0, *gaps_s]))
    assert pace is not None
    return pace.departure(FPS)


def test_jitter_within_the_rate_is_no_departure() -> None:
    gaps_s = 0.05 + np.random.default_rng(0).uniform(-0.01, 0.01, 2000)
    assert departure(list(gaps_s)) is None


@pytest.mark.parametrize(
    ("gaps_s", "said"),
    [
        ([0.052] * 100, r"^it has 19.23 frames per second, declared are 20$"),
        ([0.04] * 100, r"^it has 25.00 frames per second, declared are 20$"),
        ([0.05] * 99 + [0.1], r"^its longest gap is 100 ms, declared are 50 ms$"),
        ([0.05, 1.0], r"^it has 1.90 frames per second.*; its longest gap is 1000 ms"),
        ([0.05, -3600.0, 0.05], r"clock was set back"),
        ([0.0, 0.0], r"clock was set back"),
    ],
)
def test_a_departure_is_told_in_words(gaps_s: list[float], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(departure(gaps_s))


@pytest.mark.parametrize("stamps", [None, np.array([5.0])])
def test_a_frame_alone_has_no_pace(stamps: np.ndarray | None) -> None:
    assert Pace.of(stamps) is None
