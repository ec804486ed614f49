"""The rendered cube is exactly where it is said to be, and its pictures are like a camera's."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from dexhil.drivers.sim.cube_stage import CubeStage, Look

MATRIX = np.array([[500.0, 0.0, 170.0], [0.0, 500.0, 110.0], [0.0, 0.0, 1.0]])
CLEAN = Look(exposure=0.6, defocus_px=0.7, full_well=1e9, read_noise=0.0, linear=True)
CLEAN_HELD = Look(
    exposure=0.6, defocus_px=0.7, full_well=1e9, read_noise=0.0, linear=True, fingers=True
)
EDGE, MARKER = 0.2, 0.15


def corners_of_cube() -> np.ndarray:
    """The face at +x and the face at +y, as seen from outside, clockwise from top left."""
    half, out = 0.5 * MARKER, 0.5 * EDGE
    around = half * np.array([(-1, 1), (1, 1), (1, -1), (-1, -1)])
    return np.array([[(out, y, z) for y, z in around], [(-y, out, z) for y, z in around]])


def make_stage(distortion: np.ndarray, seed: int = 0) -> CubeStage:
    return CubeStage(
        dictionary="DICT_4X4_50",
        marker_ids=(0, 1),
        corners_in_cube=corners_of_cube(),
        edge_m=EDGE,
        matrix=MATRIX,
        distortion=distortion,
        width=320,
        height=240,
        seed=seed,
    )


@pytest.fixture(scope="module")
def stage() -> Iterator[CubeStage]:
    stage = make_stage(np.zeros(5))
    stage.picture([], samples=1)  # Its thread begins here, and not in a test.
    yield stage
    stage.close()


def pose_at(x: float = 0.0, z: float = 0.8) -> np.ndarray:
    """Both faces turned to the camera, the cube's z upwards in the image."""
    turn, lean = np.radians(-45.0), np.radians(15.0)
    facing = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])  # +x to the camera.
    about_z = cv2.Rodrigues(np.array([0.0, 0.0, turn]))[0]
    about_x = cv2.Rodrigues(np.array([lean, 0.0, 0.0]))[0]
    pose = np.eye(4)
    pose[:3, :3] = about_x @ facing @ about_z
    pose[:3, 3] = (x, 0.0, z)
    return pose


def projected(points: np.ndarray, pose: np.ndarray, distortion: np.ndarray) -> np.ndarray:
    turn = cv2.Rodrigues(pose[:3, :3])[0]
    return cv2.projectPoints(points, turn, pose[:3, 3], MATRIX, distortion)[0][:, 0]


def distances(image: np.ndarray, line: np.ndarray) -> np.ndarray:
    """How far across the line (n, 2) the image goes from dark to bright [pixel]. Shape (n,)."""
    light = image.astype(np.float32).mean(axis=2)
    along = np.gradient(line, axis=0)
    across = np.stack([along[:, 1], -along[:, 0]], axis=1)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    steps = np.linspace(-3.0, 3.0, 61)
    at = (line[:, None] + steps[:, None] * across[:, None]).astype(np.float32)
    profiles = cv2.remap(light, at[..., 0], at[..., 1], cv2.INTER_LINEAR)
    middle = 0.5 * (profiles[:, :1] + profiles[:, -1:])
    return np.array(
        [np.interp(m, row, steps) for m, row in zip(middle[:, 0], profiles, strict=True)]
    )


@pytest.mark.parametrize("distortion", [np.zeros(5), np.array([-0.1, 0.08, 0.002, -0.001, 0.0])])
def test_markers_are_where_they_project_to(distortion: np.ndarray) -> None:
    stage = make_stage(distortion)
    image = stage.picture([pose_at()], CLEAN, samples=32)
    stage.close()
    shares = np.linspace(0.15, 0.85, 15)[:, None]
    for corners in corners_of_cube():
        sides = []
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            line = projected(a + shares * (b - a), pose_at(), distortion)
            sides.append(distances(image, line).mean())
        assert np.abs(sides).max() < 0.1
        assert abs(np.mean(sides)) < 0.03


def test_the_same_seed_gives_the_same_pictures() -> None:
    pictures = []
    for seed in (3, 3, 4):
        stage = make_stage(np.zeros(5), seed)
        pictures.append(stage.picture([pose_at()]))
        stage.close()
    assert pictures[0].shape == (240, 320, 3)
    assert pictures[0].dtype == np.uint8
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert np.any(pictures[0] != pictures[2])


def test_without_a_cube_only_the_clutter_is_there(stage: CubeStage) -> None:
    there, gone = stage.picture([pose_at()], CLEAN), stage.picture([], CLEAN)
    corners = projected(corners_of_cube().reshape(-1, 3), pose_at(), np.zeros(5))
    left, top = corners.min(axis=0).astype(int)
    assert np.abs(there.astype(int) - gone)[top : top + 60, left : left + 60].mean() > 20
    np.testing.assert_allclose(there[:5], gone[:5], atol=1)  # Of eight bits.


def test_light_noise_and_blur_are_as_asked(stage: CubeStage) -> None:
    pose = pose_at()
    plain = stage.picture([pose], CLEAN).astype(float)
    dark = stage.picture([pose], Look(exposure=0.3, full_well=1e9, read_noise=0.0, linear=True))
    assert dark.mean() == pytest.approx(0.5 * plain.mean(), rel=0.05)
    bright = stage.picture([pose], Look(exposure=0.6, full_well=1e9, read_noise=0.0))
    assert bright.mean() > plain.mean()  # The sRGB curve lifts what is dark.
    noisy = stage.picture([pose], Look(exposure=0.6, defocus_px=0.7, full_well=1000.0, linear=True))
    spread = (noisy - plain).std() / 255.0
    assert spread == pytest.approx(np.sqrt(plain.mean() / 255.0 / 1000.0), rel=0.3)
    smear = [pose_at(x) for x in np.linspace(-0.01, 0.01, 8)]  # 12 pixels.
    moving = stage.picture(smear, CLEAN, samples=8).astype(float)
    face = np.s_[90:130, 150:190]
    steepest = [np.abs(np.diff(image[face], axis=1)).max() for image in (moving, plain)]
    assert steepest[0] < 0.5 * steepest[1]


def test_fingers_hide_parts_of_the_cube(stage: CubeStage) -> None:
    hidden = 0
    for _ in range(4):
        stage.shuffle()
        bare = stage.picture([pose_at()], CLEAN, samples=1).astype(int)
        held = stage.picture([pose_at()], CLEAN_HELD, samples=1)
        hidden += int((np.abs(bare - held).max(axis=2) > 20).sum())
    assert hidden > 500
