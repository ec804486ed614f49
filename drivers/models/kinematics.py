"""The kinematic table of an arm or a hand: one TOML file per model, one reader.

Every number in such a file comes from the maker's published table, which the
file names. Simulation, inverse kinematics and retargeting all read these files,
so the three cannot disagree.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.errors import ConfigError

Side = Literal["left", "right"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """One row of a kinematic table, in the convention of URDF.

    Attributes:
        name: The name on the real device.
        urdf_name: The name in the published URDF.
        type: ``"revolute"`` or ``"fixed"``.
        parent: Link it hangs on.
        child: Link it carries.
        position: Child frame in the parent frame [m]. Shape (3,).
        rpy: Child frame in the parent frame, fixed-axis roll, pitch, yaw [rad]. Shape (3,).
        axis: Joint axis in the child frame. Shape (3,).
        limits: Lower and upper position [rad].
        effort: Largest torque [N·m].
        velocity: Largest speed [rad/s].
        mimic: ``(joint, multiplier, offset)`` when another joint drives this one.
    """

    name: str
    urdf_name: str
    type: str
    parent: str
    child: str
    position: tuple[float, float, float]
    rpy: tuple[float, float, float] = (0.0, 0.0, 0.0)
    axis: tuple[float, float, float] = (0.0, 0.0, 1.0)
    limits: tuple[float, float] = (0.0, 0.0)
    effort: float = 0.0
    velocity: float = 0.0
    mimic: tuple[str, float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinematics:
    """A tree of links and joints.

    Attributes:
        model: Name of the table, e.g. ``"leap"``.
        kind: ``"arm"`` or ``"hand"``.
        source: Where the numbers were published.
        root: The link everything hangs on. A hand's root has z along the fingers and
            x out of the palm (fingers curl towards +x). So y is to the thumb side of a
            right hand, and away from the thumb of a left one.
        joints: Parents before children.
        joint_names: Commanded joints, in the order of the real device.
        tips: Link at the end of each finger, thumb first, or ``{"flange": link}`` of an arm.
        chains: Commanded joints of each finger, by finger.
        geoms: Collision primitives by link, for simulation and capsule models.
        masses: Mass of each link [kg].
        extra: What only one consumer reads (home pose, gains, mount).
        side: Which hand it is.
        reversed_on_left: Joints that count the other way on the real left hand than in the
            mirror image of the right one.
        renamed_on_left: Joints and links that are called otherwise on the real left hand than
            in the mirror image, either way round.
    """

    model: str
    kind: str
    source: str
    root: str
    joints: tuple[Joint, ...]
    joint_names: tuple[str, ...]
    tips: Mapping[str, str]
    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    geoms: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    masses: Mapping[str, float] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    side: Side = "right"
    reversed_on_left: tuple[str, ...] = ()
    renamed_on_left: Mapping[str, str] = field(default_factory=dict)

    def joint(self, name: str) -> Joint:
        """Return the joint called ``name``.

        Raises:
            ConfigError: There is none.
        """
        for joint in self.joints:
            if joint.name == name:
                return joint
        known = ", ".join(joint.name for joint in self.joints)
        raise ConfigError(f"{self.model}: no joint is called {name!r}. Known: {known}.")

    @property
    def position_limits(self) -> Matrix:
        """Limits of the commanded joints [rad]. Shape (n, 2).

        Narrowed where a coupled joint reaches its own limit first.
        """
        limits = {name: self.joint(name).limits for name in self.joint_names}
        for joint in self.joints:
            if joint.mimic is not None:
                driver, multiplier, offset = joint.mimic
                ends = sorted((limit - offset) / multiplier for limit in joint.limits)
                low, high = limits[driver]
                limits[driver] = (max(low, ends[0]), min(high, ends[1]))
        return np.array([limits[name] for name in self.joint_names])

    @property
    def velocity_limits(self) -> Vector:
        """Largest speeds of the commanded joints [rad/s]. Shape (n,)."""
        return np.array([self.joint(name).velocity for name in self.joint_names])


def load_kinematics(model: str | Path, side: Side = "right") -> Kinematics:
    """Read the table of a shipped model by name, or of any model by path.

    Args:
        model: Name or path.
        side: Which hand. A table of the other one is mirrored.

    Raises:
        ConfigError: No such model, the file is not a kinematic table, or a left arm.
    """
    kinematics = _read(model)
    if kinematics.side == side:
        return kinematics
    if kinematics.kind != "hand":
        raise ConfigError(f"{kinematics.model} is an {kinematics.kind}, only hands have a side.")
    return mirrored(kinematics)


def mirrored(kinematics: Kinematics) -> Kinematics:
    """Return the other hand: the mirror image in y, with the real one's names and signs.

    Mirroring flips y of every position and turns every joint axis over as the pseudo-vector
    that it is, so the same angles give the mirrored motion. Joints in ``reversed_on_left`` then
    count the other way, limits and couplings included. Twice is the hand itself.
    """
    names = {**kinematics.renamed_on_left}
    names |= {new: old for old, new in names.items()}
    signs = dict.fromkeys(kinematics.reversed_on_left, -1.0)

    def renamed(name: str) -> str:
        return names.get(name, name)

    return replace(
        kinematics,
        side="left" if kinematics.side == "right" else "right",
        root=renamed(kinematics.root),
        joints=tuple(_mirrored_joint(joint, names, signs) for joint in kinematics.joints),
        tips={finger: renamed(link) for finger, link in kinematics.tips.items()},
        chains={
            finger: tuple(renamed(name) for name in chain)
            for finger, chain in kinematics.chains.items()
        },
        geoms={
            renamed(link): tuple(_mirrored_points(geom) for geom in geoms)
            for link, geoms in kinematics.geoms.items()
        },
        masses={renamed(link): mass for link, mass in kinematics.masses.items()},
        extra=_mirrored_extra(kinematics, names, signs),
    )


def _read(model: str | Path) -> Kinematics:
    path = Path(str(model))
    if path.suffix != ".toml":
        path = Path(str(files(__package__).joinpath(f"{model}.toml")))
        if not path.is_file():
            known = sorted(
                entry.name.removesuffix(".toml")
                for entry in files(__package__).iterdir()
                if entry.name.endswith(".toml")
            )
            raise ConfigError(f"No kinematic model is called {str(model)!r}. Known: {known}.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        joints = tuple(_joint(row) for row in table.pop("joints"))
        return Kinematics(
            joints=joints,
            joint_names=tuple(table.pop("joint_names")),
            chains={name: tuple(chain) for name, chain in table.pop("chains", {}).items()},
            geoms={link: tuple(geoms) for link, geoms in table.pop("geoms", {}).items()},
            reversed_on_left=tuple(table.pop("reversed_on_left", ())),
            **table,
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: not a kinematic table ({error}).") from error


def _joint(row: dict[str, Any]) -> Joint:
    fields: dict[str, Any] = {"urdf_name": row["name"]}
    for key, value in row.items():
        fields[key] = tuple(value) if isinstance(value, list) else value
    return Joint(**fields)


def _mirrored_joint(joint: Joint, names: Mapping[str, str], signs: Mapping[str, float]) -> Joint:
    (x, y, z), (roll, pitch, yaw), (ax, ay, az) = joint.position, joint.rpy, joint.axis
    sign = signs.get(joint.name, 1.0)
    low, high = sorted(sign * limit for limit in joint.limits)
    mimic = None
    if joint.mimic is not None:
        driver, multiplier, offset = joint.mimic
        multiplier *= sign * signs.get(driver, 1.0)
        mimic = (names.get(driver, driver), multiplier, sign * offset)
    return replace(
        joint,
        name=names.get(joint.name, joint.name),
        urdf_name=names.get(joint.urdf_name, joint.urdf_name),
        parent=names.get(joint.parent, joint.parent),
        child=names.get(joint.child, joint.child),
        position=(x, -y, z),
        rpy=(-roll, pitch, -yaw),
        axis=(-sign * ax, sign * ay, -sign * az),
        limits=(low, high),
        mimic=mimic,
    )


def _mirrored_points(values: Mapping[str, Any]) -> dict[str, Any]:
    """Mirror the points and rotations in the values of a geom or mount, by their names."""
    flips = dict.fromkeys(("position", "from", "to"), (1, -1, 1)) | {"rpy": (-1, 1, -1)}
    return {
        name: [sign * each for sign, each in zip(flips[name], value, strict=True)]
        if name in flips
        else value
        for name, value in values.items()
    }


def _mirrored_extra(
    kinematics: Kinematics, names: Mapping[str, str], signs: Mapping[str, float]
) -> dict[str, Any]:
    extra = dict(kinematics.extra)
    if "mount" in extra:
        extra["mount"] = _mirrored_points(extra["mount"])
    if "wrist" in extra:
        x, y, z = extra["wrist"]
        extra["wrist"] = [x, -y, z]
    order = [kinematics.joint_names.index(names.get(name, name)) for name in kinematics.joint_names]
    for key in ("open", "kp", "kv", "armature", "damping"):
        if isinstance(extra.get(key), list):
            extra[key] = [extra[key][index] for index in order]
    if "open" in extra:
        extra["open"] = [
            signs.get(name, 1.0) * angle
            for name, angle in zip(kinematics.joint_names, extra["open"], strict=True)
        ]
    return extra
