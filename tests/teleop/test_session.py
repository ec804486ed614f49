import re
import threading

import numpy as np
import pytest

from dexhil.drivers.clock import MonotonicClock
from dexhil.teleop import se3
from dexhil.teleop.follower import Proposal
from dexhil.teleop.schedule import run_threads
from dexhil.teleop.takeover import Event, Mode


def test_a_session_begins_by_holding_where_the_robot_is(make_bench):
    bench = make_bench()
    bench.run(0.5)
    arm, hand = bench.commands()
    np.testing.assert_array_equal(np.ptp(arm, axis=0), 0.0)
    np.testing.assert_array_equal(np.ptp(hand, axis=0), 0.0)
    np.testing.assert_array_equal(bench.session.executed, bench.home)
    assert (len(arm), len(hand), len(bench.frames)) == (15, 45, 9)


# -- Takeover jumps nowhere --------------------------------------------------------


@pytest.mark.parametrize("phase_s", [0.5, 0.5123, 0.611, 0.777])
def test_the_first_command_of_a_person_is_the_last_executed_one(driving, phase_s):
    bench = driving("start", phase_s)
    before = bench.session.executed
    bench.press("takeover")
    n_arm, n_hand = len(bench.arm.sent), len(bench.hand.sent)
    bench.run(0.04)
    assert bench.session.mode is Mode.HUMAN
    # The arm's first command as HUMAN may be its second here, if its tick came
    # before the hand loop had polled the switch.
    arm_steps = np.diff([before[:6], *(q for _, q in bench.arm.sent[n_arm:])], axis=0)
    first_hand = bench.hand.sent[n_hand][1]
    np.testing.assert_allclose(first_hand, before[6:], atol=1e-12)
    pose = bench.ik.fk(before[:6])
    for _, joints in bench.arm.sent[n_arm:][:1]:
        metres, radians = se3.distance(bench.ik.fk(joints), pose)
        assert metres < 5e-4
        assert radians < np.deg2rad(0.2)
    assert np.abs(arm_steps).max() < 0.01


def test_authority_grows_over_the_ramp_and_then_the_person_has_all_of_it(driving):
    bench = driving("start")
    bench.press("takeover")
    bench.frames.clear()
    bench.run(1.0)
    shares = [frame.authority for frame in bench.frames]
    assert shares == sorted(shares)
    assert 0.0 < shares[3] < 1.0
    assert shares[-1] == 1.0


def test_hand_back_starts_from_the_last_executed_command_and_arrives(driving):
    bench = driving("takeover")
    before, n_hand = bench.session.executed, len(bench.hand.sent)
    bench.press("start")
    bench.run(1.5)
    steps = np.diff([before[6:], *(q for _, q in bench.hand.sent[n_hand:])], axis=0)
    assert np.abs(steps[0]).max() < 1e-12
    assert np.abs(steps).max() < 0.1
    np.testing.assert_allclose(bench.session.executed, bench.home + 0.1, atol=1e-9)


def test_without_limits_or_ramp_the_executed_action_is_the_proposed_one(make_bench):
    rng = np.random.default_rng(3)

    class Wandering:
        execute_steps = 3

        def reset(self):
            pass

        def infer(self, observation):
            here = observation["observation.state"][:22]
            return here + np.cumsum(rng.normal(0.0, 0.01, (6, 22)), axis=0)

    bench = make_bench(policy=lambda _: Wandering(), ramp_s=0.0)
    bench.press("start")
    bench.run(2.0)
    driven = [f for f in bench.frames if f.mode is Mode.POLICY and f.proposal is not None]
    assert len(driven) > 30
    for frame in driven:
        np.testing.assert_allclose(frame.executed, frame.proposal, atol=1e-8)


def test_pressing_takeover_again_anchors_again_without_a_new_segment(driving):
    bench = driving("takeover")
    before, drive = bench.session.executed, bench.session.drive
    bench.press("takeover")
    n_hand = len(bench.hand.sent)
    bench.run(0.01)
    assert bench.session.drive.epoch == drive.epoch + 1
    assert bench.session.drive.segment == drive.segment
    np.testing.assert_allclose(bench.hand.sent[n_hand][1], before[6:], atol=1e-12)


def test_a_person_who_pushes_against_the_box_slides_along_its_wall(make_bench):
    start = make_bench()
    palm = start.ik.fk(start.home[:6])
    floor = palm[2, 3] - 0.02
    bench = make_bench(workspace_low=(-1.0, -1.0, floor))
    rng = np.random.default_rng(0)

    def push():
        """Move 5 cm sideways and 10 cm down in the base frame, within a second."""
        share = min(1.0, bench.clock.now_s() - 1000.0)
        motion = palm[:3, :3].T @ (share * np.array([0.0, 0.05, -0.1]))
        bench.glove.show(rng.normal(0.1, 0.01, (21, 3)))
        bench.tracker.show(motion + rng.normal(0.0, 1e-5, 3), [1.0, 0.0, 0.0, 0.0])

    bench.operator.tick = push
    push()
    bench.press("takeover")
    bench.run(1.5)
    reached = bench.ik.fk(bench.session.executed[:6])[:3, 3]
    np.testing.assert_allclose(reached, [palm[0, 3], palm[1, 3] + 0.05, floor], atol=2e-3)


# -- The policy --------------------------------------------------------------------


def test_hand_back_flushes_the_chunk_and_asks_again_from_what_is_seen_then(driving):
    bench = driving("start")
    bench.press("takeover")
    bench.run(0.5)
    inferences, resets = bench.policy.inferences, bench.policy.resets
    bench.policy.action = bench.home + 0.2
    bench.press("start")
    bench.run(0.1)
    assert bench.policy.resets == resets + 1
    assert bench.policy.inferences == inferences + 1
    n = len(bench.home)
    state = bench.policy.observations[-1]["observation.state"]
    assert np.abs(state[:n] - bench.session.executed).max() < 0.1
    assert bench.session._policy_loop.hand_proposal.joint_positions[0] == pytest.approx(0.5)


def test_a_proposal_made_for_another_drive_is_dropped(driving):
    bench = driving("takeover")
    late = bench.session.drive.epoch - 1
    bench.press("start")
    bench.run(0.012)
    loop, n = bench.session._policy_loop, len(bench.hand.sent)
    loop.actions = None  # Nothing but the late proposal is left to obey.
    late_one = Proposal(bench.clock.now_s(), late, np.full(16, 1.4))
    loop.hand_proposals.put(late_one, bench.clock.now_s())
    bench.run(0.2)
    hand = np.array([q for _, q in bench.hand.sent[n:]])
    assert len(hand) >= 17
    np.testing.assert_array_equal(np.ptp(hand, axis=0), 0.0)


def test_a_policy_that_falls_silent_holds_the_robot(driving):
    bench = driving("start")
    bench.session._policy_loop.actions = None
    bench.run(1.0)
    assert bench.session.mode is Mode.HOLD
    assert "no action for" in bench.session.drive.reason


@pytest.mark.parametrize(
    ("action", "reason"),
    [(np.full(22, np.nan), "not finite"), (np.zeros(5), r"shape \(8, 5\)")],
)
def test_a_policy_that_talks_nonsense_holds_the_robot(driving, action, reason):
    bench = driving("start")
    before = bench.session.executed
    bench.policy.action = action
    bench.run(0.3)
    assert bench.session.mode is Mode.HOLD
    assert re.search(reason, bench.session.drive.reason)
    assert np.abs(bench.session.executed - before).max() < 0.1


def test_the_policy_proposes_while_a_person_drives(driving):
    bench = driving("takeover")
    assert len(bench.frames) > 10
    assert all(f.proposal is not None for f in bench.frames[1:])
    assert bench.frames[-1].human is not None


def test_a_session_without_a_policy_refuses_to_start_it(make_bench):
    bench = make_bench()
    bench.press("start")
    bench.run(0.1)
    assert bench.session.mode is Mode.HOLD
    assert "no policy" in bench.session.refused


# -- Buttons, frames, threads ---------------------------------------------------------


def test_presses_in_one_poll_end_on_the_careful_side(driving):
    bench = driving("start")
    for button in ("stop", "takeover", "start"):
        bench.press(button)
    bench.run(0.02)
    assert bench.session.mode is Mode.HOLD


def test_presses_made_before_the_episode_are_forgotten(make_bench):
    bench = make_bench()
    bench.press("takeover")
    bench.session.begin()
    bench.run(0.1)
    assert bench.session.mode is Mode.HOLD


@pytest.mark.parametrize("verdict", ["success", "failure"])
def test_the_operators_verdict_lasts_one_episode(driving, verdict):
    bench = driving("takeover")
    assert bench.session.verdict is None
    bench.press(verdict)
    bench.run(0.02)
    assert bench.session.verdict == verdict
    bench.session.begin()
    assert bench.session.verdict is None


def test_a_frame_holds_what_was_sent_between_its_observation_and_the_next(driving):
    bench = driving("takeover", 1.0)
    bench.session.flush()
    assert len(bench.frames) == 20
    for frame, following in zip(bench.frames, bench.frames[1:], strict=False):
        sent = [q for t, q in bench.hand.sent if t < following.stamp_s - 1e-9]
        np.testing.assert_array_equal(frame.executed[6:], sent[-1])
        # The robot is perfect, so the next observation shows what was executed.
        np.testing.assert_array_equal(following.state[:22], frame.executed)


def test_frames_tell_drivers_apart(driving):
    bench = driving("start", 0.5)
    for button in ("takeover", "release", "start", "stop"):
        bench.press(button)
        bench.run(0.5)
    seen = list(dict.fromkeys((f.mode, f.segment, f.intervention) for f in bench.frames[1:]))
    driven = [(mode, segment) for mode, segment, _ in seen]
    assert list(dict.fromkeys(driven)) == [
        (Mode.POLICY, 1),
        (Mode.HUMAN, 2),
        (Mode.HOLD, 3),
        (Mode.POLICY, 4),
        (Mode.HOLD, 5),
    ]
    assert all(f.intervention for f in bench.frames if f.mode is Mode.HUMAN)
    assert not any(f.intervention for f in bench.frames if f.segment in {1, 4, 5})
    assert all(bool(f.reason) == (f.mode is Mode.HOLD) for f in bench.frames)
    assert all(f.human is None for f in bench.frames if f.mode is not Mode.HUMAN)


def test_waiting_for_the_first_driver_is_no_part_of_an_attempt(make_bench):
    bench = make_bench()
    bench.run(5.0)
    for button in ("takeover", "release"):
        bench.press(button)
        bench.run(1.0)
    steps = bench.session.status().steps
    assert (steps.attempt, steps.attempt_human) == (39, 20), "the last one is still open"
    bench.session.begin()
    bench.run(5.0)
    again = bench.session.status().steps
    assert (again.attempt, again.attempt_human) == (0, 0)
    assert (again.session, again.session_human) == (steps.session, steps.session_human)


def test_beginning_again_begins_a_new_episode(driving):
    bench = driving("takeover")
    bench.session.begin()
    assert bench.session.mode is Mode.HOLD
    assert bench.session.drive.segment == 0
    bench.frames.clear()
    bench.session.set_event(Event.TAKE_OVER)
    bench.run(0.3)
    assert {f.segment for f in bench.frames} == {1}


def test_the_same_seed_gives_the_same_frames(driving):
    runs = []
    for _ in range(2):
        bench = driving("start", seed=7)
        for button in ("takeover", "start"):
            bench.press(button)
            bench.run(0.7)
        runs.append([(f.stamp_s, f.mode, f.executed.tobytes()) for f in bench.frames])
    assert runs[0] == runs[1]
    assert len(runs[0]) > 30


def test_the_same_session_runs_in_threads_and_stops_cleanly(make_bench):
    bench = make_bench(clock=MonotonicClock())
    stop, threads = threading.Event(), threading.active_count()

    def operate():
        bench.operate()
        if bench.operator.stats.ticks == 10:
            bench.press("takeover")
        if len(bench.frames) >= 12:
            stop.set()

    bench.operator.tick = operate
    run_threads([bench.operator, *bench.session.loops()], stop)
    assert threading.active_count() == threads
    assert bench.session.mode is Mode.HUMAN
    assert bench.frames[-1].intervention
