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


def test_the_arm_is_held_while_a_hand_that_faulted_is_still_being_switched_off(driving):
    bench = driving("takeover")
    (arm,) = [loop for loop in bench.session.loops() if loop.name == "arm"]
    refusals, commands = [], [bench.session.executed[:6]]

    def switch_off():
        """Take 0.3 s, in which the arm's loop goes on, as in a thread of its own."""
        commands[:] = [bench.session.executed[:6]]
        for _ in range(9):
            bench.clock.sleep(1 / 30)
            bench.operate()
            bench.press("takeover_arm")
            arm.tick()
            commands.append(bench.arm.sent[-1][1])
            refusals.append(bench.session.refused)

    bench.hand._disable = switch_off
    bench.hand.faults.fail("over-current")
    bench.run(0.1)
    assert len(commands) == 10
    np.testing.assert_array_equal(np.ptp(commands, axis=0), 0.0)
    assert all("over-current" in refused for refused in refusals)
    assert "over-current" in bench.session.drive.reason


def doubt_of(bench, name):
    return bench.session.status().doubts.get(name, "")


def test_a_switch_that_dies_before_anybody_started_is_told(make_bench):
    bench = make_bench()
    bench.run(0.1)
    assert not bench.session.status().doubts
    bench.switch.faults.freeze()
    bench.run(0.7)
    assert "SimSwitch 'pedal': newest sample is" in doubt_of(bench, "switch")
    assert bench.session.status().ages_s["switch"] > 0.5
    bench.switch.faults.clear()
    bench.run(0.1)
    assert not bench.session.status().doubts


def test_a_switch_that_is_not_believed_is_told_though_nobody_drives(make_bench):
    bench = make_bench()
    for _ in range(10):
        bench.press("redo")
        bench.run(0.02)
    assert "redo was pressed" in doubt_of(bench, "switch")


@pytest.mark.parametrize("device", ["arm", "hand"])
def test_a_robot_that_cannot_be_seen_is_told_though_nobody_drives(make_bench, device):
    bench = make_bench()
    getattr(bench, device).faults.unplug()
    bench.run(0.1)
    assert "the cable is unplugged" in doubt_of(bench, device)


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
