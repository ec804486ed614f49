"""The thread that every real arm and hand shares, on a device without a wire."""

import _thread
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dexhil.drivers import streamed
from dexhil.drivers.arrays import Vector
from dexhil.drivers.device import State
from dexhil.drivers.errors import ConnectError, FaultError
from dexhil.drivers.hand import Hand, HandCommand, HandObservation, HandSpec
from dexhil.drivers.streamed import STUCK, Differentiator, Sample, StreamedJoints
from dexhil.drivers.testing.example import ExampleHand, ExampleHandConfig

SPEC = ExampleHand(ExampleHandConfig(), name="spec").spec


class Memory(StreamedJoints, Hand):
    """A hand that is where it was told to be, and writes down everything."""

    period_s = 0.005

    def __init__(self) -> None:
        super().__init__(name="memory")
        self.here = np.zeros(3)
        self.sent: list[tuple[float, Vector]] = []
        self.on = False
        self.threads: set[str] = set()
        self.open = False
        self.answers = True
        self.follows = True
        self.trouble: Exception | None = None
        self.cleared = 0
        self.slow: dict[str, float] = {}  # How long a call takes [s].
        self.calls: list[str] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)
        time.sleep(self.slow.get(name, 0.0))

    @property
    def spec(self) -> HandSpec:
        return SPEC

    def _link_open(self, timeout_s: float) -> None:
        del timeout_s
        self._called("open")
        self.open = True

    def _link_close(self) -> None:
        self.open = False

    def _poll(self) -> Sample | None:
        self.threads.add(threading.current_thread().name)
        time.sleep(self.slow.get("poll", 0.0))
        if self.trouble is not None:
            raise self.trouble
        if not self.answers:
            return None
        return Sample(
            stamp_s=self.clock.now_s(), positions=self.here.copy(), velocities=np.zeros(3)
        )

    def _switch_on(self, here: Vector) -> None:
        del here
        self._called("on")
        self.on = True

    def _switch_off(self) -> None:
        self._called("off")
        self.on = False

    def _send(self, setpoint: Vector) -> None:
        self.calls.append("send")
        self.sent.append((time.monotonic(), setpoint))
        if self.follows:
            self.here = setpoint

    def _clear_errors(self) -> None:
        assert self.open
        self.cleared += 1
        self.trouble = None


@pytest.fixture
def hand() -> Iterator[Memory]:
    hand = Memory()
    yield hand
    hand.disconnect()


def wait(until: Callable[[], Any], timeout_s: float = 5.0) -> None:
    give_up_s = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < give_up_s, "it never happened"
        time.sleep(0.002)


def drive(hand: Memory, target: list[float], until: Callable[[], Any]) -> None:
    def commanded() -> bool:
        hand.command(HandCommand(joint_positions=np.array(target)))
        return bool(until())

    wait(commanded)


def test_connecting_sends_nothing_and_switches_nothing_on(hand: Memory) -> None:
    hand.connect()
    time.sleep(0.05)
    assert not hand.sent
    assert not hand.on


def test_the_set_point_walks_no_faster_than_the_joints_may_go(hand: Memory) -> None:
    hand.connect()
    hand.enable()
    drive(hand, [1.0, 1.0, 1.0], lambda: hand.here[0] > 0.8)
    hand.disable()
    points = np.array([point for _, point in hand.sent])
    # A cycle's step is bounded by the longest gap that is forgiven, 50 ms.
    assert np.abs(np.diff(points, axis=0)).max() <= SPEC.velocity_limits.max() * 0.05 + 1e-9
    assert (points >= SPEC.position_limits[:, 0]).all()
    assert (points <= SPEC.position_limits[:, 1]).all()


def test_no_set_point_is_sent_after_disabling(hand: Memory) -> None:
    hand.connect()
    hand.enable()
    wait(lambda: hand.sent)
    hand.disable()
    assert not hand.on
    n_sent = len(hand.sent)
    time.sleep(0.05)
    assert len(hand.sent) == n_sent


def test_one_command_moves_it_for_the_watchdog_time_only(hand: Memory) -> None:
    hand.connect()
    hand.enable()
    hand.command(HandCommand(joint_positions=np.array([1.5, 0.0, 0.0])))
    time.sleep(3 * SPEC.watchdog_s)
    halted = hand.here[0]
    assert 0 < halted < SPEC.velocity_limits[0] * (SPEC.watchdog_s + 0.1)
    time.sleep(SPEC.watchdog_s)
    assert hand.here[0] == halted


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


@pytest.mark.parametrize("bad", [np.nan, np.inf, 99.0])
def test_values_that_cannot_be_are_no_samples(hand: Memory, bad: float) -> None:
    hand.connect()
    hand.here = np.array([0.0, bad, 0.0])
    time.sleep(0.05)
    assert hand.observe().joint_positions[1] == 0.0
    wait(lambda: not hand.health().ok)
    assert any(word in hand.health().reasons[0] for word in ("not finite", "joint middle"))


def test_a_device_outside_its_range_is_not_enabled(hand: Memory) -> None:
    hand.here = np.array([-0.6, 0.0, 0.0])
    hand.connect()
    with pytest.raises(FaultError, match="move it there by hand"):
        hand.enable()
    assert not hand.sent


def test_what_ends_the_thread_switches_off_and_is_told_to_the_caller(hand: Memory) -> None:
    hand.connect()
    hand.enable()
    hand.trouble = RuntimeError("motor 3 is overloaded; let it cool, then recover")
    wait(lambda: not hand.on)  # Nobody had to ask.
    with pytest.raises(FaultError, match="motor 3 is overloaded"):
        hand.observe()


def test_recovering_clears_reconnects_and_does_not_enable(hand: Memory) -> None:
    hand.connect()
    hand.enable()
    hand.trouble = RuntimeError("overloaded")
    wait(lambda: not hand.on)
    hand.recover()
    assert hand.cleared == 1
    assert hand.state is State.CONNECTED
    assert hand.health().ok


def test_recovering_what_cannot_be_recovered_leaves_it_disconnected(
    hand: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise RuntimeError("the brake is stuck")

    monkeypatch.setattr(hand, "_clear_errors", refuse)
    with pytest.raises(ConnectError, match=r"could not be recovered \(the brake is stuck\)"):
        hand.recover()
    assert hand.state is State.DISCONNECTED
    assert not hand.open


def test_a_device_that_never_answers_does_not_connect(hand: Memory) -> None:
    hand.answers = False
    with pytest.raises(ConnectError, match="nothing came back"):
        hand.connect(timeout_s=0.1)
    assert not hand.open


def test_only_one_thread_talks_to_the_device(hand: Memory) -> None:
    hand.connect()
    hand.threads.clear()
    hand.enable()
    for _ in range(5):
        hand.observe()
        time.sleep(0.01)
    hand.disable()
    assert hand.threads == {"memory stream"}


def test_commands_at_a_low_rate_are_interpolated(hand: Memory) -> None:
    hand.ramp_s = 0.1
    hand.connect()
    hand.enable()
    wait(lambda: hand.sent)
    hand.command(HandCommand(joint_positions=np.array([0.1, 0.0, 0.0])))
    wait(lambda: hand.here[0] > 0.0999)
    moving = [point[0] for _, point in hand.sent if 0.0 < point[0] < 0.0999]
    assert len(moving) >= 5, "it leapt to its target instead of going there evenly"


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


def test_observations_of_one_sample_are_one_object(hand: Memory) -> None:
    hand.connect()
    hand.answers = False
    time.sleep(0.05)
    first = hand.observe()
    assert isinstance(first, HandObservation)
    assert hand.observe() is first


# -- Trouble at the wrong moment ---------------------------------------------------------


def test_ctrl_c_while_enabling_switches_off_and_sends_nothing_after_that(hand: Memory) -> None:
    hand.slow["on"] = 0.3
    hand.connect()
    threading.Timer(0.1, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        hand.enable()
    assert hand.state is State.CONNECTED
    time.sleep(0.4)
    assert not hand.on
    assert not hand.sent


def test_enabling_that_ends_too_late_has_no_effect(
    hand: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "JOB_TIMEOUT_S", 0.2)
    hand.slow["on"] = 0.6
    hand.connect()
    with pytest.raises(FaultError, match="did not answer within"):
        hand.enable()
    wait(lambda: "off" in hand.calls)
    time.sleep(0.1)
    assert not hand.on
    assert not hand.sent


def test_enabling_that_nobody_waits_for_any_more_never_begins(
    hand: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "JOB_TIMEOUT_S", 0.2)
    hand.connect()
    hand.slow["poll"] = 0.8  # A vendor's call that hangs.
    time.sleep(0.05)
    with pytest.raises(FaultError):
        hand.enable()
    hand.slow.clear()
    time.sleep(0.9)
    assert "on" not in hand.calls
    assert not hand.sent


def test_what_ends_just_when_its_caller_looks_away_is_no_timeout(
    hand: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LookingAway(Future[None]):
        def result(self, timeout: float | None = None) -> None:
            if timeout is None:
                return super().result()
            time.sleep(0.2)
            raise TimeoutError

    monkeypatch.setattr(streamed, "Future", LookingAway)
    hand.connect()
    hand.enable()
    assert hand.state is State.ENABLED


def test_a_thread_that_hangs_is_not_joined_by_a_second_one(
    hand: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "JOB_TIMEOUT_S", 0.2)
    hand.connect()
    hand.slow["poll"] = 1.0
    time.sleep(0.05)
    hand.disconnect()
    hand.slow.clear()
    n_opened = hand.calls.count("open")
    for again in (hand.connect, hand.recover):
        with pytest.raises(ConnectError, match="still hangs in its driver"):
            again()
    assert hand.calls.count("open") == n_opened
    time.sleep(1.0)
    hand.connect()  # It came back after all.


def test_a_library_that_wants_to_end_the_program_ends_the_thread(hand: Memory) -> None:
    hand.connect()
    hand.enable()
    hand.trouble = SystemExit("wrong firmware")  # type: ignore[assignment]
    wait(lambda: not hand.on)
    with pytest.raises(FaultError, match="wrong firmware"):
        hand.observe()


def test_a_fault_while_somebody_disables_still_switches_off() -> None:
    class Failing(Memory):
        fails = False

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name != "_driving" or not self.fails:
                return
            if threading.current_thread() is threading.main_thread():
                self.trouble = RuntimeError("overloaded")
                wait(lambda: self._worker is not None and self._worker.error)
            else:
                time.sleep(0.1)

    hand = Failing()
    hand.connect()
    hand.enable()
    wait(lambda: hand.sent)
    hand.fails = True
    hand.disable()
    wait(lambda: not hand.on)
    hand.disconnect()


def test_enabling_slightly_outside_the_range_does_not_leap_into_it(hand: Memory) -> None:
    low = float(SPEC.position_limits[0, 0])
    hand.here = np.array([low - 0.09, 0.0, 0.0])
    hand.connect()
    hand.enable()
    wait(lambda: hand.sent)
    assert hand.sent[0][1][0] == low - 0.09
    drive(hand, [low - 1.0, 0.0, 0.0], lambda: hand.here[0] == low)
    steps = np.diff([low - 0.09, *(point[0] for _, point in hand.sent)])
    assert steps.max() <= SPEC.velocity_limits[0] * 0.05 + 1e-9


def test_a_device_that_starts_to_move_a_little_late_after_a_rest_is_not_frozen() -> None:
    class Late(Memory):
        def _send(self, setpoint: Vector) -> None:
            super()._send(setpoint)
            then_s = time.monotonic() - 0.04
            past = [point for stamp_s, point in self.sent if stamp_s <= then_s]
            self.here = past[-1] if past else np.zeros(3)

    hand = Late()
    with hand:
        hand.enable()
        time.sleep(0.5)
        drive(hand, [1.0, 1.0, 1.0], lambda: hand.here[0] > 0.5)
        assert hand.health().ok


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


def test_a_device_that_cannot_be_switched_off_faults_and_can_be_told_again(
    hand: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError("cable")

    hand.connect()
    hand.enable()
    with monkeypatch.context() as broken:
        broken.setattr(hand, "_switch_off", fail)
        hand.disable()
    assert hand.state is State.FAULTED
    assert hand.health().reasons == ("could not be disabled (cable); use the emergency stop",)
    hand.disable()
    assert not hand.on
    assert hand.state is State.FAULTED


@pytest.mark.parametrize("end", ["pass", "raise RuntimeError('a bug')", "sys.exit(3)"])
def test_a_program_that_just_ends_leaves_nothing_enabled(end: str) -> None:
    program = f"""
import sys
from test_streamed import Memory

class Speaking(Memory):
    def _switch_off(self):
        super()._switch_off()
        print("off", flush=True)

hand = Speaking()
hand.connect()
hand.enable()
{end}
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.stdout == "off\n", ended.stderr


def test_it_is_off_by_the_time_that_a_fault_is_told(hand: Memory) -> None:
    switch_off = hand._switch_off

    def slowly() -> None:
        time.sleep(0.1)
        switch_off()

    hand._switch_off = slowly  # type: ignore[method-assign]
    hand.connect()
    hand.enable()
    hand.trouble = RuntimeError("overloaded")
    with pytest.raises(FaultError):
        wait(lambda: not hand.observe())
    assert not hand.on


def test_who_looks_at_a_device_that_cannot_be_switched_off_does_not_wait_for_long(
    hand: Memory,
) -> None:
    release = threading.Event()
    hand.connect()
    hand.enable()
    hand._switch_off = lambda: release.wait(10.0)  # type: ignore[method-assign,assignment]
    hand.trouble = RuntimeError("overloaded")
    start_s = time.monotonic()
    with pytest.raises(FaultError):
        wait(lambda: not hand.observe())
    assert time.monotonic() - start_s < 5.0
    release.set()
