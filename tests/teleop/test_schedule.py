import bisect
import gc
import os
import sys
import threading
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers.clock import SimClock
from dexhil.teleop import realtime
from dexhil.teleop.errors import ScheduleError
from dexhil.teleop.schedule import Loop, _keep_time, run_events, run_threads


def recording(log, name, rate_hz, clock):
    return Loop(name, rate_hz, lambda: log.append((name, clock.now_s())))


def test_every_rate_is_exact_and_ties_run_in_the_order_given():
    clock, log = SimClock(start_s=0.0), []
    loops = [recording(log, name, rate, clock) for name, rate in (("a", 20), ("b", 30), ("c", 90))]
    run_events(loops, clock, duration_s=1.0)
    times = {name: [t for n, t in log if n == name] for name in "abc"}
    # The clock's own step, 2^-30 s, is the only rounding; it does not add up.
    assert times["a"] == pytest.approx([k / 20 for k in range(20)], abs=1e-9)
    assert times["b"] == pytest.approx([k / 30 for k in range(30)], abs=1e-9)
    assert times["c"] == pytest.approx([k / 90 for k in range(90)], abs=1e-9)
    assert [name for name, t in log if t == 0.5] == ["a", "b", "c"]
    assert [t for _, t in log] == sorted(t for _, t in log)


def test_an_hour_of_ticks_does_not_drift():
    clock, count = SimClock(), [0]

    def tick():
        count[0] += 1

    run_events([Loop("a", Fraction(30000, 1001), tick)], clock, duration_s=1001.0)
    assert count[0] == 30000
    assert clock.now_s() == 2001.0


def test_back_to_back_runs_keep_the_rate():
    clock, log = SimClock(), []
    loop = recording(log, "a", 30, clock)
    for _ in range(10):
        run_events([loop], clock, duration_s=0.1)
    assert len(log) == 30
    assert loop.stats.period_s == pytest.approx((1 / 30, 1 / 30, 1 / 30), abs=1e-9)


def test_a_run_ends_when_it_is_told_to():
    clock, log = SimClock(), []
    run_events([recording(log, "a", 10, clock)], clock, until=lambda: len(log) == 7)
    assert len(log) == 7
    assert clock.now_s() == pytest.approx(1000.6)


def test_a_device_that_sleeps_makes_the_next_instant_late_but_not_lost():
    clock, log = SimClock(start_s=0.0), []

    def slow():
        log.append(clock.now_s())
        clock.sleep(0.15)

    run_events([Loop("a", 10, slow)], clock, duration_s=0.3)
    assert len(log) == 3


@pytest.mark.parametrize("rate_hz", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate_hz):
    with pytest.raises(ScheduleError, match="the rate is"):
        Loop("a", rate_hz, lambda: None)


def test_a_run_without_loops_or_end_is_refused():
    clock = SimClock()
    with pytest.raises(ScheduleError, match="no loops"):
        run_events([], clock, duration_s=1.0)
    with pytest.raises(ScheduleError, match="no end"):
        run_events([Loop("a", 1, lambda: None)], clock)
    with pytest.raises(ScheduleError, match="no loops"):
        run_threads([], threading.Event())


def stopping_after(n, stop):
    """Return a tick that sets ``stop`` when it has run ``n`` times."""
    count = iter(range(1, n + 1))

    def tick():
        if next(count) == n:
            stop.set()

    return tick


def test_threads_run_their_loops_and_are_joined():
    stop, slow_ticks = threading.Event(), []
    loops = [
        Loop("fast", 200, stopping_after(20, stop)),
        Loop("slow", 50, lambda: slow_ticks.append(threading.current_thread())),
    ]
    run_threads(loops, stop)
    assert loops[0].stats.ticks == 20
    assert slow_ticks
    assert not any(thread.is_alive() for thread in slow_ticks)


def test_a_loop_that_sleeps_for_minutes_hears_that_the_run_is_over():
    stop = threading.Event()
    run_threads([Loop("fast", 100, stopping_after(3, stop)), Loop("slow", 0.01, int)], stop)
    assert stop.is_set()  # Reached only if the slow loop was not slept out.


class Machine:
    """A clock on a machine that oversleeps and is busy for as long as it is told."""

    def __init__(self, oversleeps_s, busy_s, stop):
        self.time_s, self.stop = 1000.0, stop
        self.oversleeps_s, self.busy_s = iter(oversleeps_s), iter(busy_s)
        self.starts = []

    def now_s(self):
        return self.time_s

    def sleep(self, duration_s):
        self.time_s += duration_s + next(self.oversleeps_s, 0.0)

    def tick(self):
        self.starts.append(self.time_s)
        busy_s = next(self.busy_s, None)
        if busy_s is None:
            self.stop.set()
        else:
            self.time_s += busy_s


stalls = st.lists(st.floats(0.0, 0.5) | st.just(0.0), max_size=12)


@given(oversleeps_s=stalls, busy_s=stalls, rate_hz=st.sampled_from([20, 30, 90]))
def test_no_deadline_passes_without_a_tick_or_a_count(oversleeps_s, busy_s, rate_hz):
    stop = threading.Event()
    machine = Machine(oversleeps_s, busy_s, stop)
    loop = Loop("a", rate_hz, machine.tick)
    _keep_time(loop, stop, machine, 1000.0)
    deadlines_s = [1000.0 + float(n * loop.period) for n in range(1200)]
    numbers = [bisect.bisect_right(deadlines_s, start_s) - 1 for start_s in machine.starts]
    assert numbers == sorted(set(numbers)), "never two ticks for one deadline, never an early one"
    assert loop.stats.ticks == len(numbers)
    assert loop.stats.ticks + loop.stats.misses == numbers[-1] + 1
    assert loop.stats.lateness_s.max < 1 / rate_hz + 1e-9


def test_a_stall_that_ends_the_run_is_counted_too():
    stop = threading.Event()
    machine = Machine([], [], stop)

    def tick():
        machine.time_s += 0.1
        stop.set()

    loop = Loop("a", 100, tick)
    _keep_time(loop, stop, machine, 1000.0)
    assert loop.stats.ticks == 1
    assert loop.stats.misses == 9


def test_a_busy_loop_leaves_ticks_out_and_counts_them():
    stop, busy = threading.Event(), threading.Event()
    finish = stopping_after(3, stop)

    def tick():
        if loop.stats.ticks == 1:
            busy.wait(0.05)  # Five periods and never set: a tick that overruns.
        finish()

    loop = Loop("a", 100, tick)
    run_threads([loop], stop)
    assert loop.stats.ticks == 3
    assert loop.stats.misses >= 4


def test_the_faster_a_loop_the_higher_its_priority_and_the_background_has_the_lowest(monkeypatch):
    claimed = {}

    def claim(rank):
        claimed[threading.current_thread().name] = rank
        return True

    monkeypatch.setattr(realtime, "claim_priority", claim)
    stop = threading.Event()
    seen = {}

    def noting(name, n):
        count = iter(range(n))

        def tick():
            seen[name] = claimed[threading.current_thread().name]
            if next(count, None) is None:
                stop.set()

        return tick

    loops = [
        Loop("policy", 20, noting("policy", 99)),
        Loop("hand", 90, noting("hand", 20)),
        Loop("arm", 30, noting("arm", 99)),
        Loop("control", 200, noting("control", 9999), background=True),
    ]
    run_threads(loops, stop)
    assert seen == {"policy": 0, "arm": 1, "hand": 2, "control": None}


def test_what_only_must_not_keep_loops_waiting_goes_before_other_processes(monkeypatch):
    scheduled = []
    monkeypatch.setattr(os, "sched_setscheduler", lambda *wanted: scheduled.append(wanted))
    for rank in (None, 0, 2):
        assert realtime.claim_priority(rank)
    priorities = [parameter.sched_priority for _, _, parameter in scheduled]
    assert priorities == [realtime.HELPERS_PRIORITY, 10, 12]
    assert realtime.HELPERS_PRIORITY < 10


def test_whoever_may_not_have_priority_is_told_once_how_to_get_it(monkeypatch, caplog):
    monkeypatch.setattr(realtime, "claim_priority", lambda _: False)
    realtime.warn.cache_clear()
    for _ in range(2):
        stop = threading.Event()
        run_threads([Loop("a", 100, stopping_after(2, stop))], stop)
    told = [record.message for record in caplog.records if "rtprio" in record.message]
    assert len(told) == 1


def test_the_interpreter_and_its_garbage_stand_back_only_while_loops_run():
    stop, seen = threading.Event(), []
    sys.setswitchinterval(0.004)
    before = (sys.getswitchinterval(), gc.isenabled(), gc.get_freeze_count())

    def tick():
        seen.append((sys.getswitchinterval(), gc.isenabled(), gc.get_freeze_count() > 0))
        stop.set()

    run_threads([Loop("a", 100, tick)], stop)
    assert seen == [(pytest.approx(realtime.SWITCH_INTERVAL_S), False, True)]
    assert (sys.getswitchinterval(), gc.isenabled(), gc.get_freeze_count()) == before
    sys.setswitchinterval(0.005)


def test_every_thread_goes_before_other_processes_only_while_loops_run(monkeypatch):
    scheduled = []
    monkeypatch.setattr(os, "sched_setscheduler", lambda *wanted: scheduled.append(wanted))
    main = threading.main_thread().native_id
    with realtime.undisturbed():
        ours = [(policy, each.sched_priority) for t, policy, each in scheduled if t == main]
        assert ours == [(os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, realtime.HELPERS_PRIORITY)]
        scheduled.clear()
    back = [(policy, each.sched_priority) for thread, policy, each in scheduled if thread == main]
    assert back == [(os.SCHED_OTHER, 0)]


def test_a_thread_with_a_priority_of_its_own_keeps_it(monkeypatch):
    scheduled = []
    monkeypatch.setattr(os, "sched_setscheduler", lambda *wanted: scheduled.append(wanted))
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_RR)
    with realtime.undisturbed():
        pass
    assert scheduled == []


def test_whoever_may_not_have_priority_runs_all_the_same(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    stop = threading.Event()
    run_threads([Loop("a", 100, stopping_after(2, stop))], stop)
    assert stop.is_set()


def test_memory_is_kept_only_while_loops_run(monkeypatch):
    kept = []
    monkeypatch.setattr(realtime, "_keep_in_memory", kept.append)
    with realtime.undisturbed():
        assert kept == [True]
    assert kept == [True, False]


def failing(error):
    def tick():
        raise error

    return tick


def test_one_failing_loop_stops_all_and_raises_as_it_is():
    stop, error = threading.Event(), RuntimeError("broken")
    with pytest.raises(RuntimeError, match="broken") as raised:
        run_threads([Loop("good", 100, lambda: None), Loop("bad", 100, failing(error))], stop)
    assert raised.value is error
    assert stop.is_set()


def test_several_failures_are_raised_together():
    barrier = threading.Barrier(2)

    def tick():
        barrier.wait()
        raise RuntimeError("broken")

    with pytest.raises(ExceptionGroup, match="2 loops failed"):
        run_threads([Loop("a", 100, tick), Loop("b", 100, tick)], threading.Event())
