"""What recording costs the loop, beside the usual way: a PNG for each frame, encoded at the end.

Beside the writer in a process of its own, which real rigs use, stands the one in this process,
which simulated rigs use. Aims for 5 s of one camera: the end blocks for 5 ms at most, and the
episode is on disk 0.5 s later.

Run: python benchmarks/recording.py
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from dexhil.policy.episodes import DatasetWriter, Features, ProcessWriter, Source

FPS = 20
HEIGHT, WIDTH = 480, 640
ARM = [f"arm_{i}" for i in range(6)]
HAND = [f"hand_{i}" for i in range(16)]
N_ACTION = len(ARM) + len(HAND)
WRITERS = {"own process": ProcessWriter, "this process": DatasetWriter}

Image = npt.NDArray[np.uint8]


def images(n: int) -> list[Image]:
    """Return frames of a moving scene with some sensor noise (the same for every method)."""
    random = np.random.default_rng(0)
    y, x = np.indices((HEIGHT, WIDTH))
    frames = []
    for k in range(n):
        scene = np.stack([(x + 2 * k) % 256, (y + k) % 256, (x + y) // 5 % 256], axis=-1)
        scene[100:250, 50 + 2 * k : 200 + 2 * k] = (200, 60, 40)
        frames.append((scene + random.integers(0, 6, scene.shape)).clip(0, 255).astype(np.uint8))
    return frames


def frame(k: int) -> dict[str, npt.ArrayLike]:
    """Return the columns of frame ``k``."""
    action = np.sin(0.01 * k + np.arange(N_ACTION))
    return {
        "observation.state": np.concatenate([action, np.zeros(len(HAND))]),
        "action": action,
        "action.policy": action,
        "action.human": np.full(N_ACTION, np.nan),
        "intervention": False,
        "authority": 0.0,
        "authority.arm": 0.0,
        "authority.hand": 0.0,
        "source": Source.POLICY,
        "mode": 1,
        "segment_index": 0,
        "t_mono": k / FPS,
        "age.arm": 0.001,
        "age.hand": 0.001,
    }


@dataclass(frozen=True)
class Cost:
    """What recording an episode costs the loop that does it.

    Attributes:
        added_s: Of each ``add_frame`` [s].
        blocked_s: Of ``end_episode`` [s].
        on_disk_s: From the call of ``end_episode`` until a power cut costs nothing any more [s].
        frame_bytes: On disk, for each frame.
        start_s: To open the dataset [s].
    """

    added_s: list[float]
    blocked_s: float
    on_disk_s: float
    frame_bytes: float
    start_s: float


def record(
    writer_type: type[DatasetWriter] | type[ProcessWriter],
    root: Path,
    cameras: list[str],
    scene: list[Image],
) -> Cost:
    """Record an episode at the loop's rate."""
    features = Features.for_rig(
        arm_joints=ARM, hand_joints=HAND, cameras=dict.fromkeys(cameras, (HEIGHT, WIDTH))
    )
    added = []
    before = time.perf_counter()
    with writer_type(root, features, FPS) as writer:
        started = time.perf_counter() - before
        writer.begin_episode("benchmark")
        start = time.perf_counter()
        for k, picture in enumerate(scene):
            time.sleep(max(0.0, start + k / FPS - time.perf_counter()))
            row, seen = frame(k), dict.fromkeys(cameras, picture)
            before = time.perf_counter()
            writer.add_frame(row, seen)
            added.append(time.perf_counter() - before)
        before = time.perf_counter()
        writer.end_episode(success=True)
        ended = time.perf_counter() - before
        writer.flush()
        flushed = time.perf_counter() - before
    n_bytes = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    return Cost(added, ended, flushed, n_bytes / len(scene), started)


def encode_from_png(folder: Path, cameras: list[str], scene: list[Image]) -> float:
    """Return the seconds that reading back and encoding PNGs takes when the episode ends."""
    for camera in cameras:
        for k, image in enumerate(scene):
            with av.open(folder / f"{camera}-{k:04d}.png", "w", format="image2") as container:
                stream = container.add_stream("png", rate=FPS)
                stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "rgb24"
                picture = av.VideoFrame.from_ndarray(image, format="rgb24")
                container.mux([*stream.encode(picture), *stream.encode(None)])
    before = time.perf_counter()
    for camera in cameras:
        with av.open(folder / f"{camera}.mp4", "w") as container:
            options = {"preset": "superfast", "crf": "23", "tune": "zerolatency"}
            stream = container.add_stream("libx264", rate=FPS, options=options)
            stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
            for k in range(len(scene)):
                with av.open(folder / f"{camera}-{k:04d}.png") as png:
                    picture = next(png.decode(video=0))
                picture.pts, picture.time_base = k, Fraction(1, FPS)
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
    return time.perf_counter() - before


def main(arguments: list[str] | None = None) -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of the episode")
    parser.add_argument("--cameras", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args(arguments)
    scene = images(max(1, round(options.seconds * FPS)))
    table = Table(title=f"An episode of {len(scene)} frames of {WIDTH}×{HEIGHT} at {FPS} Hz")
    columns = ("add_frame p50 / p99 / max [ms]", "end blocks [ms]", "on disk after [ms]")
    for column in ("cameras", "writer", *columns, "opens in [ms]", "bytes per frame"):
        table.add_column(column, justify="right")
    for n_cameras in options.cameras:
        cameras = [f"camera_{i}" for i in range(n_cameras)]
        for name, writer_type in WRITERS.items():
            with tempfile.TemporaryDirectory() as folder:
                cost = record(writer_type, Path(folder) / "dataset", cameras, scene)
            added = np.percentile(cost.added_s, [50, 99, 100]) * 1e3
            table.add_row(
                str(n_cameras),
                name,
                " / ".join(f"{ms:.2f}" for ms in added),
                f"{cost.blocked_s * 1e3:.2f}",
                f"{cost.on_disk_s * 1e3:.0f}",
                f"{cost.start_s * 1e3:.0f}",
                f"{cost.frame_bytes:.0f}",
            )
        if cameras:
            with tempfile.TemporaryDirectory() as folder:
                usual = f"{encode_from_png(Path(folder), cameras, scene) * 1e3:.0f}"
            table.add_row(str(n_cameras), "PNG, then encode", "–", usual, usual, "–", "–")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
