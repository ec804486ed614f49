"""The tracker follows a rendered cube, says at once when it is gone, and never guesses."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from dexhil.drivers.sim.cube_stage import CubeStage, Look
from dexhil.teleop.cube import CubeModel, Intrinsics
from dexhil.teleop.cube.filter import FOUND_AGAIN, JUMPED
from dexhil.teleop.cube.pose import Fit
from dexhil.teleop.cube.track import CubeTracker, _Judged
from dexhil.teleop.errors import CubeError
from dexhil.teleop.se3 import Pose, distance, exp_rotation, make_pose

DT = 1.0 / 30.0
TURN = exp_rotation((2.2, 0.7, 0.4))


def waved(t: float) -> Pose:
    """0.3 m/s and 1.5 rad/s at most."""
    position = (0.06 * np.sin(4.0 * t), 0.03 * np.sin(3.0 * t), 0.5 + 0.05 * np.sin(2.0 * t))
    return make_pose(position, TURN @ exp_rotation((0.0, 0.4 * np.sin(3.0 * t), 0.3 * t)))


@pytest.fixture
def tracker(cube_model: CubeModel, camera: Intrinsics) -> CubeTracker:
    return CubeTracker(cube_model, camera)


@pytest.fixture(scope="session")
def film(stage: CubeStage) -> list[np.ndarray]:
    return [stage.picture([waved(i * DT)], samples=4) for i in range(12)]


@pytest.fixture(scope="session")
def empty(stage: CubeStage) -> np.ndarray:
    return stage.picture([], samples=4)


def watch(tracker: CubeTracker, film: list[np.ndarray]) -> None:
    for i, image in enumerate(film):
        assert tracker.update(image, i * DT) is not None, tracker.lost_reason


def test_a_waved_cube_is_followed(tracker: CubeTracker, film: list[np.ndarray]) -> None:
    for i, image in enumerate(film):
        found = tracker.update(image, i * DT)
        assert found is not None
        assert tracker.lost_reason is None
        assert found.stamp_s == i * DT
        assert len(found.marker_ids) >= 2
        assert found.reprojection_px < 0.3
        for pose in (found.pose_cube_in_camera, tracker.filter.predict(i * DT)):
            assert pose is not None
            length, angle = distance(pose, waved(i * DT))
            assert length < 0.001
            assert angle < np.radians(0.5)
    ahead = tracker.filter.predict(11 * DT + 0.04)
    assert ahead is not None
    length, angle = distance(ahead, waved(11 * DT + 0.04))
    assert length < 0.005
    assert angle < np.radians(2.0)


def test_a_cube_that_is_gone_is_reported_in_the_first_image_and_lost_in_the_second(
    tracker: CubeTracker, film: list[np.ndarray], empty: np.ndarray
) -> None:
    watch(tracker, film)
    assert tracker.update(empty, 12 * DT) is None
    assert tracker.lost_reason is not None
    assert tracker.filter.lost_reason is None
    assert tracker.update(empty, 13 * DT) is None
    assert tracker.filter.lost_reason == tracker.lost_reason
    assert tracker.filter.predict(13 * DT) is None


def test_a_covered_cube_is_lost_and_found_again(
    tracker: CubeTracker, film: list[np.ndarray]
) -> None:
    watch(tracker, film[:6])
    covered = film[6].copy()
    covered[100:380, 160:480] = 140
    for i in (6, 7):
        assert tracker.update(covered, i * DT) is None
    assert tracker.filter.lost_reason is not None
    assert tracker.update(film[8], 8 * DT) is not None
    assert tracker.filter.lost_reason == FOUND_AGAIN


def test_one_unreadable_image_is_bridged_and_edges_alone_do(
    tracker: CubeTracker, film: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch(tracker, film[:6])
    monkeypatch.setattr(tracker, "_detect", lambda *_: (np.zeros((0, 4, 2)), []))
    found = tracker.update(film[6], 6 * DT)
    assert found is not None
    length, angle = distance(found.pose_cube_in_camera, waved(6 * DT))
    assert length < 0.001
    assert angle < np.radians(0.5)


def test_images_of_noise_give_no_pose(tracker: CubeTracker) -> None:
    rng = np.random.default_rng(0)
    for i, blur in enumerate((0.0, 1.0, 2.0, 4.0, 8.0)):
        noise = rng.normal(size=(480, 640, 3)).astype(np.float32)
        if blur:
            noise = cv2.GaussianBlur(noise, (0, 0), blur)
        image = np.clip(128 + 80 * noise / noise.std(), 0, 255).astype(np.uint8)
        assert tracker.update(image, i * DT) is None
        assert tracker.lost_reason == "No marker of the cube is in sight."


def test_clutter_and_other_markers_give_no_pose(tracker: CubeTracker, stage: CubeStage) -> None:
    for i in range(8):
        stage.shuffle()
        assert tracker.update(stage.picture([], samples=1), i * DT) is None


def test_markers_of_another_cube_are_ignored(camera: Intrinsics, film: list[np.ndarray]) -> None:
    other = CubeTracker(CubeModel.nominal(first_id=10), camera)
    for i, image in enumerate(film[:3]):
        assert other.update(image, i * DT) is None


def test_corners_of_another_cube_s_markers_give_no_pose(
    tracker: CubeTracker,
    camera: Intrinsics,
    film: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = CubeTracker(CubeModel.nominal(first_id=10), camera)
    monkeypatch.setattr(other, "_detect", tracker._detect)
    assert other.update(film[0], 0.0) is None
    assert other.lost_reason == "The cube's edges are not where its markers say."


def test_a_pose_whose_edges_lie_far_off_is_not_believed(
    tracker: CubeTracker, film: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = tracker._fitter.fit

    def rough(*arguments: object) -> Fit | None:
        found = fit(*arguments)  # type: ignore[arg-type]
        return None if found is None else replace(found, scale_px=0.3)

    monkeypatch.setattr(tracker._fitter, "fit", rough)
    assert tracker.update(film[0], 0.0) is None
    monkeypatch.undo()
    assert tracker.update(film[1], DT) is not None


def test_a_pose_of_whose_faces_too_few_edges_are_found_is_not_believed(
    tracker: CubeTracker, film: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker._fitter, "error_px", lambda *_: 0.5)
    assert tracker.update(film[0], 0.0) is None
    monkeypatch.undo()
    assert tracker.update(film[1], DT) is not None


def test_a_mirrored_image_gives_no_pose(tracker: CubeTracker, film: list[np.ndarray]) -> None:
    for i, image in enumerate(film):
        assert tracker.update(np.ascontiguousarray(image[:, ::-1]), i * DT) is None


def test_a_cube_elsewhere_at_once_is_not_believed(
    tracker: CubeTracker, film: list[np.ndarray], stage: CubeStage
) -> None:
    watch(tracker, film[:6])
    there = make_pose((-0.12, -0.08, 0.45), TURN @ exp_rotation((0.5, 0.0, 0.0)))
    image = stage.picture([there], samples=4)
    for i in (6, 7):
        assert tracker.update(image, i * DT) is None
    found = tracker.update(image, 8 * DT)
    assert found is not None
    assert distance(found.pose_cube_in_camera, there)[0] < 0.001


def test_an_image_out_of_order_or_of_another_size_is_refused(
    tracker: CubeTracker, film: list[np.ndarray]
) -> None:
    watch(tracker, film[:3])
    for late_s in (2 * DT, DT, np.nan):
        assert tracker.update(film[3], late_s) is None
        assert tracker.lost_reason is not None
        assert "came after" in tracker.lost_reason
    assert tracker.update(film[3], 3 * DT) is not None
    with pytest.raises(CubeError, match=r"320 x 240 pixels.*640 x 480"):
        tracker.update(np.zeros((240, 320, 3), dtype=np.uint8), 4 * DT)


class Ambiguous:
    """Lets a tracker see one face that allows two poses equally well, in either order."""

    def __init__(self, tracker: CubeTracker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.poses: list[Pose] = []
        self.tracker = tracker
        self.image = np.zeros((480, 640, 3), dtype=np.uint8)
        monkeypatch.setattr(tracker, "_detect", lambda *_: (np.zeros((1, 4, 2)), [0]))
        monkeypatch.setattr("dexhil.teleop.cube.track.candidates", lambda *_: self.poses)
        monkeypatch.setattr(tracker, "_believed", lambda _, starts, __: self.judged(starts))

    @staticmethod
    def judged(starts: list[Pose]) -> list[_Judged]:
        covariance = np.diag([1e-4, 1e-4, 5e-4, 5e-3, 5e-3, 5e-3]) ** 2
        return [
            _Judged(
                Fit(pose=pose, covariance=covariance, scale_px=0.1, share=1.0, tone_px=0.0), (0,), e
            )
            for pose, e in zip(starts, (0.10, 0.12), strict=False)
        ]

    def show(self, poses: list[Pose], stamp_s: float) -> Pose | None:
        self.poses = poses
        found = self.tracker.update(self.image, stamp_s)
        return None if found is None else found.pose_cube_in_camera


@pytest.fixture
def ambiguous(
    tracker: CubeTracker, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[Pose], float], Pose | None]:
    return Ambiguous(tracker, monkeypatch).show


def tilted(t: float, side: float) -> Pose:
    return make_pose(
        (0.1 * np.sin(3 * t), 0.0, 0.6), TURN @ exp_rotation((side * 0.2, 0.0, 0.3 * t))
    )


def test_two_poses_without_a_history_are_no_pose(
    ambiguous: Callable[[list[Pose], float], Pose | None], tracker: CubeTracker
) -> None:
    for i in range(5):
        assert ambiguous([tilted(i * DT, 1.0), tilted(i * DT, -1.0)], i * DT) is None
        assert tracker.lost_reason is not None
        assert "two poses" in tracker.lost_reason


def test_history_settles_two_poses_and_never_jumps(
    ambiguous: Callable[[list[Pose], float], Pose | None],
) -> None:
    rng = np.random.default_rng(0)
    for i in range(60):
        t = i * DT
        both = [tilted(t, 1.0), tilted(t, -1.0)]
        seen = both[:1] if i < 5 else [both[k] for k in rng.permutation(2)]
        pose = ambiguous(seen, t)
        assert pose is not None
        assert distance(pose, both[0])[1] < 1e-6


def test_a_flip_alone_is_taken_for_a_jump(
    ambiguous: Callable[[list[Pose], float], Pose | None], tracker: CubeTracker
) -> None:
    for i in range(10):
        assert ambiguous([tilted(i * DT, 1.0)], i * DT) is not None
    assert ambiguous([tilted(10 * DT, -1.0)], 10 * DT) is None
    assert tracker.lost_reason == JUMPED


def test_what_the_image_tells_apart_needs_no_history() -> None:
    def judged(seen: tuple[int, ...], error_px: float) -> _Judged:
        pose = tilted(0.0, 1.0)
        found = Fit(pose=pose, covariance=np.eye(6), scale_px=0.1, share=1.0, tone_px=0.0)
        return _Judged(found, seen, error_px)

    assert judged((0, 1), 0.1).beats(judged((0,), 0.11))  # Another face is where it should be.
    assert not judged((0, 1), 0.12).beats(judged((0,), 0.11))
    assert judged((0,), 0.1).beats(judged((0,), 0.14))
    assert not judged((0,), 0.1).beats(judged((0,), 0.11))
    assert not judged((0,), 0.05).beats(judged((0, 1), 0.11))


def test_a_face_seen_frontally_is_followed_without_a_flip(
    tracker: CubeTracker, stage: CubeStage
) -> None:
    facing = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # +x to the camera.
    told = 0
    for i in range(10):
        tilt = exp_rotation((0.15 * np.sin(1.5 * i * DT), 0.15 * np.cos(1.5 * i * DT), 0.0))
        truth = make_pose((0.0, 0.0, 0.75), tilt @ facing.T)
        found = tracker.update(stage.picture([truth], Look(exposure=0.5), samples=4), i * DT)
        if found is not None:
            told += 1
            assert distance(found.pose_cube_in_camera, truth)[1] < np.radians(6)
    assert told >= 5
