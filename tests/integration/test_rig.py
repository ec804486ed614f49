"""A rig file becomes devices that fit each other, or one sentence that says why not."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dexhil.drivers.clock import MonotonicClock, SimClock
from dexhil.drivers.errors import ConfigError
from dexhil.drivers.registry import RigEntry
from dexhil.integration import cli, driving
from dexhil.integration.errors import RigError
from dexhil.integration.rig import build_rig
from dexhil.teleop.takeover import Event

Edit = Callable[[str, str], Path]

RIGHT_GLOVE = '[glove.right]\ndriver = "sim"'
RIGHT_WORLD = 'hand = "inspire"'


def test_a_left_glove_does_not_drive_a_right_hand(edited_rig: Edit) -> None:
    path = edited_rig(RIGHT_GLOVE, f'{RIGHT_GLOVE}\nside = "left"')
    with pytest.raises(RigError, match=r"worn on the left hand.*robot's is a right one.*same side"):
        build_rig(path, SimClock(), cameras=False)


def test_a_right_glove_does_not_drive_a_left_hand(edited_rig: Edit) -> None:
    path = edited_rig(RIGHT_WORLD, f'{RIGHT_WORLD}\nside = "left"')
    with pytest.raises(RigError, match=r"worn on the right hand.*robot's is a left one"):
        build_rig(path, SimClock(), cameras=False)


def test_a_left_glove_drives_a_left_hand(edited_rig: Edit, tmp_path: Path) -> None:
    text = edited_rig(RIGHT_WORLD, f'{RIGHT_WORLD}\nside = "left"').read_text(encoding="utf-8")
    path = tmp_path / "left.toml"
    path.write_text(text.replace(RIGHT_GLOVE, f'{RIGHT_GLOVE}\nside = "left"'), encoding="utf-8")
    rig = build_rig(path, SimClock(), cameras=False)
    assert rig.hand.spec.side == rig.glove.spec.side == "left"
    assert rig.robot_type == "fr3_inspire_left"  # As nothing else in a dataset tells.


SIM_ARM, SIM_HAND = '[arm.main]\ndriver = "sim"', '[hand.right]\ndriver = "sim"'
REAL_ARM = '[arm.main]\ndriver = "ur"\nhost = "192.168.1.2"'
REAL_HAND = '[hand.right]\ndriver = "inspire"\nport = "/dev/hand"'
SIM_PEDAL = '[switch.pedal]\ndriver = "sim"'
REAL_KEYS = '[switch.keys]\ndriver = "keyboard"'


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [(SIM_ARM, REAL_ARM, "UrArm 'main'"), (SIM_HAND, REAL_HAND, "InspireHand 'right'")],
)
def test_what_is_real_is_not_left_to_a_switch_that_nobody_can_press(
    edited_rig: Edit, tmp_path: Path, old: str, new: str, name: str
) -> None:
    path = edited_rig(old, new)
    with pytest.raises(RigError, match=f"{name} is real, but SimSwitch 'pedal' is simulated"):
        build_rig(path, MonotonicClock(), cameras=False)
    keys = tmp_path / "keys.toml"
    text = path.read_text(encoding="utf-8")
    keys.write_text(text.replace(SIM_PEDAL, f"{SIM_PEDAL}\n\n{REAL_KEYS}"), encoding="utf-8")
    assert not build_rig(keys, MonotonicClock(), cameras=False).switch.spec.simulated


@pytest.mark.parametrize(
    "entry",
    [
        RigEntry("arm", "main", "ur", {"host": "192.168.1.2"}),
        RigEntry("hand", "right", "inspire", {"port": "/dev/hand"}),
        RigEntry("switch", "keys", "keyboard"),
    ],
)
def test_nothing_is_taken_over_by_itself_where_anything_is_real(rig: Path, entry: RigEntry) -> None:
    simulated = build_rig(rig, SimClock(), cameras=False)
    assert driving._first(simulated) is Event.TAKE_OVER
    device: Any = entry.build(MonotonicClock())
    assert driving._first(replace(simulated, **{entry.kind: device})) is None


def test_a_number_that_bounds_nothing_is_refused_before_anything_is_connected(
    edited_rig: Edit,
) -> None:
    path = edited_rig("arm_speed_fraction = 0.5", "arm_speed_fraction = 50")
    with pytest.raises(ConfigError, match=r"edited.toml: \[teleop\].*arm_speed_fraction is 50"):
        build_rig(path, SimClock(), cameras=False)


def test_what_can_move_is_let_go_of_before_what_may_be_stuck(rig: Path) -> None:
    built, ended = build_rig(rig, SimClock(), cameras=False), list[str]()
    for device in built.devices:
        device._close = partial(ended.append, type(device).__name__)  # type: ignore[method-assign]
    with built.running():
        pass
    assert ended == ["SimArm", "SimHand", "SimGlove", "SimTracker", "SimSwitch"]


def test_sides_that_differ_end_a_command_in_one_sentence(
    capsys: pytest.CaptureFixture[str], edited_rig: Edit
) -> None:
    path = edited_rig(RIGHT_GLOVE, f'{RIGHT_GLOVE}\nside = "left"')
    with pytest.raises(SystemExit) as stop:
        cli.main(["teleop", "--rig", str(path)])
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("RigError:")
    assert "Set the same side for both." in " ".join(said.split())
    assert "Traceback" not in said


def test_square_brackets_in_an_error_reach_the_user(
    capsys: pytest.CaptureFixture[str], edited_rig: Edit
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["teleop", "--rig", str(edited_rig(RIGHT_GLOVE, ""))])
    assert "exactly one [glove.NAME] table" in " ".join(capsys.readouterr().err.split())


def test_a_kind_that_is_missing_or_there_twice_is_named(edited_rig: Edit) -> None:
    with pytest.raises(RigError, match=r"exactly one \[glove.NAME\] table, has 0"):
        build_rig(edited_rig(RIGHT_GLOVE, ""), SimClock(), cameras=False)
    twice = edited_rig(RIGHT_GLOVE, f'{RIGHT_GLOVE}\n\n[glove.other]\ndriver = "sim"')
    with pytest.raises(RigError, match=r"exactly one \[glove.NAME\] table, has 2"):
        build_rig(twice, SimClock(), cameras=False)
