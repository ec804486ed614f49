"""A small dataset to record: two arm joints, one hand joint, one camera or none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dexhil.policy.episodes import DatasetWriter, Features, Source

FPS = 20
SHAPE = (48, 64)

Frame = dict[str, Any]
Record = Callable[..., int]


@pytest.fixture
def features() -> Features:
    """One camera."""
    return Features.for_rig(
        arm_joints=["a", "b"], hand_joints=["c"], cameras={"scene": SHAPE}, environment_state=["x"]
    )


@pytest.fixture
def blind() -> Features:
    """No camera."""
    return Features.for_rig(arm_joints=["a", "b"], hand_joints=["c"])


def make_frame(features: Features, k: int) -> Frame:
    """Return frame ``k``: every value depends on it; a person drives from frame 5 on."""
    human = k >= 5
    frame = {
        "observation.state": np.arange(4) + 0.1 * k,
        "observation.environment_state": [0.5 * k],
        "action": np.arange(3) - 0.1 * k,
        "action.policy": np.sin(np.arange(3) + k),
        "action.human": np.cos(np.arange(3) + k) if human else None,
        "intervention": human,
        "authority": float(human),
        "source": Source.HUMAN if human else Source.POLICY,
        "mode": 2,
        "segment_index": k // 5,
        "t_mono": 1e5 + 0.05 * k,
        "age.arm": 0.002,
        "age.hand": 0.003,
    }
    return {name: value for name, value in frame.items() if name in features}


def make_image(k: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a grey image whose brightness tells ``k`` modulo 50, after H.264 too."""
    return np.full((*SHAPE, 3), 5 * (k % 50), dtype=np.uint8)


@pytest.fixture(name="make_frame")
def _make_frame() -> Callable[[Features, int], Frame]:
    return make_frame


@pytest.fixture(name="make_image")
def _make_image() -> Callable[[int], np.ndarray[Any, np.dtype[np.uint8]]]:
    return make_image


@pytest.fixture
def add_frames() -> Callable[..., None]:
    """``add_frames(writer, features, n, start=0)``: append ``n`` frames from ``start`` on."""

    def add(writer: DatasetWriter, features: Features, n: int, start: int = 0) -> None:
        for k in range(start, start + n):
            writer.add_frame(
                make_frame(features, k), {camera: make_image(k) for camera in features.cameras}
            )

    return add


@pytest.fixture
def record(add_frames: Callable[..., None]) -> Record:
    """``record(writer, features, n, task=..., success=...)``: one episode; returns its index."""

    def one(
        writer: DatasetWriter,
        features: Features,
        n: int = 12,
        *,
        task: str = "lift",
        success: bool | None = True,
    ) -> int:
        writer.begin_episode(task)
        add_frames(writer, features, n)
        return writer.end_episode(success)

    return one


@pytest.fixture
def dataset(tmp_path: Path, features: Features, record: Record) -> Path:
    """Three finished episodes of 12, 7 and 9 frames; the second failed, the third has no label."""
    root = tmp_path / "dataset"
    with DatasetWriter(root, features, FPS, "sim") as writer:
        record(writer, features, 12, task="lift", success=True)
        record(writer, features, 7, task="turn", success=False)
        record(writer, features, 9, task="lift", success=None)
    return root
