"""What happens in one call is what its parts do one after another."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dexhil.drivers.models.kinematics import Side, load_kinematics
from dexhil.retarget import HumanHand, HumanProportions, Retargeter, RetargetError, to_palm
from dexhil.retarget.kernels.frame import step
from dexhil.retarget.kernels.solver import follow
from dexhil.retarget.learned import LearnedMap
from dexhil.retarget.synthetic import make_clip

HANDS = ("leap", "allegro", "inspire", "shadow", "ability", "dexhand021")
HUMAN = HumanHand()
CLIP = make_clip(4, 60)
PERSON = HumanProportions(
    reaches=1.15 * HUMAN.proportions.reaches,
    thumb_offset=np.array([0.004, -0.002, 0.003]),
    touch_gaps=np.array([0.006, 0.005, 0.004, 0.0]),
)
FLIP = np.array([1.0, -1.0, 1.0])


@cache
def retargeter_of(hand: str, side: Side, led: bool) -> tuple[Retargeter, LearnedMap | None]:
    kinematics = load_kinematics(hand, side)
    map_ = LearnedMap.load(kinematics) if led else None
    return Retargeter(kinematics, human=PERSON, start=map_), map_


@pytest.mark.parametrize("hand", HANDS)
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("led", [True, False])
def test_a_frame_is_seen_recalled_and_solved(hand: str, side: Side, led: bool) -> None:
    retargeter, map_ = retargeter_of(hand, side, led)
    setup, q = retargeter._setup, retargeter._q.copy()
    for keypoints in CLIP if side == "right" else CLIP * FLIP:
        points = to_palm(keypoints, side, thumb_offset=PERSON.thumb_offset)
        start = map_.of(PERSON)(points) if map_ else q.copy()
        assert follow(setup.hand, setup.task, points, start, q)
        np.testing.assert_allclose(retargeter.retarget(keypoints), q, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("led", [True, False])
def test_whatever_the_keypoints_are_kept_in_nothing_is_compiled_anew(led: bool) -> None:
    retargeters = [retargeter_of(hand, "right", led)[0] for hand in HANDS]
    read_only = CLIP[0].copy()
    read_only.setflags(write=False)
    for retargeter in retargeters:
        for keypoints in (CLIP[0].tolist(), read_only, np.asfortranarray(CLIP[0])):
            retargeter.retarget(keypoints)
        retargeter.retarget(CLIP[0].astype(np.float32))
    assert len(step.signatures) == 1


def test_keypoints_stay_as_they_are() -> None:
    keypoints = CLIP[0].copy()
    retargeter_of("leap", "right", True)[0].retarget(keypoints)
    np.testing.assert_array_equal(keypoints, CLIP[0])


def test_a_map_of_a_hand_with_other_joints_is_refused() -> None:
    with pytest.raises(RetargetError, match="not one of inspire"):
        Retargeter(load_kinematics("inspire"), start=LearnedMap.load(load_kinematics("leap")))


def test_what_is_kept_on_disk_is_as_fresh_as_every_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("""
import other
from dexhil.retarget.kernels.jit import compiled

@compiled
def twice(pair):
    return 2 * other.first(pair)

print(twice(other.Pair(20, 1)), sum(twice.stats.cache_hits.values()))
""")

    def run(name: str, first: str) -> list[str]:
        # What is on disk tells of a class by its name, which may be gone.
        (tmp_path / "other.py").write_text(f"""
from typing import NamedTuple
from dexhil.retarget.kernels.jit import compiled

class {name}(NamedTuple):
    a: int
    b: int

Pair = {name}

@compiled
def first(pair):
    return {first}
""")
        command = [sys.executable, "-B", "main.py"]
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.split()

    assert run("Two", "pair.a") == ["40", "0"]
    assert run("Two", "pair.a") == ["40", "1"]
    assert run("Two", "pair.a + pair.b") == ["42", "0"]
    assert run("Both", "pair.a + pair.b") == ["42", "0"]
