from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dexhil.drivers.errors import FaultError
from dexhil.teleop import se3
from dexhil.teleop.errors import DoubtError
from dexhil.teleop.safety import FrozenMonitor, Limiter, Watch, Workspace

LIMITS = np.tile([-2.0, 2.0], (3, 1))
STEP = np.array([0.1, 0.2, 0.3])
anything = arrays(np.float64, 3, elements=st.floats(allow_nan=True, allow_infinity=True))
inside = arrays(np.float64, 3, elements=st.floats(-2.0, 2.0))


def bent(joints):
    """Kinematics curved enough that a straight step may leave the box and come back."""
    a, b, c = joints
    return se3.make_pose([np.sin(3 * a) + b, np.cos(2 * b) * c, np.sin(a + c)])


BOX = Workspace(np.full(3, -0.5), np.full(3, 0.5), bent)


def outside_by(joints):
    palm = bent(joints)[:3, 3]
    return np.maximum(0.0, np.maximum(BOX.low - palm, palm - BOX.high))


@pytest.mark.parametrize("together", [True, False])
@given(anything, inside)
def test_whatever_is_asked_what_is_allowed_is_safe(together, target, last):
    limiter = Limiter("arm", LIMITS, STEP, together=together, workspace=BOX)
    if not np.isfinite(target).all():
        with pytest.raises(DoubtError, match="arm: the target is not finite at"):
            limiter.limit(target, last)
        return
    allowed = limiter.limit(target, last).joint_positions
    assert np.isfinite(allowed).all()
    assert (np.abs(allowed) <= 2.0).all()
    assert (np.abs(allowed - last) <= STEP + 1e-12).all()
    assert (outside_by(allowed) <= outside_by(last)).all()


@given(inside)
def test_a_small_step_inside_passes_untouched_and_is_not_counted(last):
    limiter = Limiter("hand", LIMITS, STEP, together=False)
    target = np.clip(last + 0.05, -2.0, 2.0)
    limited = limiter.limit(target, last)
    np.testing.assert_array_equal(limited.joint_positions, target)
    assert limited.limits == frozenset()
    assert not limiter.counts


def test_an_arm_keeps_its_path_and_fingers_do_not_wait_for_each_other():
    target = np.array([1.0, 0.1, 0.0])
    arm = Limiter("arm", LIMITS, STEP, together=True).limit(target, np.zeros(3))
    hand = Limiter("hand", LIMITS, STEP, together=False).limit(target, np.zeros(3))
    np.testing.assert_allclose(arm.joint_positions, [0.1, 0.01, 0.0])
    np.testing.assert_allclose(hand.joint_positions, [0.1, 0.1, 0.0])


def test_limits_that_were_hit_are_named_and_counted():
    limiter = Limiter("arm", LIMITS, np.full(3, 5.0), together=True, workspace=BOX)
    limited = limiter.limit(np.array([0.0, 9.0, 0.0]), np.zeros(3))
    assert limited.limits == {"position", "workspace"}
    limiter.limit(np.array([0.0, 0.0, -9.0]), np.array([0.0, 0.0, 1.9]))
    assert limiter.counts["position"] == 2


def test_the_wall_is_approached_as_far_as_it_goes():
    straight = Workspace(np.full(3, -1.0), np.full(3, 1.0), se3.make_pose)
    stopped = straight.largest_step(np.zeros(3), np.array([3.0, 0.0, 0.0]))
    assert 0.999 < stopped[0] <= 1.0


def test_a_palm_that_starts_outside_may_come_in_but_not_go_farther_out():
    straight = Workspace(np.full(3, -1.0), np.full(3, 1.0), se3.make_pose)
    start = np.array([1.5, 0.0, 0.0])
    np.testing.assert_allclose(straight.largest_step(start, np.zeros(3)), 0.0)
    assert straight.largest_step(start, np.array([1.7, 0.0, 0.0]))[0] <= 1.5


def test_a_wrong_shape_is_a_doubt():
    with pytest.raises(DoubtError, match=r"shape \(2,\), expected \(3,\)"):
        Limiter("arm", LIMITS, STEP, together=True).limit(np.zeros(2), np.zeros(3))


def test_equal_samples_under_fresh_stamps_are_frozen_after_the_allowed_run():
    monitor = FrozenMonitor(max_samples=5, max_duration_s=10.0)
    assert [monitor.update(float(k), b"same") for k in range(7)] == [False] * 5 + [True] * 2
    assert not monitor.update(8.0, b"other")


def test_equal_samples_are_frozen_after_the_allowed_time():
    monitor = FrozenMonitor(max_samples=100, max_duration_s=0.5)
    assert not monitor.update(0.0, b"same")
    assert not monitor.update(0.5, b"same")
    assert monitor.update(0.6, b"same")


def test_reading_one_sample_often_does_not_make_it_frozen():
    monitor = FrozenMonitor(max_samples=2, max_duration_s=0.5)
    assert not any(monitor.update(1.0, b"same") for _ in range(100))


@dataclass
class Sample:
    stamp_s: float
    values: np.ndarray


class Sensor:
    def __init__(self, answer):
        self.answer = answer

    def __str__(self):
        return "Sensor 'a'"

    def observe(self, max_age_s=None):
        del max_age_s
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def watch(answer, **options):
    return Watch(Sensor(answer), max_age_s=0.2, values=lambda s: s.values, **options)


def test_a_fresh_finite_sample_is_trusted():
    sample = Sample(1.0, np.zeros(3))
    assert watch(sample).require(1.1) is sample


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Sample(0.7, np.zeros(3)), "300 ms old, allowed 200 ms"),
        (Sample(1.5, np.zeros(3)), "-500 ms old"),
        (Sample(np.nan, np.zeros(3)), "nan ms old"),
        (Sample(1.0, np.array([0.0, np.nan])), "not finite"),
        (Sample(1.0, np.array([np.inf])), "not finite"),
        (Sample(1.0, np.array([1e200])), "beyond 1000"),
        (FaultError("Sensor 'a': broken"), "broken"),
        (ConnectionError("the cable is unplugged"), "unplugged"),
    ],
)
def test_a_sample_that_cannot_be_trusted_says_why(answer, reason):
    with pytest.raises(DoubtError, match=reason):
        watch(answer).require(1.0)


def test_nothing_is_trusted_before_it_was_looked_at():
    with pytest.raises(DoubtError, match="not observed yet"):
        _ = watch(Sample(1.0, np.zeros(3))).trusted


def test_a_repeating_sensor_is_not_trusted():
    sensor = watch(Sample(1.0, np.zeros(3)), frozen=FrozenMonitor(3, 1.0))
    for k in range(3):
        sensor._device.answer = Sample(1.0 + k / 90, np.zeros(3))
        sensor.require(1.0 + k / 90)
    sensor._device.answer = Sample(1.1, np.zeros(3))
    with pytest.raises(DoubtError, match="bit-identical"):
        sensor.require(1.1)
