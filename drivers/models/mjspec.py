"""The kinematic table of an arm or a hand as a MuJoCo model, for simulation and inverse kinematics.

Bodies, joints and actuators carry the names of the table: a body for every
link, an actuator for every commanded joint, in the order of ``joint_names``.
"""

from collections.abc import Iterator, Mapping
from enum import IntFlag
from typing import Any

import mujoco
import numpy as np

from dexhil.drivers.arrays import Vector
from dexhil.drivers.models.kinematics import Joint, Kinematics


class Touch(IntFlag):
    """Who may touch whom: bits of MuJoCo's ``contype`` and ``conaffinity``.

    Everything touches the scene. Within a hand the thumb touches the fingers and
    fingertips touch the palm. An arm does not touch itself or its hand.
    """

    SCENE = 1
    THUMB = 2
    PALM = 4


# Skin on plastic. A scene's soft objects take a higher priority, else hand and
# object would be as stiff as the hand.
_HAND_CONTACT = {
    "friction": [1.2, 0.005, 0.0001],
    "condim": 4,
    "solref": [0.01, 1.0],
    "solimp": [0.9, 0.95, 0.001, 0.5, 2.0],
    "priority": 1,
}


def to_mjspec(kinematics: Kinematics, *, actuated: bool) -> mujoco.MjSpec:
    """Return the model of one arm or hand, its root fixed at the origin.

    Args:
        kinematics: The table.
        actuated: Add position actuators, with the gains in ``extra`` and the torque
            limits of the table.

    Raises:
        ValueError: A geom is of an unknown type.
    """
    spec = mujoco.MjSpec()
    spec.modelname = kinematics.model
    spec.compiler.degree = False  # Otherwise joint ranges would be read as degrees.
    bodies = {kinematics.root: spec.worldbody.add_body(name=kinematics.root, gravcomp=1.0)}
    for joint in kinematics.joints:
        body = bodies[joint.child] = bodies[joint.parent].add_body(
            name=joint.child,
            pos=joint.position,
            quat=quaternion_of_rpy(joint.rpy),
            gravcomp=1.0,
        )
        if joint.type == "revolute":
            _add_joint(body, joint, kinematics)
        if joint.mimic is not None:
            _couple(spec, joint.name, *joint.mimic)
    for link, geoms in kinematics.geoms.items():
        for geom in geoms:
            mass = kinematics.masses[link] / len(geoms)
            bodies[link].add_geom(mass=mass, **_shape(geom), **_look_and_touch(kinematics, link))
            if "rgba" in geom:
                bodies[link].geoms[-1].rgba = geom["rgba"]
    if actuated:
        _add_actuators(spec, kinematics)
    return spec


def quaternion_of_rpy(rpy: tuple[float, float, float]) -> Vector:
    """Turn URDF's fixed-axis roll, pitch, yaw [rad] into a quaternion wxyz. Shape (4,)."""
    quaternion = np.zeros(4)
    mujoco.mju_euler2Quat(quaternion, np.array(rpy), "XYZ")
    return quaternion


def _gain(kinematics: Kinematics, key: str, joint: str) -> float:
    """One number for all joints, or one for each commanded joint."""
    value = kinematics.extra[key]
    return float(value[kinematics.joint_names.index(joint)] if isinstance(value, list) else value)


def _add_joint(body: Any, joint: Joint, kinematics: Kinematics) -> None:
    body.add_joint(
        name=joint.name,
        axis=joint.axis,
        range=joint.limits,
        limited=mujoco.mjtLimited.mjLIMITED_TRUE,
        armature=_gain(kinematics, "armature", joint.name),
        damping=_gain(kinematics, "damping", joint.name),
    )


def _couple(
    spec: mujoco.MjSpec, follower: str, driver: str, multiplier: float, offset: float
) -> None:
    equality = spec.add_equality(
        type=mujoco.mjtEq.mjEQ_JOINT, name1=follower, name2=driver, solref=[0.006, 1.0]
    )
    equality.data[:5] = [offset, multiplier, 0.0, 0.0, 0.0]


def _add_actuators(spec: mujoco.MjSpec, kinematics: Kinematics) -> None:
    for name, limits in zip(kinematics.joint_names, kinematics.position_limits, strict=True):
        effort = kinematics.joint(name).effort
        actuator = spec.add_actuator(
            name=name,
            target=name,
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            ctrllimited=mujoco.mjtLimited.mjLIMITED_TRUE,
            ctrlrange=limits,
            forcelimited=mujoco.mjtLimited.mjLIMITED_TRUE,
            forcerange=[-effort, effort],
        )
        actuator.set_to_position(kp=_gain(kinematics, "kp", name), kv=_gain(kinematics, "kv", name))


def _shape(geom: Mapping[str, Any]) -> dict[str, Any]:
    match geom["type"]:
        case "capsule":
            return {
                "type": mujoco.mjtGeom.mjGEOM_CAPSULE,
                "fromto": [*geom["from"], *geom["to"]],
                "size": [geom["radius"], 0.0, 0.0],
            }
        case "sphere":
            return {
                "type": mujoco.mjtGeom.mjGEOM_SPHERE,
                "pos": geom["position"],
                "size": [geom["radius"], 0.0, 0.0],
            }
        case "box":
            return {
                "type": mujoco.mjtGeom.mjGEOM_BOX,
                "pos": geom["position"],
                "size": geom["half_size"],
            }
        case unknown:
            raise ValueError(f"geom type {unknown!r} is not capsule, sphere or box")


def _look_and_touch(kinematics: Kinematics, link: str) -> dict[str, Any]:
    look = {"rgba": kinematics.extra["rgba"]}
    if kinematics.kind == "arm":
        return {**look, "contype": 0, "conaffinity": int(Touch.SCENE)}
    contype, conaffinity = _hand_touch(kinematics, link)
    return {**look, **_HAND_CONTACT, "contype": int(contype), "conaffinity": int(conaffinity)}


def _hand_touch(kinematics: Kinematics, link: str) -> tuple[Touch, Touch]:
    for finger, tip in kinematics.tips.items():
        chain = tuple(_moving_links(kinematics, tip))
        if link not in chain:
            continue
        if finger == "thumb":
            return Touch.THUMB, Touch.SCENE
        last = link == chain[0]
        return Touch(0), Touch.SCENE | Touch.THUMB | (Touch.PALM if last else Touch(0))
    return Touch.PALM, Touch.SCENE


def _moving_links(kinematics: Kinematics, tip: str) -> Iterator[str]:
    """Links that revolute joints carry, from ``tip`` back to the root."""
    carried_by = {joint.child: joint for joint in kinematics.joints}
    link = tip
    while (joint := carried_by.get(link)) is not None:
        if joint.type == "revolute":
            yield link
        link = joint.parent
