"""Exported URDFs: names of the published ones, and what the table says."""

from math import cos, sin
from typing import Any
from xml.etree import ElementTree as ET

import mujoco
import numpy as np
import pytest

from dexhil.drivers.models.kinematics import Kinematics, Side, load_kinematics
from dexhil.drivers.models.mjspec import to_mjspec
from dexhil.drivers.models.urdf import to_urdf

HANDS = ("leap", "allegro", "inspire", "shadow", "ability", "dexhand021")
# By hand: the published URDF's name of each commanded joint, in the order of the real hand.
PUBLISHED_JOINTS = {
    "leap": tuple(str(motor) for motor in range(16)),
    "allegro": tuple(f"joint_{joint}.0" for joint in range(16)),
    "inspire": (
        "pinky_proximal_joint",
        "ring_proximal_joint",
        "middle_proximal_joint",
        "index_proximal_joint",
        "thumb_proximal_pitch_joint",
        "thumb_proximal_yaw_joint",
    ),
    "shadow": (
        *("FFJ4", "FFJ3", "FFJ2", "FFJ1", "MFJ4", "MFJ3", "MFJ2", "MFJ1"),
        *("RFJ4", "RFJ3", "RFJ2", "RFJ1", "LFJ5", "LFJ4", "LFJ3", "LFJ2", "LFJ1"),
        *("THJ5", "THJ4", "THJ3", "THJ2", "THJ1"),
    ),
    "ability": ("index_q1", "middle_q1", "ring_q1", "pinky_q1", "thumb_q2", "thumb_q1"),
    "dexhand021": (
        *("r_f_joint1_3", "r_f_joint1_2", "r_f_joint1_1", "r_f_joint2_1"),
        *("r_f_joint2_3", "r_f_joint2_2", "r_f_joint3_3", "r_f_joint3_2"),
        *("r_f_joint4_3", "r_f_joint4_2", "r_f_joint5_3", "r_f_joint5_2"),
    ),
}
# What dex-retargeting's configurations ask of a URDF: wrists, then tips, thumb first.
PUBLISHED_LINKS = {
    "leap": ("base", "thumb_tip_head", "index_tip_head", "middle_tip_head", "ring_tip_head"),
    "allegro": ("wrist", "link_15.0_tip", "link_3.0_tip", "link_7.0_tip", "link_11.0_tip"),
    "inspire": ("base", "thumb_tip", "index_tip", "middle_tip", "ring_tip", "pinky_tip"),
    "shadow": ("palm", "ee_link", "thtip", "fftip", "mftip", "rftip", "lftip"),
    "ability": ("base_link", "thumb_tip", "index_tip", "middle_tip", "ring_tip", "pinky_tip"),
}
SIDES: tuple[Side, ...] = ("right", "left")


def elements(kinematics: Kinematics) -> dict[str | None, ET.Element]:
    """Links and joints by name."""
    robot = ET.fromstring(to_urdf(kinematics))  # noqa: S314 - we wrote it ourselves
    return {element.get("name"): element for element in robot}


def attributes(element: ET.Element, path: str) -> dict[str, Any]:
    found = element.find(path)
    assert found is not None
    return found.attrib


@pytest.mark.parametrize("hand", HANDS)
def test_commanded_joints_are_called_as_in_the_published_urdf(hand: str) -> None:
    kinematics = load_kinematics(hand)
    names = tuple(kinematics.joint(name).urdf_name for name in kinematics.joint_names)
    assert names == PUBLISHED_JOINTS[hand]
    left = load_kinematics(hand, "left")
    names = tuple(left.joint(name).urdf_name for name in left.joint_names)
    assert names == tuple(name.replace("r_f_", "l_f_") for name in PUBLISHED_JOINTS[hand])


@pytest.mark.parametrize("hand", PUBLISHED_LINKS)
def test_links_that_a_peer_asks_for_are_there(hand: str) -> None:
    assert elements(load_kinematics(hand)).keys() >= set(PUBLISHED_LINKS[hand])
    tips = tuple(load_kinematics(hand).tips.values())
    assert tips == PUBLISHED_LINKS[hand][-len(tips) :]


def test_the_wrist_of_the_allegro_hand_is_that_of_its_table() -> None:
    kinematics = load_kinematics("allegro")
    data = mujoco.MjData(model := to_mjspec(kinematics, actuated=False).compile())
    mujoco.mj_kinematics(model, data)
    np.testing.assert_allclose(data.body("wrist").xpos, kinematics.extra["wrist"])


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("hand", HANDS)
def test_limits_and_couplings_are_those_of_the_table(hand: str, side: Side) -> None:
    kinematics = load_kinematics(hand, side)
    found = elements(kinematics)
    for joint in kinematics.joints:
        element = found[joint.urdf_name]
        assert element.get("type") == joint.type
        if joint.type == "revolute":
            limit = {name: float(value) for name, value in attributes(element, "limit").items()}
            assert (limit["lower"], limit["upper"]) == joint.limits
            assert (limit["effort"], limit["velocity"]) == (joint.effort, joint.velocity)
        if joint.mimic is not None:
            driver, multiplier, offset = joint.mimic
            mimic = attributes(element, "mimic")
            assert mimic["joint"] == kinematics.joint(driver).urdf_name
            assert (float(mimic["multiplier"]), float(mimic["offset"])) == (multiplier, offset)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("model", [*HANDS, "ur5e", "fr3", "xarm7"])
def test_mujoco_reads_back_what_it_would_simulate(model: str, side: Side) -> None:
    kinematics = load_kinematics(model, side if model in HANDS else "right")
    options = '<mujoco><compiler fusestatic="false" discardvisual="true"/></mujoco></robot>'
    read = mujoco.MjModel.from_xml_string(to_urdf(kinematics).replace("</robot>", options))
    ours = to_mjspec(kinematics, actuated=False).compile()
    angles = np.random.default_rng(0)
    there, here = mujoco.MjData(read), mujoco.MjData(ours)
    for joint in kinematics.joints:
        if joint.type == "revolute":
            angle = angles.uniform(*joint.limits)
            there.joint(joint.urdf_name).qpos[0] = here.joint(joint.name).qpos[0] = angle
    mujoco.mj_kinematics(read, there)
    mujoco.mj_kinematics(ours, here)
    for link in (joint.child for joint in kinematics.joints):
        np.testing.assert_allclose(there.body(link).xpos, here.body(link).xpos, atol=1e-9)
        if link in kinematics.masses:
            here_it_is, there_it_is = ours.body(link), read.body(link)
            assert there_it_is.mass[0] == pytest.approx(here_it_is.mass[0])
            np.testing.assert_allclose(there_it_is.ipos, here_it_is.ipos, atol=1e-9)
            np.testing.assert_allclose(
                np.sort(there_it_is.inertia), np.sort(here_it_is.inertia), rtol=1e-6
            )


def test_a_capsule_is_a_cylinder_between_two_balls() -> None:
    kinematics = load_kinematics("leap")
    link = elements(kinematics)["dip"]
    (capsule,) = kinematics.geoms["dip"]
    start, end = np.array(capsule["from"]), np.array(capsule["to"])
    shapes = [attributes(each, "geometry/*") for each in link.findall("collision")]
    origins = [
        np.array([float(number) for number in attributes(each, "origin")["xyz"].split()])
        for each in link.findall("collision")
    ]
    assert float(shapes[0]["length"]) == pytest.approx(float(np.linalg.norm(end - start)))
    assert {shape["radius"] for shape in shapes} == {str(capsule["radius"])}
    np.testing.assert_allclose(origins, [(start + end) / 2, start, end])
    cylinder = link.find("collision")
    assert cylinder is not None
    _, pitch, yaw = (float(angle) for angle in attributes(cylinder, "origin")["rpy"].split())
    axis = (sin(pitch) * cos(yaw), sin(pitch) * sin(yaw), cos(pitch))
    np.testing.assert_allclose(axis, (end - start) / np.linalg.norm(end - start), atol=1e-9)


def test_a_shape_that_no_urdf_has_is_refused() -> None:
    leap = load_kinematics("leap")
    leap.geoms["base"][0]["type"] = "cone"  # type: ignore[index]
    with pytest.raises(ValueError, match="'cone' is not capsule, sphere or box"):
        to_urdf(leap)
