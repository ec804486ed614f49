"""``dexhil retarget run``: what outsiders get for their keypoints."""

from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from dexhil.drivers import models as drivers_models
from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import Side, load_kinematics
from dexhil.integration.errors import RunError
from dexhil.integration.retargeting import run
from dexhil.integration.retargeting.users import User, load_user, save_user
from dexhil.retarget import HumanHand, HumanProportions, Retargeter, RetargetError, batch, learned
from dexhil.retarget.calibration import Residuals
from dexhil.retarget.filters import FILTERS, JointFilter
from dexhil.retarget.human import POSTURES
from dexhil.retarget.keypoints import bone_lengths
from dexhil.retarget.synthetic import make_clip
from dexhil.retarget.wearer import Fingerprint

HANDS = ("leap", "allegro", "inspire")
CLIP = make_clip(3, 60, profile="clean")


def saved(folder: Path, clip: Any) -> Path:
    path = folder / "in.npy"
    np.save(path, clip)
    return path


def asked(folder: Path, clip: Any = CLIP, *, hand: str = "leap", **options: Any) -> dict[str, Any]:
    """Run the command; return what is in the file, and what it printed."""
    printed = StringIO()
    everything = {
        "out": folder / "out.npz",
        "method": "solver",
        "user": None,
        "filter_name": "off",
        "side": "right",
        "rate_hz": 90.0,
        "console": Console(file=printed, width=120),
        **options,
    }
    path = clip if isinstance(clip, Path) else saved(folder, clip)
    run.retarget(hand=hand, keypoints=path, **everything)
    with np.load(everything["out"], allow_pickle=False) as file:
        return {**file, "printed": printed.getvalue()}


@pytest.mark.parametrize("hand", HANDS)
def test_the_file_holds_what_is_promised(tmp_path: Path, hand: str) -> None:
    out = asked(tmp_path, hand=hand)
    kinematics = load_kinematics(hand)
    n = len(kinematics.joint_names)
    low, high = kinematics.position_limits.T
    assert out["joint_positions"].shape == (60, n)
    assert out["joint_positions"].dtype == np.float64
    assert ((low <= out["joint_positions"]) & (out["joint_positions"] <= high)).all()
    assert tuple(out["joint_names"]) == kinematics.joint_names
    assert [*out["urdf_joint_names"]] == [
        kinematics.joint(name).urdf_name for name in kinematics.joint_names
    ]
    assert out["latency_s"].shape == (60,)
    assert (out["latency_s"] > 0.0).all()
    assert out["valid"].dtype == np.bool_
    assert out["valid"].all()


@pytest.mark.parametrize("hand", HANDS)
def test_every_movable_joint_of_the_urdf_is_there_coupled_ones_included(
    tmp_path: Path, hand: str
) -> None:
    out = asked(tmp_path, hand=hand)
    kinematics = load_kinematics(hand)
    angles = dict(zip(out["all_urdf_joint_names"], out["all_urdf_joint_positions"].T, strict=True))
    moving = [joint for joint in kinematics.joints if joint.type != "fixed"]
    assert set(angles) == {joint.urdf_name for joint in moving}
    for name, column in zip(out["urdf_joint_names"], out["joint_positions"].T, strict=True):
        np.testing.assert_array_equal(angles[name], column)
    for joint in moving:
        if joint.mimic is not None:
            driver, multiplier, offset = joint.mimic
            driven = multiplier * angles[kinematics.joint(driver).urdf_name] + offset
            np.testing.assert_allclose(angles[joint.urdf_name], driven)


def test_row_i_answers_frame_i(tmp_path: Path) -> None:
    person = HumanHand()
    postures = ["open"] * 20 + ["fist"] * 20 + ["open"] * 20
    clip = np.array([person.keypoints(POSTURES[name]) for name in postures])
    out = asked(tmp_path, clip)
    kinematics = load_kinematics("leap")
    bent = (out["joint_positions"] @ batch.flexion_gains(kinematics)[1:].T).sum(axis=1)
    assert bent[:20].max() < 2.0
    assert bent[26:40].min() > 8.0
    assert bent[20] > bent[19] + 0.5
    # The first row is no stop on the way from somewhere else.
    np.testing.assert_allclose(bent[0], bent[19], atol=0.3)


def test_without_a_user_the_clips_own_medians_are_the_persons_size(tmp_path: Path) -> None:
    clip = CLIP.copy()
    clip[7] = np.nan
    clip[9:50] = 0.0  # Most frames, and yet nothing to measure by.
    out = asked(tmp_path, clip)
    sane = np.concatenate((clip[:7], clip[8:9], clip[50:]))
    retargeter = Retargeter(load_kinematics("leap"), human=HumanProportions.measure(sane))
    for _ in range(run._SETTLING):
        retargeter.retarget(clip[0])
    expected = [retargeter.retarget(frame) for frame in clip[:7]]
    np.testing.assert_allclose(out["joint_positions"][:7], expected, atol=1e-12)


def test_frames_without_a_hand_before_the_first_do_not_matter_to_it(tmp_path: Path) -> None:
    late = np.concatenate((np.full((3, 21, 3), np.nan), CLIP))
    out = asked(tmp_path, late)
    np.testing.assert_array_equal(out["joint_positions"][3:], asked(tmp_path)["joint_positions"])


def test_any_rigid_frame_will_do(tmp_path: Path) -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    moved = asked(tmp_path, CLIP @ turn.T + (0.3, -2.0, 1.0))
    np.testing.assert_allclose(
        moved["joint_positions"], asked(tmp_path)["joint_positions"], atol=1e-5
    )


def anna(folder: Path, bones: Vector, side: Side = "right") -> HumanProportions:
    """Calibrate a person whose fingers are a tenth longer than the glove shows."""
    reaches = 1.1 * bones.reshape(5, 4).sum(axis=1)
    person = User(
        name="anna",
        glove="quest",
        side=side,
        hand="leap",
        date=datetime(2026, 11, 21, tzinfo=UTC),
        proportions=HumanProportions(reaches=reaches),
        fingerprint=Fingerprint(bones=bones, tolerance=0.05),
        residuals=Residuals(
            reach_spread=np.zeros(5),
            raw_gaps=np.zeros(4),
            robot_gaps=np.zeros(4),
            robot_fist=1.0,
        ),
    )
    save_user(person, folder / "anna.toml")
    return load_user(folder / "anna.toml").proportions


def test_a_calibrated_person_is_taken_at_their_own_size(tmp_path: Path) -> None:
    human = anna(tmp_path, bone_lengths(CLIP[0]))
    out = asked(tmp_path, user=str(tmp_path / "anna.toml"))
    expected = run.retarget_clip(load_kinematics("leap"), CLIP, method="solver", human=human)
    np.testing.assert_allclose(out["joint_positions"], expected.joint_positions, atol=1e-12)
    without = asked(tmp_path)["joint_positions"]
    assert np.abs(out["joint_positions"] - without).max() > 0.02


def test_somebody_elses_calibration_is_refused(tmp_path: Path) -> None:
    anna(tmp_path, 1.2 * bone_lengths(CLIP[0]))
    with pytest.raises(RetargetError, match="not the hand of 'anna'"):
        asked(tmp_path, user=str(tmp_path / "anna.toml"))
    anna(tmp_path, bone_lengths(CLIP[0]), side="left")
    with pytest.raises(RunError, match="'anna' is calibrated for the left hand"):
        asked(tmp_path, user=str(tmp_path / "anna.toml"))
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("method", ["two-stage", "both", None])
def test_weights_of_ones_own_are_used(tmp_path: Path, method: Any) -> None:
    weights = own_weights(tmp_path)
    shipped = asked(tmp_path, method=method)["joint_positions"]
    out = asked(tmp_path, method=method, weights=weights)
    assert np.abs(out["joint_positions"] - shipped).max() > 1e-4
    if method is None:
        assert "both" in out["printed"]


def test_weights_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    weights = own_weights(tmp_path)
    with pytest.raises(RetargetError, match="weights of another hand"):
        asked(tmp_path, hand="allegro", method=None, weights=weights)
    with pytest.raises(RetargetError, match="not a weights file"):
        asked(tmp_path, method=None, weights=tmp_path / "none.npz")
    with pytest.raises(RetargetError, match="method solver does not use"):
        asked(tmp_path, method="solver", weights=weights)
    assert not (tmp_path / "out.npz").exists()


def own_weights(folder: Path) -> Path:
    """Write a map of LEAP that is not the shipped one."""
    with np.load(Path(learned.__file__).with_name("weights") / "leap.npz") as file:
        arrays = dict(file)
    arrays["thumb.b2"] = arrays["thumb.b2"] + np.float32(1.0)
    np.savez(folder / "own.npz", **arrays)
    return folder / "own.npz"


def test_two_stage_needs_a_map_of_the_hand(tmp_path: Path) -> None:
    with pytest.raises(RetargetError, match="map"):
        asked(tmp_path, hand=str(custom(tmp_path)), method="two-stage")


def test_without_a_map_the_solver_works_alone_by_default(tmp_path: Path) -> None:
    out = asked(tmp_path, hand=str(custom(tmp_path)), method=None)
    assert "solver" in out["printed"]


def custom(folder: Path) -> Path:
    """Return the table of a hand nobody has trained a map for."""
    table = Path(drivers_models.__file__).with_name("leap.toml").read_text(encoding="utf-8")
    path = folder / "custom.toml"
    path.write_text(table.replace('model = "leap"', 'model = "custom"'), encoding="utf-8")
    return path


def glitched() -> Matrix:
    clip = CLIP.copy()
    clip[[0, 1, 20]] = np.nan  # Untracked.
    clip[30, 4] = np.nan  # One keypoint lost.
    clip[40] = 0.0  # A tracker's way to say nothing.
    clip[41, 8] += 1.0  # A finger a metre long.
    clip[42:44] *= 1e300
    return clip


GLITCHES = [0, 1, 20, 30, 40, 41, 42, 43]


@pytest.mark.parametrize("filter_name", ["off", "smooth"])
def test_a_frame_without_an_answer_holds_the_pose_and_says_so(
    tmp_path: Path, filter_name: str
) -> None:
    out = asked(tmp_path, glitched(), filter_name=filter_name)
    assert np.flatnonzero(~out["valid"]).tolist() == GLITCHES
    assert np.isfinite(out["joint_positions"]).all()
    positions = out["joint_positions"]
    for number in GLITCHES[2:]:
        np.testing.assert_array_equal(positions[number], positions[number - 1])


def test_before_the_first_answer_the_hand_is_open(tmp_path: Path) -> None:
    out = asked(tmp_path, glitched(), hand="inspire")
    kinematics = load_kinematics("inspire")
    opened = np.clip(kinematics.extra["open"], *kinematics.position_limits.T)
    np.testing.assert_array_equal(out["joint_positions"][:2], [opened, opened])


@pytest.mark.parametrize("name", ["fast", "balanced", "smooth"])
def test_a_filter_smooths_what_would_be_written_without(tmp_path: Path, name: Any) -> None:
    raw = asked(tmp_path)["joint_positions"]
    smoother = JointFilter(FILTERS[name])
    expected = [smoother.step(q, 1.0 / 50.0) for q in raw]
    out = asked(tmp_path, filter_name=name, rate_hz=50.0)
    np.testing.assert_array_equal(out["joint_positions"], expected)


def test_a_gap_does_not_let_the_filter_jump(tmp_path: Path) -> None:
    clip = make_clip(5, 120, profile="clean")
    clip[40:80] = np.nan
    out = asked(tmp_path, clip, filter_name="smooth")
    steps = np.abs(np.diff(out["joint_positions"], axis=0))
    assert steps.max() <= FILTERS["smooth"].max_rate / 90.0 + 1e-12


def test_a_left_hand_is_the_mirror_image(tmp_path: Path) -> None:
    mirrored = CLIP * (1.0, -1.0, 1.0)
    left = asked(tmp_path, mirrored, side="left", hand="allegro")
    assert left["valid"].all()
    right = asked(tmp_path, hand="allegro")
    tips = [
        batch.tips(kinematics, batch.link_poses(kinematics, out["joint_positions"]))
        for kinematics, out in (
            (load_kinematics("allegro", "left"), left),
            (load_kinematics("allegro"), right),
        )
    ]
    np.testing.assert_allclose(tips[0] * (1.0, -1.0, 1.0), tips[1], atol=1e-4)


def test_it_says_what_it_did(tmp_path: Path) -> None:
    printed = asked(tmp_path, glitched(), filter_name="fast")["printed"]
    for words in (
        "leap (right)",
        "solver",
        "fast at 90 Hz",
        "60",
        "52 (86.7%)",
        "p99 ms",
        "out.npz",
    ):
        assert words in printed


def test_a_long_clip_shows_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_LONG_CLIP", 10)
    assert "60/60" in asked(tmp_path)["printed"]


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (CLIP.reshape(60, 63), r"shape \(60, 63\).*reshape\(-1, 21, 3\)"),
        (CLIP[0], r"shape \(21, 3\).*keypoints\[None\]"),
        (CLIP[:, :20], r"shape \(60, 20, 3\), expected \(frames, 21, 3\)"),
        (CLIP[:0], r"shape \(0, 21, 3\)"),
        ((1e3 * CLIP).astype(np.int64), "int64.*floating-point metres"),
        (np.full_like(CLIP, np.nan), "No frame of 60 is finite"),
        (1e3 * CLIP, "millimetres.*divide the keypoints by 1000"),
        (1e2 * CLIP, "centimetres.*divide the keypoints by 100"),
        (3.0 * CLIP, "image coordinates"),
        (CLIP * (1.0, -1.0, 1.0), "frames show a left hand.*--side left"),
        (0.0 * CLIP, "No frame shows a plausible hand.*middle knuckle"),
        (np.array([{}]), "is no NumPy file.*np.save"),
    ],
)
def test_a_wrong_file_is_refused_with_what_to_do(tmp_path: Path, clip: Any, message: str) -> None:
    with pytest.raises(RunError, match=message):
        asked(tmp_path, clip)
    assert not (tmp_path / "out.npz").exists()


def test_what_is_no_file_of_keypoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"There is no file .*none\.npy"):
        asked(tmp_path, tmp_path / "none.npy")
    np.savez(tmp_path / "archive.npz", CLIP)
    with pytest.raises(RunError, match="archive of several arrays"):
        asked(tmp_path, tmp_path / "archive.npz")
    (tmp_path / "text.npy").write_text("wrist,thumb")
    with pytest.raises(RunError, match="is no NumPy file"):
        asked(tmp_path, tmp_path / "text.npy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hand": "leep"}, r"No hand is called 'leep'\. Hands: .*inspire, leap"),
        ({"hand": "fr3"}, r"fr3 is an arm\. Hands: .*allegro"),
        ({"hand": "nowhere.toml"}, "nowhere.toml"),
        ({"out": Path("out.npy")}, r"must end in \.npz"),
        ({"rate_hz": 0.0}, "must be above 0"),
        ({"user": "nobody"}, "nobody is calibrated under that name"),
    ],
)
def test_a_wrong_option_is_refused(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(RunError, match=message):
        asked(tmp_path, **options)


def test_the_arms_are_no_hands(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        asked(tmp_path, hand="leep")
    assert "ur5e" not in str(caught.value)


def test_a_clip_on_which_the_solver_always_fails_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RetargetError("The solver failed.")

    monkeypatch.setattr(Retargeter, "retarget", fail)
    with pytest.raises(RunError, match=r"No frame could be retargeted\. The solver failed"):
        asked(tmp_path)
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("end", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Any
) -> None:
    asked(tmp_path)
    before = (tmp_path / "out.npz").read_bytes()

    def half(file: Any, **_: object) -> None:
        file.write(b"half")
        raise end

    monkeypatch.setattr(run.np, "savez", half)
    with pytest.raises((KeyboardInterrupt, RunError)):
        asked(tmp_path)
    assert (tmp_path / "out.npz").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.npy", "out.npz"]


def test_nothing_is_written_but_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Before NumPy 2.1, savez takes every keyword for an array: an option would be written, too.
    savez, written = np.savez, set[str]()

    def spy(file: Any, **arrays: Any) -> None:
        written.update(arrays)
        savez(file, **arrays)

    monkeypatch.setattr(run.np, "savez", spy)
    out = asked(tmp_path)
    assert written == set(out) - {"printed"}


def test_ctrl_c_on_the_way_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Retargeter, "retarget", stop)
    with pytest.raises(KeyboardInterrupt):
        asked(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["in.npy"]


def test_a_folder_is_made_for_the_file(tmp_path: Path) -> None:
    out = tmp_path / "new" / "deep" / "out.npz"
    assert asked(tmp_path, out=out)["valid"].all()
