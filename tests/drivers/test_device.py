"""The lifecycle: which call is legal when, and what a fault does."""

import logging
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dexhil.drivers.clock import SimClock
from dexhil.drivers.device import State
from dexhil.drivers.errors import (
    CommandError,
    ConfigError,
    ConnectError,
    FaultError,
    StaleError,
)
from dexhil.drivers.hand import HandCommand, HandObservation
from dexhil.drivers.switch.sim import SimSwitch, SimSwitchConfig
from dexhil.drivers.testing.example import ExampleHand, ExampleHandConfig

REST = HandCommand(joint_positions=np.zeros(3))


class BreakableHand(ExampleHand):
    """A hand whose calls fail on request, and that remembers which were made."""

    def __init__(self) -> None:
        super().__init__(ExampleHandConfig(), name="right", clock=SimClock())
        self.breaking: dict[str, BaseException] = {}
        self.calls: list[str] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.breaking:
            raise self.breaking[name]

    def _open(self, timeout_s: float) -> None:
        self._called("open")
        super()._open(timeout_s)

    def _close(self) -> None:
        self._called("close")

    def _read(self) -> HandObservation:
        self._called("read")
        return super()._read()

    def _enable(self) -> None:
        self._called("enable")
        super()._enable()

    def _disable(self) -> None:
        self._called("disable")
        super()._disable()

    def _write(self, command: HandCommand) -> None:
        self._called("write")
        super()._write(command)

    def _warnings(self) -> tuple[str, ...]:
        self._called("warnings")
        return super()._warnings()


def use(hand: BreakableHand) -> None:
    hand.enable()
    hand.command(REST)
    hand.observe()


@pytest.fixture
def hand() -> BreakableHand:
    return BreakableHand()


def test_construction_opens_nothing(hand: BreakableHand) -> None:
    assert hand.calls == []
    assert hand.state is State.DISCONNECTED


@pytest.mark.parametrize("broken", ["open", "read"])
def test_a_failed_connection_leaves_nothing_open(hand: BreakableHand, broken: str) -> None:
    hand.breaking[broken] = OSError("no such port")
    with pytest.raises(
        ConnectError, match=r"'right': no sample within 0\.5 s \(no such port\)\. Check power"
    ) as caught:
        hand.connect(timeout_s=0.5)
    assert isinstance(caught.value.__cause__, OSError)
    assert hand.calls[-1] == "close"
    assert hand.state is State.DISCONNECTED


def test_an_error_of_ours_while_connecting_passes_unchanged(hand: BreakableHand) -> None:
    hand.breaking["open"] = ConfigError("a better sentence")
    with pytest.raises(ConfigError, match=r"^a better sentence$"):
        hand.connect()
    assert hand.calls[-1] == "close"


def test_interrupting_a_connection_closes_it(hand: BreakableHand) -> None:
    hand.breaking["read"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        hand.connect()
    assert hand.calls[-1] == "close"
    assert hand.state is State.DISCONNECTED


@pytest.mark.parametrize("broken", ["enable", "write", "read"])
def test_whatever_a_driver_raises_becomes_a_latched_fault(hand: BreakableHand, broken: str) -> None:
    hand.connect()
    hand.breaking[broken] = OSError("bus error")
    with pytest.raises(
        FaultError, match=r"'right': \w+ failed \(bus error\)\. Disconnect"
    ) as caught:
        use(hand)
    assert isinstance(caught.value.__cause__, OSError)
    assert hand.state is State.FAULTED
    assert hand.calls[-1] == "disable"  # Also when enabling got half-way.
    hand.breaking.clear()
    for call in (hand.observe, hand.enable, lambda: hand.command(REST)):
        with pytest.raises(FaultError, match="bus error"):
            call()
    hand.disconnect()
    hand.connect()
    hand.observe()
    assert hand.health().ok


def test_the_first_fault_is_the_one_that_is_told(hand: BreakableHand) -> None:
    hand.connect()
    hand.enable()
    hand.breaking["write"] = OSError("the cause")
    hand.breaking["disable"] = OSError("a consequence")
    with pytest.raises(FaultError, match="the cause"):
        hand.command(REST)
    hand.disable()
    assert hand.health().reasons == ("write failed (the cause)",)


def test_a_faulted_device_is_told_again_to_be_still(hand: BreakableHand) -> None:
    hand.connect()
    hand.enable()
    hand.breaking["write"] = hand.breaking["disable"] = OSError("cable")
    with pytest.raises(FaultError):
        hand.command(REST)
    hand.breaking.clear()
    hand.calls.clear()
    hand.disconnect()
    assert hand.calls == ["disable", "close"]


def test_a_device_that_was_never_enabled_is_not_told_to_be_still(hand: BreakableHand) -> None:
    hand.connect()
    hand.disable()
    hand.disconnect()
    assert "disable" not in hand.calls


def test_a_device_that_cannot_be_disabled_says_so_and_still_disconnects(
    hand: BreakableHand, caplog: pytest.LogCaptureFixture
) -> None:
    hand.connect()
    hand.enable()
    hand.breaking["disable"] = hand.breaking["close"] = OSError("cable")
    with caplog.at_level(logging.ERROR):
        hand.disconnect()
    assert "could not be disabled (cable); use the emergency stop" in caplog.text
    assert "did not close cleanly" in caplog.text
    assert hand.state is State.DISCONNECTED


def test_a_device_that_cannot_be_disabled_is_faulted(hand: BreakableHand) -> None:
    hand.connect()
    hand.enable()
    hand.breaking["disable"] = OSError("cable")
    hand.disable()
    with pytest.raises(FaultError, match=r"could not be disabled \(cable\); use the emergency"):
        hand.observe()
    hand.breaking.clear()
    hand.calls.clear()
    hand.disable()
    assert hand.calls == ["disable"]
    assert hand.state is State.FAULTED


def test_interrupting_enabling_disables(hand: BreakableHand) -> None:
    hand.connect()
    hand.breaking["enable"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        hand.enable()
    assert hand.calls[-1] == "disable"
    assert hand.state is State.CONNECTED


def test_a_fault_latches_even_if_interrupted(hand: BreakableHand) -> None:
    hand.connect()
    hand.enable()
    hand.breaking = {"write": OSError("bus error"), "disable": KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        hand.command(REST)
    assert hand.state is State.FAULTED
    hand.breaking.clear()


@pytest.mark.parametrize("broken", ["enable", "write", "read"])
def test_a_fault_is_told_once_and_before_the_device_is_made_safe(
    hand: BreakableHand, broken: str
) -> None:
    hand.connect()
    hand.on_fault(hand.calls.append)
    hand.breaking[broken] = OSError("bus error")
    hand.calls.clear()
    with pytest.raises(FaultError) as caught:
        use(hand)
    assert hand.calls[hand.calls.index(broken) + 1 :] == [str(caught.value), "disable"]
    with pytest.raises(FaultError):
        hand.observe()
    assert hand.calls.count(str(caught.value)) == 1


def test_a_device_is_made_safe_even_if_whoever_is_told_of_its_fault_fails(
    hand: BreakableHand,
) -> None:
    def fail(_: str) -> None:
        raise RuntimeError("a bug")

    hand.connect()
    hand.enable()
    hand.on_fault(fail)
    hand.breaking["read"] = OSError("bus error")
    with pytest.raises(RuntimeError, match="a bug"):
        hand.observe()
    assert hand.calls[-1] == "disable"
    assert hand.state is State.FAULTED


def test_disabling_does_not_wait_for_somebody_who_connects() -> None:
    class Slow(ExampleHand):
        def _open(self, timeout_s: float) -> None:
            time.sleep(0.5)
            super()._open(timeout_s)

    hand = Slow(ExampleHandConfig(), name="right")
    connecting = threading.Thread(target=hand.connect)
    connecting.start()
    time.sleep(0.1)
    began_s = time.monotonic()
    hand.disable()
    took_s = time.monotonic() - began_s
    connecting.join()
    hand.disconnect()
    assert took_s < 0.2


def test_a_refused_command_is_no_fault_and_is_not_sent(hand: BreakableHand) -> None:
    hand.connect()
    hand.enable()
    with pytest.raises(CommandError, match=r"shape \(2,\), expected \(3,\) in the order proximal"):
        hand.command(HandCommand(joint_positions=np.zeros(2)))
    assert "write" not in hand.calls
    assert hand.state is State.ENABLED


def test_health_never_raises(hand: BreakableHand) -> None:
    hand.connect()
    hand.breaking["warnings"] = OSError("no answer")
    assert hand.health().reasons == ("its health is unknown (no answer)",)
    assert not hand.health().ok


def test_a_fault_stays_visible_after_disconnecting(hand: BreakableHand) -> None:
    hand.connect()
    hand.faults.unplug()
    with pytest.raises(FaultError):
        hand.observe()
    hand.disconnect()
    assert hand.health().reasons == ("read failed (the cable is unplugged)",)


def test_a_stale_sample_names_its_age_and_the_allowance(hand: BreakableHand) -> None:
    hand.connect()
    hand.faults.freeze()
    hand.clock.sleep(0.3)
    with pytest.raises(StaleError, match="newest sample is 300 ms old, allowed 50 ms"):
        hand.observe(max_age_s=0.05)
    hand.observe(max_age_s=0.31)


def test_a_stamp_that_is_no_number_is_stale() -> None:
    class Unstamped(ExampleHand):
        def _read(self) -> HandObservation:
            return HandObservation(
                stamp_s=float("nan"), joint_positions=np.zeros(3), joint_velocities=np.zeros(3)
            )

    with Unstamped(ExampleHandConfig(), name="right") as hand, pytest.raises(StaleError):
        hand.observe(max_age_s=10.0)


def test_a_switch_without_that_button_lists_its_buttons() -> None:
    switch = SimSwitch(SimSwitchConfig(buttons=("left", "right")), name="pedal")
    for call in (switch.press, switch.release):
        with pytest.raises(CommandError, match=r"no button 'middle'\. Known: left, right"):
            call("middle")


# -- Commands -------------------------------------------------------------------------


@given(arrays(np.float64, 3, elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_any_finite_command_is_clamped_into_the_limits(target: np.ndarray) -> None:
    with ExampleHand(ExampleHandConfig(), name="right", clock=SimClock()) as hand:
        hand.enable()
        sent = hand.command(HandCommand(joint_positions=target)).joint_positions
        low, high = hand.spec.position_limits.T
        assert ((low <= sent) & (sent <= high)).all()
        inside = (low <= target) & (target <= high)
        np.testing.assert_array_equal(sent[inside], target[inside])


@given(
    arrays(np.float64, 3, elements=st.floats(allow_nan=False, allow_infinity=False)),
    st.dictionaries(st.integers(0, 2), st.sampled_from([np.nan, np.inf, -np.inf]), min_size=1),
)
def test_no_command_with_a_hole_in_it_is_sent(target: np.ndarray, holes: dict[int, float]) -> None:
    for joint, value in holes.items():
        target[joint] = value
    hand = BreakableHand()
    with hand:
        hand.enable()
        with pytest.raises(CommandError, match="not finite at"):
            hand.command(HandCommand(joint_positions=target))
        assert "write" not in hand.calls


def test_a_driver_cannot_replace_by_accident_what_keeps_it_safe() -> None:
    with pytest.raises(TypeError, match=r"Hasty must not replace Actuator\.command"):

        class Hasty(BreakableHand):
            def command(self, command: HandCommand) -> HandCommand:  # type: ignore[misc]
                return command
