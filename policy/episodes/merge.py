"""Several datasets of one robot as one: demonstrations and corrections, to train on both.

LeRobot's own merging refuses sets whose columns differ, as those of demonstrations and of
corrections do. Here the columns that may be absent are added where they lack.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dexhil.policy.episodes.about import About
from dexhil.policy.episodes.assembly import Assembly, building, pieces, require_finished
from dexhil.policy.episodes.check import Progress, require_sound
from dexhil.policy.episodes.errors import DatasetError, FeaturesError
from dexhil.policy.episodes.layout import Layout, read_json, storing
from dexhil.policy.episodes.schema import Feature, Features, is_lerobots, may_be_absent


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What came of it.

    Attributes:
        n_episodes: Episodes of all, in the order of the inputs.
        n_frames: Their frames together.
        added: Columns that an input lacked, by input.
    """

    n_episodes: int
    n_frames: int
    added: Mapping[Path, Sequence[str]]


def merge(
    roots: Sequence[Path], out: Path, *, progress: Progress = lambda _done, _of: None
) -> Merged:
    """Put the episodes of ``roots`` into a new dataset ``out``. The inputs stay as they are.

    Every value stays as it was recorded but for the numbers of episode, frame and task. A
    missing ``intervention`` becomes false, other missing columns that may be absent are NaN.

    Raises:
        FeaturesError: If they are not of one robot: joints, rate or columns differ.
        CorruptError: If an input is damaged.
        DatasetError: If ``out`` is there, or an input is given twice, has several episodes in a
            file, or one that was interrupted.
        StorageError: If the disk refuses a write.
    """
    _require_different(roots)
    infos = [_read_info(root) for root in roots]
    info, added = _union(dict(zip(roots, infos, strict=True)))
    features = Features.from_info(info["features"])
    parts = [(root, piece) for root in roots for piece in pieces(root)]
    with storing(out), building(out) as folder:
        assembly = Assembly(folder, info, [piece.row for _, piece in parts])
        for k, (root, piece) in enumerate(parts):
            n = piece["length"]
            assembly.add(piece, {name: absent(name, features[name], n) for name in added[root]})
            progress(k + 1, 2 * len(parts))
        assembly.finish()
        require_sound(folder, lambda done, of: progress(of + done, 2 * of))
    return Merged(n_episodes=assembly.n_episodes, n_frames=assembly.n_frames, added=added)


def absent(name: str, feature: Feature, length: int) -> npt.NDArray[Any]:
    """Return a column of which nothing is known, (t,) or (t, n)."""
    shape = (length, *feature.row_shape)
    if name == "intervention":
        return np.zeros(shape, np.bool_)
    return np.full(shape, np.nan, feature.dtype)


def _require_different(roots: Sequence[Path]) -> None:
    """Refuse a dataset that is given twice: its episodes would count double in training."""
    names: dict[Path, Path] = {}
    for root in roots:
        if (other := names.get(root.resolve())) is not None:
            raise DatasetError(f"{root}: is given twice (as {other} before). Name it once.")
        names[root.resolve()] = root
    if len(roots) < 2:
        raise DatasetError(f"{len(roots)} dataset given, merging needs two or more.")


def _read_info(root: Path) -> dict[str, Any]:
    About.read(root)  # Says in words what is wrong with it.
    require_finished(root)
    return read_json(Layout(root).info)


def _union(infos: Mapping[Path, Mapping[str, Any]]) -> tuple[dict[str, Any], dict[Path, list[str]]]:
    """Return the ``info.json`` of all together, and which columns each input lacks."""
    (first, one), *others = infos.items()
    together: dict[str, Any] = dict(one["features"])
    for root, info in others:
        _require_same_robot(first, one, root, info)
        for name, entry in info["features"].items():
            if name in together:
                _require_same_feature(first, together[name], root, entry, name)
            together.setdefault(name, entry)
    added = {
        root: [name for name in together if name not in info["features"]]
        for root, info in infos.items()
    }
    for root, names in added.items():
        needed = [n for n in names if n != "intervention" and not may_be_absent(n)]
        if needed:
            raise FeaturesError(
                f"{root}: has no {', '.join(needed)}, which another input has and no episode may "
                f"lack. {_way_out(needed)}"
            )
    return {**one, "features": together}, added


def _way_out(names: Sequence[str]) -> str:
    """Return how to merge without some columns, in words."""
    stubborn = [name for name in names if is_lerobots(name)]
    without = f", those that have it with --without {' '.join(stubborn)}," if stubborn else ""
    return f"Export all of them with --profile lerobot{without} and merge those."


def _require_same_robot(
    first: Path, one: Mapping[str, Any], root: Path, other: Mapping[str, Any]
) -> None:
    for key, word in (("fps", "frames per second"), ("robot_type", "robot type")):
        if one[key] != other[key]:
            raise FeaturesError(
                f"{root}: {word} {other[key]}, but {first} has {one[key]}. "
                "Only datasets of one robot and one rate can be merged."
            )


def _require_same_feature(
    first: Path, one: Mapping[str, Any], root: Path, other: Mapping[str, Any], name: str
) -> None:
    robot = name in {"action", "observation.state"}
    advice = "These are not the same robot." if robot else _way_out([name])
    mine, theirs = list(one.get("names") or ()), list(other.get("names") or ())
    if mine != theirs:
        apart = [n for n in mine if n not in theirs] + [n for n in theirs if n not in mine]
        how = f"differ in {', '.join(apart)}" if apart else "have their elements in another order"
        raise FeaturesError(f"{name!r}: {first} and {root} {how}. {advice}")
    for key in ("dtype", "shape"):
        if one[key] != other[key]:
            raise FeaturesError(
                f"{name!r}: {key} is {one[key]} in {first}, but {other[key]} in {root}. {advice}"
            )
    for key in ("video.codec", "video.pix_fmt"):
        here, there = ((entry.get("info") or {}).get(key) for entry in (one, other))
        if here != there:
            raise FeaturesError(
                f"{name!r}: {key} is {here} in {first}, but {there} in {root}. {advice}"
            )
