"""Pulling the cable and putting it back: by a program where there is one, else by a person."""

import pytest

from dexhil.drivers.device import State
from dexhil.drivers.errors import FaultError
from dexhil.drivers.registry import AnyDevice
from dexhil.drivers.testing.person import AnyFaults
from dexhil.drivers.testing.plugin import Measure

NOTICED_S = 3.0
ROUNDS = 3


class TestCable:
    """What must come back without restarting the program."""

    @pytest.mark.expects_fault
    def test_it_comes_back_each_time_the_cable_does(
        self, connected: AnyDevice, faults: AnyFaults, measure: Measure
    ) -> None:
        clock, noticed_s, back_s = connected.clock, [], []
        for _ in range(ROUNDS):
            faults.unplug()
            start_s = clock.now_s()
            with pytest.raises(FaultError):
                self._watch(connected, start_s + NOTICED_S)
            noticed_s.append(clock.now_s() - start_s)
            assert connected.state is State.FAULTED
            faults.clear()
            start_s = clock.now_s()
            connected.disconnect()
            connected.connect()
            assert connected.observe().stamp_s >= start_s
            back_s.append(clock.now_s() - start_s)
            assert connected.health().ok
        measure("pulled cable noticed, longest", max(noticed_s) * 1e3, "ms", allowed="3000 ms")
        measure("reconnected, longest", max(back_s) * 1e3, "ms")

    @staticmethod
    def _watch(device: AnyDevice, until_s: float) -> None:
        while device.clock.now_s() < until_s:
            device.observe()
            device.clock.sleep(0.002)
