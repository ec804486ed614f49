"""Waiting for a far end, and what devices of a kind have in common in front of an emulator."""

import time
from collections.abc import Callable

import numpy as np
import pytest

from dexhil.drivers.arrays import Vector
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.errors import FaultError, StaleError
from dexhil.drivers.hand import Hand, HandCommand
from dexhil.drivers.registry import AnyDevice
from dexhil.drivers.switch import Switch
from dexhil.drivers.testing import Emulated, SwitchConformance
from dexhil.drivers.testing.conformance_sensors import EmulatedFinger, Finger

# What a bad CAN bus does, by the emulators' knobs.
BAD_BUS = [("echo",), ("duplicate", 0.5), ("drop", 0.2), ("corrupt", 0.2), ("partial", 0.2)]
PATIENCE_S = 20.0  # Longer than anything here takes on a busy machine [s].


def happens(condition: Callable[[], object], timeout_s: float = PATIENCE_S) -> bool:
    """Wait until ``condition`` is true. Returns whether it became so in time."""
    give_up_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > give_up_s:
            return False
        time.sleep(0.01)
    return True


def until(
    condition: Callable[[], object], why: str = "it never happened", timeout_s: float = PATIENCE_S
) -> None:
    """Wait until ``condition`` is true; fail and say ``why`` when time is up."""
    assert happens(condition, timeout_s), why


def until_fault(act: Callable[[], object], match: str | None = None) -> str:
    """Repeat ``act`` until it raises a fault that says ``match``. Returns all that it says."""
    give_up_s = time.monotonic() + PATIENCE_S

    def act_again_and_again() -> None:
        while time.monotonic() < give_up_s:
            act()
            time.sleep(0.01)

    with pytest.raises(FaultError, match=match) as caught:
        act_again_and_again()
    return str(caught.value)


def until_garbage_is_a_fault(hand: Hand) -> str:
    """Observe until a fault; no position far out of range may be seen. Returns all that it says."""
    low, high = hand.spec.position_limits.T

    def look() -> None:
        here = hand.observe().joint_positions
        assert ((low - 0.5 < here) & (here < high + 0.5)).all()

    return until_fault(look)


def is_stale(device: AnyDevice, max_age_s: float) -> bool:
    """Whether a device has nothing to show that is younger than this."""
    try:
        device.observe(max_age_s=max_age_s)
    except StaleError:
        return True
    return False


def until_there(hand: Hand, goal: Vector, process: EmulatorProcess) -> None:
    """Move a hand to ``goal`` and check that it never says it is off the way there."""
    before = np.array(process.state()["positions"])
    give_up_s = time.monotonic() + PATIENCE_S
    while np.abs(process.state()["positions"] - goal).max() > 0.03:
        assert time.monotonic() < give_up_s, "it never got there"
        hand.command(HandCommand(joint_positions=goal))
        here = hand.observe().joint_positions
        assert (here > np.minimum(before, goal) - 0.02).all()
        assert (here < np.maximum(before, goal) + 0.02).all()
        hand.clock.sleep(0.02)
    assert process.state()["out_of_range"] == 0


class EmulatedSwitch(Emulated, SwitchConformance):
    """A switch whose buttons the emulator presses."""

    @pytest.fixture
    def finger(self, process: EmulatorProcess, switch: Switch) -> Finger:
        return EmulatedFinger(process, switch)
