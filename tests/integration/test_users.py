"""The file of a calibrated person: what is written is read again, and nothing else is believed."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dexhil.drivers.arrays import Matrix
from dexhil.integration.errors import RunError
from dexhil.integration.retargeting.users import User, check_replaceable, load_user, save_user
from dexhil.retarget import HumanProportions
from dexhil.retarget.calibration import Residuals
from dexhil.retarget.lengths import MAX_OFFSET_M, MAX_TOUCH_GAP_M, REACHES_M
from dexhil.retarget.wearer import Fingerprint


def some_user(rng: np.random.Generator, **changed: object) -> User:
    fields: dict[str, object] = {
        "name": "anna",
        "glove": 'quest "3"',
        "side": "left",
        "hand": "leap",
        "date": datetime(2026, 11, 21, 14, 0, 7, tzinfo=UTC),
        "proportions": HumanProportions(
            reaches=rng.uniform(*REACHES_M.T),
            thumb_offset=rng.uniform(-0.014, 0.014, 3),
            touch_gaps=rng.uniform(0.0, MAX_TOUCH_GAP_M, 4),
        ),
        "fingerprint": Fingerprint(
            bones=rng.uniform(0.02, 0.1, 20), tolerance=rng.uniform(0.03, 0.2)
        ),
        "residuals": Residuals(
            reach_spread=rng.uniform(0.0, 0.01, 5),
            raw_gaps=rng.uniform(0.0, 0.02, 4),
            robot_gaps=np.array([0.001, 0.002, 0.003, np.nan]),
            robot_fist=float(rng.uniform()),
        ),
    }
    return User(**{**fields, **changed})


def values(user: User) -> Matrix:
    p, f, r = user.proportions, user.fingerprint, user.residuals
    lengths = (p.reaches, p.thumb_offset, p.touch_gaps, f.bones, r.reach_spread, r.raw_gaps)
    return np.concatenate([*lengths, r.robot_gaps, [f.tolerance, r.robot_fist]])


@given(seed=st.integers(0, 10_000), name=st.from_regex(r"\A[\w][\w .-]{0,20}[\w]\Z"))
@settings(max_examples=15)
def test_what_is_saved_is_loaded_again(
    tmp_path_factory: pytest.TempPathFactory, seed: int, name: str
) -> None:
    path = tmp_path_factory.mktemp("users") / "user.toml"
    user = some_user(np.random.default_rng(seed), name=name)
    save_user(user, path)
    loaded = load_user(path)
    for field in ("name", "glove", "side", "hand", "date"):
        assert getattr(loaded, field) == getattr(user, field)
    np.testing.assert_allclose(values(loaded), values(user), atol=1e-6)
    before = path.read_text(encoding="utf-8")
    save_user(loaded, path)
    assert path.read_text(encoding="utf-8") == before, "loading and saving changes nothing"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("format = 1", "format = 2", "format 1"),
        ("format = 1\n", "", "format 1"),
        ("[proportions]", "[proportion]", "proportion"),
        ('side = "left"', 'side = "both"', "side"),
        ("reaches = [", "reaches = [0.1, ", "reaches"),
        ("reaches = [0", "reaches = [-0", "five lengths"),
        ("[fingerprint]", "fingerprint]", "not a TOML file"),
    ],
)
def test_a_damaged_file_is_refused_with_its_path(
    tmp_path: Path, old: str, new: str, why: str
) -> None:
    path = tmp_path / "anna.toml"
    save_user(some_user(np.random.default_rng(0)), path)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(RunError, match=why) as refused:
        load_user(path)
    assert str(refused.value).count(str(path)) == 1
    assert "alibrate again" in str(refused.value)


@pytest.mark.parametrize(
    ("field", "lengths", "why"),
    [
        ("reaches", [0.14, 0.40, 0.18, 0.18, 0.15], "index tip is 400 mm, allowed 110 to 280 mm"),
        ("reaches", [0.14, 0.18, 0.18, 0.18, 0.05], "little tip is 50 mm, allowed 90 to 260 mm"),
        ("reaches", [0.03, 0.18, 0.18, 0.18, 0.15], "thumb tip is 30 mm, allowed 55 to 245 mm"),
        ("thumb_offset", [0.0, 0.018, 0.024], "thumb is moved by 30 mm, at most 25 mm allowed"),
        ("touch_gaps", [0.0, 0.016, 0.0, 0.0], "fingers touch at 16 mm, at most 15 mm allowed"),
        ("touch_gaps", [0.0, 0.0, np.inf, 0.0], "fingers touch at inf mm"),
    ],
)
def test_lengths_that_no_calibration_gives_are_refused(
    tmp_path: Path, field: str, lengths: list[float], why: str
) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "anna.toml"
    sound = HumanProportions(
        reaches=REACHES_M[:, 1],
        thumb_offset=np.full(3, MAX_OFFSET_M / np.sqrt(3.0)),
        touch_gaps=np.full(4, MAX_TOUCH_GAP_M),
    )
    save_user(some_user(rng, proportions=sound), path)
    load_user(path)  # The limits themselves are allowed.
    broken = replace(sound, **{field: np.array(lengths)})
    save_user(some_user(rng, proportions=broken), path)
    with pytest.raises(RunError, match=why) as refused:
        load_user(path)
    assert str(path) in str(refused.value)
    assert str(refused.value).endswith("Calibrate again.")


def test_a_file_that_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="dexhil calibrate"):
        load_user(tmp_path / "anna.toml")


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "anna.toml"
    save_user(some_user(np.random.default_rng(0)), path)
    before = path.read_text(encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, full)
    with pytest.raises(RunError, match="No space left"):
        save_user(some_user(np.random.default_rng(1)), path)
    assert path.read_text(encoding="utf-8") == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("changed", [{"glove": "quest"}, {"side": "right"}])
def test_one_person_has_a_file_for_each_glove_and_hand(
    tmp_path: Path, changed: dict[str, str]
) -> None:
    path = tmp_path / "anna.toml"
    save_user(some_user(np.random.default_rng(0), **{"glove": "replay", **changed}), path)
    with pytest.raises(RunError, match=r"not 'anna' with the left 'replay'. .*--out"):
        check_replaceable(path, name="anna", glove="replay", side="left")
