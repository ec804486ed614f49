"""How well the marker cube is tracked, on rendered images whose truth is known.

    python benchmarks/cube.py [--n FRAMES] [--jobs J] [--edge-mm E --marker-mm M] [--linear]

A hand waves the cube before a camera like a D455's (1280 x 720, fx 640, distorted) for a second
at a time, 0.3 to 0.9 m away, at 30 images a second, each exposed for 2 to 10 ms; light, noise,
defocus and clutter change from one time to the next, and in one of four fingers hold the cube.
Then it is gone.

tracked     this project's tracker
smoothed    the same behind its filter, as the robot gets it
each alone  this project's tracker, which forgets after every image
joint       all corners together: OpenCV's detector, SQPNP (IPPE for one face), refined
largest     the usual way: the largest face, IPPE_SQUARE, the solution of least reprojection

found       share of the images with a cube in which there is a pose
mm deg      error of position and rotation: median, 99th percentile, largest
flips       poses that are wrong by more than 10 degrees
nees        mean of the error squared over its covariance; 6 is as it should be
ms          processor time of one core per image: median, 99th percentile
lost        images without a cube until that is told: by the image, by the filter; largest
phantoms    images without a cube in which there is a pose

Ends with 1 if the tracker is beyond its limits. Of those the time is said and not judged: it is
the machine's.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

os.environ.setdefault("MUJOCO_GL", "egl")  # Read when MuJoCo is imported.

import cv2
import numpy as np

from dexhil.drivers.arrays import Image, Vector
from dexhil.drivers.sim.cube_stage import CubeStage, Look
from dexhil.teleop.cube import CubeModel, Intrinsics
from dexhil.teleop.cube.corners import Camera
from dexhil.teleop.cube.track import CubeTracker
from dexhil.teleop.se3 import Pose, exp_rotation, inverse, log_rotation, make_pose

RATE_HZ = 30.0
FRAMES = 30  # Of one waving.
EMPTY = 4  # Images without the cube after it.
SUBFRAMES = 6
FLIP_DEG = 10.0
# Of `tracked`; of `smoothed` where its filter is meant.
LIMITS = {
    "% not found": 10.0,
    "mm median": 1.0,
    "mm 99th": 5.0,
    "deg median": 0.3,
    "deg 99th": 1.5,
    "flips": 0,
    "flips of the filter": 0,
    "images until lost by the filter": 2,
    "phantoms": 0,
}
MS_LIMIT = 10.0
INTRINSICS = Intrinsics(
    width=1280,
    height=720,
    matrix=Intrinsics.nominal().matrix,
    distortion=np.array([-0.055, 0.065, 0.0005, -0.0003, -0.02]),
)


@dataclass(slots=True)
class Score:
    """What one way did on all images."""

    frames: int = 0
    mm: list[float] = field(default_factory=list)
    degrees: list[float] = field(default_factory=list)
    nees: list[float] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    phantoms: int = 0

    @property
    def flips(self) -> int:
        return sum(error > FLIP_DEG for error in self.degrees)

    def add(self, truth: Pose, pose: Pose | None, covariance: Any = None) -> None:
        self.frames += 1
        if pose is None:
            return
        turn = log_rotation((inverse(truth) @ pose)[:3, :3])
        error = np.concatenate([pose[:3, 3] - truth[:3, 3], turn])
        self.mm.append(1e3 * float(np.linalg.norm(error[:3])))
        self.degrees.append(math.degrees(float(np.linalg.norm(turn))))
        if covariance is not None:
            self.nees.append(float(error @ np.linalg.solve(covariance, error)))

    def join(self, other: "Score") -> None:
        self.frames += other.frames
        self.phantoms += other.phantoms
        for name in ("mm", "degrees", "nees", "ms", "lost"):
            getattr(self, name).extend(getattr(other, name))

    def line(self) -> str:
        words = [f"{100.0 * len(self.mm) / self.frames:6.1f}%"]
        for errors, digits in ((self.mm, 2), (self.degrees, 3)):
            values = [*np.percentile(errors, [50, 99]), max(errors)] if errors else [math.nan] * 3
            words += [f"{value:7.{digits}f}" for value in values]
        words.append(f"{self.flips:5d}")
        words.append(f"{np.mean(self.nees):6.1f}" if self.nees else "     -")
        words += [f"{ms:6.1f}" for ms in np.percentile(self.ms, [50, 99])] if self.ms else ["", ""]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Waving:
    """A hand's smooth motion: sines in image position, distance and attitude."""

    middle: Vector
    swing: Vector
    rate: Vector
    phase: Vector
    attitude: Any

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Waving":
        middle = np.array([rng.uniform(250, 1030), rng.uniform(200, 520), rng.uniform(0.4, 0.8)])
        swing = np.array([*rng.uniform(20, 130, 2), rng.uniform(0.0, 0.1), *rng.uniform(0, 0.5, 3)])
        axis = rng.normal(size=4)
        axis /= np.linalg.norm(axis)
        half = math.acos(min(abs(axis[0]), 1.0))
        turn = 2.0 * half * np.sign(axis[0]) * axis[1:] / max(math.sin(half), 1e-9)
        return cls(
            middle, swing, rng.uniform(1.0, 4.0, 6), rng.uniform(0, 6.28, 6), exp_rotation(turn)
        )

    def at(self, time_s: float) -> Pose:
        moved = self.swing * np.sin(self.rate * time_s + self.phase)
        u, v, distance = self.middle + moved[:3]
        matrix = INTRINSICS.matrix
        ray = np.array([(u - matrix[0, 2]) / matrix[0, 0], (v - matrix[1, 2]) / matrix[1, 1], 1.0])
        return make_pose(distance * ray, self.attitude @ exp_rotation(moved[3:]))


def images(
    stage: CubeStage, rng: np.random.Generator, frames: int, *, linear: bool
) -> Iterator[tuple[float, Pose | None, Image]]:
    """Yield stamp, truth and image of one waving, and then images without a cube."""
    stage.shuffle()
    waving, exposure_s = Waving.random(rng), rng.uniform(0.002, 0.010)
    look = Look(
        exposure=rng.uniform(0.25, 1.0),
        defocus_px=rng.uniform(0.4, 1.1),
        full_well=rng.uniform(2500.0, 8000.0),
        linear=linear,
        fingers=bool(rng.random() < 0.25),
    )
    open_s = exposure_s * ((np.arange(SUBFRAMES) + 0.5) / SUBFRAMES - 0.5)
    for i in range(frames):
        stamp_s = i / RATE_HZ
        poses = [waving.at(stamp_s + offset_s) for offset_s in open_s]
        yield stamp_s, waving.at(stamp_s), stage.picture(poses, look)
    for i in range(frames, frames + EMPTY):
        yield i / RATE_HZ, None, stage.picture([], look)


def opencv_ways(model: CubeModel) -> dict[str, Callable[[Image], Pose | None]]:
    """Return what one does with OpenCV alone."""
    camera = Camera(INTRINSICS)
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, model.dictionary))
    detector = cv2.aruco.ArucoDetector(dictionary, parameters)
    board = cv2.aruco.Board(
        model.corners_in_cube.astype(np.float32), dictionary, np.array(model.marker_ids)
    )

    def detect(image: Image) -> tuple[list[Any], list[int]]:
        corners, ids, _ = detector.detectMarkers(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        numbers = [] if ids is None else [int(number) for number in ids.ravel()]
        kept = [i for i, number in enumerate(numbers) if number in model.marker_ids]
        return [corners[i] for i in kept], [numbers[i] for i in kept]

    def one_face(corners: Any, marker_id: int) -> Pose:
        face = model.corners_in_cube[model.marker_ids.index(marker_id)]
        half = 0.5 * model.marker_m
        square = half * np.array([(-1, 1, 0), (1, 1, 0), (1, -1, 0), (-1, -1, 0)], dtype=float)
        x, y = (face[1] - face[0]) / model.marker_m, (face[0] - face[3]) / model.marker_m
        in_cube = make_pose(face.mean(axis=0), np.stack([x, y, np.cross(x, y)], axis=1))
        _, turn, position = cv2.solvePnP(
            square, corners[0], camera.matrix, camera.distortion, flags=cv2.SOLVEPNP_IPPE_SQUARE
        )
        in_camera = make_pose(position.ravel(), exp_rotation(turn.ravel()))
        return in_camera @ inverse(in_cube)

    def largest(image: Image) -> Pose | None:
        corners, ids = detect(image)
        if not ids:
            return None
        i = int(np.argmax([cv2.contourArea(each) for each in corners]))
        return one_face(corners[i], ids[i])

    def joint(image: Image) -> Pose | None:
        corners, ids = detect(image)
        if not ids:
            return None
        if len(ids) == 1:
            return one_face(corners[0], ids[0])
        points, pixels = board.matchImagePoints(corners, np.array(ids))
        arguments = (points, pixels, camera.matrix, camera.distortion)
        _, turn, position = cv2.solvePnP(*arguments, flags=cv2.SOLVEPNP_SQPNP)
        turn, position = cv2.solvePnPRefineLM(*arguments, turn, position)
        return make_pose(position.ravel(), exp_rotation(turn.ravel()))

    return {"joint": joint, "largest": largest}


def run(model: CubeModel, n_frames: int, seed: int, linear: bool) -> dict[str, Score]:
    """Return the scores of all ways on ``n_frames`` images."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    scores = {name: Score() for name in ("tracked", "smoothed", "each alone", "joint", "largest")}
    others = opencv_ways(model)
    stage = CubeStage(
        dictionary=model.dictionary,
        marker_ids=model.marker_ids,
        corners_in_cube=model.corners_in_cube,
        edge_m=model.edge_m,
        matrix=INTRINSICS.matrix,
        distortion=INTRINSICS.distortion,
        width=INTRINSICS.width,
        height=INTRINSICS.height,
        seed=seed,
    )
    try:
        for first in range(0, n_frames, FRAMES):
            frames = images(stage, rng, min(FRAMES, n_frames - first), linear=linear)
            wave(CubeTracker(model, INTRINSICS), model, frames, others, scores)
    finally:
        stage.close()
    return scores


def wave(
    tracker: CubeTracker,
    model: CubeModel,
    frames: Iterator[tuple[float, Pose | None, Image]],
    others: dict[str, Callable[[Image], Pose | None]],
    scores: dict[str, Score],
) -> None:
    """Let all ways see one waving."""
    empty, told, lost = 0, 0, 0
    for stamp_s, truth, image in frames:
        start_s = time.process_time()
        found = tracker.update(image, stamp_s)
        spent_s = time.process_time() - start_s
        if truth is None:
            empty += 1
            scores["tracked"].phantoms += found is not None
            told = told or (empty if found is None else 0)
            lost = lost or (empty if tracker.filter.lost_reason is not None else 0)
            continue
        scores["tracked"].ms.append(1e3 * spent_s)
        for name, pose in (("tracked", found), ("each alone", alone(model, image, scores))):
            if pose is None:
                scores[name].add(truth, None)
            else:
                scores[name].add(truth, pose.pose_cube_in_camera, pose.covariance)
        scores["smoothed"].add(truth, tracker.filter.predict(stamp_s))
        for name, way in others.items():
            start_s = time.process_time()
            pose = way(image)
            scores[name].ms.append(1e3 * (time.process_time() - start_s))
            scores[name].add(truth, pose)
    scores["tracked"].lost.append(told or EMPTY + 1)
    scores["smoothed"].lost.append(lost or EMPTY + 1)


def alone(model: CubeModel, image: Image, scores: dict[str, Score]) -> Any:
    """Return what a tracker says that has seen nothing before."""
    tracker = CubeTracker(model, INTRINSICS)
    start_s = time.process_time()
    found = tracker.update(image, 0.0)
    scores["each alone"].ms.append(1e3 * (time.process_time() - start_s))
    return found


def beyond(scores: dict[str, Score]) -> list[str]:
    """Return which limits this project's tracker is beyond, in words."""
    tracked, smoothed = scores["tracked"], scores["smoothed"]
    mm, degrees = tracked.mm or [math.nan], tracked.degrees or [math.nan]
    measured = {
        "% not found": 100.0 * (1.0 - len(tracked.mm) / tracked.frames),
        "mm median": np.median(mm),
        "mm 99th": np.percentile(mm, 99),
        "deg median": np.median(degrees),
        "deg 99th": np.percentile(degrees, 99),
        "flips": tracked.flips,
        "flips of the filter": smoothed.flips,
        "images until lost by the filter": max(smoothed.lost),
        "phantoms": tracked.phantoms,
    }
    return [
        f"{name}: {measured[name]:.2f}, allowed {limit:g}"
        for name, limit in LIMITS.items()
        if not measured[name] <= limit
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, and return 1 if the tracker is beyond its limits, else 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=5000, help="images with a cube")
    parser.add_argument("--jobs", type=int, default=1, help="processes; times are per core")
    parser.add_argument("--edge-mm", type=float, default=60.0, help="of the cube")
    parser.add_argument("--marker-mm", type=float, default=45.0, help="of its markers")
    parser.add_argument("--linear", action="store_true", help="a camera without a tone curve")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    model = CubeModel.nominal(edge_m=1e-3 * chosen.edge_mm, marker_m=1e-3 * chosen.marker_mm)
    share = -(-chosen.n // chosen.jobs)
    seeds = [chosen.seed + 1000 * job for job in range(chosen.jobs)]
    if chosen.jobs == 1:
        parts = [run(model, share, chosen.seed, chosen.linear)]
    else:
        with ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool:
            jobs = [pool.submit(run, model, share, seed, chosen.linear) for seed in seeds]
            parts = [job.result() for job in jobs]
    scores = parts[0]
    for part in parts[1:]:
        for name, score in part.items():
            scores[name].join(score)
    print(
        f"{scores['tracked'].frames} images, cube {chosen.edge_mm:g} mm, markers "
        f"{chosen.marker_mm:g} mm. Limits: "
        + ", ".join(f"{name} {limit:g}" for name, limit in LIMITS.items())
        + f"; ms {MS_LIMIT:g}, not judged."
    )
    print(f"{'':11} {'found':>7} {'mm 50 99 max':>23} {'deg 50 99 max':>23} flips   nees  ms 50 99")
    for name, score in scores.items():
        print(f"{name:11} {score.line()}")
    print(f"lost        {max(scores['tracked'].lost)} {max(scores['smoothed'].lost)}")
    n_empty = EMPTY * len(scores["tracked"].lost)
    print(f"phantoms    {scores['tracked'].phantoms} in {n_empty} images without a cube")
    problems = beyond(scores)
    for problem in problems:
        print(f"BEYOND      {problem}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
