"""What it is worth to calibrate a folded cube, on rendered images whose truth is known.

    python benchmarks/cube_calibration.py [--n IMAGES] [--turned IMAGES] [--swing IMAGES] [--seed S]

Each face of the cube is 0.5 mm and 0.5 degrees off. It is turned before a camera like a D455's
(1280 x 720, fx 640, distorted; blur, noise, a tone curve) 0.2 to 0.26 m away, and calibrated from
that. Then it is looked at 0.35 to 0.7 m away, each image by itself, by trackers that take it for

as printed   the cube on paper
calibrated   the cube as found
exactly      the cube as it is

corners     how far the worst corner is from where it is taken to be
pose        error of position and rotation: median, 95th percentile

Last, the hand that wears the calibrated cube bends about a perfect hinge, twice, and its palm is
found from that.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace

os.environ.setdefault("MUJOCO_GL", "egl")  # Read when MuJoCo is imported.

import cv2
import numpy as np

from dexhil.drivers.arrays import Image, Matrix
from dexhil.drivers.sim.cube_stage import CubeStage, Look
from dexhil.teleop.cube import CubeModel, Intrinsics
from dexhil.teleop.cube.calibrate import MarkerFinder, calibrate_faces
from dexhil.teleop.cube.track import CubeTracker
from dexhil.teleop.cube.wrist import calibrate_hand
from dexhil.teleop.se3 import Pose, distance, exp_rotation, inverse, make_pose

OFF_M, OFF_DEG = 5e-4, 0.5
SAMPLES = 6  # Of each picture, shifted by parts of a pixel.
INTRINSICS = replace(
    Intrinsics.nominal(), distortion=np.array([-0.055, 0.065, 0.0005, -0.0003, -0.02])
)
# The cube's z upwards in the picture, its x to the camera.
UPRIGHT = np.array([(0.0, 1, 0), (0, 0, -1), (-1, 0, 0)])
# The back of the hand looks at the camera, the fingers point to the right of the image.
FOREARM = make_pose((-0.05, 0.04, 0.4), np.array([(0.0, 0, 1), (0, -1, 0), (1, 0, 0)]))
CUBE_IN_PALM = make_pose(
    (-0.05, 0.005, 0.06), exp_rotation((0, -np.pi / 2, 0)) @ exp_rotation((0.2, 0.1, 0.7))
)


def folded(printed: CubeModel, rng: np.random.Generator) -> CubeModel:
    """Return the cube with every face off, in the frame in which the one on paper fits it best."""
    faces = []
    for corners in printed.corners_in_cube:
        middle, (turn, shift) = corners.mean(axis=0), rng.normal(size=(2, 3))
        turn *= np.deg2rad(OFF_DEG) / np.linalg.norm(turn)
        shift *= OFF_M / np.linalg.norm(shift)
        faces.append((corners - middle) @ exp_rotation(turn).T + middle + shift)
    points, there = np.array(faces).reshape(-1, 3), printed.corners_in_cube.reshape(-1, 3)
    middle = points.mean(axis=0)
    u, _, vt = np.linalg.svd((points - middle).T @ (there - there.mean(axis=0)))
    corners = (points - middle) @ (u @ vt) + there.mean(axis=0)
    return replace(printed, corners_in_cube=corners.reshape(-1, 4, 3))


def turned(n: int, rng: np.random.Generator) -> list[Pose]:
    """Return poses that show an edge or a corner each, all round the cube."""
    poses = []
    for number in range(n):
        around = exp_rotation((0, 0, np.pi / 4 + number * np.pi / 2 + rng.normal(0.0, 0.15)))
        tip = exp_rotation((0.3 + 0.5 * (number // 4 % 2), 0, rng.normal(0.0, 0.3)))
        place = (rng.uniform(-0.04, 0.04), rng.uniform(-0.03, 0.03), rng.uniform(0.2, 0.26))
        poses.append(make_pose(place, tip @ UPRIGHT @ around))
    return poses


def waved(n: int, rng: np.random.Generator) -> list[Pose]:
    """Return poses as a hand would hold the cube."""
    poses = []
    for _ in range(n):
        z = rng.uniform(0.35, 0.7)
        place = (rng.uniform(-0.35, 0.35) * z, rng.uniform(-0.25, 0.25) * z, z)
        attitude = exp_rotation((rng.uniform(0.2, 0.9), 0, rng.uniform(-0.5, 0.5))) @ UPRIGHT
        around = exp_rotation((0, 0, rng.uniform(-np.pi, np.pi)))
        poses.append(make_pose(place, attitude @ around))
    return poses


def swung(axis: tuple[float, float, float], reach: float, n: int) -> list[Pose]:
    """Return poses of a cube on a hand that bends and comes back."""
    angles = reach * (0.5 - 0.5 * np.cos(np.linspace(0.0, 2 * np.pi, n)))
    hands = [make_pose(rotation=exp_rotation(angle * np.array(axis))) for angle in angles]
    return [FOREARM @ hand @ CUBE_IN_PALM for hand in hands]


def pictures(stage: CubeStage, poses: Sequence[Pose], rng: np.random.Generator) -> list[Image]:
    """Return what the camera sees of the cube at each of the poses."""
    look = Look(exposure=rng.uniform(0.5, 0.9), defocus_px=0.6)
    stage.shuffle()
    return [stage.picture([pose], look, SAMPLES) for pose in poses]


def errors(model: CubeModel, images: Sequence[Image], poses: Sequence[Pose]) -> Matrix:
    """Return the errors of position [mm] and rotation [deg] wherever it is seen. Shape (n, 2)."""
    rows = []
    for image, truth in zip(images, poses, strict=True):
        found = CubeTracker(model, INTRINSICS).update(image, 0.0)
        if found is not None:
            metres, radians = distance(found.pose_cube_in_camera, truth)
            rows.append((1e3 * metres, np.rad2deg(radians)))
    return np.array(rows).reshape(-1, 2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=200, help="images of the cube as it is tracked")
    parser.add_argument("--turned", type=int, default=60, help="images to calibrate the faces")
    parser.add_argument("--swing", type=int, default=45, help="images of each swing of the wrist")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(chosen.seed)
    printed = CubeModel.nominal(faces=5)
    true = folded(printed, rng)
    stage = CubeStage(
        dictionary=true.dictionary,
        marker_ids=true.marker_ids,
        corners_in_cube=true.corners_in_cube,
        edge_m=true.edge_m,
        matrix=INTRINSICS.matrix,
        distortion=INTRINSICS.distortion,
        width=INTRINSICS.width,
        height=INTRINSICS.height,
        seed=chosen.seed,
    )
    try:
        finder = MarkerFinder(printed, INTRINSICS)
        seen = [finder.find(each) for each in pictures(stage, turned(chosen.turned, rng), rng)]
        found = calibrate_faces(printed, INTRINSICS, seen).model
        poses = waved(chosen.n, rng)
        images = pictures(stage, poses, rng)
        swings = [
            pictures(stage, swung(axis, reach, chosen.swing), rng)
            for axis, reach in (((0, 1, 0), 0.8), ((1, 0, 0), 0.45))
        ]
    finally:
        stage.close()
    print(f"{'':11} {'corners':>8}  {'found':>6}  {'pose: median':>18}  {'95th':>18}")
    for name, model in (("as printed", printed), ("calibrated", found), ("exactly", true)):
        worst = 1e3 * np.linalg.norm(model.corners_in_cube - true.corners_in_cube, axis=2).max()
        off = errors(model, images, poses)
        (mm, degrees), (mm95, degrees95) = np.percentile(off, [50, 95], axis=0)
        print(
            f"{name:11} {worst:5.2f} mm  {len(off) / len(images):6.1%}  {mm:6.2f} mm {degrees:6.2f}"
            f" deg  {mm95:6.2f} mm {degrees95:6.2f} deg"
        )
    print_palm(found, swings)


def print_palm(model: CubeModel, swings: Sequence[Sequence[Image]]) -> None:
    """Print how well the palm is found from images of both swings."""
    followed = []
    for images in swings:
        tracker = CubeTracker(model, INTRINSICS)
        seen = [tracker.update(image, k / 30.0) for k, image in enumerate(images)]
        followed.append(np.array([each.pose_cube_in_camera for each in seen if each is not None]))
    palm = calibrate_hand(followed[0], followed[1]).pose_hand_in_cube
    metres, radians = distance(palm, inverse(CUBE_IN_PALM))
    n_seen = " and ".join(str(len(each)) for each in followed)
    print(f"palm        {1e3 * metres:.2f} mm {np.rad2deg(radians):.2f} deg, from {n_seen} images")


if __name__ == "__main__":
    main()
