"""Names that lead nowhere must say where names lead."""

import sys
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from dexhil.drivers.clock import SimClock
from dexhil.drivers.errors import ConfigError, DriverNotFoundError, DriverUnavailableError
from dexhil.drivers.glove.sim import SimGlove
from dexhil.drivers.registry import KINDS, RigEntry, available, load, read_rig


def write(folder: Path, text: str) -> Path:
    path = folder / "rig.toml"
    path.write_text(text, encoding="utf-8")
    return path


# -- Drivers --------------------------------------------------------------------


def test_every_kind_has_a_simulated_driver() -> None:
    for kind in KINDS:
        assert "sim" in available(kind)
        assert load(kind, "sim").__name__ == f"Sim{kind.capitalize()}"


def test_names_are_listed_without_importing() -> None:
    modules = {entry.module for kind in KINDS for entry in entry_points(group=f"dexhil.{kind}")}
    kept = {name: sys.modules.pop(name) for name in modules if name in sys.modules}
    try:
        assert all(available(kind) for kind in KINDS)
        assert modules.isdisjoint(sys.modules)
    finally:
        sys.modules.update(kept)


def test_an_unknown_driver_lists_the_installed_ones(register: Any) -> None:
    register("hand", "sim")
    register("hand", "acme")
    with pytest.raises(DriverNotFoundError, match=r"called 'slim'\. Installed: acme, sim\."):
        load("hand", "slim")


def test_without_any_driver_the_list_says_none(register: Any) -> None:
    del register  # It starts with nothing installed.
    with pytest.raises(DriverNotFoundError, match="Installed: none"):
        load("hand", "sim")


def test_a_driver_without_its_sdk_names_both_the_sdk_and_the_extra(register: Any) -> None:
    def load_leap() -> type:
        raise ModuleNotFoundError("No module named 'dynamixel_sdk'", name="dynamixel_sdk")

    register("hand", "leap", loads=load_leap)
    with pytest.raises(
        DriverUnavailableError, match=r"'leap' needs 'dynamixel_sdk'.*pip install 'dexhil\[leap\]'"
    ) as caught:
        load("hand", "leap")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_two_packages_may_not_register_the_same_name(register: Any) -> None:
    register("hand", "acme", value="acme_one:Hand")
    register("hand", "acme", value="acme_two:Hand")
    with pytest.raises(ConfigError, match=r"'acme': acme_one:Hand, acme_two:Hand"):
        load("hand", "acme")


def test_one_package_installed_twice_is_still_one_driver(register: Any) -> None:
    register("glove", "acme", SimGlove)
    register("glove", "acme", SimGlove)
    assert load("glove", "acme") is SimGlove


# -- Options ----------------------------------------------------------------------


def test_a_misspelt_option_names_the_table_and_the_right_spelling() -> None:
    entry = RigEntry(kind="glove", name="right", driver="sim", options={"sied": "left"})
    with pytest.raises(
        ConfigError, match=r"\[glove.right\]: there is no option 'sied'\. Did you mean 'side'\?"
    ):
        entry.build()


def test_an_option_like_no_other_lists_what_there_is() -> None:
    entry = RigEntry(kind="glove", name="right", driver="sim", options={"zzz": 1})
    with pytest.raises(ConfigError, match=r"no option 'zzz'\. Known: side, rate_hz, seed\."):
        entry.build()


@pytest.mark.parametrize(("key", "value"), [("rate_hz", "fast"), ("side", "middle")])
def test_an_option_of_the_wrong_type_is_named(key: str, value: str) -> None:
    entry = RigEntry(kind="glove", name="right", driver="sim", options={key: value})
    with pytest.raises(ConfigError, match=rf"\[glove.right\]: {key}: Input should be"):
        entry.build()


def test_a_missing_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r"\[glove.right\]: path: Field required"):
        RigEntry(kind="glove", name="right", driver="replay").build()


def test_a_device_is_built_closed_with_its_name_options_and_clock() -> None:
    clock = SimClock()
    glove: Any = RigEntry(kind="glove", name="west", driver="sim", options={"side": "left"}).build(
        clock
    )
    assert str(glove) == "SimGlove 'west'"
    assert glove.spec.side == "left"
    assert glove.clock is clock
    assert glove.state.value == "disconnected"


def test_a_port_of_a_world_without_a_world_says_what_to_add() -> None:
    with pytest.raises(ConfigError, match=r"\[hand.right\].*no \[world\] table\. Add one"):
        RigEntry(kind="hand", name="right", driver="sim").build()


# -- Rig files ----------------------------------------------------------------------


def test_a_rig_file_lists_its_devices_in_order(tmp_path: Path) -> None:
    rig = read_rig(
        write(
            tmp_path,
            '[world]\narm = "ur5e"\n[glove.right]\ndriver = "sim"\nside = "right"\n'
            '[switch.pedal]\ndriver = "sim"\n[teleop]\nrate_hz = 90\n',
        )
    )
    assert [(e.kind, e.name, e.driver) for e in rig.devices] == [
        ("glove", "right", "sim"),
        ("switch", "pedal", "sim"),
    ]
    assert rig.devices[0].options == {"side": "right"}
    assert rig.world == {"arm": "ur5e"}
    assert rig.teleop == {"rate_hz": 90}


@pytest.mark.parametrize(
    ("driver", "option", "meant"),
    [
        ('glove.right]\ndriver = "replay', 'path = "hand.npy"', "hand.npy"),
        ('glove.right]\ndriver = "replay', 'path = "../hand.npy"', "../hand.npy"),
        ('camera.a]\ndriver = "opencv', 'source = "film.mp4"', "film.mp4"),
        ('hand.right]\ndriver = "leap"\nport = "/dev/x', 'capture = "a.wire"', "a.wire"),
    ],
)
def test_a_relative_path_begins_where_the_rig_file_is(
    tmp_path: Path, driver: str, option: str, meant: str
) -> None:
    (entry,) = read_rig(write(tmp_path, f'[{driver}"\n{option}\n')).devices
    device: Any = entry.build()
    assert getattr(device._config, option.split(maxsplit=1)[0]) == tmp_path / meant


@pytest.mark.parametrize("source", ["http://h/video", "0", "/dev/video0", "/films/a.mp4"])
def test_what_is_no_relative_path_stays_as_it_is(tmp_path: Path, source: str) -> None:
    rig = write(tmp_path, f'[camera.a]\ndriver = "opencv"\nsource = "{source}"\n')
    (entry,) = read_rig(rig).devices
    device: Any = entry.build()
    assert str(device._config.source) == source


def test_the_files_of_a_device_within_a_device_begin_there_too(tmp_path: Path) -> None:
    rig = write(
        tmp_path,
        '[tracker.cube]\ndriver = "aruco"\ncube = "cube.toml"\nintrinsics = "/lens.toml"\n'
        '[tracker.cube.camera]\ndriver = "opencv"\nsource = "film.mp4"\n',
    )
    (entry,) = read_rig(rig).devices
    tracker: Any = entry.build()
    assert tracker._config.cube == tmp_path / "cube.toml"
    assert tracker._config.intrinsics == Path("/lens.toml")
    assert tracker._camera._config.source == tmp_path / "film.mp4"


def test_a_rig_without_a_world_builds_none(tmp_path: Path) -> None:
    assert read_rig(write(tmp_path, "")).build_world(SimClock()) is None


def test_a_world_is_built_from_its_table_on_the_given_clock(tmp_path: Path, register: Any) -> None:
    @dataclass(frozen=True)
    class BallConfig:
        radius: float

    class Ball:
        config_type = BallConfig

        def __init__(self, config: BallConfig, *, clock: SimClock) -> None:
            self.config, self.clock = config, clock

    register("world", "ball", Ball)
    clock = SimClock()
    text = '[world]\ndriver = "ball"\nradius = 2.0\n'
    world: Any = read_rig(write(tmp_path, text)).build_world(clock)
    assert (world.config.radius, world.clock) == (2.0, clock)
    with pytest.raises(ConfigError, match=r"\[world\]: there is no option 'radios'"):
        read_rig(write(tmp_path, text.replace("radius", "radios"))).build_world(clock)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot read the rig file \(No such file"):
        read_rig(tmp_path / "none.toml")


@pytest.mark.parametrize("content", [b"[hand.right\n", b"\xff\xfe"])
def test_a_broken_file_says_that_it_is_no_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rig.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"rig\.toml: not a TOML file"):
        read_rig(path)


def test_an_unknown_kind_lists_the_known_ones(tmp_path: Path) -> None:
    rig = write(tmp_path, '[foot.left]\ndriver = "sim"\n')
    with pytest.raises(ConfigError, match=r"unknown tables \['foot'\]\. Known: arm, hand, glove"):
        read_rig(rig)


def test_a_device_without_a_driver_lists_the_installed_ones(tmp_path: Path) -> None:
    rig = write(tmp_path, '[glove.right]\nside = "left"\n')
    with pytest.raises(ConfigError, match=r"\[glove.right\] names no driver\. Installed: .*sim"):
        read_rig(rig)


def test_a_device_without_a_name_says_how_to_write_it(tmp_path: Path) -> None:
    rig = write(tmp_path, '[glove]\ndriver = "sim"\n')
    with pytest.raises(ConfigError, match=r"write \[glove.NAME\], not \[glove\] with 'driver'"):
        read_rig(rig)


@pytest.mark.parametrize(
    "text", ["glove = 3\n", "world = 3\n", "teleop = 3\n", "[glove.right]\ndriver = 3\n"]
)
def test_a_value_where_a_table_belongs_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"rig\.toml: .* must be a (table|name), is 3"):
        read_rig(write(tmp_path, text))
