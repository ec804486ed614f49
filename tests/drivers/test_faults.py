"""Each knob does what it says, alone and again after ``clear``."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.camera import CameraObservation
from dexhil.drivers.faults import Faults
from dexhil.drivers.tracker import TrackerObservation

HAND_TREMBLE = 0.1


def sample(step: int, *, period_s: float = 0.1) -> TrackerObservation:
    """The one that was taken ``step`` periods after the start, at x = step."""
    return TrackerObservation(
        stamp_s=1000.0 + step * period_s, position=[step, 0.0, 0.0], orientation=[1.0, 0, 0, 0]
    )


def steps_seen(faults: Faults[TrackerObservation], n: int, *, start: int = 0) -> list[int]:
    """Which step the reader gets at each of ``n`` steps."""
    return [int(faults.apply(sample(start + i)).position[0]) for i in range(n)]


@pytest.fixture
def faults() -> Faults[TrackerObservation]:
    return Faults("position", seed=3)


def test_without_faults_samples_pass_untouched(faults: Faults[TrackerObservation]) -> None:
    for step in range(3):
        one = sample(step)
        assert faults.apply(one) is one


def test_freezing_repeats_the_sample_with_its_stamp(faults: Faults[TrackerObservation]) -> None:
    last = faults.apply(sample(0))
    faults.freeze()
    assert faults.apply(sample(1)) is last
    assert faults.apply(sample(9)) is last


def test_a_device_frozen_before_its_first_sample_freezes_on_it(
    faults: Faults[TrackerObservation],
) -> None:
    faults.freeze()
    assert steps_seen(faults, 3) == [0, 0, 0]


def test_repeating_gives_fresh_stamps_on_old_values(faults: Faults[TrackerObservation]) -> None:
    faults.noise(0.1)
    last = faults.apply(sample(0))
    faults.repeat()
    for step in (1, 2):
        again = faults.apply(sample(step))
        assert again.stamp_s == sample(step).stamp_s
        np.testing.assert_array_equal(again.position, last.position)


def test_dropping_everything_leaves_the_last_sample(faults: Faults[TrackerObservation]) -> None:
    assert steps_seen(faults, 1) == [0]
    faults.drop(1.0)
    assert steps_seen(faults, 3, start=1) == [0, 0, 0]


def test_dropping_loses_about_the_share_asked_for(faults: Faults[TrackerObservation]) -> None:
    faults.drop(0.3)
    seen = steps_seen(faults, 1000)
    assert seen == sorted(seen)
    assert 650 < len(set(seen)) < 750


@given(st.integers(0, 12), st.integers(1, 30))
def test_delay_gives_the_sample_of_that_long_ago(delay: int, n: int) -> None:
    faults: Faults[TrackerObservation] = Faults()
    faults.delay(delay * 0.125)
    seen = [int(faults.apply(sample(i, period_s=0.125)).position[0]) for i in range(n)]
    assert seen == [max(0, i - delay) for i in range(n)]


def test_noise_has_the_spread_asked_for_and_spares_other_arrays(
    faults: Faults[TrackerObservation],
) -> None:
    faults.noise(HAND_TREMBLE)
    noisy = [faults.apply(sample(0)) for _ in range(500)]
    spread = np.std([one.position for one in noisy], axis=0)
    np.testing.assert_allclose(spread, HAND_TREMBLE, rtol=0.15)
    assert all((one.orientation == sample(0).orientation).all() for one in noisy)


def test_nan_fills_the_named_arrays(faults: Faults[TrackerObservation]) -> None:
    faults.nan()
    assert np.isnan(faults.apply(sample(0)).position).all()


def test_an_image_gets_noise_within_its_range_and_no_nan() -> None:
    image = np.array([[[0, 128, 255]]], dtype=np.uint8)
    faults: Faults[CameraObservation] = Faults("image", "depth")
    faults.noise(20.0)
    faults.nan()
    noisy = [faults.apply(CameraObservation(stamp_s=0.0, image=image)).image for _ in range(50)]
    assert {one.dtype for one in noisy} == {np.dtype(np.uint8)}
    # Wrapping around would turn black into white.
    assert all(one[0, 0, 0] < 128 < one[0, 0, 2] for one in noisy)
    assert np.std([one[0, 0, 1] for one in noisy]) > 10


def test_unplugging_raises_as_a_vendor_library_would(faults: Faults[TrackerObservation]) -> None:
    faults.unplug()
    with pytest.raises(ConnectionError, match="unplugged"):
        faults.apply(sample(0))
    with pytest.raises(ConnectionError, match="unplugged"):
        faults.require_link()


def test_a_device_that_fails_says_why_to_whoever_reads_or_writes(
    faults: Faults[TrackerObservation],
) -> None:
    faults.fail("protective stop")
    with pytest.raises(RuntimeError, match="protective stop"):
        faults.apply(sample(0))
    with pytest.raises(RuntimeError, match="protective stop"):
        faults.require_link()


@pytest.mark.parametrize("back_s", [3.0, -3.0])
def test_rewinding_moves_stamps_and_nothing_else(
    faults: Faults[TrackerObservation], back_s: float
) -> None:
    faults.rewind(back_s)
    one = faults.apply(sample(7))
    assert one.stamp_s == sample(7).stamp_s - back_s
    np.testing.assert_array_equal(one.position, sample(7).position)


@pytest.mark.parametrize("knob", ["freeze", "repeat", "nan", "unplug"])
def test_clear_mends_everything(faults: Faults[TrackerObservation], knob: str) -> None:
    faults.apply(sample(0))
    getattr(faults, knob)()
    faults.drop(1.0)
    faults.delay(5.0)
    faults.noise(1.0)
    faults.rewind(1.0)
    faults.fail("protective stop")
    faults.clear()
    faults.require_link()
    one = sample(1)
    assert faults.apply(one) is one


def test_the_same_seed_gives_the_same_faults() -> None:
    def history(seed: int) -> list[float]:
        faults: Faults[TrackerObservation] = Faults("position", seed=seed)
        faults.drop(0.5)
        faults.noise(0.1)
        return [float(faults.apply(sample(i)).position[0]) for i in range(20)]

    assert history(1) == history(1)
    assert history(1) != history(2)


def test_any_stamped_dataclass_will_do() -> None:
    @dataclass(frozen=True)
    class Button:
        stamp_s: float
        down: bool

    faults: Faults[Button] = Faults()
    faults.apply(Button(1.0, True))
    faults.repeat()
    assert faults.apply(Button(2.0, False)) == Button(2.0, True)
