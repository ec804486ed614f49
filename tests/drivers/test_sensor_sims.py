"""What simulated gloves, trackers and switches add to the contract: being shown things."""

import numpy as np
import pytest

from dexhil.drivers.clock import SimClock
from dexhil.drivers.errors import StaleError
from dexhil.drivers.glove.sim import SimGlove, SimGloveConfig, relaxed_hand
from dexhil.drivers.switch.sim import SimSwitch, SimSwitchConfig
from dexhil.drivers.tracker.sim import SimTracker, SimTrackerConfig


def test_a_glove_says_exactly_what_it_was_shown_and_then_goes_stale() -> None:
    clock = SimClock()
    with SimGlove(SimGloveConfig(), name="right", clock=clock) as glove:
        keypoints = np.arange(63.0).reshape(21, 3)
        glove.show(keypoints)
        np.testing.assert_array_equal(glove.observe(max_age_s=0.0).keypoints, keypoints)
        clock.sleep(0.2)
        with pytest.raises(StaleError, match="200 ms old"):
            glove.observe(max_age_s=0.1)
        glove.show(keypoints, stamp_s=clock.now_s() - 0.05)
        glove.observe(max_age_s=0.1)


def test_a_glove_shown_nothing_reports_a_relaxed_hand_that_trembles_a_tenth_of_a_millimetre() -> (
    None
):
    clock = SimClock()
    with SimGlove(SimGloveConfig(), name="right", clock=clock) as glove:
        samples = np.array([glove.observe().keypoints for _ in range(200)])
    tremble = samples - relaxed_hand("right")
    assert np.std(tremble) == pytest.approx(1e-4, rel=0.1)


def test_the_same_seed_trembles_the_same() -> None:
    def first(seed: int) -> np.ndarray:
        config = SimGloveConfig(seed=seed)
        with SimGlove(config, name="right", clock=SimClock()) as glove:
            return glove.observe().keypoints

    np.testing.assert_array_equal(first(1), first(1))
    assert (first(1) != first(2)).any()


def test_the_left_hand_mirrors_the_right() -> None:
    np.testing.assert_array_equal(relaxed_hand("left"), relaxed_hand("right") * [1.0, -1.0, 1.0])


@pytest.mark.parametrize("shape", [(20, 3), (21, 2), (63,)])
def test_a_glove_refuses_to_be_shown_another_shape(shape: tuple[int, ...]) -> None:
    glove = SimGlove(SimGloveConfig(), name="right")
    with pytest.raises(ValueError, match=r"expected \(21, 3\)"):
        glove.show(np.zeros(shape))


def test_a_tracker_says_exactly_what_it_was_shown_and_then_goes_stale() -> None:
    clock = SimClock()
    with SimTracker(SimTrackerConfig(), name="cube", clock=clock) as tracker:
        tracker.show([1.0, 2.0, 3.0], [0.0, 1.0, 0.0, 0.0])
        sample = tracker.observe(max_age_s=0.0)
        np.testing.assert_array_equal(sample.position, [1.0, 2.0, 3.0])
        np.testing.assert_array_equal(sample.orientation, [0.0, 1.0, 0.0, 0.0])
        clock.sleep(0.2)
        with pytest.raises(StaleError):
            tracker.observe(max_age_s=0.1)


@pytest.mark.parametrize(("position", "orientation"), [([0, 0], [1, 0, 0, 0]), ([0, 0, 0], [1, 0])])
def test_a_tracker_refuses_to_be_shown_another_shape(
    position: list[float], orientation: list[float]
) -> None:
    tracker = SimTracker(SimTrackerConfig(), name="cube")
    with pytest.raises(ValueError, match="expected"):
        tracker.show(position, orientation)


def test_several_buttons_are_held_at_once() -> None:
    with SimSwitch(SimSwitchConfig(), name="pedal", clock=SimClock()) as switch:
        switch.press("takeover")
        switch.press("stop")
        assert switch.observe().pressed == {"takeover", "stop"}
        switch.release("takeover")
        assert switch.observe().pressed == {"stop"}
        assert switch.observe().counts["takeover"] == 1
