"""What a dataset's columns are: names, types, shapes and who fills them.

``Features.for_rig`` is the schema of every dataset recorded here. It is a
superset of LeRobot's: its reader ignores the columns it does not know.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dexhil.policy.episodes.errors import FeaturesError

OUTCOME = ("next.reward", "next.done", "next.success")
BOOKKEEPING = ("timestamp", "frame_index", "episode_index", "index", "task_index")
FILLED_BY_WRITER = frozenset(OUTCOME + BOOKKEEPING)

_IMAGES = "observation.images."
_NUMERIC = frozenset(("bool", "int64", "float32", "float64"))


def may_be_absent(name: str) -> bool:
    """Whether a column may be NaN in every element: nobody spoke, no device, or recorded before."""
    return name in {"action.policy", "action.human"} or name.startswith(("age.", "authority."))


def is_lerobots(name: str) -> bool:
    """Whether LeRobot's own datasets may have such a column, so that an export keeps it."""
    named = {"action", "intervention", *OUTCOME, *BOOKKEEPING}
    return name in named or name.startswith("observation.")


class Source(IntEnum):
    """Who the executed action came from."""

    POLICY = 0
    HUMAN = 1
    HOLD = 2
    BLEND = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column, or one camera.

    Attributes:
        dtype: ``"bool"``, ``"int64"``, ``"float32"``, ``"float64"`` or ``"video"``.
        shape: Of one frame: ``(n,)``, or ``(height, width, 3)`` for a video.
        names: What each element is.
    """

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None = None

    @property
    def is_video(self) -> bool:
        return self.dtype == "video"

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row in an array: LeRobot stores shape (1,) as a scalar."""
        return () if self.shape == (1,) else self.shape


class Features(Mapping[str, Feature]):
    """The features of a dataset, by name, in order. Immutable.

    Raises:
        FeaturesError: If a name, type or shape cannot be stored.
    """

    def __init__(self, features: Mapping[str, Feature]) -> None:
        self._features = {**features, **_LEROBOT}
        for name, feature in self._features.items():
            _check(name, feature)

    @classmethod
    def for_rig(
        cls,
        *,
        arm_joints: Sequence[str],
        hand_joints: Sequence[str],
        cameras: Mapping[str, tuple[int, int]] | None = None,
        environment_state: Sequence[str] = (),
    ) -> Self:
        """Return the features of a rig of one arm and one hand.

        ``observation.state`` holds arm joints, hand joints [rad], then for each hand joint its
        lag, commanded minus measured [rad]: what a policy can feel of contact. Actions are
        joint targets [rad], arm then hand. Beside the columns of every takeover there is
        ``age.<camera>`` [s] for each camera.

        Args:
            arm_joints: Joint names of the arm, in order.
            hand_joints: Joint names of the hand, in order.
            cameras: Height and width in pixels by camera name. Even numbers.
            environment_state: Names of what the task sees besides, e.g. ``"object.x"``.
        """
        targets = (*(f"arm.{j}" for j in arm_joints), *(f"hand.{j}" for j in hand_joints))
        state = (*targets, *(f"hand.{j}.lag" for j in hand_joints))
        features = {"observation.state": _vector(state)}
        if environment_state:
            features["observation.environment_state"] = _vector(environment_state)
        for camera, (height, width) in (cameras or {}).items():
            features[_IMAGES + camera] = Feature(
                dtype="video", shape=(height, width, 3), names=("height", "width", "channels")
            )
        for name in ("action", "action.policy", "action.human"):
            features[name] = _vector(targets)
        ages = {f"age.{camera}": _scalar("float32") for camera in cameras or ()}
        return cls(features | _TAKEOVER | ages)

    @classmethod
    def from_info(cls, features: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return the features that an ``info.json`` lists."""
        return cls(
            {
                name: Feature(
                    dtype=str(entry["dtype"]),
                    shape=tuple(entry["shape"]),
                    names=None if entry.get("names") is None else tuple(entry["names"]),
                )
                for name, entry in features.items()
            }
        )

    def __getitem__(self, name: str) -> Feature:
        return self._features[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)

    @cached_property
    def columns(self) -> dict[str, Feature]:
        """The features kept in parquet: all but videos."""
        return {name: feature for name, feature in self.items() if not feature.is_video}

    @cached_property
    def cameras(self) -> dict[str, str]:
        """Name of the video feature, by camera name."""
        return {n.removeprefix(_IMAGES): n for n, feature in self.items() if feature.is_video}

    @cached_property
    def frame_dtype(self) -> np.dtype[np.void]:
        """Record of the columns that a frame must bring; the writer fills the others."""
        return np.dtype(
            [
                (n, f.dtype, f.row_shape)
                for n, f in self.columns.items()
                if n not in FILLED_BY_WRITER
            ]
        )

    def difference(self, other: "Features") -> str | None:
        """Return the first way in which ``other`` is not the same, in words, or ``None``."""
        for name in (*self, *other):
            if name not in other:
                return f"feature {name!r} is not wanted any more"
            if name not in self:
                return f"feature {name!r} is not in the dataset"
            for aspect in ("dtype", "shape", "names"):
                mine, theirs = getattr(self[name], aspect), getattr(other[name], aspect)
                if mine != theirs:
                    return f"{aspect} of {name!r} is {mine} in the dataset, wanted {theirs}"
        return None

    def to_info(self, video: Mapping[str, Any]) -> dict[str, Any]:
        """Return the ``features`` of ``info.json``; ``video`` describes the encoding."""
        info: dict[str, Any] = {}
        for name, feature in self.items():
            names = None if feature.names is None else list(feature.names)
            info[name] = {"dtype": feature.dtype, "shape": list(feature.shape), "names": names}
            if feature.is_video:
                height, width, channels = feature.shape
                info[name]["info"] = {
                    "video.height": height,
                    "video.width": width,
                    "video.channels": channels,
                    **video,
                }
        return info

    def to_table(self, columns: Mapping[str, npt.NDArray[Any]]) -> pa.Table:
        """Return columns as LeRobot lays them out, with the types ``datasets`` looks for."""
        arrays, types = {}, {}
        for name, feature in self.columns.items():
            values = np.ascontiguousarray(columns[name], dtype=feature.dtype)
            flat = pa.array(values.reshape(-1))
            value_type: dict[str, Any] = {"dtype": feature.dtype, "_type": "Value"}
            if feature.row_shape:
                (n,) = feature.shape
                flat = pa.FixedSizeListArray.from_arrays(flat, n)
                value_type = {"feature": value_type, "length": n, "_type": "List"}
            arrays[name], types[name] = flat, value_type
        metadata = {"huggingface": json.dumps({"info": {"features": types}})}
        return pa.table(arrays).replace_schema_metadata(metadata)


def from_table(table: pa.Table, features: Features) -> dict[str, npt.NDArray[Any]]:
    """Return the columns of a table as arrays (t,) or (t, n). Inverse of ``Features.to_table``."""
    columns = {}
    for name, feature in features.columns.items():
        column = table.column(name).combine_chunks()
        flat = column.flatten() if feature.row_shape else column
        values = flat.to_numpy(zero_copy_only=False).astype(feature.dtype, copy=False)
        columns[name] = values.reshape(len(table), *feature.row_shape)
    return columns


def _vector(names: Sequence[str]) -> Feature:
    return Feature(dtype="float32", shape=(len(names),), names=tuple(names))


def _scalar(dtype: str) -> Feature:
    return Feature(dtype=dtype, shape=(1,))


def _check(name: str, feature: Feature) -> None:
    if "/" in name or not name:
        raise FeaturesError(f"Feature {name!r}: a name may not be empty or hold '/'.")
    if feature.is_video:
        fits = len(feature.shape) == 3 and feature.shape[2] == 3
        if not fits or feature.shape[0] % 2 or feature.shape[1] % 2 or min(feature.shape) < 1:
            raise FeaturesError(
                f"Feature {name!r}: shape is {feature.shape}, a video needs (height, width, 3), "
                "height and width even."
            )
        if not name.startswith(_IMAGES):
            raise FeaturesError(f"Feature {name!r}: a video's name must start with {_IMAGES!r}.")
        return
    if feature.dtype not in _NUMERIC:
        raise FeaturesError(
            f"Feature {name!r}: dtype is {feature.dtype!r}, can be one of {sorted(_NUMERIC)}."
        )
    if len(feature.shape) != 1 or feature.shape[0] < 1:
        raise FeaturesError(
            f"Feature {name!r}: shape is {feature.shape}, expected (n,) with n > 0."
        )
    if feature.names is not None and len(feature.names) != feature.shape[0]:
        raise FeaturesError(
            f"Feature {name!r}: {len(feature.names)} names for {feature.shape[0]} elements."
        )


_TAKEOVER = {
    "intervention": _scalar("bool"),
    "authority": _scalar("float32"),
    "authority.arm": _scalar("float32"),
    "authority.hand": _scalar("float32"),
    "source": _scalar("int64"),
    "mode": _scalar("int64"),
    "segment_index": _scalar("int64"),
    "next.reward": _scalar("float32"),
    "next.done": _scalar("bool"),
    "next.success": _scalar("bool"),
    "t_mono": _scalar("float64"),
    "age.arm": _scalar("float32"),
    "age.hand": _scalar("float32"),
    "age.glove": _scalar("float32"),
    "age.tracker": _scalar("float32"),
}
_LEROBOT = {
    "timestamp": _scalar("float32"),
    "frame_index": _scalar("int64"),
    "episode_index": _scalar("int64"),
    "index": _scalar("int64"),
    "task_index": _scalar("int64"),
}
