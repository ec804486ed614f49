"""A recorded clip of keypoints from a file, with errors that say what to do about it."""

from collections import Counter
from pathlib import Path
from typing import Final

import numpy as np

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.errors import ConfigError
from dexhil.drivers.models.kinematics import Kinematics, Side, load_kinematics
from dexhil.integration.errors import RunError
from dexhil.retarget.batch import Flags
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.keypoints import to_palm

# Wrist to middle knuckle of a child and of a giant [m].
_SHORTEST_PALM: Final = 0.04
_LONGEST_PALM: Final = 0.16
_UNITS: Final = {"millimetres": 1e3, "centimetres": 1e2}


def load_hand(name: str, side: Side = "right") -> Kinematics:
    """Return a shipped hand by name, or any by the path of its table.

    Raises:
        RunError: There is none of this name.
    """
    try:
        kinematics = load_kinematics(name, side)
    except ConfigError as error:
        if Path(name).suffix == ".toml":
            raise RunError(str(error)) from error
        raise RunError(f"No hand is called {name!r}. Hands: {', '.join(hands())}.") from error
    if kinematics.kind != "hand":
        raise RunError(f"{name} is an {kinematics.kind}. Hands: {', '.join(hands())}.")
    return kinematics


def hands() -> list[str]:
    """Return the names of the shipped hands."""
    from importlib.resources import files  # noqa: PLC0415 - only for an error message

    names = sorted(
        entry.name.removesuffix(".toml")
        for entry in files("dexhil.drivers.models").iterdir()
        if entry.name.endswith(".toml")
    )
    return [name for name in names if load_kinematics(name).kind == "hand"]


def load_clip(path: Path) -> Matrix:
    """Read keypoints from a ``.npy`` file [m]. Shape (frames, 21, 3).

    Raises:
        RunError: The file holds something else.
    """
    try:
        clip = np.load(path, allow_pickle=False)  # A pickle could run any code.
    except FileNotFoundError as error:
        raise RunError(f"There is no file {path}.") from error
    except (OSError, ValueError, EOFError) as error:
        raise RunError(
            f"{path} is no NumPy file ({error}). Write one by np.save(path, keypoints)."
        ) from error
    if not isinstance(clip, np.ndarray):
        raise RunError(f"{path} is an archive of several arrays; one .npy of keypoints is needed.")
    if clip.ndim != 3 or clip.shape[1:] != (21, 3) or len(clip) == 0:
        hint = ""
        if clip.ndim == 2 and clip.shape[1] == 63:
            hint = " Use keypoints.reshape(-1, 21, 3)."
        elif clip.shape == (21, 3):
            hint = " Use keypoints[None] for a single frame."
        raise RunError(f"{path} has shape {clip.shape}, expected (frames, 21, 3) [m].{hint}")
    if not np.issubdtype(clip.dtype, np.floating):
        raise RunError(f"{path} holds {clip.dtype}, floating-point metres are needed.")
    return np.asarray(clip, dtype=np.float64)


def plausible_frames(clip: Matrix, side: Side) -> Flags:
    """Return which frames show a hand that can be retargeted. Shape (frames,).

    Raises:
        RunError: None do, most show the other hand, or the unit is not metres.
    """
    tracked = np.asarray(np.isfinite(clip).all(axis=(1, 2)))
    if not tracked.any():
        raise RunError(f"No frame of {len(clip)} is finite: the hand was never tracked.")
    _refuse_other_units(clip[tracked])
    good = tracked.copy()
    reasons: Counter[str] = Counter()
    mirrored = 0
    for number in np.flatnonzero(tracked):
        try:
            to_palm(clip[number], side)
        except RetargetError as error:
            good[number] = False
            reasons[str(error)] += 1
            mirrored += _is_hand(clip[number], "left" if side == "right" else "right")
    if 2 * mirrored > tracked.sum():
        other = "left" if side == "right" else "right"
        raise RunError(
            f"{mirrored} of {tracked.sum()} frames show a {other} hand, a {side} one is wanted. "
            f"Pass --side {other}, or mend the axis that is flipped in the recording."
        )
    if not good.any():
        raise RunError(f"No frame shows a plausible hand. {reasons.most_common(1)[0][0]}")
    return good


def _is_hand(frame: Matrix, side: Side) -> bool:
    try:
        to_palm(frame, side)
    except RetargetError:
        return False
    return True


def _refuse_other_units(frames: Matrix) -> None:
    with np.errstate(over="ignore"):
        palm = float(np.median(np.linalg.norm(frames[:, 9] - frames[:, 0], axis=1)))
    if _SHORTEST_PALM <= palm <= _LONGEST_PALM:
        return
    measured = f"From wrist to middle knuckle it is {palm:.3g} in this recording"
    for unit, per_metre in _UNITS.items():
        if _SHORTEST_PALM <= palm / per_metre <= _LONGEST_PALM:
            raise RunError(
                f"{measured}, which looks like {unit}. "
                f"Metres are needed: divide the keypoints by {per_metre:g}."
            )
    if palm > _LONGEST_PALM:
        raise RunError(
            f"{measured}, allowed {_SHORTEST_PALM} to {_LONGEST_PALM} m. Are these image "
            "coordinates? Metres are needed (of MediaPipe, the world landmarks)."
        )
