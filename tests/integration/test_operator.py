"""The simulated operator: it can do the task, by a person's means, and doubts with reason."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dexhil.drivers.clock import SimClock
from dexhil.drivers.sim.world import World, WorldConfig
from dexhil.integration.bench import Bench
from dexhil.integration.operator import OperatorConfig, Role, make_operator
from dexhil.integration.operator.person import RATE_HZ, Person
from dexhil.integration.operator.plush import PlushDoubt
from dexhil.integration.operator.tissue import TissueDoubt
from dexhil.integration.operator.watch import View
from dexhil.integration.tasks import make_task
from dexhil.retarget.retargeter import Retargeter
from dexhil.teleop.takeover import Mode

RIGS = Path(__file__).resolve().parents[2] / "rigs"
CARELESS = [
    OperatorConfig(closes_early=True),
    OperatorConfig(aim_offset=(0.04, 0.0, 0.0)),
    OperatorConfig(aim_offset=(0.0, -0.04, 0.0)),
]


class Frames(list):
    write = list.append


def demonstrate(bench, seed):
    frames = Frames()
    return bench.attempt(seed, role=Role.DEMONSTRATE, sink=frames), frames


def test_the_same_seed_is_the_same_attempt_to_the_last_frame(rig):
    attempts, columns = [], []
    with Bench(rig) as bench:
        for seed in (7, 8, 7):
            attempt, frames = demonstrate(bench, seed)
            attempts.append(attempt)
            columns.append([np.concatenate([f.state, f.executed]) for f in frames])
    assert attempts[0] == attempts[2] != attempts[1]
    np.testing.assert_array_equal(columns[0], columns[2])


@pytest.mark.parametrize("hand", ["inspire", "leap", "allegro"])
def test_an_operator_lifts_the_toy_with_every_hand(hand):
    with Bench(RIGS / f"sim_ur5e_{hand}.toml") as bench:
        attempts = [bench.attempt(seed, role=Role.DEMONSTRATE) for seed in range(3)]
    assert all(attempt.success and attempt.taken_over for attempt in attempts)
    assert all(attempt.alarm is None for attempt in attempts)


@pytest.mark.parametrize("careless", CARELESS)
def test_a_careless_operator_mostly_fails_at_first(rig, careless):
    with Bench(rig, operator=careless) as bench:
        # Time for one try, where a careful operator needs no second one.
        bench.task.time_limit_s = 3.0
        successes = sum(bench.attempt(seed, role=Role.DEMONSTRATE).success for seed in range(3))
    assert successes <= 1


def test_a_careful_operator_mostly_succeeds_at_first(rig):
    with Bench(rig) as bench:
        bench.task.time_limit_s = 3.0
        successes = sum(bench.attempt(seed, role=Role.DEMONSTRATE).success for seed in range(3))
    assert successes == 3


TISSUE_CARELESS = [
    OperatorConfig(closes_early=True),  # Before the wrist arrives.
    OperatorConfig(aim_offset=(0.03, 0.0, 0.0)),  # Too high: misses the edge.
]


@pytest.mark.parametrize("hand", ["leap", "inspire", "allegro", "dexhand021"])
def test_an_operator_pulls_out_the_napkin_with_every_hand(hand):
    with Bench(RIGS / f"sim_fr3_{hand}.toml", "tissue") as bench:
        attempt = bench.attempt(0, role=Role.DEMONSTRATE)
    assert attempt.success
    assert attempt.taken_over


@pytest.mark.parametrize("careless", TISSUE_CARELESS)
def test_a_careless_operator_mostly_leaves_the_napkin_in_its_box(careless):
    with Bench(RIGS / "sim_fr3_leap.toml", "tissue", operator=careless) as bench:
        # Time for one try, where a careful operator needs no second one.
        bench.task.time_limit_s = 3.0
        successes = sum(bench.attempt(seed, role=Role.DEMONSTRATE).success for seed in range(2))
    assert successes == 0


class Diary:
    """A device of a person: all that it is asked to do."""

    def __init__(self):
        self.asked = set()

    def show(self, *_):
        self.asked.add("show")

    def press(self, button):
        self.asked.add(button)

    def release(self, button):
        self.asked.add(button)


@pytest.mark.parametrize("name", ["plush", "tissue"])
def test_an_operator_can_only_look_at_the_world_and_use_a_persons_devices(name):
    clock = SimClock()
    world = World(WorldConfig(arm="fr3", hand="inspire", scene=name), clock=clock)
    task = make_task(name, world)
    task.reset(0)
    # Anything else that an operator asked of the world would be an AttributeError.
    hand = SimpleNamespace(read=world.hand.read, kinematics=world.hand.kinematics)
    task.world = SimpleNamespace(hand=hand, body_pose=world.body_pose, palm_pose=world.palm_pose)
    tracker, glove, pedal = Diary(), Diary(), Diary()
    rng, mode = np.random.default_rng(0), Mode.HOLD
    person = Person(
        tracker=tracker,
        glove=glove,
        switch=pedal,
        clock=clock,
        rng=rng,
        pose_ee_in_cube=np.eye(4),
    )
    operator = make_operator(
        task,
        person,
        Retargeter(world.hand.kinematics),
        role=Role.DEMONSTRATE,
        mode=lambda: mode,
        clock=clock,
        rng=rng,
        config=OperatorConfig(),
    )
    before = world.arm.read()[0]
    for _ in range(RATE_HZ):
        operator.tick()
        clock.sleep(1.0 / RATE_HZ)
        mode = Mode.HUMAN if "takeover" in pedal.asked else Mode.HOLD
    assert operator.driving_s > 0.5
    assert (tracker.asked, glove.asked, pedal.asked) == ({"show"}, {"show"}, {"takeover"})
    np.testing.assert_allclose(world.arm.read()[0], before, atol=5e-3)


class Scene:
    """A toy and a hand that a test moves, 90 looks a second."""

    def __init__(self):
        self.toy, self.palm, self.closure, self.now_s = np.array([0.7, 0.0, 0.04]), np.eye(4), 0, 0
        self.palm[:3, 3] = [0.5, 0.0, 0.2]
        self.doubt = PlushDoubt(self.view(), np.zeros(3), 8.0)

    def view(self):
        return View(self.palm.copy(), self.toy.copy(), self.closure)

    def grasp(self):
        self.palm[:3, 3] = self.toy
        self.closure = 1.0

    def wait(self, seconds):
        reason = None
        for _ in range(round(seconds * RATE_HZ)):
            reason = reason or self.doubt.look(self.view(), self.now_s)
            self.now_s += 1.0 / RATE_HZ
        return reason


def test_a_policy_that_lifts_the_toy_is_never_doubted():
    scene = Scene()
    assert scene.wait(3.0) is None
    scene.grasp()
    assert scene.wait(1.0) is None
    scene.toy[2] = scene.palm[2, 3] = 0.2
    assert scene.wait(4.0) is None


def test_a_toy_that_fell_is_dropped():
    scene = Scene()
    scene.toy[2] += 0.1
    assert scene.wait(0.5) is None
    scene.toy[2] -= 0.1
    assert scene.wait(0.2) is None
    assert scene.wait(0.2) == "dropped"


def test_a_toy_that_left_the_hands_reach_is_pushed():
    scene = Scene()
    scene.toy[0] += 0.08
    assert scene.wait(0.2) is None
    assert scene.wait(0.2) == "pushed"


def test_a_toy_that_is_drawn_into_the_hand_is_not_pushed():
    scene = Scene()
    scene.toy[0] -= 0.08
    scene.grasp()
    assert scene.wait(2.0) is None


def test_a_hand_that_closed_beside_the_toy_has_missed():
    scene = Scene()
    scene.closure = 1.0
    assert scene.wait(0.2) is None
    assert scene.wait(0.2) == "missed"


def test_a_policy_that_only_lingers_has_stalled_before_the_time_is_up():
    scene = Scene()
    assert scene.wait(6.5) is None
    assert scene.wait(0.9) == "stalled"


def test_what_looks_bad_for_a_moment_is_forgiven():
    scene = Scene()
    for _ in range(3):
        scene.closure = 1.0
        assert scene.wait(0.2) is None
        scene.closure = 0.0
        assert scene.wait(0.1) is None


class Napkin:
    """An edge of a sheet and a hand that a test moves, 90 looks a second."""

    def __init__(self):
        self.edge, self.palm, self.closure, self.now_s = np.array([0.7, 0.0, 0.18]), np.eye(4), 0, 0
        self.palm[:3, 3] = [0.5, 0.0, 0.4]
        self.doubt = TissueDoubt(self.view(), np.zeros(3), 10.0)

    def view(self):
        return View(self.palm.copy(), self.edge.copy(), self.closure)

    def pinch(self):
        self.palm[:3, 3] = self.edge
        self.closure = 1.0

    def pull(self, height):
        self.edge[2] += height
        self.palm[2, 3] += height

    def wait(self, seconds):
        reason = None
        for _ in range(round(seconds * RATE_HZ)):
            reason = reason or self.doubt.look(self.view(), self.now_s)
            self.now_s += 1.0 / RATE_HZ
        return reason


def test_a_policy_that_pulls_the_napkin_out_is_never_doubted():
    napkin = Napkin()
    assert napkin.wait(3.0) is None
    napkin.pinch()
    assert napkin.wait(1.0) is None
    napkin.pull(0.06)
    assert napkin.wait(5.0) is None


def test_a_napkin_that_was_pulled_and_let_go_has_slipped():
    napkin = Napkin()
    napkin.pinch()
    napkin.pull(0.03)
    assert napkin.wait(0.5) is None
    napkin.palm[2, 3] += 0.06
    assert napkin.wait(0.2) is None
    assert napkin.wait(0.2) == "slipped"


def test_a_hand_that_flexes_before_it_comes_down_has_missed_nothing():
    napkin = Napkin()
    napkin.closure = 1.0
    assert napkin.wait(1.0) is None


def test_a_hand_that_closed_beside_the_napkin_has_missed():
    napkin = Napkin()
    napkin.palm[2, 3], napkin.closure = 0.16, 1.0
    assert napkin.wait(0.2) is None
    assert napkin.wait(0.2) == "missed"


def test_a_napkin_pressed_aside_by_a_hand_that_does_not_hold_it_is_bent():
    napkin = Napkin()
    napkin.edge[0] += 0.04
    assert napkin.wait(0.2) is None
    assert napkin.wait(0.2) == "bent"


def test_a_policy_that_does_not_pull_has_stalled_before_the_time_is_up():
    napkin = Napkin()
    napkin.pinch()
    assert napkin.wait(8.2) is None
    assert napkin.wait(0.9) == "stalled"
