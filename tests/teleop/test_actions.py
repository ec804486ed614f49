"""Actions of a policy that answers later are those for now, or none."""

from dataclasses import dataclass

import numpy as np
import pytest

from dexhil.drivers.clock import SimClock
from dexhil.teleop.actions import AsyncPolicy, LaterActions
from dexhil.teleop.errors import DoubtError
from dexhil.teleop.takeover import Mode

T = 0.05
HORIZON = 16


@dataclass
class Answered:
    chunk: np.ndarray
    epoch: int
    stamp_s: float


class Thinking:
    """A policy that takes its time: action k says for which instant it was meant."""

    execute_steps = 8

    def __init__(self, latency_s, n=2):
        self.latency_s, self.n = latency_s, n
        self.time_s = 0.0
        self.problem = None
        self.asked = []
        self.owed = None

    @property
    def busy(self):
        return self.owed is not None

    def ask(self, observation, *, epoch, stamp_s):
        del observation
        assert not self.busy
        self.asked.append(stamp_s)
        instants = stamp_s + T * np.arange(HORIZON)
        chunk = np.tile(instants[:, None], (1, self.n))
        self.owed = (stamp_s + self.latency_s, Answered(chunk, epoch, stamp_s))

    def take(self):
        if self.owed is None or self.time_s < self.owed[0]:
            return None
        answer, self.owed = self.owed[1], None
        return answer


class Run:
    """Steps of the policy's clock, each as late as somebody says."""

    def __init__(self, latency_s, **options):
        self.policy = Thinking(latency_s)
        self.actions = LaterActions(self.policy, 2, period_s=T, **options)
        self.start_s = 1000.0

    def step(self, i, epoch=1, late_s=0.0):
        now_s = self.policy.time_s = self.start_s + i * T + late_s
        return self.actions.next({}, epoch, now_s)


def test_a_thinking_policy_is_one_that_answers_later():
    assert isinstance(Thinking(0.1), AsyncPolicy)


@pytest.mark.parametrize("latency_s", [0.0, 0.01, 0.03, 0.07, 0.12, 0.26])
def test_every_action_is_the_one_meant_for_its_instant_and_motion_never_stops(latency_s):
    run, rng = Run(latency_s), np.random.default_rng(0)
    given = [run.step(i, late_s=rng.uniform(0.0, 0.01)) for i in range(200)]
    first = next(i for i, action in enumerate(given) if action is not None)
    assert first == max(1, int(np.ceil(latency_s / T)))
    assert all(action is not None for action in given[first:])
    meant_s = np.array([action[0] for action in given[first:]])
    due_s = run.start_s + T * np.arange(first, 200)
    # Observations are up to 10 ms late themselves, and so are the instants they begin.
    assert np.abs(meant_s - due_s).max() <= 0.011


def test_the_next_chunk_is_asked_for_so_early_that_it_is_there_in_time():
    run = Run(latency_s=0.12)  # Seen after three steps.
    for i in range(100):
        run.step(i)
    steps_asked = np.round((np.array(run.policy.asked) - run.start_s) / T).astype(int)
    assert set(np.diff(steps_asked[1:])) == {run.policy.execute_steps - 3}


def test_how_early_may_be_said():
    prefetch_steps = 6
    run = Run(latency_s=0.01, prefetch_steps=prefetch_steps)
    for i in range(60):
        run.step(i)
    steps_asked = np.round((np.array(run.policy.asked) - run.start_s) / T).astype(int)
    assert set(np.diff(steps_asked[1:])) == {run.policy.execute_steps - prefetch_steps}


def test_a_late_answer_lets_the_present_chunk_go_on_to_its_end_and_no_further():
    run = Run(latency_s=0.01)
    assert run.step(0) is None
    run.policy.latency_s = 60.0
    given = [run.step(i) for i in range(1, 30)]
    assert [action is not None for action in given] == [True] * (HORIZON - 1) + [False] * 14


def test_an_answer_computed_for_another_drive_is_dropped_and_counted():
    run = Run(latency_s=0.12)
    run.step(0, epoch=1)
    assert [run.step(i, epoch=2) for i in (1, 2, 3, 4, 5)] == [None] * 5
    assert run.actions.late == 1
    assert run.policy.asked == [run.start_s, pytest.approx(run.start_s + 3 * T)], "afresh"
    assert run.step(6, epoch=2) is not None


def test_how_long_an_answer_waited_for_somebody_to_drive_is_not_how_long_it_took():
    run, i = Run(latency_s=0.01), 0
    while not run.policy.busy or i < 10:
        run.step(i, epoch=1)
        i += 1
    run.policy.asked.clear()
    for k in range(1200, 1260):  # Nobody drove for a minute.
        run.step(i + k, epoch=2)
    steps_asked = np.round((np.array(run.policy.asked) - run.start_s) / T).astype(int)
    assert run.actions.late == 1
    assert set(np.diff(steps_asked)) == {run.policy.execute_steps - 1}


def test_a_new_attempt_has_nothing_to_do_with_an_answer_to_the_last_one():
    run = Run(latency_s=0.01)
    run.step(0)
    run.policy.time_s += 60.0
    run.actions.reset()
    assert not run.policy.busy
    assert run.step(1200, epoch=2) is None
    assert run.step(1201, epoch=2) is not None
    assert run.actions.late == 0


def test_a_new_drive_never_obeys_the_old_chunk():
    run = Run(latency_s=0.01)
    assert [run.step(i, epoch=1) is not None for i in range(3)] == [False, True, True]
    assert run.step(3, epoch=2) is None
    assert run.step(4, epoch=2) is not None


def test_a_policy_that_is_gone_is_a_doubt_with_its_reason():
    run = Run(latency_s=0.01)
    run.policy.problem = "policy process: it ended with exit code -9."
    with pytest.raises(DoubtError, match="exit code -9"):
        run.step(0)


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (np.full((HORIZON, 2), np.nan), "not finite"),
        (np.zeros((HORIZON, 5)), r"shape \(16, 5\), expected \(horizon, 2\)"),
        (np.zeros((0, 2)), "shape"),
    ],
)
def test_nonsense_is_a_doubt_and_is_not_said_twice(chunk, reason):
    run = Run(latency_s=0.0)
    run.step(0)
    run.policy.owed[1].chunk = chunk
    with pytest.raises(DoubtError, match=reason):
        run.step(1)
    run.policy.owed = None
    assert run.step(2) is None


# -- In a session ------------------------------------------------------------------


def thinking_about(make_bench, latency_s, reach=0.1, **options):
    """Return a bench whose policy takes its time on the simulated clock."""

    class OnTheClock(Thinking):
        def ask(self, observation, *, epoch, stamp_s):
            super().ask(observation, epoch=epoch, stamp_s=stamp_s)
            self.owed[1].chunk[:] = self.home + reach

        def take(self):
            self.time_s = self.clock.now_s()
            return super().take()

    policy = OnTheClock(latency_s, n=22)
    policy.clock = SimClock()
    return make_bench(
        clock=policy.clock,
        policy=lambda home: setattr(policy, "home", home) or policy,
        **options,
    )


def test_a_slow_policy_drives_there_while_frames_go_on_at_their_rate(make_bench):
    bench = thinking_about(make_bench, latency_s=0.13)
    bench.press("start")
    bench.run(2.0)
    assert bench.session.mode is Mode.POLICY
    assert len(bench.frames) == 39
    np.testing.assert_allclose(bench.session.executed, bench.home + 0.1, atol=1e-9)
    status = bench.session.status()
    assert 0.13 <= status.used_s["policy"].median <= 0.13 + 9 * T
    assert status.late_answers == 0


def test_a_policy_slower_than_allowed_holds_the_robot(make_bench):
    bench = thinking_about(make_bench, latency_s=0.8)
    bench.press("start")
    bench.run(0.7)
    assert bench.session.mode is Mode.HOLD
    assert "no action for" in bench.session.drive.reason
    np.testing.assert_array_equal(bench.session.executed, bench.home)


def test_an_answer_from_before_a_takeover_never_moves_the_robot(make_bench):
    bench = thinking_about(make_bench, latency_s=0.3, shadow=False)
    bench.press("start")
    bench.run(0.15)
    bench.press("takeover")
    bench.run(0.1)
    bench.press("start")
    bench.run(0.2)  # The first answer came meanwhile.
    assert bench.session.status().late_answers == 1
    assert bench.session._policy_loop.hand_proposal is None


def test_a_dead_policy_holds_the_robot_it_drives_and_cannot_be_started(make_bench):
    bench = thinking_about(make_bench, latency_s=0.05)
    bench.press("start")
    bench.run(0.5)
    bench.policy.problem = "policy process: it ended with exit code -9."
    bench.run(0.1)
    assert bench.session.mode is Mode.HOLD
    assert "exit code -9" in bench.session.drive.reason
    bench.press("start")
    bench.run(0.1)
    assert bench.session.mode is Mode.HOLD
    assert "exit code -9" in bench.session.refused


def test_a_dead_policy_does_not_stop_the_person_it_only_watches(make_bench):
    bench = thinking_about(make_bench, latency_s=0.05)
    bench.press("takeover")
    bench.run(0.5)
    bench.policy.problem = "policy process: it ended with exit code -9."
    bench.run(0.5)
    assert bench.session.mode is Mode.HUMAN
    assert bench.frames[-1].proposal is None
