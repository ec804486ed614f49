"""What the shared thread believes of the samples that come, and what it does without them."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.device import State
from dexhil.drivers.errors import ConnectError, FaultError
from dexhil.drivers.hand import HandObservation
from dexhil.drivers.streamed import STUCK, Differentiator, Sample
from tests.drivers.streamed.memory import SPEC, Memory, drive, wait


def test_a_device_that_never_answers_does_not_connect(hand: Memory) -> None:
    hand.answers = False
    with pytest.raises(ConnectError, match="nothing came back"):
        hand.connect(timeout_s=0.1)
    assert not hand.open


def test_observations_of_one_sample_are_one_object(hand: Memory) -> None:
    hand.connect()
    hand.answers = False
    time.sleep(0.05)
    first = hand.observe()
    assert isinstance(first, HandObservation)
    assert hand.observe() is first


@pytest.mark.parametrize("bad", [np.nan, np.inf, 99.0])
def test_values_that_cannot_be_are_no_samples(hand: Memory, bad: float) -> None:
    hand.connect()
    hand.here = np.array([0.0, bad, 0.0])
    time.sleep(0.05)
    assert hand.observe().joint_positions[1] == 0.0
    wait(lambda: not hand.health().ok)
    assert any(word in hand.health().reasons[0] for word in ("not finite", "joint middle"))


def test_a_sample_is_no_fresher_than_its_stamp(
    hand: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand.connect()
    hand.enable()
    old_s = hand.clock.now_s() - 0.2

    def poll() -> Sample:
        return Sample(stamp_s=old_s, positions=hand.here.copy(), velocities=np.zeros(3))

    monkeypatch.setattr(hand, "_poll", poll)
    with pytest.raises(FaultError, match="no fresh sample"):
        drive(hand, [1.0, 0.0, 0.0], lambda: False)


def test_a_silent_device_holds_before_it_faults(hand: Memory) -> None:
    hand.connect()
    hand.enable()
    drive(hand, [1.5, 0.0, 0.0], lambda: hand.here[0] > 0.05)
    hand.answers = False
    n_sent = len(hand.sent)
    with pytest.raises(FaultError, match=r"no fresh sample for \d+ ms"):
        drive(hand, [1.5, 0.0, 0.0], lambda: False)
    assert not hand.on
    blind = [point[0] for _, point in hand.sent[n_sent:]]
    # Of 0.3 s without an answer, two thirds are spent at rest; this machine may be late for some.
    assert blind.count(blind[-1]) > 0.4 * len(blind)


def test_a_silent_device_that_only_watches_is_stale_long_before_it_faults(hand: Memory) -> None:
    hand.connect()
    hand.answers = False
    time.sleep(0.4)
    assert hand.state is State.CONNECTED
    assert "no fresh sample" in hand.health().reasons[0]
    with pytest.raises(FaultError, match="nothing came back"):
        wait(lambda: not hand.observe())


def test_repeating_the_same_values_while_told_to_move_is_a_fault(hand: Memory) -> None:
    hand.connect()
    hand.enable()
    hand.follows = False
    with pytest.raises(FaultError, match="repeats the same values"):
        drive(hand, [1.5, 0.0, 0.0], lambda: False)
    # It was held soon after the set point had moved far enough to show.
    assert hand.sent[-1][1][0] < STUCK + 0.25 * SPEC.velocity_limits[0]


def test_repeating_the_same_values_while_held_is_none(hand: Memory) -> None:
    hand.connect()
    hand.enable()
    hand.follows = False
    time.sleep(0.5)
    hand.observe(max_age_s=0.2)
    assert hand.health().ok


@given(
    st.lists(st.floats(-10, 10), min_size=4, max_size=40),
    st.floats(0.001, 0.1),
)
def test_velocities_are_never_above_the_steepest_slope(slopes: list[float], dt_s: float) -> None:
    differentiate = Differentiator(smoothing_s=0.02)
    position, stamp_s = np.zeros(1), 100.0
    for slope in slopes:
        velocity = differentiate(stamp_s, position)
        assert np.abs(velocity).max() <= np.abs(slopes).max() * (1 + 1e-6) + 1e-9
        stamp_s += dt_s
        position = position + slope * dt_s
