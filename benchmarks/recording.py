"""What recording costs the loop, beside the usual way: a PNG for each frame, encoded at the end.

Run: python benchmarks/recording.py
"""

import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from dexhil.policy.episodes import DatasetWriter, Features, Source

N_FRAMES = 150
FPS = 20
HEIGHT, WIDTH = 480, 640
ARM = [f"arm_{i}" for i in range(6)]
HAND = [f"hand_{i}" for i in range(16)]
N_ACTION = len(ARM) + len(HAND)

Image = npt.NDArray[np.uint8]


def images() -> list[Image]:
    """Return frames of a moving scene with some sensor noise (the same for every method)."""
    random = np.random.default_rng(0)
    y, x = np.indices((HEIGHT, WIDTH))
    frames = []
    for k in range(N_FRAMES):
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
        "source": Source.POLICY,
        "mode": 1,
        "segment_index": 0,
        "t_mono": k / FPS,
        "age.arm": 0.001,
        "age.hand": 0.001,
    }


def record(root: Path, cameras: list[str], scene: list[Image]) -> tuple[list[float], float, float]:
    """Record an episode at the loop's rate; return seconds of each frame, of the end, and bytes."""
    features = Features.for_rig(
        arm_joints=ARM, hand_joints=HAND, cameras=dict.fromkeys(cameras, (HEIGHT, WIDTH))
    )
    added = []
    with DatasetWriter(root, features, FPS) as writer:
        writer.begin_episode("benchmark")
        start = time.perf_counter()
        for k in range(N_FRAMES):
            time.sleep(max(0.0, start + k / FPS - time.perf_counter()))
            row, seen = frame(k), dict.fromkeys(cameras, scene[k])
            before = time.perf_counter()
            writer.add_frame(row, seen)
            added.append(time.perf_counter() - before)
        before = time.perf_counter()
        writer.end_episode(success=True)
        ended = time.perf_counter() - before
    n_bytes = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    return added, ended, n_bytes / N_FRAMES


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
            for k in range(N_FRAMES):
                with av.open(folder / f"{camera}-{k:04d}.png") as png:
                    picture = next(png.decode(video=0))
                picture.pts, picture.time_base = k, Fraction(1, FPS)
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
    return time.perf_counter() - before


def main() -> None:
    """Print one table."""
    scene = images()
    table = Table(title=f"Recording {N_FRAMES} frames of {WIDTH}×{HEIGHT} at {FPS} Hz")
    for column in (
        "cameras",
        "add_frame p50 [ms]",
        "p99 [ms]",
        "end_episode [ms]",
        "PNG then encode [ms]",
        "ratio",
        "bytes per frame",
    ):
        table.add_column(column, justify="right")
    for n_cameras in range(3):
        cameras = [f"camera_{i}" for i in range(n_cameras)]
        with tempfile.TemporaryDirectory() as folder:
            added, ended, per_frame = record(Path(folder) / "dataset", cameras, scene)
            usual = encode_from_png(Path(folder), cameras, scene)
        p50, p99 = np.percentile(added, [50, 99]) * 1e3
        table.add_row(
            str(n_cameras),
            f"{p50:.2f}",
            f"{p99:.2f}",
            f"{ended * 1e3:.0f}",
            f"{usual * 1e3:.0f}" if cameras else "–",
            f"{usual / ended:.0f}×" if cameras else "–",
            f"{per_frame:.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
