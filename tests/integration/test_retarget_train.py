"""``dexhil retarget train``: from a person's recording to a map that ``run`` and ``view`` use."""

import sys
from pathlib import Path

import numpy as np
import pytest

from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.integration import cli
from dexhil.retarget import HumanHand
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.human import POSTURES
from dexhil.retarget.learned import LearnedMap
from dexhil.retarget.synthetic import make_clip
from dexhil.retarget.training import train

CLIP = make_clip(3, 60)


@pytest.fixture(autouse=True)
def _few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    few = train.TrainConfig(samples=200, batch=32)
    monkeypatch.setattr(train, "TrainConfig", lambda: few)


def typed(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    """Run ``dexhil retarget ...``; return what it says."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["retarget", *map(str, arguments)])
    said = capsys.readouterr()
    assert stop.value.code == code, said
    assert "Traceback" not in said.err + said.out
    return " ".join((said.out + said.err).split())


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_person_trains_a_map_and_uses_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, side: str
) -> None:
    clip = CLIP * (1.0, 1.0 if side == "right" else -1.0, 1.0)
    clip[[0, 30]] = np.nan  # The glove lost track.
    np.save(tmp_path / "clip.npy", clip)
    out, recorded = tmp_path / "new" / "mine.npz", ("--clip", tmp_path / "clip.npy")
    asked = ("train", "--hand", "leap", "--out", out, "--steps", 2, "--side", side)
    said = typed(capsys, 0, *asked, *recorded)
    assert "fingers" in said
    assert "2/2" in said
    assert f"Wrote {out}." in said
    assert LearnedMap.read(out, load_kinematics("leap")).metadata["clip_frames"] == 58
    used = ("--hand", "leap", "--keypoints", tmp_path / "clip.npy", "--weights", out)
    typed(capsys, 0, "run", *used, "--out", tmp_path / "out.npz", "--side", side)
    typed(capsys, 0, "view", *used, "--out", tmp_path / "s.png", "--frames", 1, "--side", side)


def test_a_seed_gives_the_same_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        typed(capsys, 0, "train", "--hand", "leap", "--out", tmp_path / name, "--steps", 1)
    with np.load(tmp_path / "a.npz") as one, np.load(tmp_path / "b.npz") as other:
        for array in one.files:
            np.testing.assert_array_equal(one[array], other[array])


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--hand", "leep", "No hand is called 'leep'"),
        ("--hand", "fr3", "is an arm"),
        ("--out", "mine.npy", "must end in .npz"),
        ("--out", "/dev/full/mine.npz", "Cannot write /dev/full/mine.npz"),
        ("--clip", "nowhere.npy", "There is no file nowhere.npy"),
        ("--clip", "left", "show a left hand, a right one is wanted. Pass --side left"),
        ("--clip", "lost", "the hand was never tracked"),
        ("--steps", "0", "--steps is 0, must be at least 1"),
    ],
)
def test_a_users_mistake_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, option: str, value: str, says: str
) -> None:
    grasps = np.repeat(HumanHand().keypoints(POSTURES["fist"])[None], 9, axis=0)
    clips = {"left": grasps * (1.0, -1.0, 1.0), "lost": np.full_like(grasps, np.nan)}
    if value in clips:
        np.save(tmp_path / "clip.npy", clips[value])
        value = str(tmp_path / "clip.npy")
    out = tmp_path / "out" / "mine.npz"
    options = {"--hand": "leap", "--out": str(out), option: value}
    said = typed(capsys, 1, "train", *(part for pair in options.items() for part in pair))
    assert said.startswith("RunError: ")
    assert says in said
    assert not out.parent.exists()


def test_without_torch_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    said = typed(capsys, 1, "train", "--hand", "leap", "--out", tmp_path / "mine.npz")
    assert said == "RunError: Training needs PyTorch. Try: pip install 'dexhil[train]'."
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("end", "code"), [(KeyboardInterrupt, 130), (RetargetError("ran away"), 1)]
)
def test_what_ends_on_the_way_leaves_the_old_file_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: BaseException,
    code: int,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise end

    out = tmp_path / "mine.npz"
    out.write_bytes(b"old")
    monkeypatch.setattr(train, "train_two_stage", fail)
    typed(capsys, code, "train", "--hand", "leap", "--out", out)
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]
