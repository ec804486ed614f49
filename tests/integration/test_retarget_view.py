"""``dexhil retarget view``: which frames are shown, and what of them can be seen."""

import importlib.util
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from PIL import Image as Picture
from rich.console import Console

from dexhil.drivers.arrays import Image, Matrix, Vector
from dexhil.drivers.models.kinematics import Kinematics, Side
from dexhil.integration.errors import RunError
from dexhil.integration.retargeting import measures as m
from dexhil.integration.retargeting.clips import load_hand
from dexhil.integration.retargeting.colours import COLOURS
from dexhil.integration.retargeting.pictures import HandPainter
from dexhil.integration.retargeting.run import Retargeted, person_of, retarget_clip
from dexhil.integration.retargeting.view import view
from dexhil.retarget import HumanHand, RetargetError, batch, learned
from dexhil.retarget.batch import Flags
from dexhil.retarget.human import POSTURES
from dexhil.retarget.score import score
from dexhil.retarget.synthetic import make_clip

LEAP = load_hand("leap")
CLIP = make_clip(3, 400, profile="glove")
HUMAN = person_of(CLIP, "right", None)


@pytest.fixture(scope="module")
def answer() -> Retargeted:
    return retarget_clip(LEAP, CLIP, method="solver", human=HUMAN)


@pytest.fixture(scope="module")
def measures(answer: Retargeted) -> m.Measures:
    return m.measure(LEAP, CLIP, answer, HUMAN)


def shown(folder: Path, out: str | None, clip: Matrix = CLIP[:40], **options: Any) -> str:
    """Run the command, return what it printed."""
    np.save(folder / "clip.npy", clip)
    printed = StringIO()
    everything = {
        "hand": "inspire",
        "method": "solver",
        "user": None,
        "filter_name": "off",
        "side": "right",
        "rate_hz": 90.0,
        "frames": 3,
        **options,
    }
    view(
        keypoints=folder / "clip.npy",
        out=None if out is None else folder / out,
        console=Console(file=printed, width=200),
        **everything,
    )
    return printed.getvalue()


# -- What is measured -------------------------------------------------------------------------


def test_the_frames_figures_agree_with_the_score_of_the_clip(
    answer: Retargeted, measures: m.Measures
) -> None:
    whole = score(answer.joint_positions, CLIP, LEAP, human=HUMAN)
    assert measures.wrist.mean() == pytest.approx(whole.wrist)
    assert measures.pair.mean() == pytest.approx(whole.pair)
    assert measures.steps.max() == pytest.approx(whole.step_max)
    assert measures.fists.sum() == whole.fists
    pinched = measures.gaps[measures.human_gaps < 0.015]
    assert len(pinched) == whole.pinches
    assert pinched.mean() == pytest.approx(whole.pinch_gap)
    if whole.fists:
        assert measures.closure[measures.fists].mean() == pytest.approx(whole.fist)


def test_a_frame_without_keypoints_has_figures_but_is_never_shown() -> None:
    clip = CLIP.copy()
    clip[50:300] = np.nan
    held = retarget_clip(LEAP, clip, method="solver", human=HUMAN)
    measured = m.measure(LEAP, clip, held, HUMAN)
    assert np.isfinite(measured.wrist).all()
    picks = m.hardest(measured, 12)
    assert picks
    assert all(held.valid[pick.number] for pick in picks)


def test_what_was_held_is_never_shown_however_bad(measures: m.Measures) -> None:
    held = measures.wrist.mean(axis=1) > np.median(measures.wrist.mean(axis=1))
    picks = m.hardest(replace(measures, valid=~held), 12)
    assert picks
    assert not any(held[pick.number] for pick in picks)


def test_the_hardest_frames_are_the_worst_of_each_kind(measures: m.Measures) -> None:
    picks = m.hardest(measures, 12)
    first = {}
    for pick in picks:
        first.setdefault(pick.title, pick.number)
    after = slice(10, None)  # A filter may still be on its way before.
    assert first["Fingertips furthest off"] == 10 + measures.wrist[after].mean(axis=1).argmax()
    assert "Thumb to fingers furthest off" in first
    assert "Most open hand" in first
    assert "Largest step" in first
    pinch = first["Widest gap in a pinch"]
    assert measures.human_gaps[pinch].min() < 0.015


def test_no_moment_is_shown_twice(measures: m.Measures) -> None:
    numbers = np.sort([pick.number for pick in m.hardest(measures, 12)])
    assert len(numbers) == 12
    assert np.diff(numbers).min() > 3


def test_a_short_clip_shows_what_there_is(answer: Retargeted) -> None:
    few = Retargeted(
        joint_positions=answer.joint_positions[:2],
        valid=np.ones(2, np.bool_),
        latency_s=answer.latency_s[:2],
        why_not={},
    )
    assert len(m.hardest(m.measure(LEAP, CLIP[:2], few, HUMAN), 12)) == 1


def test_without_pinch_or_fist_the_nearest_to_one_is_shown() -> None:
    person = HumanHand()
    clip = np.repeat(person.keypoints(POSTURES["open"])[None], 60, axis=0)
    still = retarget_clip(LEAP, clip, method="solver", human=person.proportions)
    titles = [pick.title for pick in m.hardest(m.measure(LEAP, clip, still, HUMAN), 7)]
    assert "Nearest to a pinch" in titles
    assert "Nearest to a fist" in titles


def test_the_view_is_of_ones_own_weights(tmp_path: Path) -> None:
    allegro = Path(learned.__file__).with_name("weights") / "allegro.npz"
    with pytest.raises(RetargetError, match="weights of another hand"):
        shown(tmp_path, "sheet.html", method=None, weights=allegro)
    with pytest.raises(RetargetError, match="method solver does not use"):
        shown(tmp_path, "sheet.html", weights=allegro)


# -- What is painted --------------------------------------------------------------------------


def pixels_of(image: Image, colour: str) -> Flags:
    """Return which pixels have a colour's hue, whatever the light on them. Shape (480, 480)."""
    rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)], np.float64)
    pixels = image.reshape(-1, 3).astype(np.float64)
    pixels -= pixels.mean(axis=1, keepdims=True)
    wanted = rgb - rgb.mean()
    lengths = np.linalg.norm(pixels, axis=1)
    along = pixels @ wanted / np.maximum(lengths * np.linalg.norm(wanted), 1e-9)
    return ((along > 0.97) & (lengths > 40.0)).reshape(image.shape[:2])


def painted(kinematics: Kinematics, points: Matrix, q: Vector) -> tuple[Image, Image]:
    tips = batch.tips(kinematics, batch.link_poses(kinematics, q[None]))
    with HandPainter(
        kinematics, joint_positions=q[None], points=points[None], targets=tips
    ) as painter:
        return painter.person(points), painter.robot(q, tips[0], tips[0])


@pytest.mark.parametrize("hand", ["leap", "allegro", "inspire"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_both_hands_are_in_the_picture_with_every_finger_in_its_colour(
    hand: str, side: Side
) -> None:
    kinematics = load_hand(hand, side)
    person = HumanHand()
    points = person.keypoints(POSTURES["open"])
    if side == "left":
        points = points * (1.0, -1.0, 1.0)
    q = np.clip(np.zeros(len(kinematics.joint_names)), *kinematics.position_limits.T)
    human, robot = painted(kinematics, points, q)
    assert human.shape == robot.shape == (480, 480, 3)
    for finger, colour in COLOURS.items():
        assert pixels_of(human, colour).mean() > 0.002, finger
        if finger in kinematics.tips:
            assert pixels_of(robot, colour).mean() > 0.002, finger
    # Seen from the palm, a right thumb is on the right.
    for image in (human, robot):
        thumb, ring = (
            np.flatnonzero(pixels_of(image, COLOURS[finger]).any(axis=0)).mean()
            for finger in ("thumb", "ring")
        )
        assert (thumb > ring) == (side == "right")
    # Nothing is cut off: the border is background.
    for image in (human, robot):
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert np.abs(border.astype(int) - border[0].astype(int)).max() < 12


def test_a_bent_robot_looks_bent_and_coupled_joints_follow() -> None:
    inspire = load_hand("inspire")
    low, high = inspire.position_limits.T
    ends = np.stack((low, high))
    places = batch.tips(inspire, batch.link_poses(inspire, ends))
    points = np.stack([HumanHand().keypoints(POSTURES[name]) for name in ("open", "fist")])
    pictures = []
    with HandPainter(inspire, joint_positions=ends, points=points, targets=places) as painter:
        for q, tips in zip(ends, places, strict=True):
            pictures.append(painter.robot(q, tips, tips))
            for link, place in zip(inspire.tips.values(), tips, strict=True):
                body = painter._data.body(link)
                np.testing.assert_allclose(body.xpos - batch.wrist(inspire), place, atol=1e-6)
    assert (pictures[0] != pictures[1]).mean() > 0.02


def test_a_machine_without_opengl_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no EGL")

    monkeypatch.setattr(mujoco, "Renderer", fail)
    with pytest.raises(RunError, match=r"need OpenGL.*no EGL.*MUJOCO_GL=egl"):
        shown(tmp_path, "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


# -- What is written --------------------------------------------------------------------------


def test_the_page_is_one_file_with_scores_pictures_and_a_plot(tmp_path: Path) -> None:
    assert "sheet.html" in shown(tmp_path, "new/sheet.html", filter_name="fast")
    page = (tmp_path / "new" / "sheet.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=[\"'](?!data:)", page)
    assert page.count("data:image/png;base64,") == 3
    assert page.count("data:image/svg+xml;base64,") == 1
    for words in (
        "Inspire hand, right",
        "clip.npy: 40 frames at 90 Hz, 100.0% answered; method solver, filter fast",
        "Fingertip error",
        "Fingertips furthest off",
        "thumb",
    ):
        assert words in page


def test_names_from_outside_are_only_text_on_the_page(tmp_path: Path) -> None:
    np.save(tmp_path / "<b>&.npy", CLIP[:20])
    view(
        hand="leap",
        keypoints=tmp_path / "<b>&.npy",
        out=tmp_path / "sheet.html",
        method="solver",
        user=None,
        filter_name="off",
        side="right",
        rate_hz=90.0,
        frames=1,
        console=Console(file=StringIO()),
    )
    assert "&lt;b&gt;&amp;.npy" in (tmp_path / "sheet.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("frames", [1, 4])
def test_the_picture_grows_with_its_frames(tmp_path: Path, frames: int) -> None:
    shown(tmp_path, "sheet.png", frames=frames)
    with Picture.open(tmp_path / "sheet.png") as picture:
        assert picture.width == pytest.approx(1617, abs=3)
        assert picture.height == pytest.approx(110 * (6.7 + 3.1 * (1 + frames // 4)), abs=3)
        assert np.asarray(picture).std() > 10.0


def test_held_frames_and_a_single_frame_can_be_shown(tmp_path: Path) -> None:
    clip = CLIP[:60].copy()
    clip[20:30] = np.nan
    shown(tmp_path, "sheet.png", clip)
    shown(tmp_path, "one.png", CLIP[:1])
    assert (tmp_path / "one.png").exists()


def test_a_recording_for_the_viewer_holds_both_hands(tmp_path: Path) -> None:
    rerun = pytest.importorskip("rerun")
    shown(tmp_path, "clip.rrd", frames=1)
    data = (tmp_path / "clip.rrd").read_bytes()
    assert data[:3] == b"RRF"
    del rerun
    for entity in (b"human/bones", b"robot/thumb", b"targets", b"error_mm/thumb", b"step_rad"):
        assert entity in data


@pytest.mark.parametrize("out", [None, "clip.rrd"])
def test_without_the_viewer_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str | None
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RunError, match=r"pip install 'dexhil\[view\]'.*--out sheet\.html"):
        shown(tmp_path, out)


@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        ("sheet.pdf", {}, r"must end in \.html, \.png, \.rrd"),
        ("sheet.png", {"frames": 0}, "--frames is 0, allowed 1 to 60"),
        ("sheet.png", {"rate_hz": -1.0}, "must be above 0"),
        ("sheet.png", {"hand": "leep"}, "No hand is called 'leep'"),
    ],
)
def test_a_wrong_option_is_refused(
    tmp_path: Path, out: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        shown(tmp_path, out, **options)
