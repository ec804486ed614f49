"""What each filter of joint targets costs in lag and buys in smoothness.

    python benchmarks/filters.py [--keypoints FILE.npy] [--hands leap ...] [--frames N]

Clips: a synthetic glove (clean, but joints end at 90 degrees and frames repeat), a synthetic
camera (shakes), and the recorded keypoints of a right hand if given, shape (frames, 21, 3) in
metres. All count as 90 Hz. The moving averages are what other retargeters offer (0.2 is
dex-retargeting's), for comparison. The retargeter's raw answers are the same for all filters.

    lag      shift of the filtered targets that brings them nearest to the raw ones
    error    fingertips, then thumb-to-fingertip vectors, against the scaled human hand
    jerk     RMS third difference of the tips, over that of the scaled human tips
    step99   99th percentile of the largest joint step of each frame
    tremble  RMS of the robot's tips about their mean while a still hand shakes by 1 mm
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.models.kinematics import Kinematics, load_kinematics
from dexhil.retarget import HumanHand, HumanProportions, make_retargeter
from dexhil.retarget.filters import FILTERS, FilterConfig, JointFilter
from dexhil.retarget.human import POSTURES
from dexhil.retarget.score import score
from dexhil.retarget.synthetic import make_clip

RATE_HZ = 90.0
LONGEST_LAG = 12
WARM_UP = 10


def moving_average(share: float) -> FilterConfig:
    """Return the exponential moving average that takes ``share`` of each new frame."""
    return FilterConfig(min_cutoff_hz=share / (1.0 - share) * RATE_HZ / (2.0 * np.pi))


CONFIGS = {
    **FILTERS,
    "average .5": moving_average(0.5),
    "average .3": moving_average(0.3),
    "average .2": moving_average(0.2),
}


def filtered(raw: Matrix, config: FilterConfig) -> Matrix:
    """Return the targets of a clip behind a filter. Shape (frames, n)."""
    smoother = JointFilter(config)
    return np.array([smoother.step(q, 1.0 / RATE_HZ) for q in raw])


def lag_of(raw: Matrix, smoothed: Matrix) -> int:
    """Return by how many frames the smoothed targets come late."""
    frames = len(raw)
    late = [
        np.abs(smoothed[LONGEST_LAG:] - raw[LONGEST_LAG - shift : frames - shift]).mean()
        for shift in range(LONGEST_LAG + 1)
    ]
    return int(np.argmin(late))


def retargeted(kinematics: Kinematics, clip: Matrix, human: HumanProportions) -> Matrix:
    """Return the unfiltered targets of a clip. Shape (frames, n)."""
    retargeter = make_retargeter(kinematics, human=human)
    for _ in range(WARM_UP):
        retargeter.retarget(clip[0])
    return np.array([retargeter.retarget(frame) for frame in clip])


def trembles(kinematics: Kinematics) -> dict[str, float]:
    """Return how much the robot's tips tremble above a still, shaking hand, by filter [m]."""
    person, rng = HumanHand(), np.random.default_rng(0)
    still = person.keypoints(POSTURES["relaxed"])
    clip = still + rng.normal(scale=1e-3, size=(400, 21, 3))
    retargeter = make_retargeter(kinematics, human=person.proportions)
    raw = np.array([retargeter.retarget(frame) for frame in clip])
    out = {}
    for name, config in CONFIGS.items():
        smoothed = filtered(raw, config)[100:]
        tips = np.array([retargeter.model.tips(q) for q in smoothed])
        out[name] = float(np.sqrt(((tips - tips.mean(axis=0)) ** 2).sum(axis=2).mean()))
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keypoints", type=Path, help="recorded clip to add")
    parser.add_argument("--hands", nargs="+", default=["leap", "allegro", "inspire"])
    parser.add_argument("--frames", type=int, default=1800, help="of the synthetic clips")
    options = parser.parse_args(arguments)
    clips = {
        profile: make_clip(7, options.frames, profile=profile) for profile in ("glove", "camera")
    }
    if options.keypoints:
        clips["recorded"] = np.asarray(np.load(options.keypoints), dtype=np.float64)
    print(
        f"{'clip':9}{'hand':9}{'filter':12}{'lag':>4}{'ms':>6}{'tip mm':>8}{'pair mm':>9}"
        f"{'jerk':>7}{'step99':>8}{'max':>7}{'tremble mm':>12}"
    )
    for hand in options.hands:
        kinematics = load_kinematics(hand)
        shaking = trembles(kinematics)
        for title, clip in clips.items():
            human = HumanProportions.measure(clip)
            raw = retargeted(kinematics, clip, human)
            for name, config in CONFIGS.items():
                smoothed = filtered(raw, config)
                figures = score(smoothed, clip, kinematics, human=human, warm_up=WARM_UP)
                lag = lag_of(raw, smoothed)
                print(
                    f"{title:9}{hand:9}{name:12}{lag:4d}{1e3 * lag / RATE_HZ:6.0f}"
                    f"{1e3 * figures.wrist:8.1f}{1e3 * figures.pair:9.1f}{figures.jerk:7.3f}"
                    f"{figures.step99:8.3f}{figures.step_max:7.3f}{1e3 * shaking[name]:12.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
