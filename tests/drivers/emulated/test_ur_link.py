"""UrArm when the link to its controller, or a program at either end, fails."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from dexhil.drivers.arm import ArmCommand
from dexhil.drivers.arm.ur import UrArm
from dexhil.drivers.emulators import EmulatorProcess, RemoteFaults
from dexhil.drivers.errors import ConnectError, FaultError
from dexhil.drivers.registry import AnyDevice
from tests.drivers.emulated.helpers import until, until_fault
from tests.drivers.emulated.ur_suite import UrTests, here, turned


class TestLink(UrTests):
    @pytest.mark.expects_fault
    def test_a_silent_controller_stops_by_itself_and_nothing_waits_for_it(
        self, enabled: UrArm, process: EmulatorProcess, faults: RemoteFaults
    ) -> None:
        enabled.command(turned(enabled))
        faults.freeze()
        began_s = time.monotonic()
        enabled.disable()
        enabled.disconnect()
        assert time.monotonic() - began_s < 10.0
        until(lambda: process.state()["n_watchdog_stops"] == 1)
        assert not process.state()["enabled"]

    @pytest.mark.expects_fault
    @pytest.mark.parametrize("verb", ["unplug", "freeze"])
    def test_nothing_starts_again_by_itself_when_the_link_is_back(
        self, enabled: UrArm, process: EmulatorProcess, verb: str
    ) -> None:
        process.tell(verb)
        until_fault(enabled.observe)
        process.tell("clear")
        # ur_rtde itself would be connected, with its program running, within this time.
        time.sleep(1.0)
        assert process.state()["n_programs"] == 1
        assert not process.state()["enabled"]
        enabled.disconnect()
        until(lambda: process.state()["n_clients"] == 0)

    def test_it_can_be_enabled_again_as_soon_as_the_cable_is_back(
        self, enabled: UrArm, process: EmulatorProcess, faults: RemoteFaults
    ) -> None:
        faults.unplug()
        until_fault(enabled.observe)
        faults.clear()
        enabled.disconnect()
        enabled.connect()
        # Its own program may still run, until the robot's watchdog ends it.
        enabled.enable()
        assert process.state()["n_programs"] == 2
        enabled.disable()

    @pytest.mark.expects_fault
    def test_a_controller_that_never_answers_is_given_up_in_time_and_stalls_nobody(
        self, device: AnyDevice, faults: RemoteFaults
    ) -> None:
        faults.freeze()
        gaps: list[float] = []
        done = threading.Event()

        def tick() -> None:
            last_s = time.monotonic()
            while not done.wait(0.005):
                gaps.append(time.monotonic() - last_s)
                last_s = time.monotonic()

        ticking = threading.Thread(target=tick)
        ticking.start()
        try:
            with pytest.raises(ConnectError, match="Check power"):
                device.connect(timeout_s=1.5)
        finally:
            done.set()
            ticking.join()
        assert max(gaps) < 1.0, "the interpreter's lock was held"

    @pytest.mark.expects_fault
    def test_the_arm_stops_when_its_session_is_killed(
        self, enabled: UrArm, process: EmulatorProcess
    ) -> None:
        enabled.command(turned(enabled))
        assert enabled._process is not None
        os.kill(enabled._process.pid, signal.SIGKILL)
        assert "the link to the controller ended" in until_fault(enabled.observe)
        until(lambda: not process.state()["enabled"])
        assert process.state()["n_watchdog_stops"] == 1

    def test_the_arm_stops_when_the_whole_program_dies(
        self, device: AnyDevice, process: EmulatorProcess
    ) -> None:
        del device  # The emulator was reset for it.
        script = (
            "import os\n"
            "from dexhil.drivers.arm.ur import UrArm, UrConfig\n"
            f"arm = UrArm(UrConfig(host={process.options['host']!r}), name='doomed')\n"
            "arm.connect()\n"
            "arm.enable()\n"
            "os.kill(os.getpid(), 9)\n"
        )
        died = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
        assert died.returncode == -signal.SIGKILL
        assert process.state()["n_programs"] == 1
        until(lambda: not process.state()["enabled"] and process.state()["n_clients"] == 0)
        assert process.state()["commands"][-2:] == [16, 255], "its session ended it in order"

    @pytest.mark.expects_fault
    def test_a_clock_that_goes_back_is_not_trusted(self, arm: UrArm, faults: RemoteFaults) -> None:
        faults.rewind(5.0)
        assert "the controller's clock went back by" in until_fault(arm.observe)

    @pytest.mark.expects_fault
    @pytest.mark.parametrize(("verb", "words"), [("repeat", "no fresh"), ("nan", "not finite")])
    def test_an_arm_that_does_not_know_where_it_is_holds_and_faults(
        self, enabled: UrArm, process: EmulatorProcess, verb: str, words: str
    ) -> None:
        command = turned(enabled, 2.0)
        enabled.command(command)
        process.tell(verb)
        began = process.state()["positions"][5]
        assert words in until_fault(enabled.observe)
        # Held after 0.1 s; the rest is what this machine needs on a bad day.
        assert abs(process.state()["positions"][5] - began) < 1.0

    @pytest.mark.parametrize(
        ("verb", "amount"), [("delay", 0.03), ("duplicate", 0.5), ("duplicate", 1.0)]
    )
    def test_late_and_double_packages_change_nothing(
        self, device: AnyDevice, process: EmulatorProcess, verb: str, amount: float
    ) -> None:
        assert isinstance(device, UrArm)
        if verb == "delay":
            process.tell(verb, amount)
        device.connect()
        device.enable()
        # Doubled answers would not be TCP; doubled data packages are a sender's doing.
        process.tell(verb, amount)
        target = turned(device, 0.2)
        until(
            lambda: (
                device.command(target)
                and np.abs(here(device) - target.joint_positions).max() < 0.01
            )
        )
        assert device.health().ok

    @pytest.mark.expects_fault
    @pytest.mark.parametrize("verb", ["corrupt", "partial", "drop"])
    def test_damage_that_tcp_does_not_let_through_is_a_fault_at_worst(
        self, enabled: UrArm, process: EmulatorProcess, verb: str
    ) -> None:
        low, high = enabled.spec.position_limits.T
        process.tell(verb, 0.05)
        give_up_s = time.monotonic() + 2.0
        while time.monotonic() < give_up_s:
            try:
                positions = enabled.command(ArmCommand(joint_positions=here(enabled)))
            except FaultError:
                break
            assert (positions.joint_positions >= low).all()
            assert (positions.joint_positions <= high).all()
            time.sleep(0.01)
        process.tell("clear")
        enabled.disconnect()
        until(lambda: not process.state()["enabled"])
        enabled.connect()
        assert np.abs(here(enabled) - process.state()["positions"]).max() < 0.01
