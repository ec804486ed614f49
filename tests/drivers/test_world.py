"""One world for every arm and hand: still, obedient, limited in speed, repeatable."""

from pathlib import Path

import numpy as np
import pytest

from dexhil.drivers.arrays import Vector
from dexhil.drivers.clock import SimClock
from dexhil.drivers.errors import ConfigError, SimulationError
from dexhil.drivers.registry import read_rig
from dexhil.drivers.sim.port import WATCHDOG_S, JointPort
from dexhil.drivers.sim.world import World, WorldConfig

RIGS = Path(__file__).parents[2] / "rigs"
HANDS = ("leap", "allegro", "inspire", "shadow", "ability", "dexhand021")
PAIRS = [(arm, hand) for arm in ("ur5e", "fr3") for hand in ("leap", "allegro", "inspire")]
EVERY_HAND = [*PAIRS, *(("ur5e", hand) for hand in HANDS if ("ur5e", hand) not in PAIRS)]


def make_world(
    arm: str = "ur5e", hand: str = "leap", scene: str = "empty"
) -> tuple[World, SimClock]:
    clock = SimClock()
    return World(WorldConfig(arm=arm, hand=hand, scene=scene), clock=clock), clock


def turn(a: Vector, b: Vector) -> float:
    """Angle between two orientations [degree]."""
    return float(np.degrees(2 * np.arccos(np.clip(abs(a @ b), 0.0, 1.0))))


def drive(world: World, clock: SimClock, arm: Vector, hand: Vector, duration_s: float) -> None:
    """Send straight ramps to both robots at 50 Hz."""
    arm_start, hand_start = world.arm.read()[0], world.hand.read()[0]
    n = round(duration_s * 50)
    for i in range(1, n + 1):
        world.arm.set_target(arm_start + (arm - arm_start) * i / n)
        world.hand.set_target(hand_start + (hand - hand_start) * i / n)
        clock.sleep(0.02)


@pytest.mark.parametrize(("arm", "hand"), EVERY_HAND)
def test_an_untouched_scene_stays_still_for_ten_seconds(arm: str, hand: str) -> None:
    world, clock = make_world(arm, hand, "plush")
    bodies = ("toy", "hand_" + world.hand.kinematics.tips["index"])
    start = [world.body_pose(body) for body in bodies]
    for _ in range(20):
        clock.sleep(0.5)
        for body, (position, orientation) in zip(bodies, start, strict=True):
            there, turned = world.body_pose(body)
            assert np.linalg.norm(there - position) < 1e-3, body
            assert turn(turned, orientation) < 1.0, body


@pytest.mark.parametrize(("arm", "hand"), PAIRS)
def test_every_rig_file_builds_its_devices(arm: str, hand: str) -> None:
    clock = SimClock()
    rig = read_rig(RIGS / f"sim_{arm}_{hand}.toml")
    world = rig.build_world(clock)
    assert isinstance(world, World)
    devices = {entry.kind: entry.build(clock, world) for entry in rig.devices}
    assert devices.keys() == {"arm", "hand", "glove", "tracker", "switch", "camera"}
    assert (devices["arm"].spec.model, devices["hand"].spec.model) == (arm, hand)
    for kind in ("arm", "hand"):
        with devices[kind] as device:
            start = device.observe().joint_positions
            clock.sleep(1.0)
            np.testing.assert_allclose(device.observe().joint_positions, start, atol=1e-3)


@pytest.mark.parametrize(("arm", "hand"), EVERY_HAND)
def test_every_pair_goes_where_it_is_told(arm: str, hand: str) -> None:
    world, clock = make_world(arm, hand)
    arm_goal = world.arm.read()[0] + 0.2
    hand_goal = world.hand.kinematics.position_limits @ (0.7, 0.3)
    drive(world, clock, arm_goal, hand_goal, 1.0)
    drive(world, clock, arm_goal, hand_goal, 0.5)
    np.testing.assert_allclose(world.arm.read()[0], arm_goal, atol=0.01)
    np.testing.assert_allclose(world.hand.read()[0], hand_goal, atol=0.03)


@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize("side", ["arm", "hand"])
def test_no_joint_is_ever_told_to_outrun_its_limit(hand: str, side: str) -> None:
    world, clock = make_world("fr3", hand)
    port: JointPort = getattr(world, side)
    goal = port.kinematics.position_limits @ (0.4, 0.6)
    before = port.read()[0]
    for _ in range(10):
        port.set_target(goal)
        clock.sleep(0.01)
    travelled = np.abs(port.read()[0] - before)
    allowed = port.kinematics.velocity_limits * 0.1
    assert np.all(travelled <= 1.05 * allowed)
    assert np.any(travelled > 0.5 * allowed)


def test_joints_hold_when_commands_stop() -> None:
    world, clock = make_world()
    goal = world.hand.kinematics.position_limits[:, 1]
    world.hand.set_target(goal)
    clock.sleep(WATCHDOG_S + 0.2)
    halted = world.hand.read()[0]
    allowed = world.hand.kinematics.velocity_limits * (WATCHDOG_S + 0.02)
    start = np.array(world.hand.kinematics.extra["open"])
    assert np.all(np.abs(halted - start) <= allowed)
    clock.sleep(1.0)
    np.testing.assert_allclose(world.hand.read()[0], halted, atol=0.01)


def test_hold_stops_at_once() -> None:
    world, clock = make_world()
    start = world.arm.read()[0]
    world.arm.set_target(start + 1.0)
    clock.sleep(0.1)
    world.arm.hold()
    for _ in range(20):
        clock.sleep(0.05)
    moved = world.arm.read()[0] - start
    assert np.all((moved > 0.1) & (moved < 0.35))


def test_targets_beyond_the_limits_stop_at_the_limits() -> None:
    world, clock = make_world("ur5e", "inspire")
    for _ in range(40):
        world.hand.set_target(np.full(6, 9.0))
        clock.sleep(0.05)
    assert np.all(world.data.ctrl[6:] <= world.hand.kinematics.position_limits[:, 1])


def test_coupled_joints_follow_the_joint_that_drives_them() -> None:
    world, clock = make_world("ur5e", "inspire")
    low, high = world.hand.kinematics.position_limits.T
    worst = 0.0
    for i in range(100):
        world.hand.set_target(low + (high - low) * (0.5 - 0.4 * np.cos(i / 8)))
        clock.sleep(0.02)
        world.advance()
        for joint in world.hand.kinematics.joints:
            if joint.mimic is not None:
                driver, multiplier, offset = joint.mimic
                expected = offset + multiplier * world.data.joint("hand_" + driver).qpos[0]
                follower = world.data.joint("hand_" + joint.name).qpos[0]
                worst = max(worst, abs(follower - expected))
    assert worst < 0.03


def test_the_same_commands_give_the_same_motion_bit_for_bit() -> None:
    def run(look: bool) -> Vector:
        world, clock = make_world("ur5e", "allegro", "plush")
        rng = np.random.default_rng(4)
        low, high = world.hand.kinematics.position_limits.T
        home = np.array(world.arm.kinematics.extra["home"])
        for _ in range(30):
            world.hand.set_target(rng.uniform(low, high))
            world.arm.set_target(home + rng.uniform(-0.2, 0.2, 6))
            for _ in range(6):
                clock.sleep(1 / 180)
                if look:
                    world.body_pose("toy")
                    world.hand.read()
        world.advance()
        return np.concatenate([world.data.qpos, world.data.qvel])

    unwatched = run(look=False)
    assert np.ptp(unwatched) > 0
    np.testing.assert_array_equal(run(look=False), unwatched)
    np.testing.assert_array_equal(run(look=True), unwatched)


def test_physics_follows_the_clock_in_whole_steps() -> None:
    world, clock = make_world()
    for _ in range(900):
        clock.sleep(1 / 90)
        world.advance()
    assert world.data.time == pytest.approx(10.0, abs=0.0021)


def test_samples_do_not_change_after_the_fact() -> None:
    world, clock = make_world()
    sample = world.hand.read()
    kept = [array.copy() for array in sample]
    world.hand.set_target(sample[0] + 0.5)
    clock.sleep(0.1)
    world.hand.read()
    for array, before in zip(sample, kept, strict=True):
        np.testing.assert_array_equal(array, before)


def test_reset_starts_where_it_is_told_and_holds_there() -> None:
    world, clock = make_world("ur5e", "inspire", "plush")
    drive(world, clock, world.arm.read()[0] + 0.1, world.hand.read()[0] + 0.3, 0.5)
    world.place("toy", np.array([0.6, 0.1, 0.3]), np.array([0.0, 1.0, 0.0, 0.0]))
    arm, hand = np.array(world.arm.kinematics.extra["home"]) - 0.05, np.full(6, 0.4)
    world.reset(arm_positions=arm, hand_positions=hand)
    clock.sleep(1.0)
    np.testing.assert_allclose(world.arm.read()[0], arm, atol=1e-3)
    np.testing.assert_allclose(world.hand.read()[0], hand, atol=1e-3)
    np.testing.assert_allclose(world.body_pose("toy")[0][:2], (0.7, 0.0), atol=1e-3)


def test_settling_lets_things_fall_while_the_clock_stands() -> None:
    world, clock = make_world(scene="plush")
    now_s = clock.now_s()
    world.place("toy", np.array([0.7, 0.0, 0.1]), np.array([1.0, 0.0, 0.0, 0.0]))
    assert not world.touching("toy", "table")
    world.settle(0.6)
    assert clock.now_s() == now_s
    assert world.touching("toy", "table")
    assert world.touching("table", "toy")
    assert not world.touching("toy", "arm_base_link")
    settled = world.data.time
    clock.sleep(0.1)
    world.advance()
    assert world.data.time == pytest.approx(settled + 0.1, abs=0.0021)


def test_the_palm_pose_is_that_of_the_hand_s_root() -> None:
    world, _ = make_world("fr3", "allegro")
    position, orientation = world.palm_pose()
    np.testing.assert_allclose(position, (0.54, 0.0, 0.20), atol=1e-3)
    assert np.linalg.norm(orientation) == pytest.approx(1.0)
    w, x, y, z = orientation
    palm_normal = np.array([1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)])
    np.testing.assert_allclose(palm_normal, (-np.sin(0.45), 0.0, -np.cos(0.45)), atol=1e-3)


@pytest.mark.parametrize("arm", ["ur5e", "fr3"])
def test_the_table_stops_the_robot(arm: str) -> None:
    world, clock = make_world(arm, "leap", "table")
    goal = world.arm.read()[0]
    goal[1] += 0.6
    drive(world, clock, goal, world.hand.read()[0], 1.0)
    drive(world, clock, goal, world.hand.read()[0], 2.0)
    assert world.touching("table", "arm_" + world.arm.kinematics.root)
    assert world.data.contact.dist.min() > -0.01
    assert np.abs(world.data.qvel).max() < 0.5
    assert world.palm_pose()[0][2] > 0.02


def test_the_thumb_meets_the_fingers() -> None:
    world, clock = make_world("ur5e", "inspire")
    for _ in range(80):
        world.hand.set_target(world.hand.kinematics.position_limits[:, 1])
        clock.sleep(0.02)
    fingers = ("index_proximal", "middle_proximal")
    assert any(world.touching("hand_thumb_proximal", f"hand_{finger}") for finger in fingers)
    assert np.abs(world.data.qvel).max() < 0.5


@pytest.mark.parametrize("closing", [True, False])
def test_the_toy_is_lifted_by_a_closed_hand_only(closing: bool) -> None:
    # Over the toy, around it, up: palm 0.055 m from the toy's centre, found by inverse kinematics.
    over = np.array([-0.251, -1.081, 1.509, 0.034, 1.345, 1.46])
    around = np.array([-0.257, -0.992, 1.644, -0.188, 1.34, 1.457])
    above = np.array([-0.257, -1.163, 1.453, 0.173, 1.34, 1.457])
    world, clock = make_world("ur5e", "allegro", "plush")
    hand = world.hand.read()[0]
    fist = np.array([0.0, 1.2, 1.1, 0.8] * 3 + [1.35, 0.7, 0.7, 0.9]) if closing else hand
    for pose in (over, around):
        drive(world, clock, pose, hand, 1.0)
    drive(world, clock, around, fist, 1.0)
    drive(world, clock, above, fist, 1.2)
    drive(world, clock, above, fist, 1.0)
    assert world.touching("toy", "table") != closing
    assert (world.body_pose("toy")[0][2] > 0.1) == closing


def test_a_body_that_nothing_else_moves_can_be_placed_with_all_that_is_in_it() -> None:
    world, _ = make_world(scene="tissue")
    world.place("box", np.array([0.6, 0.5, 0.0]), np.array([np.cos(0.2), 0.0, 0.0, np.sin(0.2)]))
    for body in ("box", "edge"):
        position, orientation = world.body_pose(body)
        np.testing.assert_allclose(position[:2], [0.6, 0.5], atol=1e-9)
        assert turn(orientation, np.array([1.0, 0.0, 0.0, 0.0])) == pytest.approx(np.degrees(0.4))
    world.settle(0.1)
    np.testing.assert_allclose(world.body_pose("edge")[0][:2], [0.6, 0.5], atol=1e-6)


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'kitchen'. Known: empty, plush, table, tissue"):
        make_world(scene="kitchen")
    with pytest.raises(ConfigError, match="'leap' is no arm"):
        make_world(arm="leap")
    world, _ = make_world(scene="plush")
    with pytest.raises(SimulationError, match="'plush' has no body 'ball'"):
        world.body_pose("ball")
    with pytest.raises(SimulationError, match="'table' is not free"):
        world.place("table", np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]))
