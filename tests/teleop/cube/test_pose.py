"""A pose fitted to the edges of rendered images is the true one, and knows how well it knows."""

import cv2
import numpy as np
import pytest

from dexhil.drivers.sim.cube_stage import CubeStage, Look
from dexhil.teleop.cube import CubeModel, Intrinsics
from dexhil.teleop.cube.corners import Camera
from dexhil.teleop.cube.pose import Fit, PoseFitter
from dexhil.teleop.se3 import Pose, distance, exp_rotation, inverse, log_rotation, make_pose

THREE_FACES = make_pose((0.02, -0.01, 0.5), exp_rotation((2.2, 0.7, 0.4)))


@pytest.fixture(scope="module")
def fitter(cube_model: CubeModel, camera: Intrinsics) -> PoseFitter:
    return PoseFitter(cube_model, Camera(camera))


def gray(stage: CubeStage, poses: list[Pose], look: Look | None = None, n: int = 6) -> np.ndarray:
    return cv2.cvtColor(stage.picture(poses, look, n), cv2.COLOR_RGB2GRAY)


def random_pose(rng: np.random.Generator, z: float) -> Pose:
    axis = rng.normal(size=3)
    turn = rng.uniform(0, np.pi) * axis / np.linalg.norm(axis)
    return make_pose((*(z * rng.uniform((-0.3, -0.2), (0.3, 0.2))), z), exp_rotation(turn))


def nudged(pose: Pose, rng: np.random.Generator) -> Pose:
    """Some pixels and degrees off, as corners are."""
    z = pose[2, 3]
    off = rng.normal(size=3) * (0.001, 0.001, 0.004) * z
    return make_pose(pose[:3, 3] + off, pose[:3, :3] @ exp_rotation(0.01 * rng.normal(size=3)))


def error(found: Fit, pose: Pose) -> np.ndarray:
    turn = log_rotation((inverse(pose) @ found.pose)[:3, :3])
    return np.concatenate([found.pose[:3, 3] - pose[:3, 3], turn])


def test_poses_are_right_and_their_covariances_true(stage: CubeStage, fitter: PoseFitter) -> None:
    rng, errors, surprise = np.random.default_rng(4), [], []
    for i in range(16):
        stage.shuffle()
        pose = random_pose(rng, rng.uniform(0.3, 0.9))
        look = Look(exposure=rng.uniform(0.3, 1.0), defocus_px=rng.uniform(0.4, 1.0))
        found = fitter.fit(gray(stage, [pose], look), nudged(pose, rng))
        assert found is not None, i
        off = error(found, pose)
        errors.append((np.linalg.norm(off[:3]), np.linalg.norm(off[3:])))
        surprise.append(off @ np.linalg.solve(found.covariance, off))
    median, worst = np.median(errors, axis=0), np.max(errors, axis=0)
    assert median[0] < 0.0005
    assert median[1] < np.radians(0.2)
    assert worst[0] < 0.005
    assert worst[1] < np.radians(1.5)
    assert 1.0 < np.median(surprise) < 12.0  # 5.3 for six degrees of freedom.


@pytest.mark.parametrize("linear", [False, True])
def test_a_tone_curve_does_not_change_the_distance(
    stage: CubeStage, fitter: PoseFitter, linear: bool
) -> None:
    image = gray(stage, [THREE_FACES], Look(defocus_px=1.0, linear=linear))
    found = fitter.fit(image, THREE_FACES)
    assert found is not None
    assert abs(error(found, THREE_FACES)[2]) < 0.0008
    if linear:
        assert found.tone_px > 0.03
    else:
        assert found.tone_px < 0.03


def test_a_moving_cube_is_where_it_was_in_the_middle_of_the_exposure(
    stage: CubeStage, fitter: PoseFitter
) -> None:
    smear = [make_pose((s, 0.0, 0.0)) @ THREE_FACES for s in np.linspace(-0.002, 0.002, 9)]
    found = fitter.fit(gray(stage, smear), THREE_FACES)
    assert found is not None
    length, angle = distance(found.pose, THREE_FACES)
    assert length < 0.001
    assert angle < np.radians(0.5)


def test_fingers_over_the_cube_do_not_bend_its_pose(stage: CubeStage, fitter: PoseFitter) -> None:
    shares = []
    for _ in range(6):
        stage.shuffle()
        found = fitter.fit(gray(stage, [THREE_FACES], Look(fingers=True)), THREE_FACES)
        assert found is not None
        length, angle = distance(found.pose, THREE_FACES)
        assert length < 0.002
        assert angle < np.radians(0.8)
        shares.append(found.share)
    assert min(shares) < 0.9


def test_the_true_pose_agrees_with_the_image_and_a_turned_cube_does_not(
    stage: CubeStage, fitter: PoseFitter
) -> None:
    image = gray(stage, [THREE_FACES])
    right = fitter.agreement(image, THREE_FACES)
    seen = ~np.isnan(right)
    assert seen.sum() >= 2
    assert (right[seen] > 0.9).all()
    turned = THREE_FACES.copy()
    turned[:3, :3] = THREE_FACES[:3, :3] @ exp_rotation((0.0, 0.0, np.pi / 2))
    wrong = fitter.agreement(image, turned)
    assert np.nanmax(wrong) < 0.7


def test_a_wrong_pose_has_the_greater_error(stage: CubeStage, fitter: PoseFitter) -> None:
    image = gray(stage, [THREE_FACES])
    found = fitter.fit(image, THREE_FACES)
    assert found is not None
    faces = [int(face) for face in np.flatnonzero(fitter.agreement(image, found.pose) > 0.9)]
    right = fitter.error_px(image, found, faces)
    tilted = make_pose(THREE_FACES[:3, 3], THREE_FACES[:3, :3] @ exp_rotation((0.06, 0.0, 0.0)))
    off = Fit(
        pose=tilted, covariance=found.covariance, scale_px=1.0, share=1.0, tone_px=found.tone_px
    )
    assert right < 0.4
    assert fitter.error_px(image, off, faces) > 1.5 * right


def test_there_is_nothing_to_fit_where_too_little_of_the_cube_is_seen(
    stage: CubeStage, fitter: PoseFitter
) -> None:
    even = np.full((480, 640), 128, dtype=np.uint8)
    assert fitter.fit(even, THREE_FACES) is None
    image, corner = gray(stage, [THREE_FACES]), even.copy()
    corner[215:245, 345:365] = image[215:245, 345:365]
    assert fitter.fit(image, THREE_FACES) is not None
    assert fitter.fit(corner, THREE_FACES) is None


def test_a_start_that_is_hopeless_is_given_up(stage: CubeStage, fitter: PoseFitter) -> None:
    image = gray(stage, [THREE_FACES])
    off = make_pose(THREE_FACES[:3, 3] + [0.002, 0.0, 0.0], THREE_FACES[:3, :3])
    assert fitter.fit(image, off) is not None
    assert fitter.fit(image, off, worst_px=0.01) is None
