"""The arm behind the cube: whatever the cube does, it stays within every limit."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.teleop import se3
from dexhil.teleop.errors import DoubtError
from dexhil.teleop.human import HumanArm
from dexhil.teleop.ik import ArmIK
from dexhil.teleop.mapping import ArmMapping
from dexhil.teleop.safety import Limiter, Workspace

PERIOD_S, ACCELERATION, SPEED = 1 / 30, 10.0, 0.5
BOX = (np.array([0.15, -0.6, 0.0]), np.array([1.0, 0.6, 0.8]))
LEAP = load_kinematics("leap")
TABLES = {name: load_kinematics(name) for name in ("ur5e", "fr3", "xarm7")}
IKS = {
    name: ArmIK(
        table,
        LEAP.extra["mount"],
        speed_fraction=SPEED,
        acceleration=ACCELERATION,
        hand=LEAP,
        table_height=0.0,
    )
    for name, table in TABLES.items()
}
arms = pytest.mark.parametrize("arm", TABLES)


class Cube:
    """A watch on a tracker that sees what a test shows."""

    def __init__(self):
        self.show(np.eye(4))

    def look(self, now_s):
        del now_s

    def show(self, pose):
        orientation = se3.to_quaternion(pose[:3, :3]) if np.isfinite(pose).all() else np.zeros(4)
        self.trusted = SimpleNamespace(position=pose[:3, 3], orientation=orientation)


class Bench:
    """One arm that goes where it is told, with all that stands between it and the cube."""

    def __init__(self, arm, scale=1.0, box=BOX):
        self.ik, self.cube = IKS[arm], Cube()
        workspace = Workspace(*box, self.ik.fk)
        self.human = HumanArm(self.cube, ArmMapping(np.eye(4), scale), self.ik, workspace, PERIOD_S)
        self.limiter = Limiter(
            arm,
            TABLES[arm].position_limits,
            SPEED * TABLES[arm].velocity_limits * PERIOD_S,
            together=True,
            guards={"workspace": workspace, "collision": self.ik.collision},
        )
        self.joints = np.array(TABLES[arm].extra["home"])
        self.path, self.asked = [self.joints, self.joints], []
        self.human.anchor(self.joints)

    def tick(self, cube, share=1.0):
        """Follow the cube for one tick, and hold where that is doubtful."""
        self.cube.show(cube)
        try:
            asked = self.human.target(share, self.joints)
            self.asked.append(asked)
            self.joints = self.limiter.limit(asked, self.joints).joint_positions
        except DoubtError:
            assert not np.isfinite(cube).all()
        self.path.append(self.joints)

    def take_over(self):
        self.human.anchor(self.joints)


def smooth(seed, reach_m, ticks, rates=(0.1, 0.4)):
    """Yield cubes of a hand that wanders about where it began."""
    rng = np.random.default_rng(seed)
    frequency, phase = 2 * np.pi * rng.uniform(*rates, (6, 3)), rng.uniform(0, 2 * np.pi, (6, 3))
    reach = np.repeat([reach_m, 2.0 * reach_m], 3)
    waves = [np.sin(frequency * k * PERIOD_S + phase).mean(axis=1) for k in range(ticks)]
    for wave in waves:
        way = reach * (wave - waves[0])
        yield se3.make_pose(way[:3], se3.exp_rotation(way[3:]))


moves = st.tuples(
    st.sampled_from(["rest", "walk", "jump", "spin", "lost", "press"]),
    st.integers(0, 2**32 - 1),
    st.integers(1, 15),
)


def cubes(moves):
    """Yield what the tracker sees, and whether the person presses, of a hand gone mad."""
    pose = np.eye(4)
    for kind, seed, ticks in moves:
        way = np.random.default_rng(seed).normal(0.0, [0.01] * 3 + [0.03] * 3)
        if kind == "jump":
            pose = pose @ se3.make_pose(50.0 * way[:3], se3.exp_rotation(30.0 * way[3:]))
        for _ in range(ticks):
            if kind in ("walk", "spin"):
                turn = se3.exp_rotation(way[3:] * (30.0 if kind == "spin" else 1.0))
                pose = pose @ se3.make_pose(way[:3], turn)
            yield (np.full((4, 4), np.nan) if kind == "lost" else pose), kind == "press"


@arms
@settings(deadline=None, max_examples=8)
@given(st.lists(moves, min_size=1, max_size=12))
def test_whatever_the_cube_does_the_arm_keeps_its_limits(arm, moves):
    bench = Bench(arm)
    for cube, presses in cubes(moves):
        if presses:
            bench.cube.show(cube)
            bench.take_over()
        bench.tick(cube)
    path, table = np.array(bench.path), TABLES[arm]
    assert np.isfinite(path).all()
    assert (path >= table.position_limits[:, 0]).all()
    assert (path <= table.position_limits[:, 1]).all()
    steps = np.abs(np.diff(path, axis=0))
    assert (steps <= SPEED * table.velocity_limits * PERIOD_S * (1 + 1e-9)).all()
    palms = np.array([bench.ik.fk(joints)[:3, 3] for joints in path])
    assert (palms >= BOX[0] - 1e-6).all()
    assert (palms <= BOX[1] + 1e-6).all()
    margin = bench.ik.collision.margin
    assert all(bench.ik.collision.distance(q, 0.01) >= margin - 1e-6 for q in path)


@arms
@settings(deadline=None, max_examples=4)
@given(st.integers(0, 2**32 - 1))
def test_a_wandering_hand_is_followed_within_the_acceleration(arm, seed):
    bench = Bench(arm, box=(np.full(3, -2.0), np.full(3, 2.0)))
    for cube in smooth(seed, 0.08, 60):
        bench.tick(cube)
    steps = np.diff(bench.path, axis=0)
    assert np.abs(np.diff(steps, axis=0)).max() <= ACCELERATION * PERIOD_S**2 * (1 + 1e-6)
    np.testing.assert_array_equal(bench.path[2:], bench.asked)  # The limiter had nothing to do.


@arms
def test_a_cube_that_jumps_is_reached_with_little_overshoot_and_no_harder_braking(arm):
    bench = Bench(arm)
    there = se3.make_pose([0.0, 0.08, 0.05])
    target = bench.ik.fk(bench.joints) @ there
    for _ in range(60):
        bench.tick(there)
    assert se3.distance(bench.ik.fk(bench.joints), target)[0] < 1e-3
    steps = np.diff(bench.path, axis=0)
    assert np.abs(np.diff(steps, axis=0)).max() <= ACCELERATION * PERIOD_S**2 * (1 + 1e-6)
    path = np.array([bench.ik.fk(joints)[:3, 3] for joints in bench.path])
    way = target[:3, 3] - path[0]
    assert ((path - path[0]) @ way).max() <= 1.1 * way @ way


@pytest.mark.parametrize("arm", ["fr3", "xarm7"])
def test_a_seventh_joint_does_not_drift_away(arm):
    bench = Bench(arm)
    for k in range(300):
        way = 0.05 * np.array([np.sin(k / 10), 1.0 - np.cos(k / 10), np.sin(k / 15)])
        bench.tick(se3.make_pose(way))
    for _ in range(30):
        bench.tick(np.eye(4))
    np.testing.assert_allclose(bench.joints, bench.path[0], atol=0.02)


@arms
def test_a_palm_that_is_pushed_through_a_wall_brakes_in_time_and_slides(arm):
    start = IKS[arm].fk(np.array(TABLES[arm].extra["home"]))
    high = start[:3, 3] + np.array([9.0, 0.06, 9.0])
    bench = Bench(arm, box=(BOX[0], np.minimum(BOX[1], high)))
    for k in range(90):
        way = np.array([0.0, 0.3, 0.1]) * min(1.0, k / 60)  # In the base frame [m].
        bench.tick(se3.make_pose(start[:3, :3].T @ way))
    reached = bench.ik.fk(bench.joints)[:3, 3] - start[:3, 3]
    np.testing.assert_allclose(reached, [0.0, 0.06, 0.1], atol=2e-3)
    steps = np.diff(bench.path, axis=0)
    assert np.abs(np.diff(steps, axis=0)).max() <= ACCELERATION * PERIOD_S**2 * (1 + 1e-6)
    assert bench.limiter.counts["workspace"] == 0


@arms
@settings(deadline=None, max_examples=5)
@given(st.floats(0.1, 3.0), st.integers(0, 2**32 - 1))
def test_clutched_out_the_cube_goes_anywhere_and_pressing_again_jumps_nowhere(arm, scale, seed):
    bench = Bench(arm, scale)
    for cube in smooth(seed, 0.05, 15):
        bench.tick(cube)
    held = bench.joints
    elsewhere = se3.make_pose(
        np.random.default_rng(seed).normal(0.0, 1.0, 3), se3.exp_rotation([1.0, -2.0, 0.5])
    )
    bench.cube.show(elsewhere)  # Nobody follows it there.
    bench.take_over()
    bench.tick(elsewhere)
    np.testing.assert_allclose(bench.joints, held, atol=1e-12)


def test_an_arm_that_a_wall_surprises_brakes_harder_than_it_may_accelerate():
    bench = Bench("ur5e")
    for k in range(20):
        bench.tick(se3.make_pose([0.0, 0.02 * k, 0.0]))
    palm, before = bench.ik.fk(bench.joints)[:3, 3], bench.path[-1] - bench.path[-2]
    bench.human._box = (BOX[0], np.array([9.0, palm[1], 9.0]))  # Where the palm is just now.
    bench.tick(se3.make_pose([0.0, 0.4, 0.0]))
    after = bench.path[-1] - bench.path[-2]
    assert np.abs(after - before).max() > ACCELERATION * PERIOD_S**2
    assert bench.ik.fk(bench.joints)[1, 3] <= palm[1] + 2e-3


def test_taking_over_a_moving_arm_stops_it_first():
    bench = Bench("ur5e")
    bench.joints = bench.joints + 0.05  # Where a policy just drove it, at some speed.
    bench.take_over()
    bench.tick(np.eye(4))
    np.testing.assert_allclose(bench.joints, bench.path[0] + 0.05, atol=1e-12)
    bench.tick(se3.make_pose([0.0, 0.2, 0.0]))
    assert np.abs(bench.joints - bench.path[-2]).max() <= ACCELERATION * PERIOD_S**2 * (1 + 1e-6)


def test_a_scaled_arm_goes_half_as_far_as_the_hand():
    bench = Bench("ur5e", scale=0.5)
    start = bench.ik.fk(bench.joints)
    for _ in range(60):
        bench.tick(se3.make_pose([0.0, 0.1, 0.0]))
    moved = se3.inverse(start) @ bench.ik.fk(bench.joints)
    np.testing.assert_allclose(moved[:3, 3], [0.0, 0.05, 0.0], atol=1e-4)


def test_a_cube_without_an_orientation_is_doubted():
    bench = Bench("ur5e")
    bench.cube.show(np.full((4, 4), np.nan))
    with pytest.raises(DoubtError, match="tracker"):
        bench.human.target(1.0, bench.joints)
