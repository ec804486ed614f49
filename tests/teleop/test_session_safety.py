"""Whatever a person, a glove, a tracker or a policy does, what is sent is safe."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dexhil.drivers.glove import GloveObservation
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.drivers.tracker import TrackerObservation
from dexhil.teleop.ik import ArmIK
from dexhil.teleop.takeover import Mode

# A box so small that every driver runs into its walls, around where the palm starts [m].
REACH = np.array([0.12, 0.15, 0.1])

numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.sampled_from([np.nan, np.inf, -np.inf, 1e308, -1e308, 0.0, 0.3, 5.0]),
)
buttons = st.sampled_from(
    ["takeover", "takeover_arm", "takeover_hand", "release", "start", "stop", None, None]
)
# What would hold the robot before a limit is put to the test.
TRUSTING = {
    "tracker_speed": 1e9,
    "tracker_turn_rate": 1e9,
    "glove_speed": 1e9,
    "presses_per_s": 1000,
    "arm_first_action_rad": 1e9,
    "hand_first_action_rad": 1e9,
}
moments = st.tuples(buttons, st.sampled_from(["live", "broken"]), numbers, numbers, numbers)


class Wild:
    """A policy that says anything at all."""

    execute_steps = 2

    def __init__(self, size, seed):
        self.size, self.value = size, 0.0
        self.rng = np.random.default_rng(seed)

    def reset(self):
        pass

    def infer(self, observation):
        del observation
        actions = self.rng.uniform(-4.0, 4.0, (4, self.size))
        actions[:, self.rng.integers(self.size)] = self.value
        return actions


@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(moments, min_size=2, max_size=10), st.integers(0, 100))
def test_every_command_is_finite_in_range_slow_enough_and_in_the_box(make_bench, story, seed):
    policy = Wild(22, seed)
    start = make_bench()
    palm = start.ik.fk(start.home[:6])[:3, 3]
    low, high = palm - REACH, palm + REACH
    bench = make_bench(
        policy=lambda _: policy, workspace_low=tuple(low), workspace_high=tuple(high), **TRUSTING
    )
    live = bench.operator.tick
    for button, operator, glove, tracker, action in story:
        policy.value = action
        if button is not None:
            bench.press(button)
        rng = np.random.default_rng(seed)

        def broken(glove=glove, tracker=tracker, rng=rng):
            now_s = bench.clock.now_s()
            keypoints = rng.normal(0.1, 0.1, (21, 3))
            keypoints[rng.integers(21), rng.integers(3)] = glove
            bench.glove._shown = GloveObservation(stamp_s=now_s, keypoints=keypoints)
            bench.tracker._shown = TrackerObservation(
                stamp_s=now_s,
                position=np.array([tracker, *rng.normal(0.0, 0.3, 2)]),
                orientation=rng.normal(0.0, 1.0, 4) * (abs(tracker) != 5.0),
            )

        bench.operator.tick = broken if operator == "broken" else live
        bench.run(0.15)
    check(bench, low, high)


@pytest.mark.parametrize("button", ["start", "takeover"])
def test_no_command_comes_nearer_to_the_table_than_the_margin(make_bench, constant_policy, button):
    leap = load_kinematics("leap")
    # Just below the arm's own shoulder: 20 mm are left where it stands.
    ik = ArmIK(load_kinematics("ur5e"), leap.extra["mount"], hand=leap, table_height=0.08)

    def down(home):
        target = home.copy()
        target[1] += 0.9  # The shoulder, until the palm would be below the table.
        assert ik.collision.distance(target[:6]) < -0.1
        return constant_policy(target)

    bench = make_bench(policy=down, ik=ik, arm_lead_rad=9.0, **TRUSTING)
    live = bench.operator.tick

    def reach_down():
        live()
        shown = bench.tracker._shown
        fallen = np.array([0.0, 0.0, 0.2 * (bench.clock.now_s() - 1000.0)])
        bench.tracker._shown = replace(shown, position=shown.position + fallen)

    bench.operator.tick = reach_down
    bench.press(button)
    bench.run(3.0)
    assert bench.session.mode is not Mode.HOLD, bench.session.drive.reason
    nearest = [ik.collision.distance(joints) for joints in bench.commands()[0]]
    assert ik.collision.margin - 1e-9 <= min(nearest) < ik.collision.keep + 1e-3


def check(bench, box_low, box_high):
    arm, hand = bench.commands()
    for commands, device, fraction, rate_hz in (
        (arm, bench.arm, bench.config.arm_speed_fraction, 30),
        (hand, bench.hand, bench.config.hand_speed_fraction, 90),
    ):
        low, high = device.spec.position_limits.T
        assert np.isfinite(commands).all()
        assert (commands >= low).all()
        assert (commands <= high).all()
        steps = np.abs(np.diff(commands, axis=0))
        assert (steps <= fraction * device.spec.velocity_limits / rate_hz + 1e-12).all()
    palms = np.array([bench.ik.fk(joints)[:3, 3] for joints in arm])
    assert (palms >= box_low).all()
    assert (palms <= box_high).all()
