"""The plush task: its starts and its verdict."""

import numpy as np
import pytest

from dexhil.drivers.clock import SimClock
from dexhil.drivers.sim.world import World, WorldConfig
from dexhil.integration.tasks import JUDGE_HZ, PlushConfig, PlushTask

UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])


@pytest.fixture(scope="module")
def task():
    return PlushTask(World(WorldConfig(arm="fr3", hand="inspire", scene="plush"), clock=SimClock()))


def state(task):
    return np.concatenate([task.world.data.qpos, task.world.data.qvel])


def lift(task, height):
    place = task.toy_position
    place[2] += height - task.toy_lift
    task.world.place("toy", place, UPRIGHT)
    task.world.settle(task.world.config.timestep_s)  # Contacts are found while stepping.


def hold(task, height, ticks):
    """Hold the toy so far above its start for so many looks of the judge."""
    for _ in range(ticks):
        lift(task, height)
        task.update()


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
    config = PlushConfig()
    spread = config.familiar if familiar else config.spread
    offsets = []
    for seed in range(25):
        task.reset(seed, familiar=familiar)
        offsets.append(np.abs(task.toy_position[:2] - config.centre))
    furthest = np.max(offsets, axis=0)
    assert np.all(furthest < np.add(spread, 0.003))
    assert np.all(furthest > np.multiply(spread, 0.7))


def test_familiar_starts_are_among_all_starts():
    config = PlushConfig()
    assert np.all(np.less(config.familiar, config.spread))


def test_an_untouched_scene_stays_still(task):
    task.reset(5)
    robot, toy = task.world.arm.read()[0], task.toy_position
    task.world.clock.sleep(2.0)
    np.testing.assert_allclose(task.toy_position, toy, atol=1e-3)
    np.testing.assert_allclose(task.world.arm.read()[0], robot, atol=5e-3)
    assert abs(task.toy_lift) < 1e-3
    assert not task.lifted


def test_success_takes_a_whole_second_in_the_air(task):
    task.reset(6)
    hold(task, 0.10, JUDGE_HZ - 1)
    assert not task.succeeded
    hold(task, 0.10, 1)
    assert task.succeeded


def test_a_second_with_a_break_is_no_success(task):
    task.reset(6)
    hold(task, 0.10, JUDGE_HZ - 1)
    hold(task, 0.02, 1)
    hold(task, 0.10, JUDGE_HZ - 1)
    assert not task.succeeded


def test_a_reset_takes_a_success_back(task):
    task.reset(6)
    hold(task, 0.10, JUDGE_HZ)
    task.reset(6)
    assert not task.succeeded
    assert not task.lifted


def test_a_toy_that_is_merely_nudged_is_not_lifted(task):
    task.reset(6)
    lift(task, 0.03)
    assert not task.lifted
    lift(task, 0.05)
    assert task.lifted


def test_a_toy_that_touches_the_table_is_not_lifted(task, monkeypatch):
    task.reset(6)
    lift(task, 0.05)
    monkeypatch.setattr(task.world, "touching", lambda a, b: {a, b} == {"toy", "table"})
    assert not task.lifted
