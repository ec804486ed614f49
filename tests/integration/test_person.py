"""A simulated person's body: what the devices see of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dexhil.drivers.clock import SimClock
from dexhil.integration.operator.person import (
    CUBE_EVERY,
    RATE_HZ,
    Person,
    PersonConfig,
    grasp_posture,
    pinch_posture,
)
from dexhil.retarget.human import HumanHand
from dexhil.teleop import se3
from dexhil.teleop.mapping import ArmMapping

EXACT = {
    "cube_position_noise": 0.0,
    "cube_rotation_noise": 0.0,
    "keypoint_noise": 0.0,
    "joint_noise": 0.0,
    "tremor": 0.0,
}
twists = arrays(np.float64, 6, elements=st.floats(-0.5, 0.5))
poses = st.builds(lambda twist: se3.make_pose(twist[:3], se3.exp_rotation(twist[3:])), twists)


class Devices:
    """Tracker, glove and pedal of a person, with a diary."""

    def __init__(self):
        self.cubes, self.keypoints, self.pedal = [], [], []
        self.clock = SimClock(0.0)

    def person(self, grip=None, seed=0, **config):
        diary = self

        class Tracker:
            def show(self, position, orientation):
                pose = se3.from_quaternion(position, orientation)
                diary.cubes.append((diary.clock.now_s(), pose))

        class Glove:
            def show(self, keypoints):
                diary.keypoints.append((diary.clock.now_s(), keypoints))

        class Pedal:
            def press(self, button):
                diary.pedal.append(f"{button} down")

            def release(self, button):
                diary.pedal.append(f"{button} up")

        return Person(
            tracker=Tracker(),
            glove=Glove(),
            switch=Pedal(),
            clock=self.clock,
            rng=np.random.default_rng(seed),
            pose_ee_in_cube=np.eye(4) if grip is None else grip,
            config=PersonConfig(**EXACT | config),
        )

    def run(self, person, ticks):
        for _ in range(ticks):
            person.tick()
            self.clock.sleep(1.0 / RATE_HZ)


@given(poses, poses, st.lists(poses, max_size=4))
def test_a_robot_that_follows_by_equation_3_makes_the_motion_that_was_meant(grip, palm, motions):
    devices = Devices()
    person = devices.person(grip, latency_s=0.0)
    devices.run(person, 1)
    mapping = ArmMapping(grip)
    mapping.anchor(palm, devices.cubes[0][1])
    for motion in motions:
        person.carry(motion)
        palm = palm @ motion
        devices.run(person, CUBE_EVERY)
        np.testing.assert_allclose(mapping.target(devices.cubes[-1][1]), palm, atol=1e-9)


@pytest.mark.parametrize("latency_s", [0.0, 0.05, 0.07])
def test_devices_see_what_the_hand_did_a_latency_ago(latency_s):
    devices = Devices()
    person = devices.person(latency_s=latency_s)
    devices.run(person, 30)
    moved_s = devices.clock.now_s()
    person.carry(se3.make_pose([0.1, 0.0, 0.0]))
    person.closure = 1.0
    devices.run(person, 30)
    for diary, period_s in ((devices.cubes, CUBE_EVERY / RATE_HZ), (devices.keypoints, 0.0)):
        first = diary[0][1]
        seen_s = next(now_s for now_s, value in diary if np.abs(value - first).max() > 1e-3)
        late_s = seen_s - moved_s
        assert latency_s - 0.5 / RATE_HZ <= late_s <= latency_s + period_s + 1.0 / RATE_HZ


def test_the_cube_is_seen_at_30_hz_and_the_hand_at_90():
    devices = Devices()
    devices.run(devices.person(latency_s=0.0), RATE_HZ)
    assert len(devices.cubes) == 30
    assert len(devices.keypoints) == 90


def test_the_same_seed_is_the_same_person():
    diaries = []
    for seed in (1, 1, 2):
        devices = Devices()
        devices.run(devices.person(seed=seed, tremor=0.001, keypoint_noise=0.001), 30)
        diaries.append(np.array([keypoints for _, keypoints in devices.keypoints]))
    np.testing.assert_array_equal(diaries[0], diaries[1])
    assert not np.allclose(diaries[0], diaries[2])


def test_a_step_on_the_pedal_ends():
    devices = Devices()
    devices.person().press("takeover")
    assert devices.pedal == ["takeover down", "takeover up"]


@given(st.floats(-1, 2))
def test_postures_stay_between_ready_and_squeezed(closure):
    low, high = grasp_posture(0.0), grasp_posture(1.0)
    posture = grasp_posture(closure)
    assert np.all(posture >= np.minimum(low, high) - 1e-12)
    assert np.all(posture <= np.maximum(low, high) + 1e-12)


def gaps(hand, angles):
    """From the thumb's tip to those of index and middle finger [m]."""
    tips = hand.keypoints(angles)[[4, 8, 12]]
    return np.linalg.norm(tips[1:] - tips[0], axis=1)


@given(st.integers(0, 50))
def test_every_persons_pinch_brings_three_tips_together_from_far_apart(seed):
    hand = HumanHand(rng=np.random.default_rng(seed), jitter=0.08)
    posture = pinch_posture(hand, "index", "middle")
    assert gaps(hand, posture(0.0)).min() > 0.06
    assert min(gaps(hand, posture(c)).max() for c in np.linspace(0.8, 1.0, 9)) < 0.015
    np.testing.assert_array_equal(posture(1.7), posture(1.0))


def test_a_person_does_what_the_posture_says():
    devices = Devices()
    person = devices.person(latency_s=0.0)
    person.closure = 0.5
    devices.run(person, 1)
    person.posture = pinch_posture(person.hand, "index", "middle")
    devices.run(person, 1)
    assert np.abs(devices.keypoints[1][1] - devices.keypoints[0][1]).max() > 0.01
