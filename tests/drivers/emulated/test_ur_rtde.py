"""The emulated UR controller against ur_rtde alone, which knows nothing of our codec."""

import subprocess
import sys

import pytest

from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.registry import AnyDevice
from tests.drivers.emulated.ur_suite import UrTests


class TestOracle(UrTests):
    """The emulator against ur_rtde alone: it shares code with neither."""

    @pytest.fixture
    def host(self, device: AnyDevice, process: EmulatorProcess) -> str:
        del device  # The emulator was reset for it.
        return str(process.options["host"])

    def test_the_real_client_moves_servos_stops_and_recovers(
        self, host: str, process: EmulatorProcess
    ) -> None:
        # In a process of its own: ur_rtde's constructors hold the interpreter's lock.
        done = subprocess.run(
            [sys.executable, "-c", ORACLE, host],
            check=False,
            timeout=90,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert process.state()["n_watchdog_stops"] == 1
        assert process.state()["n_programs"] == 3


ORACLE = """
import sys, time
import dashboard_client, rtde_control, rtde_receive

host = sys.argv[1]
receive = rtde_receive.RTDEReceiveInterface(host)
control = rtde_control.RTDEControlInterface(host)
assert control.isProgramRunning()


def settled(value, wanted, tolerance):
    # A package may still be under way when a move says that it is done.
    for _ in range(500):
        if max(abs(a - b) for a, b in zip(value(), wanted)) < tolerance:
            return True
        time.sleep(0.01)
    return False


home = receive.getActualQ()
joints = [*home[:5], home[5] + 0.3]
assert control.moveJ(joints, 1.0, 1.0)
assert settled(receive.getActualQ, joints, 1e-3)

pose = receive.getActualTCPPose()
pose[2] += 0.05
assert control.moveL(pose, 0.2, 0.5)
assert settled(receive.getActualTCPPose, pose, 1e-3)

for _ in range(100):
    start = control.initPeriod()
    pose[1] += 0.0002
    assert control.servoL(pose, 0.5, 0.5, 0.002, 0.05, 300)
    control.waitPeriod(start)
assert settled(receive.getActualTCPPose, pose, 1e-3)
assert control.servoStop()

height = receive.getActualTCPPose()[2]
assert control.speedL([0, 0, 0.05, 0, 0, 0], 0.5, 0.0)
time.sleep(0.3)
assert receive.getActualTCPPose()[2] > height + 0.005
assert control.speedJ([0, 0, 0, 0, 0, 0.5], 0.5, 0.0)
assert settled(receive.getActualQd, [0, 0, 0, 0, 0, 0.5], 1e-3)
assert control.speedStop()
assert settled(receive.getActualQd, [0] * 6, 1e-3)
assert control.servoJ(home, 0.5, 0.5, 0.002, 0.1, 300)
assert settled(receive.getActualQ, home, 1e-3)
assert control.servoStop()

assert control.setWatchdog(2.0)
for _ in range(20):
    assert control.kickWatchdog()
    time.sleep(0.05)
assert control.isProgramRunning()
time.sleep(1.5)
assert not control.isProgramRunning()
assert not control.servoJ(home, 0.5, 0.5, 0.002, 0.1, 300)
assert control.reuploadScript()
time.sleep(0.5)
assert control.isProgramRunning()

control.triggerProtectiveStop()
time.sleep(0.1)
assert receive.isProtectiveStopped() and not receive.isEmergencyStopped()
dashboard = dashboard_client.DashboardClient(host)
dashboard.connect()
assert "PROTECTIVE_STOP" in dashboard.safetystatus()
time.sleep(1.0)
dashboard.unlockProtectiveStop()
assert control.reuploadScript()
time.sleep(0.5)
assert control.moveJ(home, 1.0, 1.0)
control.stopScript()
assert not control.isProgramRunning()
control.disconnect()
receive.disconnect()
"""
