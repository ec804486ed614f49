import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dexhil.drivers.models.kinematics import Kinematics, Side, load_kinematics
from dexhil.retarget import HumanHand, HumanProportions, RetargetError
from dexhil.retarget.build import Method, chosen_method, make_retargeter
from dexhil.retarget.human import POSTURES
from dexhil.retarget.learned import LearnedMap, LearnedRetargeter
from dexhil.retarget.retargeter import Retargeter

HANDS = ("leap", "allegro", "inspire", "shadow", "ability", "dexhand021")
METHODS: tuple[Method, ...] = ("solver", "two-stage", "both")
HUMAN = HumanHand()
FLIP = np.array([1.0, -1.0, 1.0])


def mitten() -> Kinematics:
    """A hand for which nobody has trained a map."""
    return replace(load_kinematics("leap"), model="mitten")


def altered() -> Kinematics:
    """A LEAP hand whose first joint does not turn as far as that of the map."""
    hand = load_kinematics("leap")
    index = next(i for i, joint in enumerate(hand.joints) if joint.type == "revolute")
    joint = hand.joints[index]
    low, high = joint.limits
    joints = list(hand.joints)
    joints[index] = replace(joint, limits=(low, 0.9 * high))
    return replace(hand, joints=tuple(joints))


@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_moves_every_hand(hand: str, side: Side, method: Method) -> None:
    kinematics = load_kinematics(hand, side)
    retargeter = make_retargeter(kinematics, method=method)
    assert isinstance(retargeter, LearnedRetargeter if method == "two-stage" else Retargeter)
    assert retargeter.joint_names == kinematics.joint_names
    flip = FLIP if side == "left" else 1.0
    for _ in range(20):
        fist = retargeter.retarget(HUMAN.keypoints(POSTURES["fist"]) * flip)
    for _ in range(20):
        opened = retargeter.retarget(HUMAN.keypoints(POSTURES["open"]) * flip)
    assert np.abs(retargeter.model.flexion_gains[1:] @ (fist - opened)).min() > 1.0


def test_the_chosen_method_is_both_where_a_map_is_shipped_and_else_the_solver() -> None:
    assert {chosen_method(load_kinematics(hand)) for hand in HANDS} == {"both"}
    assert chosen_method(load_kinematics("leap", "left")) == "both"
    assert chosen_method(mitten()) == "solver"
    assert chosen_method(altered()) == "solver"


def test_without_a_method_it_is_the_best() -> None:
    points = HUMAN.keypoints(POSTURES["grasp"])
    for kinematics in (load_kinematics("leap"), mitten()):
        methods = (None, chosen_method(kinematics))
        given, best = (make_retargeter(kinematics, method=method) for method in methods)
        np.testing.assert_array_equal(given.retarget(points), best.retarget(points))


def test_the_methods_are_not_the_same() -> None:
    points = HUMAN.keypoints(POSTURES["grasp"])
    answers = [
        make_retargeter(load_kinematics("leap"), method=method).retarget(points)
        for method in METHODS
    ]
    for one in range(3):
        assert np.abs(answers[one] - answers[one - 1]).max() > 1e-3


def test_both_starts_from_the_map_and_forgets_where_it_was() -> None:
    kinematics = load_kinematics("inspire")
    points = HUMAN.keypoints(POSTURES["grasp"])
    ends = []
    for start in ("open", "fist"):
        retargeter = make_retargeter(kinematics, method="both")
        for _ in range(20):
            retargeter.retarget(HUMAN.keypoints(POSTURES[start]))
        for _ in range(12):
            q = retargeter.retarget(points)
        ends.append(q)
    np.testing.assert_allclose(*ends, atol=1e-4)
    # It ends nearer to the keypoints' solution than the map alone, but not far from the map.
    learned = make_retargeter(kinematics, method="two-stage").retarget(points)
    assert 1e-3 < np.abs(ends[0] - learned).max() < 0.5


@pytest.mark.parametrize("method", ["two-stage", "both"])
def test_a_hand_without_a_map_is_refused_with_what_to_do(method: Method) -> None:
    with pytest.raises(
        RetargetError,
        match=r"No learned map is shipped for 'mitten'\. .* or use method 'solver'\.",
    ):
        make_retargeter(mitten(), method=method)
    make_retargeter(mitten(), method="solver").retarget(HUMAN.keypoints(POSTURES["open"]))


@pytest.mark.parametrize("method", ["two-stage", "both"])
def test_a_map_of_another_table_is_never_used(method: Method) -> None:
    with pytest.raises(RetargetError, match="weights of another hand: its kinematics is"):
        make_retargeter(altered(), method=method)


@pytest.mark.parametrize("method", METHODS)
def test_the_persons_proportions_are_used(method: Method) -> None:
    kinematics, points = load_kinematics("leap"), HUMAN.keypoints(POSTURES["relaxed"])
    long = HumanProportions(reaches=1.3 * HUMAN.proportions.reaches)
    average, other = (
        make_retargeter(kinematics, method=method, human=human) for human in (None, long)
    )
    assert np.abs(average.retarget(points) - other.retarget(points)).max() > 0.02


@pytest.mark.parametrize("method", METHODS)
def test_reset_refuses_what_is_no_posture(method: Method) -> None:
    retargeter = make_retargeter(load_kinematics("inspire"), method=method)
    for wrong in (np.zeros(5), np.full(6, np.nan)):
        with pytest.raises(RetargetError, match="6 finite joint positions needed"):
            retargeter.reset(wrong)


def test_a_map_for_a_person_is_the_map_at_their_size() -> None:
    map_ = LearnedMap.load(load_kinematics("leap"))
    usual = HumanProportions(reaches=HUMAN.proportions.reaches / HUMAN.proportions.size)
    assert usual.size == pytest.approx(1.0)
    points = HUMAN.keypoints(HUMAN.pinch("middle")) / HUMAN.proportions.size
    np.testing.assert_allclose(map_.of(usual)(points), map_(points, usual), atol=1e-6)


def test_importing_loads_neither_the_compiler_nor_torch() -> None:
    code = """
import sys
import dexhil.retarget, dexhil.retarget.build, dexhil.retarget.learned, dexhil.retarget.filters
heavy = {"numba", "torch", "mujoco", "rerun"} & set(sys.modules)
assert not heavy, heavy
from dexhil.drivers.models.kinematics import load_kinematics
for method in ("solver", "two-stage", "both"):
    dexhil.retarget.make_retargeter(load_kinematics("inspire"), method=method)
assert "torch" not in sys.modules, "torch was imported"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_weights_that_no_method_uses_are_refused() -> None:
    with pytest.raises(RetargetError, match="method solver does not use"):
        make_retargeter(load_kinematics("leap"), method="solver", weights=Path("own.npz"))
