"""What the tests of the LEAP hand share: the motors' registers, and a joint that moves."""

from collections.abc import Callable

from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.hand import HandCommand
from dexhil.drivers.hand.leap import LeapHand
from tests.drivers.emulated.helpers import until

MODEL, FIRMWARE, DRIVE_MODE, MODE, TORQUE, WATCHDOG = 0, 6, 10, 11, 64, 98
TRIPPED = 255
OVERLOAD, OVERHEATING = 1 << 5, 1 << 2

Make = Callable[..., LeapHand]


def poke_all(emulator: EmulatorProcess, address: int, size: int, value: int) -> None:
    for motor in range(16):
        emulator.tell("poke", motor, address, size, value)


def walk(hand: LeapHand, joint: int, distance: float) -> None:
    """Move one joint by ``distance`` [rad] and wait until it is there."""
    goal = hand.observe().joint_positions.copy()
    goal[joint] += distance

    def arrived() -> bool:
        hand.command(HandCommand(joint_positions=goal))
        return bool(abs(hand.observe().joint_positions[joint] - goal[joint]) < 0.02)

    until(arrived)
