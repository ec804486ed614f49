"""Fill a recorder's disk, let it hang, unplug a camera: what is left, and what was lost.

One 640x480 camera of noise at 20 Hz, which fills a disk. Each mishap comes in the second episode;
then the dataset is put right, as ``dexhil dataset repair --apply`` does, and counted.

Aims: the finished episode stays whole; of the open one no more than its last second is lost.

Run: python benchmarks/disks.py. The disks of fixed size need root, or say that they do.
"""

import argparse
import errno
import logging
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from dexhil.drivers.clock import MonotonicClock
from dexhil.integration.live import drive, make_session
from dexhil.integration.recorder import Recorder, open_dataset
from dexhil.integration.rig import build_rig
from dexhil.policy.episodes import DatasetReader, Features, ProcessWriter, StorageError, check
from dexhil.policy.episodes.repair import repair
from dexhil.teleop.session import Session
from dexhil.teleop.takeover import Event

FPS = 20
HEIGHT, WIDTH = 480, 640
FEATURES = Features.for_rig(
    arm_joints=["a", "b"], hand_joints=["c"], cameras={"scene": (HEIGHT, WIDTH)}
)
RIG = Path(__file__).parents[1] / "rigs" / "sim_fr3_inspire.toml"
SMALL_MB, LARGE_MB = 60, 300  # A disk that 20 s of noise do not fit on, and one they do.
BLOCK = bytes(2**20)
FILLED_AFTER = range(FPS, FPS + FPS // 2, 3)  # Frames; there is a look at the room every ten.


# -- Recording until something happens -------------------------------------------------------


def row() -> dict[str, object]:
    """Return the columns of a frame."""
    return {
        "observation.state": np.zeros(4),
        "action": np.zeros(3),
        "intervention": False,
        "authority": 0.0,
        "source": 0,
        "mode": 1,
        "segment_index": 0,
        "t_mono": time.monotonic(),
    }


def record_until_refused(
    root: Path, at_frame: Callable[[ProcessWriter, int], None]
) -> tuple[int, str]:
    """Record one labelled episode and a long one; return the frames taken, and why no more were."""
    noise = np.random.default_rng(0).integers(0, 256, (8, HEIGHT, WIDTH, 3), dtype=np.uint8)
    n, why = 0, "nothing refused"
    with ProcessWriter(root, FEATURES, FPS) as writer:
        writer.begin_episode("whole")
        for k in range(FPS):
            writer.add_frame(row(), {"scene": noise[k % 8]})
        writer.end_episode(success=True)
        writer.flush()
        writer.begin_episode("open")
        start_s = time.monotonic()
        try:
            while n < 20 * FPS:
                time.sleep(max(0.0, start_s + n / FPS - time.monotonic()))
                writer.add_frame(row(), {"scene": noise[n % 8]})
                n += 1
                at_frame(writer, n)
        except StorageError as error:
            why = str(error).removeprefix(f"{root}: ").partition(",")[0]
    return n, why


def kept(root: Path, taken: int, why: str) -> str:
    """Say what is left of the finished episode and of the open one."""
    repair(root, apply=True)
    reader = DatasetReader(root)
    whole = reader.episodes[0].length == FPS and not check(root)
    missing = taken - sum(entry.length for entry in reader.episodes[1:])
    return (
        f"finished episode {'whole' if whole else 'LOST'}; {taken} frames taken until the end, "
        f"{missing} of them missing ({missing / FPS:.2f} s); {why}"
    )


# -- Disks -----------------------------------------------------------------------------------


@contextmanager
def small_disk(megabytes: int) -> Iterator[tuple[Path, Callable[[int], None]]]:
    """Mount a disk of that size; the second value makes it larger. Needs root."""
    with tempfile.TemporaryDirectory() as folder:

        def mount(options: str) -> None:
            command = ["mount", "-t", "tmpfs", "-o", options, "none", folder]
            subprocess.run(command, check=True, capture_output=True)  # noqa: S603

        mount(f"size={megabytes}m")
        try:
            yield Path(folder), lambda size: mount(f"remount,size={size}m")
        finally:
            subprocess.run(["umount", folder], check=True)  # noqa: S603, S607


def fill(path: Path) -> None:
    """Write to a file until its disk refuses."""
    with path.open("wb", buffering=0) as file:
        for block in (BLOCK, BLOCK[:4096]):
            try:
                while file.write(block) == len(block):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def nearly_full_disk(folder: Path, make_room: Callable[[int], None]) -> str:
    """Record until there is only just room to finish the episode."""
    taken, why = record_until_refused(folder / "dataset", lambda *_: None)
    make_room(LARGE_MB)
    return kept(folder / "dataset", taken, why)


def full_disk(folder: Path, make_room: Callable[[int], None], *, after: int) -> str:
    """Have somebody else fill the disk in no time, ``after`` so many frames."""

    def at_frame(_: ProcessWriter, n: int) -> None:
        if n == after:
            fill(folder / "somebody else's")

    taken, why = record_until_refused(folder / "dataset", at_frame)
    make_room(LARGE_MB)
    return kept(folder / "dataset", taken, why)


def on_small_disk(mishap: Callable[[Path, Callable[[int], None]], str]) -> str:
    """Return what a mishap says that needs a disk of fixed size."""
    try:
        with small_disk(SMALL_MB) as (folder, make_room):
            return mishap(folder, make_room)
    except (PermissionError, FileNotFoundError, subprocess.CalledProcessError) as error:
        return f"not measured: a disk of fixed size needs root ({error})"


def standing_disk(duration_s: float) -> str:
    """Stop the writing process for a while, as a disk does that hangs."""

    def at_frame(writer: ProcessWriter, n: int) -> None:
        if n == FPS:
            pid = writer._process.pid  # noqa: SLF001
            os.kill(pid, signal.SIGSTOP)
            threading.Timer(duration_s, os.kill, (pid, signal.SIGCONT)).start()
        if n == 8 * FPS:
            raise StorageError("nothing refused")

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "dataset"
        return kept(root, *record_until_refused(root, at_frame))


# -- Cables ----------------------------------------------------------------------------------


def unplugged_camera() -> str:
    """Pull a camera's cable in the middle of an episode on a rig on real threads."""
    rig = build_rig(RIG, MonotonicClock())
    with tempfile.TemporaryDirectory() as folder:
        root, seen = Path(folder) / "dataset", [0]
        with open_dataset(root, rig) as writer, rig.running():

            def watch(_: Session) -> None:
                if writer.n_frames >= 2 * FPS and not seen[0]:
                    seen[0] = writer.n_frames
                    rig.cameras["scene"].faults.unplug()

            writer.begin_episode("lift")
            session = make_session(rig, sink=Recorder(writer))
            stretch = drive(rig, session, first=Event.TAKE_OVER, duration_s=60.0, show=watch)
            writer.end_episode(stretch.success)
        (entry,) = DatasetReader(root).episodes
        problems = check(root)
        return (
            f"{seen[0]} frames before, {entry.length} kept, {len(problems)} problems; "
            f"ended: {stretch.ended}"
        )


def main(arguments: list[str] | None = None) -> None:
    """Print one line for each mishap."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args(arguments)
    logging.disable()  # What is worth telling is printed.
    print(f"disk nearly full:    {on_small_disk(nearly_full_disk)}")
    for after in FILLED_AFTER:
        print(f"disk full:           {on_small_disk(partial(full_disk, after=after))}")
    print(f"disk hangs for 2 s:  {standing_disk(2.0)}")
    print(f"disk hangs for 6 s:  {standing_disk(6.0)}")
    print(f"camera unplugged:    {unplugged_camera()}")


if __name__ == "__main__":
    main()
