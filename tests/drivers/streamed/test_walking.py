"""How the set point walks, and when it stays."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dexhil.drivers import streamed
from dexhil.drivers.arrays import Vector
from dexhil.drivers.hand import HandCommand
from tests.drivers.streamed.memory import SPEC, Memory, drive, wait


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


class ReadLate(tuple[Vector, float]):
    """A command that another one overtakes, just when the thread reads it."""

    overtake: Callable[[], object]

    def __iter__(self) -> Iterator[Any]:
        self.overtake()
        return super().__iter__()


@pytest.mark.parametrize("doubt", ["too old", "unseen"])
def test_a_command_given_just_when_an_old_one_is_dropped_is_carried_out(
    hand: Memory, monkeypatch: pytest.MonkeyPatch, doubt: str
) -> None:
    monkeypatch.setattr(streamed, "BLIND_FAULT_S", 60.0)
    newer = HandCommand(joint_positions=np.array([0.2, 0.0, 0.0]))
    overtaken = threading.Event()

    def overtake() -> None:
        if not overtaken.is_set():
            hand.answers = True
            hand._write(newer)
            overtaken.set()

    hand.connect()
    hand.enable()
    now_s = hand.clock.now_s()
    older = ReadLate((np.ones(3), now_s - 60.0 if doubt == "too old" else now_s))
    older.overtake = overtake
    if doubt == "unseen":
        hand.answers = False
        wait(lambda: hand.clock.now_s() - hand._fresh_s > 2 * streamed.BLIND_HOLD_S)
    hand._target = older
    assert overtaken.wait(5.0)
    wait(lambda: hand.here[0] > 0.0)


def test_what_was_commanded_while_it_could_not_be_seen_is_not_carried_out(
    hand: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "BLIND_FAULT_S", 60.0)
    monkeypatch.setattr(Memory, "spec", replace(SPEC, watchdog_s=60.0))
    hand.connect()
    hand.enable()
    hand.answers = False
    wait(lambda: hand._held_s > 0.0)
    hand.command(HandCommand(joint_positions=np.array([1.5, 0.0, 0.0])))
    commanded_s = hand.clock.now_s()
    wait(lambda: hand._held_s > commanded_s)
    hand.answers = True
    wait(lambda: hand.health().ok)
    time.sleep(0.1)
    assert hand.here[0] == 0.0
    drive(hand, [1.5, 0.0, 0.0], lambda: hand.here[0] > 0.1)


def test_commands_at_a_low_rate_are_interpolated(hand: Memory) -> None:
    hand.ramp_s = 0.1
    hand.connect()
    hand.enable()
    wait(lambda: hand.sent)
    hand.command(HandCommand(joint_positions=np.array([0.1, 0.0, 0.0])))
    wait(lambda: hand.here[0] > 0.0999)
    moving = [point[0] for _, point in hand.sent if 0.0 < point[0] < 0.0999]
    assert len(moving) >= 5, "it leapt to its target instead of going there evenly"


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
