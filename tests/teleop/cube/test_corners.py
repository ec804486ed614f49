"""Corners of markers allow the true pose, and no pose at which a seen face looks away."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dexhil.teleop.cube import CubeModel, Intrinsics
from dexhil.teleop.cube.corners import Camera, candidates
from dexhil.teleop.se3 import Pose, distance, exp_rotation, make_pose

MODEL = CubeModel.nominal()
CAMERA = Camera(
    Intrinsics(
        width=1280,
        height=720,
        matrix=Intrinsics.nominal().matrix,
        distortion=np.array([-0.055, 0.065, 0.0005, -0.0003, -0.02]),
    )
)

turns = st.tuples(*[st.floats(-1.0, 1.0)] * 3).map(lambda v: math.pi * np.array(v))
places = st.tuples(st.floats(-0.6, 0.6), st.floats(-0.3, 0.3), st.floats(0.3, 0.9)).map(
    lambda v: np.array([v[0] * v[2], v[1] * v[2], v[2]])
)
poses = st.builds(lambda place, turn: make_pose(place, exp_rotation(turn)), places, turns)


def near(a: Pose, b: Pose, length_m: float, angle: float) -> bool:
    length, turn = distance(a, b)
    return length < length_m and turn < angle


def visible(pose: Pose, flattest: float = 0.35) -> list[int]:
    """Faces that a detector would find: turned to the camera by ``flattest`` and more."""
    corners = MODEL.corners_in_cube @ pose[:3, :3].T + pose[:3, 3]
    normals = np.cross(corners[:, 3] - corners[:, 0], corners[:, 1] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    middles = corners.mean(axis=1)
    cosines = -np.sum(normals * middles, axis=1) / np.linalg.norm(middles, axis=1)
    return [int(face) for face in np.flatnonzero(cosines > flattest)]


def seen(pose: Pose, faces: list[int], noise_px: float = 0.0, seed: int = 0) -> np.ndarray:
    points = MODEL.corners_in_cube[faces].reshape(-1, 3)
    pixels, _ = CAMERA.project(points @ pose[:3, :3].T, pose[:3, 3])
    noise = np.random.default_rng(seed).normal(0.0, noise_px, pixels.shape)
    return (pixels + noise).reshape(-1, 4, 2)


@settings(max_examples=30, deadline=None)
@given(poses)
def test_corners_without_noise_give_back_the_pose(pose: Pose) -> None:
    faces = visible(pose)
    assume(faces)
    best = candidates(MODEL, CAMERA, seen(pose, faces), faces)[0]
    assert near(best, pose, 1e-5, 1e-4)


@settings(max_examples=30, deadline=None)
@given(poses, st.integers(0, 1000))
def test_one_face_allows_the_true_pose_and_at_most_one_other(pose: Pose, seed: int) -> None:
    faces = visible(pose, 0.5)[:1]
    assume(faces)
    found = candidates(MODEL, CAMERA, seen(pose, faces, 0.1, seed), faces)
    assert 1 <= len(found) <= 2
    # Seen frontally, a face tells little of its tilt.
    assert any(near(each, pose, 0.03, math.radians(15)) for each in found)


@settings(max_examples=30, deadline=None)
@given(poses, st.integers(0, 1000))
def test_several_faces_tell_the_pose(pose: Pose, seed: int) -> None:
    faces = visible(pose)
    assume(len(faces) > 1)
    best = candidates(MODEL, CAMERA, seen(pose, faces, 0.1, seed), faces)[0]
    assert near(best, pose, 0.02, math.radians(3))


@settings(max_examples=30, deadline=None)
@given(poses, st.integers(0, 1000))
def test_no_candidate_shows_a_seen_face_from_behind(pose: Pose, seed: int) -> None:
    faces = visible(pose)
    assume(faces)
    for each in candidates(MODEL, CAMERA, seen(pose, faces, 0.3, seed), faces):
        assert set(faces) <= set(visible(each, 0.0))


def test_a_face_that_is_mirrored_allows_nothing() -> None:
    pose = make_pose((0.0, 0.0, 0.5), exp_rotation((2.0, 0.6, 0.3)))
    faces = visible(pose)
    mirrored = seen(pose, faces) * [-1.0, 1.0] + [1279.0, 0.0]
    assert all(
        np.mean(np.abs(seen(each, faces) - mirrored)) > 2.0
        for each in candidates(MODEL, CAMERA, mirrored, faces)
    )


def test_derivatives_are_those_of_the_projection() -> None:
    turned, position = (
        np.array([[0.02, -0.03, 0.01], [-0.03, 0.0, 0.02]]),
        np.array([0.2, 0.1, 0.5]),
    )
    pixels, derivatives = CAMERA.project(turned, position)
    for i in range(3):
        step = 1e-6 * np.eye(3)[i]
        shifted, _ = CAMERA.project(turned, position + step)
        np.testing.assert_allclose((shifted - pixels) / 1e-6, derivatives[:, :, 3 + i], rtol=1e-3)
        spun, _ = CAMERA.project(turned @ exp_rotation(step).T, position)
        np.testing.assert_allclose((spun - pixels) / 1e-6, derivatives[:, :, i], atol=0.05)


def test_straightened_pixels_are_those_of_a_pinhole() -> None:
    point = np.array([[0.25, -0.1, 0.5]])
    pixels, _ = CAMERA.project(np.zeros((1, 3)), point[0])
    ideal = CAMERA.matrix @ point[0] / point[0, 2]
    assert np.abs(pixels[0] - ideal[:2]).max() > 1.0
    assert CAMERA.straighten(pixels)[0] == pytest.approx(ideal[:2], abs=0.01)
