import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dexhil.drivers.errors import FaultError
from dexhil.teleop import se3
from dexhil.teleop.errors import DoubtError
from dexhil.teleop.monitors import FrozenMonitor
from dexhil.teleop.safety import Limiter, Watch, Workspace

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
    limiter = Limiter("arm", LIMITS, STEP, together=together, guards={"workspace": BOX})
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
    limiter = Limiter("arm", LIMITS, np.full(3, 5.0), together=True, guards={"workspace": BOX})
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


@given(anything.filter(lambda v: np.isfinite(v).all()), inside)
def test_a_step_that_was_made_pleases_every_guard(target, last):
    """Two boxes of which each alone may shorten the step into a place the other forbids."""
    shifted = Workspace(np.full(3, -0.4), np.full(3, 0.7), bent)
    limiter = Limiter(
        "arm", LIMITS, STEP, together=True, guards={"workspace": BOX, "collision": shifted}
    )
    limited = limiter.limit(target, last)
    for box in (BOX, shifted):
        palm, start = bent(limited.joint_positions)[:3, 3], bent(last)[:3, 3]
        assert (palm >= np.minimum(box.low, start)).all()
        assert (palm <= np.maximum(box.high, start)).all()
    assert limited.limits <= {"position", "velocity", "workspace", "collision"}


def test_guards_that_never_agree_stop_the_step_and_are_named():
    class Half:
        def largest_step(self, start, end):
            return start + 0.5 * (end - start)

    limiter = Limiter(
        "arm", LIMITS, STEP, together=True, guards={"workspace": Half(), "collision": Half()}
    )
    limited = limiter.limit(np.full(3, 0.1), np.zeros(3))
    np.testing.assert_array_equal(limited.joint_positions, 0.0)
    assert limited.limits == {"workspace", "collision"}


@given(inside, inside, inside)
def test_a_command_leads_its_joint_by_no_more_than_allowed(target, last, measured):
    limiter = Limiter("hand", LIMITS, np.full(3, 10.0), together=False, lead=0.2)
    allowed = limiter.limit(target, last, measured).joint_positions
    assert (np.abs(allowed - measured) <= 0.2 + 1e-12).all()


def test_a_wrong_shape_is_a_doubt():
    with pytest.raises(DoubtError, match=r"shape \(2,\), expected \(3,\)"):
        Limiter("arm", LIMITS, STEP, together=True).limit(np.zeros(2), np.zeros(3))


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


@pytest.mark.parametrize("back_s", [1e-6, 0.1])
def test_a_clock_that_steps_back_is_not_trusted_once_however_little(back_s):
    sensor = watch(Sample(1.0, np.zeros(3)))
    sensor.require(1.0)
    sensor._device.answer = Sample(1.0 - back_s, np.zeros(3))
    with pytest.raises(DoubtError, match="stepped back by"):
        sensor.require(1.0)
    sensor._device.answer = Sample(1.01, np.zeros(3))
    sensor.require(1.01)


def test_two_loops_that_look_at_once_never_see_time_go_back():
    """The newer sample must not be stored before the older one is judged."""
    reads = iter(range(100_000))

    class Slow:
        def observe(self, max_age_s=None):
            del max_age_s
            stamp_s = 1.0 + 1e-6 * next(reads)
            time.sleep(0.0)  # Lets the other thread overtake.
            return Sample(stamp_s, np.zeros(3))

    sensor = Watch(Slow(), max_age_s=10.0)
    with ThreadPoolExecutor(2) as pool:
        looks = [pool.submit(lambda: [sensor.require(1.0) for _ in range(2000)]) for _ in "ab"]
    assert all(len(look.result()) == 2000 for look in looks)


def test_a_sample_from_just_before_a_fault_does_not_hide_it():
    sensor = watch(Sample(1.0, np.zeros(3)))

    class Faulting(Sensor):
        def observe(self, max_age_s=None):
            sample = super().observe(max_age_s)
            sensor.distrust("over-current")  # Told by another loop, which met it first.
            return sample

    sensor._device = Faulting(Sample(1.0, np.zeros(3)))
    with pytest.raises(DoubtError, match="over-current"):
        sensor.require(1.0)
    sensor._device = Sensor(Sample(1.01, np.zeros(3)))  # Connected again.
    sensor.require(1.01)


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
