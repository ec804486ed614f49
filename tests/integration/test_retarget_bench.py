import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.integration.errors import RunError
from dexhil.integration.retargeting import peer
from dexhil.integration.retargeting.bench import bench
from dexhil.integration.retargeting.contest import (
    BLOCK,
    GLITCHES,
    SETTLING,
    Latency,
    as_smooth_as,
    endure,
    glitched,
    moving_average,
    play,
    recovery,
)
from dexhil.integration.retargeting.peer import Peer, mean_scale
from dexhil.retarget import HumanProportions, Retargeter, RetargetError, batch
from dexhil.retarget.score import score
from dexhil.retarget.synthetic import make_clip

CLIP = make_clip(3, 120)
CONSOLE = Console(quiet=True)

needs_peer = pytest.mark.skipif(not peer.installed(), reason="dex-retargeting is not installed")


class Scribe:
    """Answers the number of the frame, and writes down whose turn it was."""

    def __init__(self, name: str, log: list[str], refuses: tuple[int, ...] = ()) -> None:
        self._name, self._log, self._refuses = name, log, refuses

    def retarget(self, keypoints: Matrix) -> Vector:
        number = int(keypoints[0, 0])
        self._log.append(self._name)
        if number in self._refuses:
            raise RetargetError("not this one")
        return np.array([float(number), 0.0])


def numbered(frames: int) -> Matrix:
    return np.arange(frames)[:, None, None] * np.ones((1, 21, 3))


def test_contestants_take_turns_in_blocks() -> None:
    log: list[str] = []
    one, other = play([Scribe("a", log), Scribe("b", log)], numbered(2 * BLOCK + 3))
    turns = "".join(log)
    assert turns[: 2 * SETTLING] == SETTLING * "a" + SETTLING * "b"
    assert turns[2 * SETTLING :] == 2 * (BLOCK * "a" + BLOCK * "b") + "aaabbb"
    assert one.targets[:, 0].tolist() == list(range(2 * BLOCK + 3))
    assert one.valid.all()
    assert (other.spent_s > 0.0).all()


def test_a_refused_frame_holds_the_target_before_and_says_so() -> None:
    (answer,) = play([Scribe("a", [], refuses=(0, 7, 8))], numbered(12))
    assert np.flatnonzero(~answer.valid).tolist() == [0, 7, 8]
    assert answer.targets[:, 0].tolist() == [1, 1, 2, 3, 4, 5, 6, 6, 6, 9, 10, 11]


def test_a_clip_without_any_good_frame_is_refused() -> None:
    with pytest.raises(RetargetError, match="No frame"):
        play([Scribe("a", [], refuses=tuple(range(12)))], numbered(12))


def test_the_first_ten_frames_of_a_turn_do_not_count_for_latency() -> None:
    turn = np.concatenate((np.full(10, 9.0), np.full(89, 1.0), [3.0]))
    spent = np.tile(turn, 3)
    latency = Latency.of(spent, 0.5 * spent)
    assert (latency.p50_s, latency.max_s) == (1.0, 3.0)
    assert latency.p99_s == pytest.approx(np.percentile(np.tile(turn[10:], 3), 99))
    assert latency.worked99_s == pytest.approx(latency.p99_s / 2.0)


def test_a_glitch_is_one_frame_of_a_hand_quite_unlike() -> None:
    disturbed, wrong = glitched(CLIP)
    changed = np.flatnonzero((disturbed != CLIP).any(axis=(1, 2)))
    assert changed.tolist() == wrong.tolist()
    assert len(wrong) == GLITCHES
    assert np.diff(wrong).min() > 1
    apart = np.linalg.norm(disturbed[wrong] - CLIP[wrong], axis=2).mean(axis=1)
    assert apart.min() > 0.01
    assert all(any(np.array_equal(row, frame) for frame in CLIP) for row in disturbed[wrong])


def off_path(frames: dict[int, float]) -> tuple[Matrix, Matrix]:
    clean = np.zeros((40, 2))
    disturbed = clean.copy()
    for row, distance in frames.items():
        disturbed[row, 1] = distance
    return clean, disturbed


@pytest.mark.parametrize(
    ("frames", "share", "back"),
    [
        ({}, 0.0, 0),
        ({10: 1.0, 30: 1.0}, 2 / 40, 0),
        ({10: 1.0, 11: 0.06, 30: 1.0}, 3 / 40, 1),
        ({10: 1.0, 11: 0.04, 12: -0.06, 30: 1.0}, 3 / 40, 2),
        (dict.fromkeys(range(10, 31), 1.0), 21 / 40, -1),
        (dict.fromkeys(range(30, 40), 1.0), 10 / 40, -1),
    ],
)
def test_recovery_counts_frames_until_nothing_is_off(
    frames: dict[int, float], share: float, back: int
) -> None:
    found = recovery(*off_path(frames), np.array([10, 30]))
    assert found.share_off == pytest.approx(share)
    assert found.frames == back


def test_the_peers_filter_is_a_moving_average() -> None:
    steps = np.array([[0.0], [1.0], [1.0], [1.0]])
    assert moving_average(steps, 0.2)[:, 0] == pytest.approx([0.0, 0.2, 0.36, 0.488])


def test_our_filter_can_be_made_as_smooth_as_another() -> None:
    kinematics = load_kinematics("leap")
    ours = Retargeter(kinematics, human=HumanProportions.measure(CLIP))
    (answer,) = play([ours], CLIP)
    goal = score(moving_average(answer.targets, 0.2), CLIP, kinematics)
    config, targets = as_smooth_as(goal, answer.targets, CLIP, kinematics)
    reached = score(targets, CLIP, kinematics)
    assert 0.9 * goal.jerk <= reached.jerk <= goal.jerk
    assert reached.step99 <= goal.step99 + 1e-9
    assert config.passes == 3


def test_a_long_run_counts_its_frames_and_keeps_no_memory() -> None:
    class Hoarder(Scribe):
        kept: list[Vector]

        def retarget(self, keypoints: Matrix) -> Vector:
            self.kept.append(np.zeros(1000))
            return super().retarget(keypoints)

    class Forgetful(Scribe):
        def retarget(self, keypoints: Matrix) -> Vector:
            return np.array([float(keypoints[0, 0])])

    modest = endure(Forgetful("a", []), numbered(5), frames=300)
    assert modest.frames == 300
    assert modest.kept_bytes < 10_000
    hoarder = Hoarder("b", [])
    hoarder.kept = []
    assert endure(hoarder, numbered(5), frames=300).kept_bytes > 2000 * 8000


def test_bench_prints_and_writes_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "installed", lambda: False)
    clip, out = tmp_path / "clip.npy", tmp_path / "made" / "bench.json"
    np.save(clip, CLIP)
    console = Console(record=True, width=80, quiet=False, file=(tmp_path / "log").open("w"))
    rows = bench(
        hands=("leap", "inspire"),
        keypoints=clip,
        runs=1,
        robust=True,
        endurance=50,
        out=out,
        console=console,
    )
    console.file.close()
    assert [(row.hand, row.method) for row in rows] == [("leap", "both"), ("inspire", "both")]
    printed = console.export_text()
    assert peer.PACKAGE in printed  # How to get the peer.
    assert "leap" in printed
    assert f"{1e3 * rows[0].scores.wrist:.1f}" in printed
    written = json.loads(out.read_text(), parse_constant=pytest.fail)
    assert written["rows"][0]["scores"]["wrist"] == rows[0].scores.wrist
    assert written["rows"][0]["scores"]["native"] is None
    for row in rows:
        assert row.recovery is not None
        assert row.endurance is not None
        assert row.sizes == pytest.approx((1.0, 1.0), abs=0.3)


@pytest.mark.parametrize("wrong", [{"runs": 0}, {"frames": 10}, {"endurance": -1}])
def test_bench_refuses_numbers_that_make_no_sense(wrong: dict[str, int]) -> None:
    with pytest.raises(RunError, match="at least"):
        bench(console=CONSOLE, **wrong)  # type: ignore[arg-type]


def test_bench_says_which_hand_lacks_a_method(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*_: object, **__: object) -> Retargeter:
        raise RetargetError("leap has no learned map")

    monkeypatch.setattr("dexhil.integration.retargeting.bench.make_retargeter", make)
    with pytest.raises(RunError, match="no learned map"):
        bench(hands=("leap",), methods=("two-stage",), frames=60, console=CONSOLE)


def test_the_peers_scale_is_the_mean_of_the_fingers() -> None:
    kinematics = load_kinematics("leap")
    human = HumanProportions.measure(CLIP)
    expected = np.mean(batch.reach(kinematics) / human.reaches[:4])
    assert mean_scale(kinematics, human) == pytest.approx(expected)


def test_without_the_peer_its_rows_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "installed", lambda: False)
    with pytest.raises(RunError, match="pip install dex-retargeting"):
        Peer(load_kinematics("leap"), method="vector", human=None, alpha=None)


@needs_peer
def test_a_hand_that_the_peer_does_not_know_is_refused() -> None:
    with pytest.raises(RunError, match="no configuration of dexhand021"):
        Peer(load_kinematics("dexhand021"), method="vector", human=None, alpha=None)


@needs_peer
@pytest.mark.parametrize("hand", peer.HANDS)
@pytest.mark.parametrize("method", ["vector", "dexpilot"])
def test_the_peer_sees_the_same_hand_as_we_do(hand: str, method: str) -> None:
    kinematics = load_kinematics(hand)
    theirs = Peer(kinematics, method=method, human=None, alpha=None)  # type: ignore[arg-type]
    robot = theirs._optimizer.optimizer.robot
    low, high = kinematics.position_limits.T
    q = np.random.default_rng(0).uniform(low, high)
    everything = np.zeros(robot.dof)
    for joint in kinematics.joints:
        if joint.type != "fixed":
            driver, multiplier, offset = joint.mimic or (joint.name, 1.0, 0.0)
            angle = multiplier * q[kinematics.joint_names.index(driver)] + offset
            everything[robot.dof_joint_names.index(joint.urdf_name)] = angle
    robot.compute_forward_kinematics(everything)
    poses = batch.link_poses(kinematics, q[None])
    for tip in kinematics.tips.values():
        place = robot.get_link_pose(robot.get_link_index(tip))[:3, 3]
        assert place == pytest.approx(poses[tip][1][0], abs=1e-6)


@needs_peer
@pytest.mark.parametrize("hand", ["leap", "shadow"])
def test_the_calibrated_peer_follows_a_person(hand: str) -> None:
    kinematics, human = load_kinematics(hand), HumanProportions.measure(CLIP)
    theirs = Peer(kinematics, method="vector", human=human, alpha=None)
    assert theirs.scale == pytest.approx(mean_scale(kinematics, human))
    (answer,) = play([theirs], CLIP[:60])
    scores = score(answer.targets, CLIP[:60], kinematics, human=human)
    assert scores.wrist < 0.02
    assert scores.beyond_limits == 0.0
    stock = Peer(kinematics, method="vector", human=None, alpha=None)
    assert stock.scale != theirs.scale


@needs_peer
def test_the_peers_own_filter_is_the_one_we_apply() -> None:
    kinematics, human = load_kinematics("leap"), HumanProportions.measure(CLIP)
    plain, filtered = (
        np.array([contestant.retarget(frame) for frame in CLIP[:20]])
        for contestant in (
            Peer(kinematics, method="vector", human=human, alpha=alpha) for alpha in (None, 0.2)
        )
    )
    assert moving_average(plain, 0.2) == pytest.approx(filtered, abs=2e-3)
