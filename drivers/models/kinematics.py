"""The kinematic table of an arm or a hand: one TOML file per model, one reader.

Every number in such a file comes from the maker's published table, which the
file names. Simulation, inverse kinematics and retargeting all read these files,
so the three cannot disagree.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
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
        root: The link everything hangs on. A hand's root has z along the fingers,
            x out of the palm (fingers curl towards +x) and y to the thumb side.
        joints: Parents before children.
        joint_names: Commanded joints, in the order of the real device.
        tips: Link at the end of each finger, thumb first, or ``{"flange": link}`` of an arm.
        chains: Commanded joints of each finger, by finger.
        geoms: Collision primitives by link, for simulation and capsule models.
        masses: Mass of each link [kg].
        extra: What only one consumer reads (home pose, gains, mount).
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


def load_kinematics(model: str | Path) -> Kinematics:
    """Read the table of a shipped model by name, or of any model by path.

    Raises:
        ConfigError: No such model, or the file is not a kinematic table.
    """
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
            **table,
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: not a kinematic table ({error}).") from error


def _joint(row: dict[str, Any]) -> Joint:
    fields: dict[str, Any] = {"urdf_name": row["name"]}
    for key, value in row.items():
        fields[key] = tuple(value) if isinstance(value, list) else value
    return Joint(**fields)
