"""A person calibrates a glove in the terminal; the file says who, and is believed only by them."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.clock import SimClock
from dexhil.drivers.errors import ConfigError, DriverNotFoundError
from dexhil.drivers.glove.replay import ReplayGlove, ReplayGloveConfig
from dexhil.drivers.models.kinematics import Side
from dexhil.integration.errors import RunError
from dexhil.integration.retargeting.calibrate import (
    COUNTDOWN_S,
    POSE_S,
    Moment,
    calibrate,
    glove_entry,
)
from dexhil.integration.retargeting.users import (
    User,
    check_glove,
    check_user,
    find_user,
    load_user,
    user_path,
)
from dexhil.retarget import HumanHand, RetargetError
from dexhil.retarget.calibration import PINCHES, POSES
from dexhil.retarget.human import POSTURES

RATE_HZ = 30.0
OFFSET = np.array([0.008, -0.004, 0.006])


def posture(person: HumanHand, pose: str) -> Matrix:
    return person.pinch(pose) if pose in PINCHES else POSTURES[pose]


def session(
    person: HumanHand | None = None,
    *,
    order: tuple[str, ...] = tuple(POSES),
    side: Side = "right",
) -> Matrix:
    """What a glove gives while a person follows the guide: countdown, then pose by pose."""
    person = person or HumanHand()
    rng, frames, last = np.random.default_rng(0), [], POSTURES["relaxed"]
    frames += [person.keypoints(last)] * round(COUNTDOWN_S * RATE_HZ)
    for pose in order:
        target = posture(person, pose)
        for frame in range(round(POSE_S * RATE_HZ)):
            share = min(1.0, frame / (0.5 * POSE_S * RATE_HZ))
            frames.append(person.keypoints(last + share * (target - last)))
        last = target
    out = np.array(frames)
    out[:, 1:5] -= OFFSET
    out[..., 1] *= 1.0 if side == "right" else -1.0
    noisy: Matrix = out + rng.normal(0.0, 0.0005, out.shape)
    return noisy


def recorded(tmp_path: Path, frames: Matrix) -> str:
    np.save(tmp_path / "session.npy", frames)
    return f"replay:{tmp_path / 'session.npy'}"


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture(scope="module")
def anna(tmp_path_factory: pytest.TempPathFactory) -> tuple[User, Path, str]:
    """A person calibrated once, the file, and what the terminal said."""
    folder = tmp_path_factory.mktemp("anna")
    console = Console(file=io.StringIO(), record=True, width=140)
    user = calibrate(
        glove=recorded(folder, session()),
        hand="leap",
        user="anna",
        out=folder / "anna.toml",
        console=console,
    )
    return user, folder / "anna.toml", console.export_text()


# -- Guided ----------------------------------------------------------------------


def test_ten_seconds_of_poses_calibrate_a_person(anna: tuple[User, Path, str]) -> None:
    user, _, _ = anna
    assert len(POSES) * POSE_S < 12.0
    truth = HumanHand().proportions.reaches
    np.testing.assert_allclose(user.proportions.reaches, truth, rtol=0.02)
    np.testing.assert_allclose(user.proportions.thumb_offset, OFFSET, atol=0.002)
    assert user.proportions.touch_gaps.max() < 0.003
    assert user.residuals.robot_gaps[:3].max() < 0.02
    assert math.isnan(user.residuals.robot_gaps[3]), "LEAP has no little finger"
    assert user.residuals.robot_fist > 0.6


def test_the_terminal_says_what_to_do_and_what_came_of_it(anna: tuple[User, Path, str]) -> None:
    _, path, said = anna
    assert "Touch thumb and little finger, tip to tip (optional: the leap has none)" in said
    assert "Close the hand to a fist" in said
    assert "Thumb moved by 8, -5, 6 mm" in said
    assert "length [mm]" in said
    assert f"\nanna is calibrated. Saved in {path}" in said


def test_a_simulated_person_calibrates_a_left_glove(tmp_path: Path) -> None:
    person, mirror = HumanHand(0.9), np.array([1.0, -1.0, 1.0])
    shown = {pose: person.keypoints(posture(person, pose)) * mirror for pose in POSES}
    rng = np.random.default_rng(0)

    def pose(glove: object, moment: Moment) -> None:
        glove.show(shown[moment.pose] + rng.normal(0.0, 1e-4, (21, 3)))

    user = calibrate(
        glove="sim",
        hand="inspire",
        user="bo",
        side="left",
        out=tmp_path / "bo.toml",
        console=quiet(),
        each_moment=pose,
    )
    assert (user.glove, user.side) == ("sim", "left")
    np.testing.assert_allclose(user.proportions.reaches, person.proportions.reaches, rtol=0.02)


def test_without_out_the_file_is_in_the_users_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    calibrate(glove=recorded(tmp_path, session()), hand="leap", user="anna", console=quiet())
    assert load_user(tmp_path / "dexhil" / "users" / "anna.toml").name == "anna"
    assert find_user("anna") == tmp_path / "dexhil" / "users" / "anna.toml"
    assert find_user("elsewhere/anna.toml") == Path("elsewhere/anna.toml")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert user_path("anna") == Path.home() / ".config" / "dexhil" / "users" / "anna.toml"


# -- Refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        (session(side="left"), "no right hand"),
        (session(order=("fist", "open", *PINCHES)), "Open hand: .* at most 90° allowed"),
        (
            session(order=("open", "fist", "middle", "index", "ring", "little")),
            "Pinch of the index finger: the middle finger touched the thumb",
        ),
        (session()[:200], "pinch of the middle finger: 0 of 0 samples show a hand"),
        (np.repeat(session()[:1], 420, axis=0), "from open hand to fist no fingertip moved"),
        (np.full((420, 21, 3), np.nan), r"Open hand: 0 of 3[5-7] samples show a hand"),
        (100.0 * session(), "Does the glove report metres"),
    ],
    ids=["mirrored", "poses swapped", "wrong finger", "falls silent", "frozen", "lost", "cm"],
)
def test_a_bad_calibration_is_refused_with_the_reason_and_leaves_no_file(
    tmp_path: Path, frames: Matrix, why: str
) -> None:
    out = tmp_path / "anna.toml"
    with pytest.raises(RetargetError, match=why):
        calibrate(
            glove=recorded(tmp_path, frames),
            hand="inspire",
            user="anna",
            out=out,
            console=quiet(),
        )
    assert not out.exists()


def test_a_glove_that_nobody_wears_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RetargetError, match="worn by nobody"):
        calibrate(
            glove="sim", hand="leap", user="anna", out=tmp_path / "anna.toml", console=quiet()
        )


def test_the_little_finger_may_fail_on_a_hand_without_one(tmp_path: Path) -> None:
    frames = session()
    start = round((COUNTDOWN_S + 5 * POSE_S) * RATE_HZ)
    frames[start:] = frames[start - 1]
    arguments = {"user": "anna", "console": quiet(), "glove": recorded(tmp_path, frames)}
    user = calibrate(hand="leap", out=tmp_path / "leap.toml", **arguments)
    assert math.isnan(user.residuals.raw_gaps[3])
    np.testing.assert_allclose(user.proportions.thumb_offset, OFFSET, atol=0.002)
    assert math.isnan(load_user(tmp_path / "leap.toml").residuals.raw_gaps[3])
    with pytest.raises(RetargetError, match="pinch of the little finger"):
        calibrate(hand="inspire", out=tmp_path / "inspire.toml", **arguments)


@pytest.mark.parametrize(
    ("changed", "error", "why"),
    [
        ({"hand": "nobody"}, ConfigError, "No kinematic model"),
        ({"hand": "ur5e"}, RunError, "not a hand"),
        ({"glove": "nothing"}, DriverNotFoundError, "Installed: "),
        ({"glove": "replay"}, ConfigError, "replay:FILE.npy"),
        ({"user": "../anna"}, RunError, "cannot be a user's name"),
        ({"pose_s": 0.0}, RunError, "cannot take 0 s"),
    ],
)
def test_what_cannot_begin_is_refused_before_anybody_poses(
    tmp_path: Path, changed: dict[str, object], error: type[Exception], why: str
) -> None:
    arguments = {"glove": recorded(tmp_path, session()), "hand": "leap", "user": "anna"}
    with pytest.raises(error, match=why):
        calibrate(console=quiet(), **{**arguments, **changed})


# -- Which glove -------------------------------------------------------------------


def test_a_rig_lends_its_glove_and_its_side(tmp_path: Path) -> None:
    rig = tmp_path / "rig.toml"
    rig.write_text('[glove.mine]\ndriver = "sim"\nside = "left"\n', encoding="utf-8")
    assert glove_entry(str(rig), "right").name == "mine"
    with pytest.raises(RunError, match="is a left glove"):
        calibrate(glove=str(rig), hand="leap", user="anna", console=quiet())
    rig.write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="exactly one"):
        glove_entry(str(rig), "right")


def test_a_driver_gets_the_side_that_was_asked_for() -> None:
    assert glove_entry("quest", "left").options == {"side": "left"}
    assert glove_entry("replay:a.npy", "right").options == {"path": "a.npy", "side": "right"}


# -- Overwritten ------------------------------------------------------------------


def test_another_persons_file_is_overwritten_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "anna.toml"
    arguments = {
        "glove": recorded(tmp_path, session()),
        "hand": "inspire",
        "out": path,
        "console": quiet(),
    }
    calibrate(user="anna", **arguments)
    calibrate(user="anna", **arguments)
    with pytest.raises(RunError, match=r"holds 'anna' .*--force"):
        calibrate(user="bo", **arguments)
    assert load_user(path).name == "anna"
    calibrate(user="bo", force=True, **arguments)
    assert load_user(path).name == "bo"


def test_another_hand_under_the_same_name_is_overwritten_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "anna.toml"
    arguments = {"user": "anna", "hand": "inspire", "out": path, "console": quiet()}
    calibrate(glove=recorded(tmp_path, session()), **arguments)
    before = path.read_text(encoding="utf-8")
    other = recorded(tmp_path, session(HumanHand(1.15)))
    with pytest.raises(RunError, match=r"another hand under the name 'anna'.*--force"):
        calibrate(glove=other, **arguments)
    assert path.read_text(encoding="utf-8") == before
    calibrate(glove=other, force=True, **arguments)
    assert load_user(path).proportions.reaches.mean() == pytest.approx(
        1.15 * HumanHand().proportions.reaches.mean(), rel=0.02
    )


@pytest.mark.parametrize("text", ["", "notes = 'about something else'\n"])
def test_a_file_that_is_no_calibration_is_not_overwritten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match="not overwritten without --force"):
        calibrate(
            glove=recorded(tmp_path, session()),
            hand="leap",
            user="anna",
            out=path,
            console=quiet(),
        )
    assert path.read_text(encoding="utf-8") == text


# -- Known again ---------------------------------------------------------------------


def worn(frames: Matrix, tmp_path: Path, clock: SimClock, side: Side = "right") -> ReplayGlove:
    np.save(tmp_path / "live.npy", frames)
    config = ReplayGloveConfig(path=tmp_path / "live.npy", side=side, loop=True)
    return ReplayGlove(config, name="live", clock=clock)


def test_the_person_is_known_again(anna: tuple[User, Path, str], tmp_path: Path) -> None:
    _, path, _ = anna
    clock = SimClock()
    with worn(session(order=(*PINCHES, "fist", "open")), tmp_path, clock) as glove:
        check_glove(load_user(path), glove, clock)


def test_a_slow_glove_is_looked_at_for_longer(anna: tuple[User, Path, str], tmp_path: Path) -> None:
    user, _, _ = anna
    np.save(tmp_path / "slow.npy", session())
    clock = SimClock()
    config = ReplayGloveConfig(path=tmp_path / "slow.npy", rate_hz=5.0)
    with ReplayGlove(config, name="slow", clock=clock) as glove:
        check_glove(user, glove, clock)


@pytest.mark.parametrize("size", [0.85, 0.94, 1.06, 1.2])
def test_another_person_is_not(anna: tuple[User, Path, str], size: float) -> None:
    user, _, _ = anna
    with pytest.raises(RetargetError, match=r"not the hand of 'anna'.*allowed"):
        check_user(user, session(HumanHand(size))[:20])


def test_the_other_hand_is_not_her_own_either(anna: tuple[User, Path, str], tmp_path: Path) -> None:
    user, _, _ = anna
    with pytest.raises(RetargetError, match="no right hand"):
        check_user(user, session(side="left")[:20])
    clock = SimClock()
    with (
        worn(session(side="left"), tmp_path, clock, side="left") as glove,
        pytest.raises(RunError, match="the right glove 'replay', this is the left"),
    ):
        check_glove(user, glove, clock)


def test_a_hand_that_is_hardly_seen_is_nobodys(anna: tuple[User, Path, str]) -> None:
    user, _, _ = anna
    frames = session()[:20]
    frames[:15] = np.nan
    with pytest.raises(RetargetError, match="5 frames show a hand"):
        check_user(user, frames)


def test_a_glove_that_fell_silent_does_not_vouch_for_anybody(
    anna: tuple[User, Path, str], tmp_path: Path
) -> None:
    user, _, _ = anna
    np.save(tmp_path / "short.npy", session()[:5])
    clock = SimClock()
    config = ReplayGloveConfig(path=tmp_path / "short.npy")
    with (
        ReplayGlove(config, name="short", clock=clock) as glove,
        pytest.raises(RetargetError, match=r"[1-5] frames show a hand"),
    ):
        check_glove(user, glove, clock)
