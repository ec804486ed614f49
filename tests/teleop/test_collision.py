"""How close an arm comes to itself, its hand and the table, and the steps that leaves."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.teleop.collision import FINGERS, FOOT, PALM, TABLE
from dexhil.teleop.errors import KinematicsError
from dexhil.teleop.ik import ArmIK

NAMES = ("ur5e", "fr3", "xarm7")
TABLES = {name: load_kinematics(name) for name in NAMES}
HOMES = {name: np.array(table.extra["home"]) for name, table in TABLES.items()}
LEAP = load_kinematics("leap")
IKS = {
    name: ArmIK(table, LEAP.extra["mount"], hand=LEAP, table_height=0.0)
    for name, table in TABLES.items()
}
UR5E = IKS["ur5e"].collision
# The elbow folded until the wrist is inside the upper arm [rad].
FOLDED = np.array([0.0, -1.57, 2.9, 0.0, 1.57, 0.0])
# Forward and down until the palm is below the table [rad].
DOWN = np.array([0.0, -0.5, 1.2, -0.7, 1.57, 0.0])
arms = pytest.mark.parametrize("arm", NAMES)


@arms
def test_an_arm_at_home_is_clear_of_everything(arm):
    assert IKS[arm].collision.distance(HOMES[arm]) >= IKS[arm].collision.keep


def test_an_arm_that_is_folded_into_itself_says_how_deep_and_with_what():
    assert UR5E.distance(FOLDED) < -0.01
    assert UR5E.nearest(FOLDED) == ("upper_arm_link 1", "wrist_2_link 0")


@arms
@pytest.mark.parametrize("hand", ["leap", "inspire", "allegro"])
def test_palm_and_fingers_are_compared_with_the_arm_and_only_the_palm_with_the_table(arm, hand):
    table = load_kinematics(hand)
    pairs = ArmIK(TABLES[arm], table.extra["mount"], hand=table, table_height=0.0).collision.pairs
    hands = {frozenset(pair) for pair in pairs if {PALM, FINGERS} & set(pair)}
    assert sum(PALM in pair for pair in hands) == sum(FINGERS in pair for pair in hands) > 3
    assert frozenset({PALM, FINGERS}) not in hands
    feet = {name for pair in pairs for name in pair if FOOT in name}
    assert sum(name.startswith(PALM) for name in feet) == 8
    assert not any(name.startswith(FINGERS) for name in feet)
    assert all(TABLE in pair for pair in pairs for name in pair if name in feet)


def test_neighbouring_links_are_not_compared():
    links = {frozenset(name.rsplit(" ", 1)[0] for name in pair) for pair in UR5E.pairs}
    assert frozenset({"upper_arm_link", "forearm_link"}) not in links
    assert frozenset({"upper_arm_link", "wrist_1_link"}) in links
    # The base and the shoulder's end of the upper arm overlap in every pose.
    assert frozenset({"base_link_inertia 0", "upper_arm_link 0"}) not in map(frozenset, UR5E.pairs)


def test_the_height_of_the_table_is_the_distance_that_is_left():
    low, high = (
        ArmIK(TABLES["ur5e"], LEAP.extra["mount"], hand=LEAP, table_height=z).collision
        for z in (-0.05, 0.0)
    )
    gaps = []
    for collision in (low, high):
        assert TABLE in collision.nearest(DOWN)
        gaps.append(collision.distance(DOWN))
    assert gaps[0] - gaps[1] == pytest.approx(0.05, abs=1e-6)


def test_a_table_that_the_palm_almost_touches_at_home_is_not_left_out():
    palm = IKS["ur5e"].fk(HOMES["ur5e"])[2, 3]
    heights = np.linspace(palm - 0.2, palm, 5)
    near = [
        ArmIK(TABLES["ur5e"], LEAP.extra["mount"], hand=LEAP, table_height=height).collision
        for height in heights
    ]
    assert len({len(collision.pairs) for collision in near}) == 1
    assert min(collision.distance(HOMES["ur5e"]) for collision in near) < 0.0


def test_a_distance_beyond_the_farthest_asked_for_is_that():
    assert UR5E.distance(HOMES["ur5e"], 0.01) == pytest.approx(0.01)


def test_an_arm_without_hand_and_table_is_compared_with_itself():
    pairs = ArmIK(TABLES["ur5e"], LEAP.extra["mount"]).collision.pairs
    assert pairs
    assert not {PALM, FINGERS, TABLE} & {name for pair in pairs for name in pair}


def test_a_step_through_free_space_is_left_as_it_is():
    end = HOMES["ur5e"] + 0.02
    assert UR5E.largest_step(HOMES["ur5e"], end) is end


@pytest.mark.parametrize("into", [FOLDED, DOWN])
def test_a_policy_that_drives_into_something_is_stopped_at_the_margin(into):
    joints, step = HOMES["ur5e"], (into - HOMES["ur5e"]) / 100
    assert UR5E.distance(into) < 0.0
    for _ in range(100):
        joints = UR5E.largest_step(joints, joints + step)
    assert UR5E.margin - 1e-6 <= UR5E.distance(joints) <= UR5E.margin + 1e-3


@arms
@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_no_step_comes_closer_than_the_margin_or_than_it_was(arm, seed):
    rng, collision = np.random.default_rng(seed), IKS[arm].collision
    low, high = TABLES[arm].position_limits.T
    start = rng.uniform(np.maximum(low, -2.5), np.minimum(high, 2.5))
    end = start + rng.uniform(-0.05, 0.05, start.size)
    reached = collision.largest_step(start, end)
    least = min(collision.margin, collision.distance(start))
    assert collision.distance(reached) >= least - 1e-6
    share = (reached - start) / (end - start)
    assert np.ptp(share) < 1e-9


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_an_arm_that_is_too_close_may_come_away(seed):
    rng = np.random.default_rng(seed)
    start = FOLDED + rng.uniform(-0.1, 0.1, 6)
    end = start + rng.uniform(-0.02, 0.02, 6)
    assume(UR5E.distance(end) > UR5E.distance(start))
    assert UR5E.largest_step(start, end) is end


@pytest.mark.parametrize("margin", [-0.001, np.nan])
def test_a_margin_below_zero_is_refused(margin):
    with pytest.raises(KinematicsError, match="allowed >= 0"):
        ArmIK(TABLES["ur5e"], LEAP.extra["mount"], margin=margin)
