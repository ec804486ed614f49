"""The emulated motors of a LEAP hand, through the maker's own port and library."""

from collections.abc import Callable, Iterator
from typing import Any

import dynamixel_sdk as sdk  # type: ignore[import-untyped]
import pytest

from dexhil.drivers.emulators import EmulatorProcess
from tests.drivers.emulated.helpers import until

EMULATOR = "leap"
MODE, TORQUE, WATCHDOG, GOAL = 11, 64, 98, 116
TRIPPED = 255
OVERLOAD = 1 << 5


class StockBus:
    """The library as its examples use it."""

    def __init__(self, emulator: EmulatorProcess) -> None:
        self.port = sdk.PortHandler(emulator.options["port"])
        self.packets = sdk.PacketHandler(2.0)
        assert self.port.openPort()
        assert self.port.setBaudRate(4_000_000)

    def close(self) -> None:
        self.port.closePort()

    def write(self, motor: int, address: int, size: int, value: int) -> int:
        """Return the error byte."""
        data = list(value.to_bytes(size, "little"))
        return int(
            self.insist(lambda: self.packets.writeTxRx(self.port, motor, address, size, data))
        )

    def read(self, motor: int, address: int, size: int) -> int:
        def ask() -> tuple[int, list[int]]:
            data, result, _ = self.packets.readTxRx(self.port, motor, address, size)
            return result, data

        return int.from_bytes(self.insist(ask), "little")

    @staticmethod
    def insist(ask: Callable[[], tuple[int, Any]]) -> Any:
        """Ask until there is an answer: 34 ms are little on a busy machine."""
        for _ in range(20):
            result, answer = ask()
            if result == sdk.COMM_SUCCESS:
                return answer
        raise AssertionError("there is no answer")


@pytest.fixture
def stock(emulator: EmulatorProcess) -> Iterator[StockBus]:
    bus = StockBus(emulator)
    yield bus
    bus.close()


def test_the_maker_finds_sixteen_motors(stock: StockBus) -> None:
    for motor in range(16):
        until(lambda: stock.packets.ping(stock.port, motor) == (1200, sdk.COMM_SUCCESS, 0))  # noqa: B023
    assert stock.packets.ping(stock.port, 16)[1] == sdk.COMM_RX_TIMEOUT
    found, result = stock.packets.broadcastPing(stock.port)
    assert result == sdk.COMM_SUCCESS
    assert found == {motor: [1200, 52] for motor in range(16)}


@pytest.mark.parametrize("fast", [False, True])
def test_the_maker_reads_and_writes_all_motors_at_once(stock: StockBus, *, fast: bool) -> None:
    write = sdk.GroupSyncWrite(stock.port, stock.packets, GOAL, 4)
    read = sdk.GroupSyncRead(stock.port, stock.packets, 132, 4)
    for motor in range(16):
        assert stock.write(motor, TORQUE, 1, 1) == 0
        write.addParam(motor, list((2100 + motor).to_bytes(4, "little")))
        read.addParam(motor)

    def arrived() -> bool:
        assert write.txPacket() == sdk.COMM_SUCCESS
        result = read.fastSyncRead() if fast else read.txRxPacket()
        if result != sdk.COMM_SUCCESS:
            return False
        positions = [read.getData(motor, 132, 4) for motor in range(16)]
        return all(abs(each - 2100 - motor) < 5 for motor, each in enumerate(positions))

    until(arrived)


def test_a_motor_locks_its_eeprom_while_the_torque_is_on(stock: StockBus) -> None:
    assert stock.write(0, MODE, 1, 5) == 0
    assert stock.write(0, TORQUE, 1, 1) == 0
    assert stock.write(0, MODE, 1, 3) == 7
    assert stock.read(0, MODE, 1) == 5


def test_a_motor_refuses_what_it_cannot_do(stock: StockBus) -> None:
    assert stock.write(0, GOAL, 4, 5000) == 6, "beyond the position limit"
    assert stock.write(0, 84, 2, 20000) == 4, "beyond the range"
    assert stock.write(0, 132, 4, 0) == 7, "read only"


def test_the_bus_watchdog_stops_a_motor_until_it_is_cleared(
    stock: StockBus, emulator: EmulatorProcess
) -> None:
    assert stock.write(0, TORQUE, 1, 1) == 0
    assert stock.write(0, WATCHDOG, 1, 5) == 0
    until(lambda: emulator.state()["watchdogs"][0] == TRIPPED)
    assert stock.read(0, WATCHDOG, 1) == TRIPPED
    assert stock.write(0, GOAL, 4, 2048) == 4
    assert stock.write(0, WATCHDOG, 1, 0) == 0
    assert stock.write(0, GOAL, 4, 2048) == 0


def test_only_a_reboot_clears_a_hardware_error(stock: StockBus, emulator: EmulatorProcess) -> None:
    assert stock.write(0, TORQUE, 1, 1) == 0
    emulator.tell("error", 0, OVERLOAD)
    assert stock.read(0, TORQUE, 1) == 0
    assert stock.write(0, TORQUE, 1, 1) & 0x80, "the alert bit"
    assert stock.read(0, TORQUE, 1) == 0
    stock.packets.reboot(stock.port, 0)
    until(lambda: stock.packets.ping(stock.port, 0)[1:] == (sdk.COMM_SUCCESS, 0))
    assert stock.write(0, TORQUE, 1, 1) == 0
