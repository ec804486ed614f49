"""Whatever goes wrong, both parts hold in the tick in which it is seen, until somebody acts."""

import re

import numpy as np
import pytest

from dexhil.drivers.device import State
from dexhil.drivers.errors import FaultError
from dexhil.drivers.glove import GloveObservation
from dexhil.drivers.tracker import TrackerObservation
from dexhil.teleop.se3 import exp_rotation, to_quaternion
from dexhil.teleop.takeover import Mode


def shown(bench, **changes):
    """Have the operator show everything as it is, but for ``changes`` to the samples."""
    live = bench.operate

    def operate():
        live()
        now_s = bench.clock.now_s()
        glove, tracker = bench.glove._shown, bench.tracker._shown
        bench.glove._shown = GloveObservation(
            stamp_s=now_s + changes.get("glove_clock", 0.0),
            keypoints=glove.keypoints + changes.get("fingers", 0.0),
        )
        turn = changes.get("turn")
        bench.tracker._shown = TrackerObservation(
            stamp_s=now_s + changes.get("tracker_clock", 0.0),
            position=tracker.position + changes.get("cube", 0.0),
            orientation=tracker.orientation if turn is None else turn,
        )

    bench.operator.tick = operate


def a_glove_that_takes_one_hand_for_the_other(bench):
    shown(bench, fingers=np.linspace(0.0, 0.4, 21)[:, None])


def a_cube_that_teleports(bench):
    shown(bench, cube=np.array([0.5, 0.0, 0.0]))


def a_cube_that_flips(bench):
    shown(bench, turn=to_quaternion(exp_rotation([np.pi, 0.0, 0.0])))


def a_glove_whose_clock_steps_back(bench):
    shown(bench, glove_clock=-0.1)


def a_tracker_whose_clock_steps_forward(bench):
    shown(bench, tracker_clock=+0.5)


def an_arm_in_protective_stop(bench):
    bench.arm._read = _raising(FaultError(f"{bench.arm}: protective stop."))


def a_hand_with_too_much_current(bench):
    bench.hand._write = _raising(FaultError(f"{bench.hand}: over-current at joint3."))


def an_arm_that_is_blocked(bench):
    bench.arm._write = lambda command: bench.arm.sent.append(
        (bench.clock.now_s(), command.joint_positions)
    )


def a_button_whose_contact_is_loose(bench):
    live = bench.operator.tick

    def operate():
        live()
        bench.press("takeover")

    bench.operator.tick = operate


def a_stop_button_that_is_stuck(bench):
    bench.switch.press("stop")


def a_switch_that_hangs(bench):
    bench.switch.faults.freeze()


def a_policy_that_says_nan(bench):
    bench.policy.action = np.full(22, np.nan)


def _raising(error):
    def fail(*_):
        raise error

    return fail


@pytest.mark.parametrize("part", ["arm", "hand"])
def test_nobody_has_a_share_in_a_part_that_can_no_longer_be_seen(driving, part):
    bench = driving("takeover")
    device, follower = getattr(bench, part), getattr(bench.session, f"_{part}")
    assert follower.share == 1.0
    device._read = _raising(FaultError(f"{device}: protective stop."))
    bench.run(0.2)
    assert bench.session.mode is Mode.HOLD
    assert (follower.share, follower.asked) == (0.0, None)


# What happens, who drives then, which part sees it, and what is said about it.
TROUBLES = [
    (a_glove_that_takes_one_hand_for_the_other, "takeover", "hand", "SimGlove.*moved .* m in"),
    (a_cube_that_teleports, "takeover", "arm", "SimTracker.*moved .* m in"),
    (a_cube_that_flips, "takeover", "arm", "SimTracker.*moved .* rad in"),
    (a_glove_whose_clock_steps_back, "takeover", "hand", "SimGlove.*stepped back by"),
    (a_tracker_whose_clock_steps_forward, "takeover", "arm", "SimTracker.*-500 ms old"),
    (an_arm_in_protective_stop, "takeover", "arm", "protective stop"),
    (an_arm_in_protective_stop, "start", "arm", "protective stop"),
    (a_hand_with_too_much_current, "takeover", "hand", "over-current at joint3"),
    (a_hand_with_too_much_current, "start", "hand", "over-current at joint3"),
    (an_arm_that_is_blocked, "takeover", "arm", "rad behind its command, allowed 0.03"),
    (a_button_whose_contact_is_loose, "takeover", None, "takeover was pressed"),
    (a_stop_button_that_is_stuck, "takeover", None, "stopped by the operator"),
    (a_stop_button_that_is_stuck, "start", None, "stopped by the operator"),
    (a_switch_that_hangs, "start", None, "SimSwitch.*ms old"),
    (a_policy_that_says_nan, "start", None, "not finite"),
]


@pytest.mark.parametrize(("trouble", "button", "part", "reason"), TROUBLES)
def test_trouble_holds_in_the_tick_in_which_it_is_seen_and_until_somebody_presses(
    driving, trouble, button, part, reason
):
    bench = driving(button, 0.413, arm_lead_rad=0.03)
    action = bench.policy.action
    n_hand, n_arm = len(bench.hand.sent), len(bench.arm.sent)
    trouble(bench)
    bench.run(1.5, until=lambda: bench.session.mode is Mode.HOLD)
    assert re.search(reason, bench.session.drive.reason)
    since_s = bench.session.drive.since_s
    bench.run(0.1)
    for name, sent, n in (("hand", bench.hand.sent, n_hand), ("arm", bench.arm.sent, n_arm)):
        # Of two ticks at one instant, the other part's may have come before the trouble was seen.
        held_s = since_s + (-1e-9 if name == part else 1e-9)
        before = [q for t, q in sent[n - 1 :] if t <= held_s]
        after = [q for t, q in sent[n - 1 :] if t > held_s]
        for command in after:
            np.testing.assert_array_equal(command, before[-1])
    mend(bench, action)
    held = bench.session.executed
    bench.run(1.1)
    np.testing.assert_array_equal(bench.session.executed, held)
    bench.press(button)
    bench.run(0.1)
    assert bench.session.mode is not Mode.HOLD, bench.session.drive.reason


def mend(bench, action):
    for device in (bench.arm, bench.hand):
        for hole in ("_read", "_write"):
            vars(device).pop(hole, None)
        if device.state is State.FAULTED:
            device.disconnect()
            device.connect()
            device.enable()
    bench.operator.tick = bench.operate
    bench.policy.action = action
    bench.switch.faults.clear()
    for button in bench.switch.observe().pressed:
        bench.switch.release(button)


def test_a_device_that_faulted_is_held_until_it_is_connected_again(driving):
    bench = driving("takeover")
    an_arm_in_protective_stop(bench)
    bench.run(0.1)
    del bench.arm._read
    for _ in range(2):
        bench.press("takeover")
        bench.run(0.2)
        assert bench.session.mode is Mode.HOLD


def a_hand_with_no_answer(bench):
    bench.hand._read = _raising(FaultError(f"{bench.hand}: no answer."))


@pytest.mark.parametrize(
    ("trouble", "button", "reason"),
    [
        (an_arm_in_protective_stop, "takeover_hand", "protective stop"),
        (an_arm_in_protective_stop, "takeover", "protective stop"),
        (an_arm_in_protective_stop, "start", "protective stop"),
        (a_hand_with_no_answer, "takeover_arm", "no answer"),
    ],
)
def test_a_press_moves_neither_part_while_either_is_in_doubt(driving, trouble, button, reason):
    bench = driving("takeover", 0.413)
    trouble(bench)
    bench.run(0.1)
    held = bench.session.executed
    for pause_s in (0.011, 0.017, 0.029, 0.031):
        bench.press(button)
        bench.run(pause_s)
        assert bench.session.mode is Mode.HOLD
        assert reason in bench.session.refused
        np.testing.assert_array_equal(bench.session.executed, held)


# -- Stuck and bouncing buttons ----------------------------------------------------------


def test_nobody_starts_while_stop_is_held_down(driving):
    bench = driving("takeover")
    bench.switch.press("stop")
    bench.run(0.1)
    for button in ("takeover", "takeover_hand", "start"):
        bench.press(button)
        bench.run(0.1)
        assert bench.session.mode is Mode.HOLD
        assert "stop is held down" in bench.session.refused


def test_a_takeover_that_is_stuck_from_the_beginning_takes_nothing(make_bench):
    bench = make_bench()
    bench.switch.press("takeover")
    bench.session.begin()
    bench.run(0.5)
    assert bench.session.mode is Mode.HOLD


def test_a_takeover_that_stays_down_anchors_once(driving):
    bench = driving("start")
    epoch = bench.session.drive.epoch
    bench.switch.press("takeover")
    bench.run(1.0)
    assert bench.session.drive.epoch == epoch + 1
    assert bench.frames[-1].authority == 1.0


def test_what_a_broken_switch_says_about_an_attempt_is_not_believed(driving):
    bench = driving("takeover")
    a_button_whose_contact_is_loose(bench)
    bench.run(0.5)
    bench.press("success")
    bench.run(0.1)
    assert bench.session.verdict is None


# -- The policy's first action -------------------------------------------------------------


@pytest.mark.parametrize(
    ("joint", "name", "option"),
    [
        (2, "arm joint elbow", "arm_first_action_rad"),
        (9, "hand joint joint3", "hand_first_action_rad"),
    ],
)
def test_a_policy_that_begins_far_from_the_robot_is_refused(
    make_bench, constant_policy, joint, name, option
):
    def far(home):
        action = home.copy()
        action[joint] += 1.1
        return constant_policy(action)

    bench = make_bench(policy=far)
    bench.press("start")
    bench.run(0.3)
    assert bench.session.mode is Mode.HOLD
    reason = bench.session.drive.reason
    assert f"first action is 1.10 rad from {name}" in reason
    assert f"raise {option}" in reason
    np.testing.assert_array_equal(bench.session.executed, bench.home)


def test_a_policy_that_is_far_after_a_takeover_does_not_get_the_robot_back(driving):
    bench = driving("takeover")
    bench.policy.action = bench.home + 1.1 * (np.arange(22) == 6)
    before = bench.session.executed
    bench.press("start")
    bench.run(0.5)
    assert bench.session.mode is Mode.HOLD
    assert "first action" in bench.session.drive.reason
    np.testing.assert_array_equal(bench.session.executed, before)


def test_a_policy_that_begins_within_reach_is_ramped(make_bench, constant_policy):
    bench = make_bench(policy=lambda home: constant_policy(home + 0.3))
    bench.press("start")
    bench.run(1.0)
    assert bench.session.mode is Mode.POLICY
    _, hand = bench.commands()
    assert np.abs(np.diff(hand, axis=0)).max() < 0.03
    np.testing.assert_allclose(bench.session.executed, bench.home + 0.3, atol=1e-9)


def test_only_the_first_action_is_judged_by_its_distance(driving):
    bench = driving("start")
    bench.policy.action = bench.home + 0.9
    bench.run(1.0)
    assert bench.session.mode is Mode.POLICY


# -- How far a command may lead ------------------------------------------------------------


def test_a_finger_that_is_blocked_is_not_pressed_beyond_its_lead(driving):
    bench = driving("takeover", hand_lead_rad=0.1)
    stuck = bench.hand.positions.copy()
    bench.hand._write = lambda command: bench.hand.sent.append(
        (bench.clock.now_s(), command.joint_positions)
    )
    n = len(bench.hand.sent)
    bench.run(1.0)
    commands = np.array([q for _, q in bench.hand.sent[n:]])
    assert np.abs(commands - stuck).max() <= 0.1 + 1e-12
    assert bench.session.mode is Mode.HUMAN
    assert "hand lead" in bench.frames[-1].limits
