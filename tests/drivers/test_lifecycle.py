"""Any order of calls, against a model of four states."""

from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dexhil.drivers.clock import SimClock
from dexhil.drivers.device import State
from dexhil.drivers.errors import ConnectError, FaultError, LifecycleError
from dexhil.drivers.hand import HandCommand
from dexhil.drivers.testing.example import ExampleHand, ExampleHandConfig

REST = HandCommand(joint_positions=np.zeros(3))
_LEGAL = {
    "connect": {State.DISCONNECTED},
    "enable": {State.CONNECTED},
    "command": {State.ENABLED},
    "observe": {State.CONNECTED, State.ENABLED},
    "disable": set(State),
    "disconnect": set(State),
}


class Lifecycle(RuleBasedStateMachine):
    """What the state becomes, and which error an illegal call raises."""

    def __init__(self) -> None:
        super().__init__()
        self.hand = ExampleHand(ExampleHandConfig(), name="right", clock=SimClock())
        self.state = State.DISCONNECTED
        self.plugged = True

    def expect(self, call: str, *, reaches_device: bool = True) -> bool:
        """Make a call and check how it ends. Returns whether it succeeded."""
        make: Any = getattr(self.hand, call)
        arguments = (REST,) if call == "command" else ()
        if self.state not in _LEGAL[call]:
            with pytest.raises(FaultError if self.state is State.FAULTED else LifecycleError):
                make(*arguments)
            return False
        if reaches_device and not self.plugged:
            with pytest.raises(ConnectError if call == "connect" else FaultError):
                make(*arguments)
            if call != "connect":
                self.state = State.FAULTED
            return False
        make(*arguments)
        return True

    @rule()
    def connect(self) -> None:
        if self.expect("connect"):
            self.state = State.CONNECTED

    @rule()
    def enable(self) -> None:
        if self.expect("enable"):
            self.state = State.ENABLED

    @rule()
    def command(self) -> None:
        self.expect("command")

    @rule()
    def observe(self) -> None:
        self.expect("observe")

    @rule()
    def disable(self) -> None:
        self.expect("disable", reaches_device=False)
        if self.state is State.ENABLED:
            # What cannot be reached cannot be disabled.
            self.state = State.CONNECTED if self.plugged else State.FAULTED

    @rule()
    def disconnect(self) -> None:
        self.expect("disconnect", reaches_device=False)
        self.state = State.DISCONNECTED

    @rule()
    def wait(self) -> None:
        self.hand.clock.sleep(0.05)

    @precondition(lambda self: self.plugged)
    @rule()
    def unplug(self) -> None:
        self.hand.faults.unplug()
        self.plugged = False

    @precondition(lambda self: not self.plugged)
    @rule()
    def plug_in(self) -> None:
        self.hand.faults.clear()
        self.plugged = True

    @invariant()
    def it_is_in_the_state_of_the_model(self) -> None:
        assert self.hand.state is self.state
        assert self.hand.health().state is self.state

    @invariant()
    def only_an_unfaulted_device_is_well(self) -> None:
        if self.state is State.FAULTED:
            assert not self.hand.health().ok
        if self.state in (State.CONNECTED, State.ENABLED):
            assert self.hand.health().ok


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(max_examples=60, stateful_step_count=30)
