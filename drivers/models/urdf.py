"""The kinematic table of an arm or a hand as a URDF, for programs that read nothing else.

Joints carry the names of the published URDF, links those of the table.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree import ElementTree as ET

import mujoco
import numpy as np

from dexhil.drivers.models.kinematics import Joint, Kinematics
from dexhil.drivers.models.mjspec import to_mjspec


def to_urdf(kinematics: Kinematics) -> str:
    """Return a URDF with the table's joints, limits, couplings, shapes and masses.

    The shapes are both visual and collision; a capsule is a cylinder and two spheres, since
    URDF has none. Inertias are those of the simulation.

    Raises:
        ValueError: A geom is of an unknown type.
    """
    robot = ET.Element("robot", name=f"{kinematics.model}_{kinematics.side}")
    model = to_mjspec(kinematics, actuated=False).compile()
    for link in (kinematics.root, *(joint.child for joint in kinematics.joints)):
        element = ET.SubElement(robot, "link", name=link)
        if link in kinematics.masses:
            _add_inertia(element, model.body(link))
        for geom in kinematics.geoms.get(link, ()):
            _add_shapes(element, geom, kinematics.extra["rgba"])
    urdf_names = {joint.name: joint.urdf_name for joint in kinematics.joints}
    for joint in kinematics.joints:
        _add_joint(robot, joint, urdf_names)
    ET.indent(robot)
    return ET.tostring(robot, encoding="unicode", xml_declaration=True) + "\n"


def _add_joint(robot: ET.Element, joint: Joint, urdf_names: Mapping[str, str]) -> None:
    element = ET.SubElement(robot, "joint", name=joint.urdf_name, type=joint.type)
    _add_origin(element, joint.position, joint.rpy)
    ET.SubElement(element, "parent", link=joint.parent)
    ET.SubElement(element, "child", link=joint.child)
    if joint.type != "revolute":
        return
    ET.SubElement(element, "axis", xyz=_numbers(joint.axis))
    low, high = joint.limits
    limits = {"lower": low, "upper": high, "effort": joint.effort, "velocity": joint.velocity}
    ET.SubElement(element, "limit", {name: str(float(value)) for name, value in limits.items()})
    if joint.mimic is not None:
        driver, multiplier, offset = joint.mimic
        coupling = {"multiplier": str(float(multiplier)), "offset": str(float(offset))}
        ET.SubElement(element, "mimic", {"joint": urdf_names[driver], **coupling})


def _add_inertia(link: ET.Element, body: Any) -> None:
    element = ET.SubElement(link, "inertial")
    _add_origin(element, body.ipos)
    ET.SubElement(element, "mass", value=str(float(body.mass[0])))
    turned = np.zeros(9)
    mujoco.mju_quat2Mat(turned, body.iquat)
    turn = turned.reshape(3, 3)
    tensor = turn @ np.diag(body.inertia) @ turn.T
    rows, columns = np.triu_indices(3)
    names = [f"i{'xyz'[row]}{'xyz'[column]}" for row, column in zip(rows, columns, strict=True)]
    values = tensor[rows, columns]
    moments = {name: str(float(value)) for name, value in zip(names, values, strict=True)}
    ET.SubElement(element, "inertia", moments)


def _add_shapes(link: ET.Element, geom: Mapping[str, Any], rgba: Iterable[float]) -> None:
    for kind in ("visual", "collision"):
        for shape, sizes, position, rpy in _shapes(geom):
            element = ET.SubElement(link, kind)
            _add_origin(element, position, rpy)
            ET.SubElement(ET.SubElement(element, "geometry"), shape, sizes)
            if kind == "visual":
                material = ET.SubElement(element, "material", name="")
                ET.SubElement(material, "color", rgba=_numbers(geom.get("rgba", rgba)))


def _shapes(
    geom: Mapping[str, Any],
) -> list[tuple[str, dict[str, str], Iterable[float], Iterable[float]]]:
    """Return name, sizes, position [m] and rpy [rad] of what a geom is made of."""
    straight = (0.0, 0.0, 0.0)
    match geom["type"]:
        case "capsule":
            ends = np.array([geom["from"], geom["to"]], dtype=np.float64)
            x, y, z = ends[1] - ends[0]
            length = float(np.linalg.norm(ends[1] - ends[0]))
            radius = {"radius": str(geom["radius"])}
            along = (0.0, np.arctan2(np.hypot(x, y), z), np.arctan2(y, x))
            return [
                ("cylinder", {**radius, "length": str(length)}, ends.mean(axis=0), along),
                *(("sphere", radius, end, straight) for end in ends),
            ]
        case "sphere":
            return [("sphere", {"radius": str(geom["radius"])}, geom["position"], straight)]
        case "box":
            size = _numbers(2 * half for half in geom["half_size"])
            return [("box", {"size": size}, geom["position"], straight)]
        case unknown:
            raise ValueError(f"geom type {unknown!r} is not capsule, sphere or box")


def _add_origin(
    element: ET.Element, position: Iterable[float], rpy: Iterable[float] = (0.0, 0.0, 0.0)
) -> None:
    ET.SubElement(element, "origin", xyz=_numbers(position), rpy=_numbers(rpy))


def _numbers(values: Iterable[float]) -> str:
    return " ".join(str(float(value)) for value in values)
