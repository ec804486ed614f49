import threading
from fractions import Fraction

import pytest

from dexhil.drivers.clock import SimClock
from dexhil.teleop.errors import ScheduleError
from dexhil.teleop.schedule import Loop, run_events, run_threads


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


@pytest.mark.parametrize("spin_s", [0.0, 0.001])
def test_threads_run_their_loops_and_are_joined(spin_s):
    stop, slow_ticks = threading.Event(), []
    loops = [
        Loop("fast", 200, stopping_after(20, stop)),
        Loop("slow", 50, lambda: slow_ticks.append(threading.current_thread())),
    ]
    run_threads(loops, stop, spin_s=spin_s)
    assert loops[0].stats.ticks == 20
    assert slow_ticks
    assert not any(thread.is_alive() for thread in slow_ticks)


def test_no_tick_is_early():
    stop = threading.Event()
    loop = Loop("a", 500, stopping_after(30, stop))
    run_threads([loop], stop)
    assert loop._timing._lateness[:30].min() >= 0.0


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
