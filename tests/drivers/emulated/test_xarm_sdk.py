"""The emulated xArm7 against the maker's SDK alone, which knows nothing of our codec."""

import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from xarm.core.config.x_config import XCONF
from xarm.x3 import XArm as SdkArm
from xarm.x3.report import ReportDataStructure

from dexhil.drivers.emulators import EmulatorProcess
from tests.drivers.emulated.helpers import until

EMULATOR = "xarm"
STOPPED, CHANGED = 4, 5


@pytest.fixture
def sdk(emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The maker's client with reports of its own, at the emulator's ports."""
    ports = XCONF.SocketConf
    create = ReportDataStructure.create
    monkeypatch.setattr(ports, "TCP_CONTROL_PORT", emulator.options["control_port"])
    monkeypatch.setattr(ports, "TCP_REPORT_REAL_PORT", emulator.options["report_port"])
    monkeypatch.setattr(
        ReportDataStructure, "create", lambda _, **options: create(30003, **options)
    )
    timeout_s = socket.getdefaulttimeout()
    client = SdkArm(
        "127.0.0.1", is_radian=True, report_type="real", timed_comm=False, forbid_uds=True
    )
    yield client
    client.disconnect()
    for thread in (client._report_thread, client._feedback_thread):
        thread.join(timeout=10.0)
    # Its report thread may have reconnected while it was told to disconnect.
    client._stream_report.close()
    client._stream_report.join(timeout=10.0)
    socket.setdefaulttimeout(timeout_s)


def test_the_sdk_sees_the_arm_where_it_is(sdk: Any, emulator: EmulatorProcess) -> None:
    truth = emulator.state()["positions"]
    until(lambda: bool(np.allclose(sdk.angles, truth, atol=1e-3)))
    code, angles = sdk.get_servo_angle()
    assert code == 0
    np.testing.assert_allclose(angles, truth, atol=1e-3)
    code, torques = sdk.get_joints_torque()
    assert code == 0
    assert 1.0 < np.abs(torques).max() < 50.0
    assert (sdk.axis, sdk.version_number) == (7, (2, 5, 0))


def test_the_sdk_drives_the_emulator_through_its_states(
    sdk: Any, emulator: EmulatorProcess
) -> None:
    target = np.array(emulator.state()["positions"])
    target[6] += 0.1
    assert sdk.set_servo_angle_j(target.tolist()) == 9, "it must not move before it is ready"
    assert emulator.state()["n_ignored"] == 1
    assert sdk.motion_enable(enable=True) == 0
    assert sdk.set_mode(1) == 0
    assert sdk.get_state() == (0, CHANGED)
    assert sdk.set_state(0) == 0
    until(lambda: sdk.mode == 1)
    assert sdk.set_servo_angle_j(target.tolist()) == 0
    until(lambda: abs(emulator.state()["positions"][6] - target[6]) < 1e-3)
    assert sdk.set_state(4) == 0
    assert sdk.set_servo_angle_j(target.tolist()) == 9
    state = emulator.state()
    assert (state["n_commands"], state["n_ignored"], state["out_of_range"]) == (1, 2, 0)


@pytest.mark.parametrize(("joint", "step", "error"), [(3, -2.0, 23), (6, 1.0, 24)])
def test_the_emulator_refuses_what_a_controller_refuses(
    sdk: Any, emulator: EmulatorProcess, joint: int, step: float, error: int
) -> None:
    sdk.motion_enable(enable=True)
    sdk.set_mode(1)
    sdk.set_state(0)
    until(lambda: sdk.mode == 1)
    target = np.array(emulator.state()["positions"])
    target[joint] += step
    sdk._check_joint_limit = False
    sdk.set_servo_angle_j(target.tolist())
    assert sdk.get_err_warn_code() == (0, [error, 0])
    assert sdk.get_state() == (0, STOPPED)
    assert emulator.state()["out_of_range"] == (error == 23)
    sdk.clean_error()
    assert sdk.get_err_warn_code() == (0, [0, 0])
