import dataclasses

import numpy as np
import pytest

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import Joint, Kinematics, load_kinematics
from dexhil.retarget import RetargetError
from dexhil.retarget.model import FingerModel

HANDS = ("leap", "allegro", "inspire", "shadow", "ability", "dexhand021")


def rotation_about(axis: Vector, angle: float) -> Matrix:
    x, y, z = axis / np.linalg.norm(axis)
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    rotation: Matrix = np.eye(3) + np.sin(angle) * skew + (1.0 - np.cos(angle)) * skew @ skew
    return rotation


def plain_tip(kinematics: Kinematics, link: str, q: dict[str, float]) -> Vector:
    """One homogeneous matrix after the other, straight from the table."""
    by_child = {joint.child: joint for joint in kinematics.joints}
    pose = np.eye(4)
    while link != kinematics.root:
        joint = by_child[link]
        step = np.eye(4)
        roll, pitch, yaw = joint.rpy
        step[:3, :3] = (
            rotation_about(np.array([0.0, 0.0, 1.0]), yaw)
            @ rotation_about(np.array([0.0, 1.0, 0.0]), pitch)
            @ rotation_about(np.array([1.0, 0.0, 0.0]), roll)
        )
        step[:3, 3] = joint.position
        if joint.type == "revolute":
            driver, gain, offset = joint.mimic or (joint.name, 1.0, 0.0)
            turn = np.eye(4)
            turn[:3, :3] = rotation_about(np.array(joint.axis), gain * q[driver] + offset)
            step = step @ turn
        pose = step @ pose
        link = joint.parent
    tip: Vector = pose[:3, 3]
    return tip


def some_postures(kinematics: Kinematics, n: int) -> Matrix:
    low, high = kinematics.position_limits.T
    return np.random.default_rng(0).uniform(low, high, (n, len(low)))


@pytest.mark.parametrize("hand", HANDS)
def test_tips_agree_with_plain_homogeneous_matrices(hand: str) -> None:
    kinematics = load_kinematics(hand)
    model = FingerModel(kinematics)
    for q in some_postures(kinematics, 20):
        named = dict(zip(kinematics.joint_names, q, strict=True))
        expected = [plain_tip(kinematics, link, named) for link in kinematics.tips.values()]
        np.testing.assert_allclose(model.tips(q), expected, atol=1e-12)


@pytest.mark.parametrize("hand", HANDS)
def test_jacobians_agree_with_finite_differences(hand: str) -> None:
    kinematics = load_kinematics(hand)
    model = FingerModel(kinematics)
    for q in some_postures(kinematics, 5):
        measured = model.jacobian(q)
        for column, nudge in enumerate(1e-6 * np.eye(len(q))):
            slope = (model.tips(q + nudge) - model.tips(q - nudge)) / 2e-6
            np.testing.assert_allclose(measured[:, :, column], slope, atol=1e-8)


def test_coupled_joints_move_with_their_driver() -> None:
    kinematics = load_kinematics("inspire")
    slopes = FingerModel(kinematics).jacobian(kinematics.position_limits.mean(axis=1))
    moved = np.abs(slopes).max(axis=1) > 1e-6
    assert moved.sum() == len(kinematics.joint_names)
    assert moved.any(axis=0).all()


@pytest.mark.parametrize("hand", HANDS)
def test_flexion_gains_bend_fingers_out_of_the_palm(hand: str) -> None:
    kinematics = load_kinematics(hand)
    model = FingerModel(kinematics)
    straight = np.clip(np.zeros(model.n_joints), *model.limits.T)
    tips = model.tips(straight)
    for finger in range(1, len(model.fingers)):
        assert model.flexion_gains[finger].sum() == pytest.approx(
            {"inspire": 2.06399, "ability": 2.05851}.get(hand, 3.0), abs=1e-5
        )
        for column in np.flatnonzero(model.flexion_gains[finger]):
            q = straight.copy()
            q[column] += 0.3
            assert model.tips(q)[finger, 0] > tips[finger, 0] + 0.005


@pytest.mark.parametrize("hand", HANDS)
def test_reach_is_further_than_any_sampled_posture_nearly(hand: str) -> None:
    kinematics = load_kinematics(hand)
    model = FingerModel(kinematics)
    reach = model.reach(np.zeros(3))
    others = np.array(
        [np.linalg.norm(model.tips(q), axis=1) for q in some_postures(kinematics, 500)]
    )
    assert (reach > others.max(axis=0) - 0.002).all()


def test_a_wrong_number_of_joints_is_refused() -> None:
    with pytest.raises(RetargetError, match=r"expected \(16,\)"):
        FingerModel(load_kinematics("leap")).tips(np.zeros(15))


def test_a_table_that_does_not_hang_together_is_refused() -> None:
    joint = Joint(
        name="a", urdf_name="a", type="revolute", parent="root", child="b", position=(0.0, 0.0, 0.1)
    )
    good = Kinematics(
        model="odd",
        kind="hand",
        source="this test",
        root="root",
        joints=(joint,),
        joint_names=("a",),
        tips={"thumb": "b"},
    )
    FingerModel(good)
    with pytest.raises(RetargetError, match="does not hang"):
        FingerModel(dataclasses.replace(good, tips={"thumb": "elsewhere"}))
    with pytest.raises(RetargetError, match="nothing commands"):
        FingerModel(dataclasses.replace(good, joint_names=()))
    with pytest.raises(RetargetError, match="no joint moves"):
        FingerModel(dataclasses.replace(good, tips={"thumb": "root"}))
    odd = (dataclasses.replace(joint, type="prismatic"),)
    with pytest.raises(RetargetError, match="prismatic"):
        FingerModel(dataclasses.replace(good, joints=odd))
