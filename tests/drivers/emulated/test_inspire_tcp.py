"""The Inspire RH56 over Modbus/TCP: the real driver against an emulator on a socket.

Further down, other people's clients talk to the emulator: one for this hand, and pymodbus.
"""

import numpy as np
from inspire_rh56dftp import InspireHand as OtherClient
from pymodbus.client import ModbusTcpClient

from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.hand import Hand
from dexhil.drivers.testing import Emulated
from tests.drivers.emulated.helpers import until
from tests.drivers.emulated.inspire_suite import INDEX, InspireConformance


class TestInspireTcp(Emulated, InspireConformance):
    emulator = "inspire_tcp"

    def test_firmware_that_numbers_rightly_is_understood_too(
        self, device: Hand, process: EmulatorProcess
    ) -> None:
        process.tell("off_by_one", 0)
        device.connect()
        device.observe(max_age_s=1.0)


# -- Somebody else's clients -------------------------------------------------------------------


def test_the_third_party_client_agrees_with_the_emulator() -> None:
    with EmulatorProcess("inspire_tcp") as process:
        options = process.options
        client = OtherClient(options["host"], options["tcp_port"], min_send_interval_s=0.0)
        try:
            assert client.read_holding(1546, 6) == [900] * 6
            assert client.send_raw([300, 400, 500, 600, 700, 800])
            until(lambda: client.read_holding(1546, 6) == [300, 400, 500, 600, 700, 800])
            np.testing.assert_allclose(
                process.state()["positions"],
                np.array([0.7, 0.6, 0.5, 0.4, 0.3, 0.2]) * [1.47, 1.47, 1.47, 1.47, 0.6, 1.308],
                atol=0.01,
            )
        finally:
            client.close()


def test_pymodbus_agrees_with_the_emulator_where_the_numbers_are_right() -> None:
    with EmulatorProcess("inspire_tcp") as process:
        process.tell("off_by_one", 0)
        client = ModbusTcpClient(process.options["host"], port=process.options["tcp_port"])
        assert client.connect()
        try:
            client.write_registers(1486, [300, 400, 500, 600, 700, 800])
            assert client.read_holding_registers(1486, count=6).registers == [
                *(300, 400, 500, 600, 700, 800)
            ]
            process.tell("error", INDEX, 1)
            low_byte_first = client.read_holding_registers(1606, count=3).registers
            assert low_byte_first == [0, 2 << 8, 0]
            client.write_register(1004, 1)
            assert client.read_holding_registers(1606, count=3).registers == [0, 0, 0]
            assert client.read_holding_registers(9000, count=1).isError()
            assert client.read_coils(0, count=1).isError()
        finally:
            client.close()
