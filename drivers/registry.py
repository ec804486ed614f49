"""Find drivers by name, build them from a rig file.

A driver is one entry point. Ours and other people's are registered the same
way, so there is no second path to keep working:

    [project.entry-points."dexhil.hand"]
    leap = "dexhil.drivers.hand.leap:LeapHand"

A rig file names the devices. Simulated ones are ports of one world, which the
same file describes:

    [world]
    driver = "mujoco"
    arm = "ur5e"
    hand = "leap"

    [hand.right]
    driver = "sim"
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from dexhil.drivers.clock import Clock
from dexhil.drivers.device import Device
from dexhil.drivers.errors import ConfigError, DriverNotFoundError, DriverUnavailableError

AnyDevice = Device[Any, Any]
KINDS = ("arm", "hand", "glove", "tracker", "camera", "switch")


@dataclass(frozen=True, slots=True)
class RigEntry:
    """One device in a rig file.

    Attributes:
        kind: One of ``KINDS``.
        name: Of the device.
        driver: As it is registered.
        options: Of its driver.
        folder: Where relative paths among them begin: that of the rig file.
    """

    kind: str
    name: str
    driver: str
    options: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = field(default_factory=Path)

    def build(self, clock: Clock | None = None, world: object | None = None) -> AnyDevice:
        """Construct the device. Nothing is opened.

        Args:
            clock: The clock it stamps with; the host's when ``None``.
            world: What a simulated device is a port of; see ``build_world``.

        Raises:
            ConfigError: An option is misspelt or of the wrong type, or there is no world.
        """
        device_type = cast("Any", load(self.kind, self.driver))
        where = f"[{self.kind}.{self.name}]"
        config = _located(parse(device_type.config_type, self.options, where), self.folder)
        if not device_type.in_world:
            return cast("AnyDevice", device_type(config, name=self.name, clock=clock))
        if world is None:
            raise ConfigError(
                f"{where}: the driver {self.driver!r} is simulated, but the rig file has "
                "no [world] table. Add one, with an arm and a hand."
            )
        return cast("AnyDevice", device_type(config, name=self.name, clock=clock, world=world))


@dataclass(frozen=True, slots=True)
class RigFile:
    """What a rig file says.

    Attributes:
        path: Where it was read.
        devices: In the order of the file.
        world: Options of the simulated world, or ``None`` on a real rig.
        teleop: Limits and rates of the runtime; read by ``dexhil.teleop``.
    """

    path: Path
    devices: tuple[RigEntry, ...]
    world: Mapping[str, Any] | None = None
    teleop: Mapping[str, Any] = field(default_factory=dict)

    def build_world(self, clock: Clock) -> object | None:
        """Construct the simulated world, if the file describes one."""
        if self.world is None:
            return None
        options = dict(self.world)
        world_type = cast("Any", load("world", options.pop("driver", "mujoco")))
        return cast(
            "object", world_type(parse(world_type.config_type, options, "[world]"), clock=clock)
        )


def parse(config_type: type, options: Mapping[str, Any], where: str) -> Any:
    """Make a configuration of ``config_type``, a dataclass, from the table ``where``.

    Raises:
        ConfigError: A key or a value that it does not take.
    """
    known = [field.name for field in fields(config_type)]
    for key in options:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(known)}."
            raise ConfigError(f"{where}: there is no option {key!r}. {hint}")
    try:
        return TypeAdapter(config_type).validate_python(dict(options))
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'table'}: {e['msg']}" for e in error.errors()
        )
        raise ConfigError(f"{where}: {details}.") from error


def _located(config: Any, folder: Path) -> Any:
    """Return a configuration whose relative paths begin in ``folder``, those of a device in it too.

    What is declared as a ``Path`` is one. So a rig file works from wherever it is named.
    """
    located: dict[str, Any] = {}
    for each in fields(config):
        value = getattr(config, each.name)
        if isinstance(value, Path):
            located[each.name] = folder / value
        elif isinstance(value, RigEntry):
            located[each.name] = replace(value, folder=folder)
    return replace(config, **located) if located else config


def available(kind: str) -> tuple[str, ...]:
    """Names of the drivers installed for ``kind``, without importing them."""
    return tuple(sorted(entry_points(group=f"dexhil.{kind}").names))


def load(kind: str, driver: str) -> type:
    """Import one driver class.

    Raises:
        DriverNotFoundError: Nothing is registered under that name.
        DriverUnavailableError: Its vendor SDK is missing here.
        ConfigError: Two installed packages register that name.
    """
    matches = tuple(entry_points(group=f"dexhil.{kind}", name=driver))
    if not matches:
        known = ", ".join(available(kind)) or "none"
        raise DriverNotFoundError(f"No {kind} driver is called {driver!r}. Installed: {known}.")
    if len({match.value for match in matches}) > 1:
        places = ", ".join(match.value for match in matches)
        raise ConfigError(f"Two packages register the {kind} driver {driver!r}: {places}.")
    return _import(kind, driver, matches[0])


def _import(kind: str, driver: str, entry: EntryPoint) -> type:
    try:
        return cast("type", entry.load())
    except ImportError as error:
        raise DriverUnavailableError(
            f"The {kind} driver {driver!r} needs {error.name!r}, which is not installed here. "
            f"Try: pip install 'dexhil[{driver}]'"
        ) from error


def read_rig(path: Path) -> RigFile:
    """Read which devices exist and how to reach them.

    Raises:
        ConfigError: There is no such file, or it is not a rig file.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the rig file ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file ({error}).") from error
    world, teleop = tables.pop("world", None), tables.pop("teleop", {})
    unknown = sorted(tables.keys() - set(KINDS))
    if unknown:
        raise ConfigError(
            f"{path}: unknown tables {unknown}. Known: {', '.join((*KINDS, 'world', 'teleop'))}."
        )
    for name, table in {**tables, "world": world or {}, "teleop": teleop}.items():
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {name!r} must be a table, is {table!r}.")
    devices = tuple(
        _entry(path, kind, name, table)
        for kind, named in tables.items()
        for name, table in named.items()
    )
    return RigFile(path=path, devices=devices, world=world, teleop=teleop)


def _entry(path: Path, kind: str, name: str, table: object) -> RigEntry:
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: write [{kind}.NAME], not [{kind}] with {name!r} in it.")
    options = dict(table)
    try:
        driver = options.pop("driver")
    except KeyError:
        raise ConfigError(
            f"{path}: [{kind}.{name}] names no driver. Installed: {', '.join(available(kind))}."
        ) from None
    if not isinstance(driver, str):
        raise ConfigError(f"{path}: [{kind}.{name}] driver must be a name, is {driver!r}.")
    return RigEntry(kind=kind, name=name, driver=driver, options=options, folder=path.parent)
