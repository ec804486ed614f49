"""The shipped tables, and the MuJoCo models made of them, against independent geometry."""

from math import cos, pi, sin
from typing import Any

import mujoco
import numpy as np
import pytest

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.errors import ConfigError
from dexhil.drivers.models.kinematics import Joint, Kinematics, load_kinematics
from dexhil.drivers.models.mjspec import to_mjspec

ARMS = ("ur5e", "fr3", "xarm7")
HANDS = ("leap", "allegro", "inspire", "shadow", "ability", "dexhand021")
MODELS = ARMS + HANDS


def transform(rotation: Matrix, position: Any = (0.0, 0.0, 0.0)) -> Matrix:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, position
    return matrix


def rot_x(a: float) -> Matrix:
    return np.array([[1, 0, 0], [0, cos(a), -sin(a)], [0, sin(a), cos(a)]])


def rot_y(a: float) -> Matrix:
    return np.array([[cos(a), 0, sin(a)], [0, 1, 0], [-sin(a), 0, cos(a)]])


def rot_z(a: float) -> Matrix:
    return np.array([[cos(a), -sin(a), 0], [sin(a), cos(a), 0], [0, 0, 1]])


def rodrigues(axis: tuple[float, float, float], angle: float) -> Matrix:
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation: Matrix = np.eye(3) + sin(angle) * cross + (1 - cos(angle)) * cross @ cross
    return rotation


def row(joint: Joint, angle: float) -> Matrix:
    roll, pitch, yaw = joint.rpy
    origin = transform(rot_z(yaw) @ rot_y(pitch) @ rot_x(roll), joint.position)
    return origin @ transform(rodrigues(joint.axis, angle))


def links_by_table(kinematics: Kinematics, angles: dict[str, float]) -> dict[str, Matrix]:
    links = {kinematics.root: np.eye(4)}
    for joint in kinematics.joints:
        links[joint.child] = links[joint.parent] @ row(joint, angles.get(joint.name, 0.0))
    return links


def links_by_mujoco(kinematics: Kinematics, angles: dict[str, float]) -> dict[str, Matrix]:
    model = to_mjspec(kinematics, actuated=False).compile()
    data = mujoco.MjData(model)
    for name, angle in angles.items():
        data.joint(name).qpos[0] = angle
    mujoco.mj_kinematics(model, data)
    return {
        link: transform(data.body(link).xmat.reshape(3, 3), data.body(link).xpos)
        for link in [kinematics.root, *(joint.child for joint in kinematics.joints)]
    }


def random_angles(kinematics: Kinematics, rng: np.random.Generator) -> dict[str, float]:
    return {j.name: rng.uniform(*j.limits) for j in kinematics.joints if j.type == "revolute"}


def zero_tip(model: str, tip: str) -> Vector:
    kinematics = load_kinematics(model)
    return links_by_mujoco(kinematics, {})[kinematics.tips[tip]][:3, 3]


@pytest.mark.parametrize("model", MODELS)
def test_mujoco_puts_every_link_where_the_table_does(model: str) -> None:
    kinematics = load_kinematics(model)
    rng = np.random.default_rng(1)
    for _ in range(20):
        angles = random_angles(kinematics, rng)
        expected = links_by_table(kinematics, angles)
        for link, pose in links_by_mujoco(kinematics, angles).items():
            np.testing.assert_allclose(pose, expected[link], atol=1e-9, err_msg=link)


def test_the_ur5e_agrees_with_its_published_dh_parameters() -> None:
    kinematics = load_kinematics("ur5e")
    a = (0.0, -0.425, -0.3922, 0.0, 0.0, 0.0)
    d = (0.1625, 0.0, 0.0, 0.1333, 0.0997, 0.0996)
    alpha = (pi / 2, 0.0, 0.0, pi / 2, -pi / 2, 0.0)
    rng = np.random.default_rng(2)
    for _ in range(20):
        angles = random_angles(kinematics, rng)
        # The controller's base is turned by half a turn against the URDF's base_link.
        pose = transform(rot_z(pi))
        for name, ai, di, twist in zip(kinematics.joint_names, a, d, alpha, strict=True):
            pose = pose @ transform(rot_z(angles[name]), (0.0, 0.0, di))
            pose = pose @ transform(rot_x(twist), (ai, 0.0, 0.0))
        # The URDF rounds its right angles to 1.5708.
        np.testing.assert_allclose(links_by_mujoco(kinematics, angles)["flange"], pose, atol=1e-4)


def test_the_fr3_agrees_with_its_published_dh_parameters() -> None:
    kinematics = load_kinematics("fr3")
    a = (0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088)
    d = (0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0)
    alpha = (0.0, -pi / 2, pi / 2, pi / 2, -pi / 2, pi / 2, pi / 2)
    rng = np.random.default_rng(3)
    for _ in range(20):
        angles = random_angles(kinematics, rng)
        pose = np.eye(4)
        for name, ai, di, twist in zip(kinematics.joint_names, a, d, alpha, strict=True):
            pose = pose @ transform(rot_x(twist)) @ transform(np.eye(3), (ai, 0.0, 0.0))
            pose = pose @ transform(rot_z(angles[name]), (0.0, 0.0, di))
        pose = pose @ transform(np.eye(3), (0.0, 0.0, 0.107))
        flange = links_by_mujoco(kinematics, angles)[kinematics.tips["flange"]]
        np.testing.assert_allclose(flange, pose, atol=1e-9)


def test_tips_at_zero_are_where_a_person_computes_them() -> None:
    # Sums along straight arms and fingers, with pencil and paper.
    np.testing.assert_allclose(
        zero_tip("ur5e", "flange"),
        (0.425 + 0.3922, 0.1333 + 0.0996, 0.1625 - 0.0997),
        atol=1e-4,
    )
    np.testing.assert_allclose(
        zero_tip("fr3", "flange"), (0.088, 0.0, 0.333 + 0.316 + 0.384 - 0.107), atol=1e-9
    )
    finger = 0.0164 + 0.054 + 0.0384 + 0.0387
    np.testing.assert_allclose(zero_tip("allegro", "middle"), (0.0, 0.0, 0.0007 + finger))
    np.testing.assert_allclose(
        zero_tip("allegro", "index"),
        (0.0, 0.0435 + finger * sin(0.0872665), -0.001542 + finger * cos(0.0872665)),
        atol=1e-9,
    )
    leap_height = 0.098 - 0.0071 + 0.0381 + 0.015 + 0.0361 + 0.048
    assert zero_tip("leap", "middle")[2] == pytest.approx(leap_height, abs=1e-4)
    assert zero_tip("inspire", "middle")[2] == pytest.approx(0.1371 + 0.032041 + 0.048, abs=1e-4)


@pytest.mark.parametrize("model", HANDS)
def test_palm_axes_are_fingers_palm_and_thumb_side(model: str) -> None:
    kinematics = load_kinematics(model)
    straight = links_by_table(kinematics, {})
    bent = dict.fromkeys(kinematics.joint_names, 0.0)
    for finger in ("index", "middle", "ring"):
        chain = kinematics.chains[finger]
        bent.update(dict.fromkeys([chain[0 if len(chain) == 1 or model == "leap" else 1]], 0.8))
    curled = links_by_table(kinematics, bent)
    for finger in ("index", "middle", "ring"):
        tip = kinematics.tips[finger]
        assert straight[tip][2, 3] > 0.14
        assert curled[tip][0, 3] > straight[tip][0, 3] + 0.02
    order = [straight[kinematics.tips[f]][1, 3] for f in ("thumb", "index", "middle", "ring")]
    assert order == sorted(order, reverse=True)


@pytest.mark.parametrize("model", MODELS)
def test_mujoco_keeps_the_limits_of_the_table(model: str) -> None:
    kinematics = load_kinematics(model)
    compiled = to_mjspec(kinematics, actuated=True).compile()
    for joint in kinematics.joints:
        if joint.type == "revolute":
            np.testing.assert_array_equal(compiled.joint(joint.name).range, joint.limits)
            assert joint.limits[0] < joint.limits[1]
            assert joint.velocity > 0
            assert joint.effort > 0
    for i, name in enumerate(kinematics.joint_names):
        assert compiled.actuator(i).name == name
        np.testing.assert_array_equal(compiled.actuator(i).ctrlrange, kinematics.position_limits[i])
        assert compiled.actuator(i).forcerange[1] == kinematics.joint(name).effort


@pytest.mark.parametrize("model", MODELS)
def test_every_link_with_a_shape_weighs_what_the_table_says(model: str) -> None:
    kinematics = load_kinematics(model)
    compiled = to_mjspec(kinematics, actuated=False).compile()
    assert kinematics.masses.keys() == kinematics.geoms.keys()
    for link, mass in kinematics.masses.items():
        assert compiled.body(link).mass[0] == pytest.approx(mass)


def test_weights_are_those_of_the_real_hands() -> None:
    # Makers' sheets: LEAP 0.6, Allegro 1.1, RH56 0.54, Ability 0.49, DexHand021 1.0 [kg]. Of
    # Shadow's 4.3 kg most is the forearm: 0.69 is menagerie's palm with fingers.
    for model, real_kg in (
        ("leap", 0.6),
        ("allegro", 1.1),
        ("inspire", 0.54),
        ("shadow", 0.69),
        ("ability", 0.49),
        ("dexhand021", 1.0),
    ):
        assert sum(load_kinematics(model).masses.values()) == pytest.approx(real_kg, rel=0.25)


def test_a_coupled_joint_narrows_the_joint_that_drives_it() -> None:
    inspire = load_kinematics("inspire")
    limits = dict(zip(inspire.joint_names, inspire.position_limits, strict=True))
    # The thumb's last link ends at 0.4 rad and turns 0.667 as far as its first.
    assert limits["thumb_bend"][1] == pytest.approx(0.4 / 0.667)
    assert limits["index"][1] == 1.47


@pytest.mark.parametrize("model", HANDS)
def test_open_and_home_are_inside_the_limits(model: str) -> None:
    hand = load_kinematics(model)
    low, high = hand.position_limits.T
    assert np.all((low <= hand.extra["open"]) & (hand.extra["open"] <= high))


@pytest.mark.parametrize("model", ARMS)
def test_home_holds_the_hand_in_front_and_low_over_the_table(model: str) -> None:
    arm = load_kinematics(model)
    low, high = arm.position_limits.T
    assert np.all((low + 0.3 < arm.extra["home"]) & (arm.extra["home"] < high - 0.3))
    angles = dict(zip(arm.joint_names, arm.extra["home"], strict=True))
    flange = links_by_table(arm, angles)[arm.tips["flange"]]
    np.testing.assert_allclose((flange @ [0.0, 0.0, 0.10, 1.0])[:3], (0.54, 0.0, 0.20), atol=1e-3)
    np.testing.assert_allclose(flange[:3, 2], (cos(0.45), 0.0, -sin(0.45)), atol=1e-3)


def test_an_unknown_model_or_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'lepa'. Known: .*'leap'"):
        load_kinematics("lepa")
    leap = load_kinematics("leap")
    leap.geoms["base"][0]["type"] = "cone"  # type: ignore[index]
    with pytest.raises(ValueError, match="'cone' is not capsule, sphere or box"):
        to_mjspec(leap, actuated=False)
