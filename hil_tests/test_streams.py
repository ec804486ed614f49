"""How regularly samples come."""

import time

import numpy as np
import pytest

from dexhil.drivers.registry import AnyDevice
from dexhil.drivers.testing.plugin import Measure, listen_s

POLL_S = 0.001
SLOWEST_JOINTS_HZ = 30.0  # Below this no closed loop of ours is worth running [1/s].


class TestStreams:
    """Every stream on its own; all of them together are soaked in ``test_soak.py``."""

    def test_fresh_samples_keep_their_rate(
        self, connected: AnyDevice, measure: Measure, request: pytest.FixtureRequest
    ) -> None:
        clock, stamps = connected.clock, [connected.observe().stamp_s]
        busy_s, wall_s = time.process_time(), time.monotonic()
        end_s = clock.now_s() + listen_s(request.config)
        while clock.now_s() < end_s:
            stamp_s = connected.observe().stamp_s
            if stamp_s != stamps[-1]:
                stamps.append(stamp_s)
            clock.sleep(POLL_S)
        share = (time.process_time() - busy_s) / (time.monotonic() - wall_s)
        gaps_s = np.diff(stamps)
        assert len(gaps_s) > 1, "it gave no fresh sample"
        rate_hz = 1.0 / gaps_s.mean()
        promised_hz = getattr(connected.spec, "rate_hz", SLOWEST_JOINTS_HZ)
        measure("rate", rate_hz, "Hz", allowed=f"at least {0.8 * promised_hz:.0f} Hz")
        measure("interval, median", np.median(gaps_s) * 1e3, "ms", samples=gaps_s * 1e3)
        measure("interval, 99 %", np.percentile(gaps_s, 99) * 1e3, "ms")
        measure("interval, longest", gaps_s.max() * 1e3, "ms")
        measure("processor share, this test's polling included", share * 100, "%")
        assert rate_hz >= 0.8 * promised_hz
