"""Everything at once, for as long as you like: ``--soak-s 3600`` over lunch."""

import threading
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from dexhil.drivers.arrays import Vector
from dexhil.drivers.errors import DeviceError
from dexhil.drivers.joints import JointActuator
from dexhil.drivers.registry import AnyDevice
from dexhil.drivers.testing.motions import AnyJoints, positions, to
from dexhil.drivers.testing.plugin import Measure, soak_s

TICK_S = 0.01
SWAY = 0.05  # Joints sway this much, where they may move at all [rad].
SWAY_HZ = 0.2
STALE_S = 0.25  # A sample this old holds every loop of ours [s].
GROWTH_MB = 50.0  # Caches fill at the start; a leak goes on [MB].


def resident_mb() -> float:
    """Memory of this process, on Linux [MB]."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def test_everything_runs_together(
    rig_devices: list[AnyDevice],
    motion_allowed: bool,
    measure: Measure,
    request: pytest.FixtureRequest,
) -> None:
    clock = rig_devices[0].clock
    with ExitStack() as stack:
        for device in rig_devices:
            device.connect()
            stack.callback(device.disconnect)
        movable = [each for each in rig_devices if isinstance(each, JointActuator)]
        centres = {id(each): centre(each) for each in movable}
        for joints in movable if motion_allowed else []:
            joints.enable()
        ages: dict[str, list[float]] = {str(device): [] for device in rig_devices}
        faults: list[str] = []
        threads, memory_mb = threading.active_count(), resident_mb()
        start_s = clock.now_s()
        while (elapsed_s := clock.now_s() - start_s) < soak_s(request.config):
            sway = SWAY * np.sin(2 * np.pi * SWAY_HZ * elapsed_s)
            for device in rig_devices:
                try:
                    stamp_s = device.observe().stamp_s
                    if motion_allowed and isinstance(device, JointActuator):
                        device.command(to(device, centres[id(device)] + sway))
                except DeviceError as error:
                    faults.append(str(error))
                else:
                    ages[str(device)].append(clock.now_s() - stamp_s)
            assert not faults, faults
            clock.sleep(TICK_S)
        growth_mb = resident_mb() - memory_mb
        assert threading.active_count() == threads
    for name, aged in ages.items():
        measure(
            f"{name}: age of samples, worst of {len(aged)}",
            max(aged) * 1e3,
            "ms",
            allowed=f"{STALE_S * 1e3:.0f} ms",
            samples=np.array(aged) * 1e3,
        )
    measure("memory growth", growth_mb, "MB", allowed=f"{GROWTH_MB:.0f} MB")
    assert max(max(aged) for aged in ages.values()) < STALE_S
    assert growth_mb < GROWTH_MB


def centre(joints: AnyJoints) -> Vector:
    """Return where to sway about: as near to where it is as the limits allow [rad]."""
    low, high = joints.spec.position_limits.T
    middle = 0.5 * (low + high)
    room = np.minimum(SWAY, 0.5 * (high - low))
    return np.clip(
        positions(joints), np.minimum(low + room, middle), np.maximum(high - room, middle)
    )
