"""Doubt holds in the same tick, whoever drives, until a deliberate press."""

import numpy as np
import pytest

from dexhil.retarget.errors import RetargetError
from dexhil.teleop.takeover import Mode


def hurt(bench, device, fault):
    """Break a device, run until it shows, and return the time it took to hold [s]."""
    broken_s = bench.clock.now_s()
    getattr(getattr(bench, device).faults, fault)()
    bench.run(2.0, until=lambda: bench.session.mode is Mode.HOLD)
    assert bench.session.mode is Mode.HOLD
    return bench.clock.now_s() - broken_s


@pytest.mark.parametrize("device", ["glove", "tracker"])
@pytest.mark.parametrize(
    ("fault", "within_s"), [("nan", 0.034), ("unplug", 0.034), ("freeze", 0.235), ("repeat", 0.54)]
)
def test_a_person_who_cannot_be_seen_stops_driving(driving, device, fault, within_s):
    bench = driving("takeover")
    assert hurt(bench, device, fault) <= within_s
    assert bench.session.drive.reason
    held = bench.session.executed
    bench.run(0.2)
    np.testing.assert_array_equal(bench.session.executed, held)


def test_nan_keypoints_hold_before_another_command_is_computed(driving):
    bench = driving("takeover")
    held = bench.session.executed[6:]
    bench.glove.faults.nan()
    n = len(bench.hand.sent)
    bench.run(0.012)
    np.testing.assert_array_equal(bench.hand.sent[n][1], held)
    assert bench.session.mode is Mode.HOLD


@pytest.mark.parametrize("device", ["arm", "hand"])
@pytest.mark.parametrize("fault", ["freeze", "unplug", "nan"])
@pytest.mark.parametrize("button", ["takeover", "start"])
def test_a_robot_that_cannot_be_seen_is_held_whoever_drives(driving, device, fault, button):
    bench = driving(button)
    assert hurt(bench, device, fault) <= 0.134


@pytest.mark.parametrize("device", ["glove", "tracker"])
def test_the_policy_does_not_need_the_person(driving, device):
    bench = driving("start")
    getattr(bench, device).faults.unplug()
    bench.run(0.5)
    assert bench.session.mode is Mode.POLICY


@pytest.mark.parametrize("device", ["glove", "tracker"])
def test_taking_over_blindly_is_refused_and_changes_nothing(driving, device):
    bench = driving("start")
    getattr(bench, device).faults.unplug()
    bench.run(0.1)
    bench.press("takeover")
    bench.run(0.1)
    assert bench.session.mode is Mode.POLICY
    assert "unplugged" in bench.session.refused


def test_a_dead_switch_holds_the_robot(driving):
    bench = driving("start")
    bench.switch.faults.unplug()
    bench.run(0.02)
    assert bench.session.mode is Mode.HOLD


def test_a_retargeter_that_gives_up_holds_the_hand(driving):
    bench = driving("takeover")

    def refuse(_keypoints):
        raise RetargetError("the keypoints are mirrored")

    bench.session._hand._human._retargeter.retarget = refuse
    held, n = bench.session.executed[6:], len(bench.hand.sent)
    bench.run(0.02)
    assert bench.session.mode is Mode.HOLD
    assert "mirrored" in bench.session.drive.reason
    np.testing.assert_array_equal(bench.hand.sent[n][1], held)


def test_after_doubt_only_a_deliberate_press_drives_again(driving):
    bench = driving("takeover")
    bench.switch.press("takeover")  # And keeps it down.
    hurt(bench, "glove", "nan")
    bench.glove.faults.clear()
    bench.run(0.5)
    assert bench.session.mode is Mode.HOLD
    bench.switch.release("takeover")
    bench.press("takeover")
    held = bench.session.executed[6:]
    n = len(bench.hand.sent)
    bench.run(0.1)
    assert bench.session.mode is Mode.HUMAN
    np.testing.assert_allclose(bench.hand.sent[n][1], held, atol=1e-12)
