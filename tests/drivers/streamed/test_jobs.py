"""Switching on and off, recovering, and trouble at the wrong moment."""

import _thread
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from dexhil.drivers import streamed
from dexhil.drivers.device import State
from dexhil.drivers.errors import ConnectError, FaultError
from tests.drivers.streamed.memory import Memory, wait


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


def test_only_one_thread_talks_to_the_device(hand: Memory) -> None:
    hand.connect()
    hand.threads.clear()
    hand.enable()
    for _ in range(5):
        hand.observe()
        time.sleep(0.01)
    hand.disable()
    assert hand.threads == {"memory stream"}


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
from memory import Memory

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
