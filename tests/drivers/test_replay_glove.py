"""A recording is replayed at its rate, and a wrong file says what is wrong with it."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dexhil.drivers.clock import SimClock
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.errors import ConfigError, StaleError
from dexhil.drivers.glove import Glove, GloveObservation
from dexhil.drivers.glove.replay import ReplayGlove, ReplayGloveConfig
from dexhil.drivers.glove.sim import relaxed_hand
from dexhil.drivers.registry import RigEntry
from dexhil.drivers.testing import GloveConformance
from dexhil.drivers.testing.plugin import lent

RATE_HZ = 30.0
DRIVERS = ("lucid", "manus", "quest", "rokoko")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Ten frames of a hand that moves 1 cm along x in each."""
    shift = np.arange(10)[:, None, None] * [0.01, 0.0, 0.0]
    path = tmp_path / "hand.npy"
    np.save(path, relaxed_hand("right") + shift)
    return path


def replay(path: Path, *, loop: bool = False, clock: SimClock | None = None) -> ReplayGlove:
    config = ReplayGloveConfig(path=path, rate_hz=RATE_HZ, loop=loop)
    return ReplayGlove(config, name="right", clock=clock or SimClock())


def frame(glove: ReplayGlove) -> int:
    return round(glove.observe().keypoints[0, 0] / 0.01)


def test_frames_come_at_the_rate_of_the_recording(recording: Path) -> None:
    with replay(recording) as glove:
        frames = []
        for _ in range(20):
            frames.append(frame(glove))
            glove.clock.sleep(0.5 / RATE_HZ)
    assert frames == [i // 2 for i in range(20)]


def test_each_frame_is_stamped_with_the_moment_it_was_due(recording: Path) -> None:
    clock = SimClock()
    with replay(recording, clock=clock) as glove:
        start_s = clock.now_s()
        clock.sleep(2.9 / RATE_HZ)
        sample = glove.observe()
    assert sample.stamp_s == pytest.approx(start_s + 2 / RATE_HZ)
    assert sample.device_stamp_s == pytest.approx(2 / RATE_HZ)


def test_after_the_last_frame_it_falls_silent(recording: Path) -> None:
    with replay(recording) as glove:
        glove.clock.sleep(1.0)
        assert frame(glove) == 9
        with pytest.raises(StaleError, match="700 ms old"):
            glove.observe(max_age_s=0.1)


def test_a_loop_begins_again_and_stays_fresh(recording: Path) -> None:
    with replay(recording, loop=True) as glove:
        glove.clock.sleep(12.5 / RATE_HZ)
        assert frame(glove) == 2
        glove.observe(max_age_s=1.0 / RATE_HZ)


def test_connecting_again_begins_again(recording: Path) -> None:
    glove = replay(recording)
    glove.connect()
    glove.clock.sleep(0.2)
    glove.disconnect()
    with glove:
        assert frame(glove) == 0


def test_frames_that_lost_track_are_passed_on(recording: Path, tmp_path: Path) -> None:
    frames = np.load(recording)
    frames[1] = np.nan
    path = tmp_path / "holes.npy"
    np.save(path, frames.astype(np.float32))
    with replay(path) as glove:
        assert glove.observe().finite
        glove.clock.sleep(1.5 / RATE_HZ)
        assert not glove.observe().finite
        assert glove.observe().keypoints.dtype == np.float64


def test_a_missing_file_is_named_when_connecting(tmp_path: Path) -> None:
    glove = replay(tmp_path / "none.npy")
    with pytest.raises(ConfigError, match=r"'right': cannot read the recording .*none\.npy"):
        glove.connect()


@pytest.mark.parametrize("shape", [(21, 3), (10, 21, 2), (10, 20, 3), (0, 21, 3), ()])
def test_another_shape_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "wrong.npy"
    np.save(path, np.zeros(shape))
    with pytest.raises(ConfigError, match=r"wrong\.npy has shape .*expected \(frames, 21, 3\)"):
        replay(path).connect()


def test_objects_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "objects.npy"
    np.save(path, np.array([{"keypoints": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ConfigError, match="cannot read the recording"):
        replay(path).connect()


@pytest.mark.parametrize("content", [b"", b"not numpy", pickle.dumps([1.0])])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.npy"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot read the recording"):
        replay(path).connect()


def test_several_arrays_in_one_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "several.npz"
    np.savez(path, a=np.zeros((1, 21, 3)))
    with pytest.raises(ConfigError, match="no single array of floating-point numbers"):
        replay(path).connect()


def test_whole_numbers_are_refused_since_they_are_no_metres(tmp_path: Path) -> None:
    path = tmp_path / "millimetres.npy"
    np.save(path, np.zeros((2, 21, 3), dtype=int))
    with pytest.raises(ConfigError, match="no single array of floating-point numbers"):
        replay(path).connect()


def test_a_rate_of_nothing_is_refused(recording: Path) -> None:
    entry = RigEntry("glove", "right", "replay", {"path": str(recording), "rate_hz": 0})
    with pytest.raises(ConfigError, match=r"\[glove.right\].*rate_hz is 0 Hz, must be above 0"):
        entry.build()


# -- What a real glove sent --------------------------------------------------


@pytest.fixture(scope="module", params=DRIVERS)
def captured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[GloveObservation]]:
    """Two seconds of an emulated glove: the capture, and what its driver made of it."""
    path = tmp_path_factory.mktemp("captures") / f"{request.param}.wire"
    with EmulatorProcess(request.param) as emulator:
        options = {**emulator.options, "capture": str(path)}
        glove = RigEntry("glove", "right", emulator.driver, options).build()
        assert isinstance(glove, Glove)
        with glove:
            samples = []
            for _ in range(200):
                glove.clock.sleep(0.01)
                samples.append(glove.observe())
    return path, samples


@pytest.fixture
def capture(captured: tuple[Path, list[GloveObservation]]) -> Path:
    return captured[0]


class TestReplayedCaptures(GloveConformance):
    @pytest.fixture
    def device(self, request: pytest.FixtureRequest, capture: Path) -> Iterator[ReplayGlove]:
        device = replay(capture, loop=True)
        with lent(device, request):
            yield device


def test_a_capture_replays_every_sample_that_was_seen_live(
    captured: tuple[Path, list[GloveObservation]],
) -> None:
    path, live = captured
    replayed = []
    with replay(path) as glove:
        for _ in range(3000):
            replayed.append(glove.observe())
            glove.clock.sleep(0.001)
    found = {sample.keypoints.tobytes(): sample for sample in replayed}
    for sample in live:
        again = found[sample.keypoints.tobytes()]
        assert again.device_stamp_s == sample.device_stamp_s
        assert (again.wrist_position is None) == (sample.wrist_position is None)
    assert len({sample.keypoints.tobytes() for sample in live}) > 50


def test_a_capture_keeps_its_own_times(captured: tuple[Path, list[GloveObservation]]) -> None:
    path, live = captured
    times = {}
    with replay(path) as glove:
        for _ in range(3000):
            sample = glove.observe()
            times[sample.keypoints.tobytes()] = sample.stamp_s
            glove.clock.sleep(0.001)
    offsets = [times[sample.keypoints.tobytes()] - sample.stamp_s for sample in live]
    assert np.ptp(offsets) < 0.1
    assert np.median(np.abs(offsets - np.median(offsets))) < 0.01


def test_the_other_hand_is_refused(capture: Path) -> None:
    glove = ReplayGlove(ReplayGloveConfig(path=capture, side="left"), name="left")
    with pytest.raises(ConfigError, match="captured from the right hand, this is the left one"):
        glove.connect()


def test_a_capture_that_does_not_say_which_hand_is_of_a_right_one(
    capture: Path, tmp_path: Path
) -> None:
    first, *rest = capture.read_text().splitlines()
    head = json.loads(first)
    del head["options"]["side"]
    path = tmp_path / "old.wire"
    path.write_text("\n".join([json.dumps(head), *rest]) + "\n")
    glove = ReplayGlove(ReplayGloveConfig(path=path, side="left"), name="left")
    with pytest.raises(ConfigError, match="captured from the right hand, this is the left one"):
        glove.connect()


def test_a_capture_of_nothing_is_refused(capture: Path, tmp_path: Path) -> None:
    path = tmp_path / "empty.wire"
    path.write_text(capture.read_text().splitlines()[0] + "\n")
    with pytest.raises(ConfigError, match="there is no sign of"):
        replay(path).connect()


def test_a_capture_cut_short_by_a_crash_replays(capture: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.wire"
    path.write_text(capture.read_text()[:-5])
    with replay(path) as glove:
        assert glove.observe().finite


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"driver": None}, "does not say which glove"),
        ({"options": 3}, "does not say which glove"),
        ({"driver": "sim", "options": {}}, "captured from 'sim', which sends nothing"),
        ({"driver": "none"}, "No glove driver is called 'none'"),
        ({"options": {"prot": 3}}, "there is no option 'prot'"),
        ({"capture": 99}, "not a capture of a wire"),
    ],
)
def test_a_capture_of_something_else_says_so(
    capture: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    first, *rest = capture.read_text().splitlines()
    path = tmp_path / "other.wire"
    path.write_text("\n".join([json.dumps({**json.loads(first), **change}), *rest]) + "\n")
    with pytest.raises((ConfigError, LookupError), match=said):
        replay(path).connect()


def test_a_missing_capture_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.wire: cannot read the capture"):
        replay(tmp_path / "none.wire").connect()
