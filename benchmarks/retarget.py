"""Retargeting: time per frame, pinch gap and fist, on a synthetic or a recorded clip.

    python benchmarks/retarget.py [--keypoints FILE.npy]

A file holds keypoints of a right hand, shape (frames, 21, 3), in metres. Pinches are
finger-frames whose human gap is below 15 mm; fists are frames in which every finger bends
more than 180 degrees, and closure is that of the least closed finger, of what its limits or
270 degrees allow. The wrist error is |tip - wrist - scale x human tip|.
"""

import argparse
import importlib.util
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import load_kinematics
from dexhil.retarget import HumanHand, HumanProportions, Retargeter, to_palm
from dexhil.retarget.human import POSTURES
from dexhil.retarget.keypoints import TIPS

HANDS = ("leap", "allegro", "inspire")
WARM_UP = 10


def synthetic_clip(frames_per_move: int = 120, noise_m: float = 3e-4) -> Matrix:
    """Return a person opening, closing and pinching, with sensor noise. Shape (frames, 21, 3)."""
    person = HumanHand(0.97, rng=np.random.default_rng(1), jitter=0.05)
    home = POSTURES["relaxed"]
    stations = [POSTURES["open"], POSTURES["fist"], home]
    for finger in ("index", "middle", "ring", "little"):
        stations += [person.pinch(finger), home]
    stations += [person.pinch("index", "middle"), POSTURES["grasp"], POSTURES["open"]]
    share = 0.5 - 0.5 * np.cos(np.pi * np.minimum(np.linspace(0.0, 1.5, frames_per_move), 1.0))
    angles = [start + s * (end - start) for start, end in pairwise(stations) for s in share]
    clip = np.array([person.keypoints(row) for row in angles])
    return clip + np.random.default_rng(0).normal(scale=noise_m, size=clip.shape)


def human_closed(points: Matrix, fingers: np.ndarray) -> np.ndarray:
    """Return in which frames every finger bends more than 180 degrees. Shape (frames,)."""
    bones = np.diff(points[:, 1:].reshape(-1, 5, 4, 3)[:, fingers], axis=2)
    bends = np.arctan2(bones[..., 0], bones[..., 2])
    turns = np.unwrap(np.concatenate((np.zeros_like(bends[..., :1]), bends), axis=-1), axis=-1)
    closed: np.ndarray = (turns[..., -1] > np.pi).all(axis=1)
    return closed


def timed(retargeter: Retargeter, clip: Matrix) -> tuple[Matrix, Vector]:
    """Return targets of every frame and the time each took [ms]."""
    targets, spent = [], []
    for frame in clip:
        start = time.perf_counter()
        targets.append(retargeter.retarget(frame))
        spent.append(1e3 * (time.perf_counter() - start))
    return np.array(targets), np.array(spent[WARM_UP:])


def row_of(hand: str, clip: Matrix) -> tuple[str, float]:
    """Return one line of the table and the mean time per frame [ms]."""
    retargeter = Retargeter(load_kinematics(hand), human=HumanProportions.measure(clip))
    model, fingers = retargeter.model, retargeter.fingers
    targets, spent = timed(retargeter, clip)
    points = np.array([to_palm(frame) for frame in clip])
    tips = np.array([model.tips(q) for q in targets])
    human = points[:, TIPS[fingers]]
    wrist = np.linalg.norm(tips - retargeter.wrist - retargeter.scales[:, None] * human, axis=2)
    pinching = np.linalg.norm(human[:, 1:] - human[:, :1], axis=2) < 0.015
    gaps = np.linalg.norm(tips[:, 1:] - tips[:, :1], axis=2)
    most = np.minimum(model.flexion_gains @ model.limits[:, 1], np.deg2rad(270.0))[1:]
    closure = ((targets @ model.flexion_gains.T)[:, 1:] / most).min(axis=1)
    fists = human_closed(points, fingers[1:])
    steps = np.abs(np.diff(targets[WARM_UP:], axis=0)).max(axis=1)
    p50, p99 = np.percentile(spent, (50, 99))
    gap = f"{1e3 * gaps[pinching].mean():.1f}" if pinching.any() else "-"
    fist = f"{closure[fists].mean():.2f}" if fists.any() else "-"
    return (
        f"{hand:8} {spent.mean():7.3f} {p50:7.3f} {p99:7.3f} {spent.max():7.3f}"
        f" {1e3 * wrist[WARM_UP:].mean():9.1f} {gap:>9} {pinching.sum():5d}"
        f" {fist:>6} {fists.sum():5d}"
        f" {np.percentile(steps, 99):7.3f} {steps.max():7.3f}",
        float(spent.mean()),
    )


def peer_ms(hand: str, clip: Matrix) -> float | None:
    """Return the mean time per frame of dex-retargeting's vector optimiser [ms].

    ``None`` where the package has no configuration of the hand.
    """
    from dex_retargeting.constants import (  # noqa: PLC0415 - an optional peer
        HandType,
        RetargetingType,
        RobotName,
        get_default_config_path,
    )
    from dex_retargeting.retargeting_config import RetargetingConfig  # noqa: PLC0415

    path = get_default_config_path(RobotName[hand], RetargetingType.vector, HandType.right)
    if path is None:
        return None
    peer = RetargetingConfig.load_from_file(path).build()
    origin, task = peer.optimizer.target_link_human_indices
    spent = []
    for frame in clip:
        points = to_palm(frame)
        start = time.perf_counter()
        peer.retarget(points[task] - points[origin])
        spent.append(1e3 * (time.perf_counter() - start))
    return float(np.mean(spent[WARM_UP:]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keypoints", type=Path, help="recorded clip instead of the synthetic one")
    parser.add_argument("--urdf", type=Path, help="robot models for the peer, if it is installed")
    arguments = parser.parse_args()
    clip = np.load(arguments.keypoints) if arguments.keypoints else synthetic_clip()
    clip = np.asarray(clip, dtype=np.float64)
    print(f"{len(clip)} frames of {arguments.keypoints or 'a synthetic person'}; times in ms/frame")
    print(
        f"{'hand':8} {'mean':>7} {'p50':>7} {'p99':>7} {'max':>7} {'wrist mm':>9} {'pinch mm':>9}"
        f" {'n':>5} {'fist':>6} {'n':>5} {'step99':>7} {'max':>7}"
    )
    means = {}
    for hand in HANDS:
        row, means[hand] = row_of(hand, clip)
        print(row, flush=True)
    if importlib.util.find_spec("dex_retargeting") is None:
        print("peer not installed: pip install dex-retargeting")
        return
    if arguments.urdf is None:
        print("peer not run: pass --urdf, a copy of dex-urdf's robots/hands")
        return
    from dex_retargeting.retargeting_config import RetargetingConfig  # noqa: PLC0415

    RetargetingConfig.set_default_urdf_dir(str(arguments.urdf))
    for hand in HANDS:
        spent = peer_ms(hand, clip)
        if spent is not None:
            ratio = spent / means[hand]
            print(f"peer dex-retargeting vector on {hand}: {spent:.3f} ms, {ratio:.0f}x ours")


if __name__ == "__main__":
    main()
