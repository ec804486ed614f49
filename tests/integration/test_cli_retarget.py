"""``dexhil retarget ...`` and ``dexhil calibrate``: they explain themselves, and say what is wrong.

What the commands do is tested with their functions; here it is what a user types.
"""

from pathlib import Path

import numpy as np
import pytest

from dexhil.integration import cli
from dexhil.retarget.human import POSTURES, HumanHand
from dexhil.retarget.synthetic import make_clip

HANDS = ("leap", "allegro", "inspire", "shadow", "ability", "dexhand021")


def fails(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 1) -> str:
    """Run a command that must fail; return what it says."""
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert stop.value.code == code, said
    assert "Traceback" not in said.err + said.out
    return " ".join((said.err + said.out).split())


def works(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert stop.value.code == 0, said
    return " ".join(said.out.split())


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "in.npy"
    np.save(path, make_clip(3, 40))
    return path


@pytest.fixture
def _nobody_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (("retarget",), ("run", "view", "bench", "train")),
        (
            ("retarget", "run"),
            ("--hand", "--keypoints", "--out", "--method", "--user", "--weights"),
        ),
        (("retarget", "view"), ("--hand", "--keypoints", "--out", "--frames", "--weights")),
        (("retarget", "bench"), ("--hands", "--keypoints", "--methods", "--paced", "--endurance")),
        (("retarget", "train"), ("--hand", "--out", "--clip", "--side", "--seed", "--steps")),
        (("calibrate",), ("--glove", "--hand", "--user", "--side", "--force", "--pose-s")),
    ],
)
def test_every_command_explains_its_options(
    capsys: pytest.CaptureFixture[str], command: tuple[str, ...], options: tuple[str, ...]
) -> None:
    said = works(capsys, *command, "--help")
    for option in options:
        assert option in said


@pytest.mark.parametrize("method", ["solver", "two-stage", "both"])
def test_keypoints_become_joint_targets(
    capsys: pytest.CaptureFixture[str], clip: Path, method: str
) -> None:
    out = clip.with_name("out.npz")
    run = ("retarget", "run", "--hand", "leap", "--keypoints", clip, "--out", out)
    said = works(capsys, *run, "--method", method, "--filter", "balanced")
    assert f"Wrote {out}." in said
    with np.load(out) as file:
        assert file["joint_positions"].shape == (40, 16)
        assert file["valid"].all()


def test_the_method_may_be_left_out(capsys: pytest.CaptureFixture[str], clip: Path) -> None:
    out = clip.with_name("out.npz")
    said = works(capsys, "retarget", "run", "--hand", "leap", "--keypoints", clip, "--out", out)
    assert "both" in said


def test_a_left_clip_needs_the_left_hand(capsys: pytest.CaptureFixture[str], clip: Path) -> None:
    fist = HumanHand().keypoints(POSTURES["fist"]) * (1.0, -1.0, 1.0)
    np.save(clip, np.repeat(fist[None], 30, axis=0))
    out = clip.with_name("out.npz")
    run = ("retarget", "run", "--hand", "leap", "--keypoints", clip, "--out", out)
    said = fails(capsys, *run)
    assert "30 of 30 frames show a left hand, a right one is wanted. Pass --side left" in said
    assert not out.exists()
    works(capsys, *run, "--side", "left")


@pytest.mark.parametrize("command", ["run", "view"])
@pytest.mark.parametrize(
    "mistake",
    [
        ("--hand", "leep", "No hand is called 'leep'"),
        ("--keypoints", "nowhere.npy", "nowhere.npy"),
        ("--out", "out.txt", "out.txt"),
        ("--user", "nobody-here", "nobody is calibrated under that name"),
        ("--user", "../up", "up"),
        ("--rate-hz", "0", "--rate-hz is 0 Hz, must be above 0"),
    ],
    ids=lambda mistake: " ".join(mistake[:2]),
)
@pytest.mark.usefixtures("_nobody_known")
def test_a_users_mistake_is_one_sentence(
    capsys: pytest.CaptureFixture[str], clip: Path, command: str, mistake: tuple[str, str, str]
) -> None:
    option, value, says = mistake
    out = "out.npz" if command == "run" else "out.html"
    options: dict[str, object] = {"--hand": "leap", "--keypoints": clip, "--out": out}
    options[option] = value
    said = fails(capsys, "retarget", command, *(part for pair in options.items() for part in pair))
    assert said.split(":")[0].endswith("Error")
    assert says in said
    assert not (clip.parent / out).exists()


def test_an_unknown_hand_is_told_the_known_ones(
    capsys: pytest.CaptureFixture[str], clip: Path
) -> None:
    out = clip.with_name("out.npz")
    said = fails(capsys, "retarget", "run", "--hand", "leep", "--keypoints", clip, "--out", out)
    assert all(hand in said for hand in HANDS)


@pytest.mark.parametrize("shape", [(10, 20, 3), (0, 21, 3), (21, 3), (10, 63)], ids=str)
def test_keypoints_of_a_wrong_shape_are_refused(
    capsys: pytest.CaptureFixture[str], clip: Path, shape: tuple[int, ...]
) -> None:
    np.save(clip, np.zeros(shape))
    out = clip.with_name("out.npz")
    said = fails(capsys, "retarget", "run", "--hand", "leap", "--keypoints", clip, "--out", out)
    assert str(shape) in said
    assert "expected (frames, 21, 3) [m]." in said


def test_an_unknown_method_is_told_the_known_ones(
    capsys: pytest.CaptureFixture[str], clip: Path
) -> None:
    run = ("retarget", "run", "--hand", "leap", "--keypoints", clip, "--out", "o.npz")
    said = fails(capsys, *run, "--method", "magic", code=2)
    assert "two-stage" in said


def test_an_option_left_out_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--keypoints" in fails(capsys, "retarget", "run", "--hand", "leap", code=2)
    assert "--user" in fails(capsys, "calibrate", "--glove", "quest", "--hand", "leap", code=2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--hands", "leep"), "leep"),
        (("--runs", "0"), "runs"),
        (("--frames", "-1"), "frames"),
        (("--keypoints", "nowhere.npy"), "nowhere.npy"),
    ],
)
def test_a_bench_that_makes_no_sense_is_one_sentence(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...], says: str
) -> None:
    assert says in fails(capsys, "retarget", "bench", *options)


@pytest.mark.parametrize(
    "mistake",
    [
        ("--glove", "mitten", "mitten"),
        ("--glove", "replay:nowhere.npy", "nowhere.npy"),
        ("--hand", "leep", "leep"),
        ("--user", "a/b", "cannot be a user's name"),
        ("--pose-s", "0", "pose"),
    ],
    ids=lambda mistake: " ".join(mistake[:2]),
)
@pytest.mark.usefixtures("_nobody_known")
def test_a_calibration_that_cannot_begin_is_one_sentence(
    capsys: pytest.CaptureFixture[str], clip: Path, mistake: tuple[str, str, str]
) -> None:
    option, value, says = mistake
    options = {"--glove": f"replay:{clip}", "--hand": "leap", "--user": "anna"} | {option: value}
    said = fails(capsys, "calibrate", *(part for pair in options.items() for part in pair))
    assert says in said
    assert not list(clip.parent.rglob("*.toml"))
