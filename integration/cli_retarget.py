"""``dexhil retarget ...``: human hands to robot hands, without a robot."""

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from dexhil.drivers.models.kinematics import Side
from dexhil.retarget.build import Method
from dexhil.retarget.filters import FilterName


def run(
    hand: str,
    keypoints: Path,
    out: Path,
    method: Method | None = None,
    user: str | None = None,
    filter: FilterName = "off",  # noqa: A002 - as users say it
    side: Side = "right",
    rate_hz: float = 90.0,
    weights: Path | None = None,
) -> None:
    """Turn recorded keypoints into joint targets. Frames without an answer hold the last pose.

    Args:
        hand: Robot hand: leap, allegro, inspire, shadow, ability, dexhand021.
        keypoints: NumPy file of 21 keypoints per frame, (N, 21, 3) [m].
        out: File to write, .npz: joint_positions [rad], joint_names, urdf_joint_names,
            latency_s, valid.
        method: Learned map, solver, or both, the solver starting from the map; both if left out.
        user: A calibrated person, by name or file; else the clip's median lengths.
        filter: From no lag to most smoothness.
        side: Which hand.
        rate_hz: Frames per second, which filters need [1/s].
        weights: Learned map of your own, see `dexhil retarget train`; else the shipped one.
    """
    from dexhil.integration.retargeting.run import retarget

    retarget(
        hand=hand,
        keypoints=keypoints,
        out=out,
        method=method,
        user=user,
        filter_name=filter,
        side=side,
        rate_hz=rate_hz,
        weights=weights,
        console=Console(),
    )


def view(
    hand: str,
    keypoints: Path,
    out: Path | None = None,
    method: Method | None = None,
    user: str | None = None,
    filter: FilterName = "off",  # noqa: A002
    side: Side = "right",
    rate_hz: float = 90.0,
    weights: Path | None = None,
    frames: int = 12,
) -> None:
    """See person and robot side by side: in the Rerun viewer, or on a sheet of the hardest frames.

    Args:
        hand: Robot hand: leap, allegro, inspire, shadow, ability, dexhand021.
        keypoints: NumPy file of 21 keypoints per frame, (N, 21, 3) [m].
        out: Sheet (.html or .png) or recording (.rrd) to write; the viewer opens without it.
        method: Learned map, solver, or both, the solver starting from the map; both if left out.
        user: A calibrated person, by name or file; else the clip's median lengths.
        filter: From no lag to most smoothness.
        side: Which hand.
        rate_hz: Frames per second, which filters need [1/s].
        weights: Learned map of your own, see `dexhil retarget train`; else the shipped one.
        frames: How many on a sheet.
    """
    from dexhil.integration.retargeting import view as viewer

    viewer.view(
        hand=hand,
        keypoints=keypoints,
        out=out,
        method=method,
        user=user,
        filter_name=filter,
        side=side,
        rate_hz=rate_hz,
        weights=weights,
        frames=frames,
        console=Console(),
    )


def bench(
    hands: tuple[str, ...] = ("leap", "allegro", "inspire", "shadow"),
    keypoints: Path | None = None,
    methods: tuple[Method, ...] = ("both",),
    side: Side = "right",
    runs: int = 3,
    paced: bool = False,
    filtered: bool = False,
    robust: bool = False,
    stock: bool = False,
    endurance: int = 0,
    frames: int | None = None,
    out: Path | None = None,
) -> None:
    """Compare with dex-retargeting, where it is installed, in one run and one table.

    Args:
        hands: Which.
        keypoints: Clip of a hand, .npy (N, 21, 3) [m]; a synthetic person if left out.
        methods: Ours to compare.
        side: Of clip and hands.
        runs: How often times are taken; the table has the medians.
        paced: Call every 10 ms, as a control loop does, instead of back to back.
        filtered: Compare at the smoothness of the peer's own filter, too.
        robust: Try single wrong frames and people of other sizes, too.
        stock: Show the peer with the scale of its files, too.
        endurance: Frames of a long run that looks for the worst one; 0 for none.
        frames: How much of the clip.
        out: JSON file for everything measured.
    """
    from dexhil.integration.retargeting import bench as benchmark

    benchmark.bench(
        hands=hands,
        keypoints=keypoints,
        methods=methods,
        side=side,
        runs=runs,
        paced=paced,
        filtered=filtered,
        robust=robust,
        stock=stock,
        endurance=endurance,
        frames=frames,
        out=out,
    )


def train(
    hand: str,
    out: Path,
    clip: Path | None = None,
    side: Side = "right",
    seed: int = 0,
    steps: int = 1500,
) -> None:
    """Train a learned map, for a hand that has none or for one person. Takes minutes on one core.

    Args:
        hand: Robot hand: leap, allegro, inspire, shadow, ability, dexhand021, or its table's file.
        out: Weights file to write, .npz, for --weights of run and view.
        clip: Your own keypoints, .npy (N, 21, 3) [m]: ten seconds of varied motion are enough.
        side: Which hand the clip shows. The weights serve both.
        seed: Of everything random. The same seed, the same weights.
        steps: Gradient steps of each of the two stages.
    """
    from dexhil.integration.retargeting import train as training

    training.train(
        hand=hand, out=out, clip=clip, side=side, seed=seed, steps=steps, console=Console()
    )


Job = Annotated[
    Annotated[None, tyro.conf.subcommand(name="run", constructor=run)]
    | Annotated[None, tyro.conf.subcommand(name="view", constructor=view)]
    | Annotated[None, tyro.conf.subcommand(name="bench", constructor=bench)]
    | Annotated[None, tyro.conf.subcommand(name="train", constructor=train)],
    tyro.conf.OmitArgPrefixes,
    tyro.conf.OmitSubcommandPrefixes,
]
