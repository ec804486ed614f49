"""A rig file becomes devices that fit each other, or one sentence that says why not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dexhil.drivers.clock import SimClock
from dexhil.integration import cli
from dexhil.integration.errors import RigError
from dexhil.integration.rig import build_rig

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
