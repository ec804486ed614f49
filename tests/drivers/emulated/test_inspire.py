"""The Inspire RH56 over RS485: the real driver against an emulator on a pseudo-terminal.

Further down, pyrh56 talks to the emulator: it was written by others and knows nothing of our
codec.
"""

from typing import Any

import numpy as np
import pytest
from rh56_sdk import RH56Driver

from dexhil.drivers.emulators import EmulatorProcess, RemoteFaults
from dexhil.drivers.errors import StaleError
from dexhil.drivers.hand import Hand
from dexhil.drivers.hand.inspire import InspireHandConfig
from dexhil.drivers.testing import Emulated
from tests.drivers.emulated.inspire_suite import INDEX, InspireConformance


class TestInspire(Emulated, InspireConformance):
    emulator = "inspire"

    @pytest.mark.moves
    @pytest.mark.parametrize("fault", ["corrupt", "partial"])
    def test_it_gets_there_over_a_noisy_line(
        self, joints: Hand, faults: RemoteFaults, process: EmulatorProcess, fault: str
    ) -> None:
        self.moves_well_enough(joints, lambda: getattr(faults, fault)(0.1), process)

    @pytest.mark.moves
    def test_its_own_echo_does_not_disturb_it(
        self, joints: Hand, faults: RemoteFaults, process: EmulatorProcess
    ) -> None:
        self.moves_well_enough(joints, faults.echo, process)

    @pytest.mark.expects_fault
    def test_lost_encoders_are_no_positions(self, joints: Hand, faults: RemoteFaults) -> None:
        faults.nan()
        joints.clock.sleep(0.3)
        assert (joints.observe().joint_positions < 1.5).all()
        with pytest.raises(StaleError):
            joints.observe(max_age_s=0.1)


# -- Somebody else's client ------------------------------------------------------------------


def test_pyrh56_agrees_with_the_emulator() -> None:
    with EmulatorProcess("inspire") as process:
        client = RH56Driver(process.options["port"], timeout=1.0)
        client.connect()
        try:
            assert client.read_angle() == [900] * 6
            client.check_motion_ready()
            client.set_speed([800] * 6)
            client.move_to([300, 400, 500, 600, 700, 800])
            assert client.wait_until_reached([300, 400, 500, 600, 700, 800], tolerance=5)
            np.testing.assert_allclose(
                process.state()["positions"],
                np.array([0.7, 0.6, 0.5, 0.4, 0.3, 0.2]) * [1.47, 1.47, 1.47, 1.47, 0.6, 1.308],
                atol=0.01,
            )
            assert all(abs(force) < 20 for force in client.read_force())
            assert all(0 < current < 200 for current in client.read_current())
            assert client.read_temperature() == [35] * 6
            process.tell("error", INDEX, 1)
            assert client.read_error() == [0, 0, 0, 2, 0, 0]
            assert client.decode_error(2) == ["Over-temperature fault"]
            client.clear_error()
            assert client.read_error() == [0] * 6
        finally:
            client.disconnect()


# -- Configuration -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give port, a serial port, or host"),
        ({"port": "/dev/ttyUSB0", "host": "192.168.11.210"}, "and not both"),
        ({"port": "/dev/ttyUSB0", "hand_id": 0}, "hand_id is 0, allowed 1 to 254"),
        ({"port": "/dev/ttyUSB0", "speed": 1.1}, "speed is 1.1, allowed above 0 to 1"),
        ({"port": "/dev/ttyUSB0", "force_limit": 10.0}, "force_limit is 10 N, allowed .* 9.8 N"),
        ({"port": "/dev/ttyUSB0", "watchdog_s": 0.0}, "watchdog_s is 0 s, must be above 0"),
        ({"port": "/dev/ttyUSB0", "watchdog_s": float("inf")}, "up to 1 s"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InspireHandConfig(**options)
