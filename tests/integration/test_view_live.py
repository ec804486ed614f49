"""``--view``: what a running session shows, and that it runs on whatever becomes of the view."""

import importlib.util
import io
import os
import resource
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from dexhil.drivers.clock import MonotonicClock, SimClock
from dexhil.integration import cli
from dexhil.integration.bench import Bench
from dexhil.integration.errors import RunError
from dexhil.integration.live import drive, make_ik, make_session
from dexhil.integration.operator import Role
from dexhil.integration.rig import Rig, build_rig
from dexhil.integration.view.live import View, Viewing, watching
from dexhil.teleop.frame import Frame, together
from dexhil.teleop.se3 import from_quaternion, inverse
from dexhil.teleop.takeover import Event, Mode
from tests.integration.recordings import logged, numbers

pytest.importorskip("rerun")


class Kept:
    """Keeps frames, to compare with what was shown."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def write(self, frame: Frame) -> None:
        self.frames.append(frame)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Frame], dict[str, Any], Rig]:
    """A second of teleoperation that ends with a glove that froze, and what was shown of it."""
    out = tmp_path_factory.mktemp("view") / "live.rrd"
    root = Path(__file__).resolve().parents[2]
    rig, kept = build_rig(root / "rigs" / "sim_fr3_inspire.toml", SimClock()), Kept()

    def freeze(running: object) -> None:
        del running
        if rig.clock.now_s() > start_s + 0.8:
            rig.glove.faults.freeze()

    with rig.running(), View(rig, out) as view:
        session = make_session(rig, sink=together(kept, view))
        start_s = rig.clock.now_s()

        def show(running: Any) -> None:
            view.show(running)
            freeze(running)

        drive(rig, session, first=Event.TAKE_OVER, duration_s=2.0, show=show)
        session.set_event(Event.START)
        view.show(session)
    assert view.note() == ""
    assert (view.shown, view.left_out) == (len(kept.frames), 0)
    return kept.frames, logged(out), rig


def test_every_frame_is_shown_at_its_stamp_on_the_simulated_clock(session: Any) -> None:
    frames, found, _ = session
    stamps_s = np.array([frame.stamp_s for frame in frames])
    expected_ns = np.round(1e9 * (stamps_s - stamps_s[0])).astype(np.int64)
    for entity in ("/period", "/world/robot/measured/capsule", "/cameras/scene"):
        np.testing.assert_array_equal(found[entity]["time"].astype(np.int64), expected_ns)
        np.testing.assert_array_equal(found[entity]["frame"], np.arange(len(frames)))


def test_joints_authority_and_ages_have_the_names_and_values_of_a_dataset(session: Any) -> None:
    frames, found, rig = session
    joint = rig.arm.spec.joint_names[2]
    for line, values in (
        ("measured", [frame.arm.joint_positions[2] for frame in frames]),
        ("executed", [frame.executed[2] for frame in frames]),
        ("person", [np.nan if f.human is None else f.human[2] for f in frames]),
        ("policy", [np.nan for _ in frames]),
    ):
        np.testing.assert_array_equal(numbers(found[f"/joints/arm.{joint}/{line}"]), values)
    for path, values in (
        ("/authority/arm", [frame.authority_arm for frame in frames]),
        ("/authority/both", [frame.authority for frame in frames]),
        ("/age/glove", [frame.ages_s["glove"] for frame in frames]),
        ("/age/tracker", [frame.ages_s["tracker"] for frame in frames]),
    ):
        finite = np.isfinite(values)
        np.testing.assert_allclose(numbers(found[path])[finite], np.array(values)[finite])


def test_who_drives_is_a_band_for_each_part_and_the_reason_is_a_sentence(session: Any) -> None:
    frames, found, _ = session
    drivers = [frame.drivers.arm for frame in frames]
    changes = [k for k, mode in enumerate(drivers) if k == 0 or mode is not drivers[k - 1]]
    assert drivers[-1] is Mode.HOLD
    for part in ("arm", "hand", "mode"):
        band = found[f"/driver/{part}"]
        assert band["frame"].tolist() == changes
        assert [s[0] for s in band["StateChange:state"]] == [drivers[k].name for k in changes]
    said = [text[0] for text in found["/events"]["TextLog:text"]]
    assert any(text.startswith("HOLD: ") and "SimGlove" in text for text in said), said
    assert "refused: there is no policy to start." in said


def test_limits_hit_are_a_band_and_stand_at_the_palm(session: Any) -> None:
    frames, found, _ = session
    hit = [", ".join(sorted(frame.limits)) or "none" for frame in frames]
    changes = [k for k, limits in enumerate(hit) if k == 0 or limits != hit[k - 1]]
    band = found["/driver/limits"]
    assert band["frame"].tolist() == changes
    assert [s[0] for s in band["StateChange:state"]] == [hit[k] for k in changes]
    labels = [label[0] for label in found["/world/robot/palm"]["Points3D:labels"]]
    expected = [" ".join([f.drivers.arm.name, *sorted(f.limits)]) for f in frames]
    assert labels == expected


def test_the_persons_hand_keeps_its_shape_beside_the_robots_palm(session: Any) -> None:
    frames, found, rig = session
    shown = found["/world/person/hand/joints"]["Points3D:positions"]
    assert len(shown) == len(frames)
    ik = make_ik(rig)
    for frame, joints in zip(frames, shown, strict=True):
        keypoints, points = frame.glove.keypoints, np.array(joints)
        for wanted, got in ((keypoints, points), (keypoints[::-1], points[::-1])):
            spread = np.linalg.norm(wanted - wanted[:1], axis=1)
            np.testing.assert_allclose(np.linalg.norm(got - got[:1], axis=1), spread, atol=1e-6)
        palm = ik.fk(frame.arm.joint_positions)
        np.testing.assert_allclose(np.linalg.norm(points[0] - palm[:3, 3]), 0.3, atol=1e-6)


def test_the_cube_moves_from_the_palm_as_the_person_moves_it(session: Any) -> None:
    frames, found, rig = session
    cube = found["/world/person/cube"]
    places = np.array([value[0] for value in cube["Transform3D:translation"]])
    turns = np.array([value[0] for value in cube["Transform3D:mat3x3"]])
    assert len(places) == len(frames)
    taken = next(k for k, frame in enumerate(frames) if frame.drivers.arm is Mode.HUMAN)
    seen = [from_quaternion(f.tracker.position, f.tracker.orientation) for f in frames]
    np.testing.assert_allclose(
        places[taken], make_ik(rig).fk(frames[taken].arm.joint_positions)[:3, 3], atol=1e-6
    )
    moved = [np.linalg.norm(place - places[taken]) for place in places[taken : taken + 12]]
    expected = [
        np.linalg.norm(inverse(seen[taken])[:3] @ pose[:, 3]) for pose in seen[taken : taken + 12]
    ]
    np.testing.assert_allclose(moved, expected, atol=1e-6)
    # Rerun has matrices by columns.
    first, last = (turns[k].reshape(3, 3).T for k in (taken, taken + 11))
    np.testing.assert_allclose(
        first.T @ last, seen[taken][:3, :3].T @ seen[taken + 11][:3, :3], atol=1e-6
    )


def test_pictures_are_small_and_whole(session: Any) -> None:
    frames, found, _ = session
    packed = found["/cameras/scene"]["EncodedImage:blob"]
    first = frames[0].images["scene"].image
    picture = np.array(Image.open(io.BytesIO(bytes(packed[0][0]))))
    assert picture.shape == first.shape
    assert np.abs(picture.astype(float) - first).mean() < 5.0
    assert len(packed[0][0]) < first.size / 10


# -- Whatever becomes of it, the session goes on ----------------------------------------------


@pytest.fixture
def real(rig: Path) -> Rig:
    return build_rig(rig, MonotonicClock(), cameras=False)


@pytest.fixture
def frame(session: Any) -> Frame:
    frames: list[Frame] = session[0]
    return frames[0]


def test_a_stalled_view_leaves_frames_out_and_is_ended_with_the_session(
    real: Rig, frame: Frame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dexhil.integration.view.live.CLOSE_S", 0.1)
    with View(real, tmp_path / "stalled.rrd") as view:
        os.kill(view.pid, signal.SIGSTOP)
        n = 0
        while view.left_out < 3:  # What a pipe holds is bounded; were writing to wait, it hung.
            view.write(frame)
            n += 1
        assert n - 2 <= view.shown + view.left_out <= n, "one in the slot, one on its way"
        assert f"view: {view.left_out} of " in view.note()
    with pytest.raises(ProcessLookupError):
        os.kill(view.pid, 0)


def test_a_dead_view_is_told_of_and_the_loops_tick_on(real: Rig, tmp_path: Path) -> None:
    with real.running(), View(real, tmp_path / "dead.rrd") as view:
        session = make_session(real, sink=view)
        os.kill(view.pid, signal.SIGKILL)
        stretch = drive(real, session, first=Event.TAKE_OVER, duration_s=0.6, show=view.show)
    assert stretch.ended == "0.6 s are over"
    assert view.note() == "view: its process is gone, the session went on without it"


def test_a_frame_that_cannot_be_shown_is_counted_and_the_next_one_is_shown(
    real: Rig, frame: Frame, tmp_path: Path
) -> None:
    out = tmp_path / "trouble.rrd"
    with View(real, out) as view:
        view.patient = True
        view.write(replace(frame, state=frame.state[:2]))
        view.write(frame)
    assert view.troubles == 1
    assert view.note().startswith("view: 1 frames or sentences not shown whole (")
    assert "/world/robot/palm" in logged(out)


def test_a_full_disk_ends_the_view_and_says_so(real: Rig, frame: Frame, tmp_path: Path) -> None:
    out = tmp_path / "full.rrd"
    with View(real, out) as view:
        resource.prlimit(view.pid, resource.RLIMIT_FSIZE, (out.stat().st_size, -1))
        view.patient = True
        while not view.note():
            view.write(frame)
    assert f"view: {out} cannot be written any more (" in view.note()
    assert "is the disk full?" in view.note()


def test_missing_rerun_a_wrong_name_or_a_folder_that_is_none_is_one_sentence(
    real: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for out, message in (
        (tmp_path / "view.mp4", "must end in .rrd"),
        (tmp_path / "file" / "view.rrd", "Nothing can be shown: Cannot open .*view.rrd"),
    ):
        with (
            pytest.raises(RunError, match=message),
            watching(real, Viewing(view_out=out), Console(quiet=True)),
        ):
            pass
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RunError, match=r"pip install 'dexhil\[view\]'"):
        View(real, tmp_path / "view.rrd").__enter__()


# -- One flag away ----------------------------------------------------------------------------


def test_nothing_is_started_unless_asked_for(real: Rig) -> None:
    with watching(real, Viewing(), Console(quiet=True)) as view:
        assert view is None


def test_teleop_writes_what_it_would_show(rig: Path, tmp_path: Path) -> None:
    out = tmp_path / "teleop.rrd"
    options = ["--duration-s", "0.5", "--view-out", str(out)]
    with pytest.raises(SystemExit) as stop:
        cli.main(["teleop", "--rig", str(rig), *options])
    assert stop.value.code == 0
    assert ["HUMAN"] in list(logged(out)["/driver/arm"]["StateChange:state"])


@pytest.mark.parametrize("command", ["teleop", "record", "run"])
def test_the_flag_is_explained(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    said = capsys.readouterr().out
    assert "--view " in said
    assert "--view-out" in said


def test_whoever_watches_a_bench_sees_every_attempt(rig: Path) -> None:
    kept, watched = Kept(), Kept()
    with Bench(rig) as bench:
        bench.task.time_limit_s = 0.3
        bench.watcher = watched
        bench.attempt(1, role=Role.DEMONSTRATE, sink=kept)
    assert kept.frames
    assert watched.frames == kept.frames
