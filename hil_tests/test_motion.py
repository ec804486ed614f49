"""How soon a command shows, and how soon silence stops it. Motion is small, see ``motions.py``."""

import numpy as np
import pytest

from dexhil.drivers.device import State
from dexhil.drivers.registry import AnyDevice
from dexhil.drivers.testing.motions import (
    PERIOD_S,
    STEP,
    STILL,
    AnyJoints,
    far,
    free_joint,
    moved,
    positions,
    to,
)
from dexhil.drivers.testing.plugin import Measure

SHOWS = 0.01  # Above the noise of every encoder here [rad].
SLOWEST_S = 0.5  # Nobody can teleoperate what answers later [s].
TRIALS = 5


class TestMotion:
    """What a person at the controls would feel."""

    kind = ("arm", "hand")

    @pytest.mark.moves
    def test_a_command_shows_soon(self, connected: AnyDevice, measure: Measure) -> None:
        joints: AnyJoints = connected  # type: ignore[assignment]
        joints.enable()
        latencies_s = [self._latency_s(joints) for _ in range(TRIALS)]
        measure(
            "command to motion, median",
            float(np.median(latencies_s)) * 1e3,
            "ms",
            allowed=f"{SLOWEST_S * 1e3:.0f} ms",
        )
        measure("command to motion, longest", max(latencies_s) * 1e3, "ms")
        assert max(latencies_s) < SLOWEST_S

    @staticmethod
    def _latency_s(joints: AnyJoints) -> float:
        here = np.clip(positions(joints), *joints.spec.position_limits.T)
        for _ in range(10):  # At rest, with the stream of commands running.
            joints.command(to(joints, here))
            joints.clock.sleep(PERIOD_S)
        joint = free_joint(joints)
        start = positions(joints)[joint]
        goal = moved(joints, here, joint, STEP)
        commanded_s = joints.clock.now_s()
        while joints.clock.now_s() < commanded_s + 2 * SLOWEST_S:
            joints.command(to(joints, goal))
            joints.clock.sleep(0.002)
            sample = joints.observe()
            if abs(sample.joint_positions[joint] - start) > SHOWS:
                return float(sample.stamp_s) - commanded_s
        pytest.fail(f"{joints}: joint {joints.spec.joint_names[joint]} did not move")

    @pytest.mark.moves
    def test_silence_stops_it(self, connected: AnyDevice, measure: Measure) -> None:
        joints: AnyJoints = connected  # type: ignore[assignment]
        joints.enable()
        goal = far(joints)
        joints.command(to(joints, goal))
        commanded_s = joints.clock.now_s()
        watchdog_s = joints.spec.watchdog_s
        stamps, track = [], []
        while joints.clock.now_s() < commanded_s + 4 * watchdog_s + 0.5:
            sample = joints.observe()
            stamps.append(sample.stamp_s - commanded_s)
            track.append(sample.joint_positions)
            joints.clock.sleep(0.005)
        distance = np.abs(np.array(track) - track[-1]).max(axis=1)
        moving = np.flatnonzero(distance > STILL)
        assert len(moving), "it never moved, so this proves nothing"
        stopped_s = stamps[moving[-1]]
        allowed_s = 2 * watchdog_s + 0.1
        measure("silence to standstill", stopped_s * 1e3, "ms", allowed=f"{allowed_s * 1e3:.0f} ms")
        assert stopped_s <= allowed_s
        assert np.abs(track[-1] - goal).max() > STILL, "it arrived instead of stopping"
        assert joints.state is State.ENABLED
