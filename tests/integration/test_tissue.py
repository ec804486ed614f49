"""The tissue task: its starts, its verdict, and that friction decides."""

import mujoco
import numpy as np
import pytest

from dexhil.drivers.clock import SimClock
from dexhil.drivers.sim.world import World, WorldConfig
from dexhil.integration.tasks import TissueConfig, TissueTask
from dexhil.integration.tasks.tissue import LENGTH_M, LIPS_M


@pytest.fixture(scope="module")
def task():
    world = World(WorldConfig(arm="fr3", hand="leap", scene="tissue"), clock=SimClock())
    return TissueTask(world)


def state(task):
    data = task.world.data
    return np.concatenate([data.qpos, data.qvel, data.mocap_pos.ravel(), data.mocap_quat.ravel()])


def pull(task, force, duration_s):
    """Pull the sheet straight up with a force [N]."""
    dof = task.world.model.joint("pull").dofadr[0]
    task.world.data.qfrc_applied[dof] = force
    task.world.settle(duration_s)
    task.world.data.qfrc_applied[dof] = 0.0


def test_the_same_seed_is_the_same_start(task):
    task.reset(3)
    first, seen = state(task), task.perceive()
    task.reset(4)
    assert not np.array_equal(state(task), first)
    task.reset(3)
    np.testing.assert_array_equal(state(task), first)
    np.testing.assert_array_equal(task.perceive(), seen)


@pytest.mark.parametrize("familiar", [False, True])
def test_starts_fill_their_area_and_no_more(task, familiar):
    config = TissueConfig()
    share = config.familiar if familiar else 1.0
    starts = []
    for seed in range(25):
        task.reset(seed, familiar=familiar)
        offset = task.world.body_pose("box")[0][:2] - config.centre
        starts.append(np.abs([*offset, task.heading]))
    furthest = np.max(starts, axis=0) / [*config.spread, config.turn]
    assert np.all(furthest <= share + 1e-9)
    assert np.all(furthest > 0.7 * share)


def test_nothing_touches_the_napkin_or_the_box_at_any_start(task):
    for seed in range(25):
        task.reset(seed)
        hand = "hand_" + task.world.hand.kinematics.root
        assert not task.world.touching(hand, "box"), seed


def test_an_untouched_scene_stays_still_for_ten_seconds(task):
    task.reset(5)
    robot, edge, out = task.world.arm.read()[0], task.edge_position, task.out
    for _ in range(10):
        task.world.settle(1.0)
        np.testing.assert_allclose(task.edge_position, edge, atol=1e-4)
    np.testing.assert_allclose(task.world.arm.read()[0], robot, atol=5e-3)
    assert task.out == pytest.approx(out, abs=1e-4)


def test_the_box_holds_the_napkin_against_less_than_half_a_newton(task):
    task.reset(6)
    before = task.out
    pull(task, 0.45, 1.0)
    assert task.out == pytest.approx(before, abs=2e-3)
    pull(task, 0.7, 0.3)
    assert task.out > before + 0.02


def test_a_napkin_cannot_be_pushed_into_its_box(task):
    task.reset(6)
    before = task.out
    pull(task, -3.0, 0.5)
    assert task.out == pytest.approx(before, abs=2e-3)


def test_success_is_more_than_half_of_the_napkin(task):
    task.reset(6)
    joint = task.world.data.joint("pull")
    hidden = LENGTH_M - task.out
    for more_than_half, success in ((-0.002, False), (0.002, True)):
        joint.qpos[0] = hidden - LENGTH_M / 2 + more_than_half
        task.world.settle(task.world.config.timestep_s)
        task.update()
        assert task.succeeded is success
    task.reset(6)
    assert not task.succeeded


def test_the_scene_is_as_large_as_the_task_believes(task):
    task.reset(7)
    upright = task.edge_position[2] - task.world.body_pose("sheet")[0][2]
    assert upright == pytest.approx(LENGTH_M, abs=1e-6)
    model = task.world.model
    box = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_GEOM, "box")
    assert model.geom_pos[box][2] + model.geom_size[box][2] == pytest.approx(LIPS_M)


def test_the_edge_is_told_in_the_palm_and_in_the_base_frame(task):
    task.reset(8)
    seen = task.perceive()
    assert seen.shape == (len(task.environment_names),)
    np.testing.assert_allclose(seen[3:6], task.edge_position, atol=0.01)
    position = task.world.palm_pose()[0]
    distance = np.linalg.norm(task.edge_position - position)
    assert np.linalg.norm(seen[:3]) == pytest.approx(distance, abs=0.01)
    assert seen[6] == task.heading
