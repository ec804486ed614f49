"""A cube folded carelessly is found as it is, and what cannot tell is refused."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dexhil.drivers.emulators.cube_picture import CAMERA as EMULATED
from dexhil.drivers.emulators.cube_picture import CubePainter
from dexhil.teleop.cube import CubeModel, Intrinsics
from dexhil.teleop.cube.calibrate import (
    MAX_FRAMES,
    MarkerFinder,
    calibrate_faces,
    scaled,
)
from dexhil.teleop.errors import CubeError
from dexhil.teleop.se3 import Pose, exp_rotation, from_quaternion, make_pose

NOMINAL = CubeModel.nominal()
CAMERA = replace(Intrinsics.nominal(), distortion=np.array([-0.05, 0.04, 0.001, -0.0005, 0.0]))
Corners = dict[int, NDArray[np.float64]]


def _unit(rng: np.random.Generator) -> NDArray[np.float64]:
    direction: NDArray[np.float64] = rng.normal(size=3)
    return direction / np.linalg.norm(direction)


def _folded(rng: np.random.Generator, off_m: float = 5e-4, off_deg: float = 0.5) -> CubeModel:
    """Return a cube of which each face is off by that much, in the frame of the nominal one."""
    corners = []
    for face in NOMINAL.corners_in_cube:
        middle, turn = face.mean(axis=0), exp_rotation(np.deg2rad(off_deg) * _unit(rng))
        corners.append((face - middle) @ turn.T + middle + off_m * _unit(rng))
    return replace(NOMINAL, corners_in_cube=_onto_nominal(np.array(corners)))


def _onto_nominal(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return corners put on the nominal cube's by a rotation about the origin and a shift."""
    points, there = corners.reshape(-1, 3), NOMINAL.corners_in_cube.reshape(-1, 3)
    middle = points.mean(axis=0)
    turn, _ = cv2.Rodrigues(np.zeros(3))
    for _ in range(20):  # Small turns, one after the other: another way than the code's.
        moved = (points - middle) @ turn.T
        step = np.linalg.lstsq(
            np.concatenate([_cross(point) for point in moved]), (there - moved).ravel()
        )[0]
        turn = exp_rotation(step) @ turn
    return ((points - middle) @ turn.T + there.mean(axis=0)).reshape(corners.shape)


def _cross(point: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z = point
    return np.array([(0, z, -y), (-z, 0, x), (y, -x, 0)])


def _pose(rng: np.random.Generator) -> Pose:
    place = (rng.uniform(-0.1, 0.1), rng.uniform(-0.06, 0.06), rng.uniform(0.2, 0.45))
    return make_pose(place, from_quaternion(np.zeros(3), rng.normal(size=4))[:3, :3])


def _seen(cube: CubeModel, pose: Pose, rng: np.random.Generator, noise_px: float = 0.2) -> Corners:
    """Return the corners of the faces that look at the camera."""
    found = {}
    for number, face in zip(cube.marker_ids, cube.corners_in_cube, strict=True):
        points = face @ pose[:3, :3].T + pose[:3, 3]
        outwards = np.cross(points[3] - points[0], points[1] - points[0])
        middle = points.mean(axis=0)
        cosine = -(outwards @ middle) / np.linalg.norm(outwards) / np.linalg.norm(middle)
        if cosine > 0.3:
            zero = np.zeros(3)
            pixels, _ = cv2.projectPoints(points, zero, zero, CAMERA.matrix, CAMERA.distortion)
            found[number] = pixels[:, 0] + rng.normal(0.0, noise_px, (4, 2))
    return found


def _video(cube: CubeModel, n: int, seed: int = 1, **options: Any) -> list[Corners]:
    rng = np.random.default_rng(seed)
    return [_seen(cube, _pose(rng), rng, **options) for _ in range(n)]


def _off_m(found: CubeModel, true: CubeModel) -> float:
    return float(np.linalg.norm(found.corners_in_cube - true.corners_in_cube, axis=2).max())


def test_faces_that_are_off_are_found_where_they_are() -> None:
    true = _folded(np.random.default_rng(0))
    result = calibrate_faces(NOMINAL, CAMERA, _video(true, 120))
    assert _off_m(NOMINAL, true) > 6e-4
    assert _off_m(result.model, true) < 1e-4
    # Two coordinates of 0.2 pixels each, less what the fit takes.
    assert result.rms_px == pytest.approx(0.2 * np.sqrt(2), rel=0.25)
    assert result.n_blurred <= 2
    shifts = true.corners_in_cube.mean(axis=1) - NOMINAL.corners_in_cube.mean(axis=1)
    np.testing.assert_allclose(result.off_m, np.linalg.norm(shifts, axis=1), atol=5e-5)
    np.testing.assert_allclose(np.rad2deg(result.off_rad), 0.5, atol=0.3)


def test_it_says_truly_how_well_the_faces_are_known() -> None:
    errors, sigmas = [], []
    for seed in range(6):
        true = _folded(np.random.default_rng(seed))
        result = calibrate_faces(NOMINAL, CAMERA, _video(true, 60, seed=100 + seed))
        middles = result.model.corners_in_cube.mean(axis=1) - true.corners_in_cube.mean(axis=1)
        errors.append(np.linalg.norm(middles, axis=1))
        sigmas.append(result.sigma_m)
    # The worst of three directions has the standard deviation sigma: together at most sqrt(3).
    ratio = np.sqrt(np.mean(np.square(errors)) / np.mean(np.square(sigmas)))
    assert 0.6 < ratio < 1.8


def test_an_open_cube_is_calibrated_as_well() -> None:
    nominal = CubeModel.nominal(faces=5)
    true = replace(nominal, corners_in_cube=_folded(np.random.default_rng(0)).corners_in_cube[:5])
    found = calibrate_faces(nominal, CAMERA, _video(true, 120)).model
    middles = found.corners_in_cube.mean(axis=1), true.corners_in_cube.mean(axis=1)
    # In whichever frame: distances between faces.
    apart = [np.linalg.norm(each[:, None] - each[None], axis=2) for each in middles]
    np.testing.assert_allclose(*apart, atol=1e-4)


def test_the_hand_stays_where_it_was() -> None:
    palm = make_pose((0.0, 0.01, -0.08), exp_rotation((0.1, 0.2, 0.3)))
    result = calibrate_faces(replace(NOMINAL, pose_hand_in_cube=palm), CAMERA, _video(NOMINAL, 60))
    np.testing.assert_array_equal(result.model.pose_hand_in_cube, palm)


def test_a_cube_that_was_calibrated_before_is_still_judged_by_its_paper() -> None:
    true = _folded(np.random.default_rng(0))
    assert true.calibrated
    assert not true.as_printed().calibrated
    again = calibrate_faces(true, CAMERA, _video(true, 60))
    fresh = calibrate_faces(NOMINAL, CAMERA, _video(true, 60))
    assert fresh.off_m.min() > 2e-4
    np.testing.assert_allclose(again.off_m, fresh.off_m, atol=1e-5)
    np.testing.assert_allclose(again.off_rad, fresh.off_rad, atol=1e-3)


def test_a_cube_folded_far_off_is_refused_however_it_was_calibrated() -> None:
    true = _folded(np.random.default_rng(0), off_m=6e-3)
    with pytest.raises(CubeError, match="Fold the cube again"):
        calibrate_faces(true, CAMERA, _video(true, 60))


def test_blurred_frames_are_left_out() -> None:
    true = _folded(np.random.default_rng(0))
    images = _video(true, 120) + _video(true, 20, seed=2, noise_px=6.0)
    result = calibrate_faces(NOMINAL, CAMERA, images)
    assert 5 <= result.n_blurred <= 20
    assert _off_m(result.model, true) < 1.2e-4


def test_a_long_video_is_thinned_out_over_its_whole_length() -> None:
    images = _video(NOMINAL, 500)
    early, late = _without(images[:400], 5), images[400:]
    result = calibrate_faces(NOMINAL, CAMERA, early + late)
    assert 0.9 * MAX_FRAMES < result.n_frames <= MAX_FRAMES
    assert result.frames_per_face[5] > 5


def test_a_sheet_printed_too_small_is_scaled_by_its_ruler() -> None:
    small = scaled(NOMINAL, 0.0985)
    assert small.edge_m == pytest.approx(0.0591)
    np.testing.assert_allclose(small.corners_in_cube, 0.985 * NOMINAL.corners_in_cube)
    result = calibrate_faces(small, CAMERA, _video(small, 60))
    assert _off_m(result.model, small) < 2e-4
    for wrong in (0.09, 1.0, np.nan):
        with pytest.raises(CubeError, match=r"The ruler of 100 mm measures"):
            scaled(NOMINAL, wrong)


def _without(images: Sequence[Corners], number: int) -> list[Corners]:
    return [{n: c for n, c in image.items() if n != number} for image in images]


def _one_by_one(images: Sequence[Corners]) -> list[Corners]:
    return [dict([next(iter(image.items()))]) for image in images if image]


def _pasted_upside_down(images: Sequence[Corners]) -> list[Corners]:
    return [
        {n: np.roll(c, 2, axis=0) if n % 2 else c for n, c in image.items()} for image in images
    ]


def _two_islands(images: Sequence[Corners]) -> list[Corners]:
    """Return images that show +x with +y, or any of the others: never one with the other."""
    return [{n: c for n, c in image.items() if (n < 2) == (i % 2 == 0)}
            for i, image in enumerate(images)]  # fmt: skip


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "0 of 0 images show two faces"),
        ([{}] * 50, "0 of 50 images show two faces"),
        (_video(NOMINAL, 20), r"of 20 images show two faces .* at least 20 needed"),
        (_one_by_one(_video(NOMINAL, 200)), "0 of .* images show two faces"),
        (_without(_video(NOMINAL, 100), 3), r"Marker 3 \(face -y\) was seen .* in 0 images"),
        (_pasted_upside_down(_video(NOMINAL, 60)), "not where this cube has them"),
        (_video(NOMINAL, 60, noise_px=2.5), r"fit to 3\.\d\d pixels \(rms\), allowed 0\.6"),
        (_video(_folded(np.random.default_rng(3), 6e-3, 1.0), 60), "Fold the cube again"),
        (_video(_folded(np.random.default_rng(3), 1e-3, 8.0), 60), "Fold the cube again"),
        (_two_islands(_video(NOMINAL, 400)), "is known to inf mm and inf° only"),
    ],
)
def test_images_that_cannot_tell_are_refused(images: list[Corners], message: str) -> None:
    with pytest.raises(CubeError, match=message):
        calibrate_faces(NOMINAL, CAMERA, images)


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_intrinsics_of_another_camera_are_refused(factor: float) -> None:
    images = _video(NOMINAL, 80, noise_px=0.05)
    with pytest.raises(CubeError, match="intrinsics"):
        calibrate_faces(NOMINAL, _longer(factor), images)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_focal_length_that_is_a_little_off_leaves_the_faces_right(factor: float) -> None:
    """It is not seen here, so the guide has to say so: distances are off by as much."""
    true = _folded(np.random.default_rng(0))
    found = calibrate_faces(NOMINAL, _longer(factor), _video(true, 80, noise_px=0.05)).model
    assert _off_m(found, true) < 2e-4


def _longer(factor: float) -> Intrinsics:
    """Return the camera as if its focal length were another one."""
    return replace(CAMERA, matrix=CAMERA.matrix * [[factor, 1, 1], [1, factor, 1], [1, 1, 1]])


def test_markers_are_found_where_they_are_and_not_where_the_nominal_cube_has_them() -> None:
    rng = np.random.default_rng(0)
    model, camera = CubeModel.nominal(faces=5), Intrinsics.load(EMULATED)
    folded = _folded(rng, 1.5e-3, 2.0).corners_in_cube[:5]
    painter = replace(CubePainter.read(), corners=folded)
    pose = make_pose((0.0, 0.0, 0.3), exp_rotation((2.2, 0.0, 0.0)) @ exp_rotation((0, 0, 0.7)))
    image = painter.paint(pose, rng)
    found = MarkerFinder(model, camera).find(image)
    assert len(found) == 3
    for number, corners in found.items():
        seen = (folded[number] @ pose[:3, :3].T + pose[:3, 3]) @ painter.matrix.T
        np.testing.assert_allclose(corners, seen[:, :2] / seen[:, 2:], atol=0.15)
    assert MarkerFinder(CubeModel.nominal(first_id=20), camera).find(image) == {}
    assert MarkerFinder(model, camera).find(painter.paint(None, rng)) == {}


def test_a_camera_that_brightens_does_not_move_the_corners() -> None:
    """Blurred in light and then brightened: every black thing shrinks, which is told apart."""
    painter, rng = CubePainter.read(), np.random.default_rng(0)
    pose = make_pose((0.0, 0.0, 0.3), exp_rotation((2.2, 0.0, 0.0)) @ exp_rotation((0, 0, 0.7)))
    light = cv2.GaussianBlur((painter.paint(pose, rng) / 255.0) ** 2.2, (0, 0), 1.2)
    image = (255.0 * light ** (1.0 / 3.0)).astype(np.uint8)
    model, camera = CubeModel.nominal(faces=5), Intrinsics.load(EMULATED)
    found = MarkerFinder(model, camera).find(image)
    assert len(found) >= 2
    for number, corners in found.items():
        seen = model.corners_in_cube[number] @ pose[:3, :3].T + pose[:3, 3]
        pixels = seen @ painter.matrix.T
        np.testing.assert_allclose(corners, pixels[:, :2] / pixels[:, 2:], atol=0.25)
