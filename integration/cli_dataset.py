"""``dexhil dataset ...``: look after what was recorded."""

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from dexhil.drivers.models.kinematics import Side
from dexhil.integration.dataset.commands import Profile

Root = Annotated[Path, tyro.conf.Positional]


def check(
    root: Root,
    deep: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Check everything that a training run relies on. Changes nothing; exit status 1 if it is bad.

    Files, checksums, indices, videos, times, labels and statistics. Warns where the true rate
    departs from the declared one. Reads LeRobot's own datasets as well.

    Args:
        root: Folder of the dataset.
        deep: Decode every frame of every video; takes minutes, finds damage inside.
        json: Print everything found as JSON.
    """
    from dexhil.integration.dataset.commands import check_dataset

    check_dataset(root, deep=deep, as_json=json, console=Console())


def repair(
    root: Root,
    apply: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    set_aside: tuple[int, ...] = (),
    like: Path | None = None,
    deep: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Put right what a kill, a power cut or a copy cut short has left. Deletes nothing.

    Says what it would do; does it with --apply. An interrupted episode is finished, a video that
    ends early costs the frames after it, lost metadata is made again. What cannot be kept goes
    to a folder beside the dataset, with the reasons.

    Args:
        root: Folder of the dataset.
        apply: Do it.
        set_aside: Numbers of episodes to take out although they are whole.
        like: Dataset of the same rig, to take joint names and robot type from if info.json is lost.
        deep: Decode every video to find damage inside; takes minutes.
    """
    from dexhil.integration.dataset.commands import repair_dataset

    repair_dataset(root, apply=apply, drop=set_aside, like=like, deep=deep, console=Console())


def merge(roots: Annotated[tuple[Path, ...], tyro.conf.Positional], out: Path) -> None:
    """Put several datasets of one robot into a new one: demonstrations and corrections.

    Columns that an older dataset lacks are marked absent; other joints or rates are refused.
    Videos are linked, not encoded anew, and the inputs stay as they are.

    Args:
        roots: Datasets, in the order that their episodes shall have.
        out: Folder to make.
    """
    from dexhil.integration.dataset.commands import merge_datasets

    merge_datasets(roots, out=out, console=Console())


def export(
    root: Root,
    out: Path,
    profile: Profile,
    outcome: bool = True,
    is_intervention: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    without: tuple[str, ...] = (),
    episodes: tuple[int, ...] = (),
    side: Side | None = None,
) -> None:
    """Write a dataset for LeRobot without our own columns, or recordings for the Rerun viewer.

    Args:
        root: Folder of the dataset.
        out: Folder to make.
        profile: lerobot: a dataset that merges with LeRobot's own; rerun: one .rrd per episode.
        outcome: For lerobot: keep next.reward, next.done and next.success.
        is_intervention: For lerobot: add complementary_info.is_intervention, as HIL-SERL has it.
        without: For lerobot: columns or cameras to leave out, which what it shall merge with lacks.
        episodes: For rerun: which; all if left out.
        side: For rerun: which hand the robot has, if not the one that the dataset names.
    """
    from dexhil.integration.dataset.commands import export_dataset

    export_dataset(
        root,
        out=out,
        profile=profile,
        outcome=outcome,
        is_intervention=is_intervention,
        without=without,
        episodes=episodes,
        side=side,
        console=Console(),
    )


def view(root: Root, episode: int = 0, out: Path | None = None, side: Side | None = None) -> None:
    """Look at an episode in the Rerun viewer: cameras, robot, joints, who drove, timing.

    Args:
        root: Folder of the dataset.
        episode: Its number.
        out: File, .rrd, to write for the viewer instead of opening it.
        side: Which hand the robot has, if not the one that the dataset names.
    """
    from dexhil.integration.dataset.commands import view_episode

    view_episode(root, episode=episode, out=out, side=side, console=Console())


def show(root: Root, all_episodes: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False) -> None:
    """Print what is in a dataset: episodes, time, success, corrections, true rate, sizes.

    Args:
        root: Folder of the dataset.
        all_episodes: List every episode, not only the last.
    """
    from dexhil.integration.dataset.commands import show_dataset

    show_dataset(root, all_episodes=all_episodes, console=Console())


Job = Annotated[
    Annotated[None, tyro.conf.subcommand(name="check", constructor=check)]
    | Annotated[None, tyro.conf.subcommand(name="repair", constructor=repair)]
    | Annotated[None, tyro.conf.subcommand(name="merge", constructor=merge)]
    | Annotated[None, tyro.conf.subcommand(name="export", constructor=export)]
    | Annotated[None, tyro.conf.subcommand(name="view", constructor=view)]
    | Annotated[None, tyro.conf.subcommand(name="show", constructor=show)],
    tyro.conf.OmitArgPrefixes,
    tyro.conf.OmitSubcommandPrefixes,
]
