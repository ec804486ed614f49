"""Kill a program that records: what is left, and what was lost.

The program records one 640x480 camera at 20 Hz in episodes of random length. It is killed
with SIGKILL at random moments, some of them while an episode is being saved: as a whole,
or only one of its two processes. Then the dataset is put right, as
``dexhil dataset repair --apply`` does, and every frame is compared with what was handed over:
those of this run, and those of all runs before it that recorded into the same dataset.

Aims: no finished episode is lost; of the open one no more than its last second.

Run: python benchmarks/durability.py [--peer PYTHON], the Python of an environment with LeRobot,
whose own writer is then killed in the same way.
"""

import argparse
import fcntl
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TextIO, cast

import numpy as np
from rich.console import Console
from rich.table import Table

from dexhil.policy.episodes import (
    DatasetReader,
    Features,
    ProcessWriter,
    StorageError,
    check,
)
from dexhil.policy.episodes.repair import repair

FPS = 20
HEIGHT, WIDTH = 480, 640
FEATURES = Features.for_rig(
    arm_joints=["a", "b"], hand_joints=["c"], cameras={"scene": (HEIGHT, WIDTH)}
)
SAVING_S = 0.2  # An episode is on disk about this long after its end.
TELLS = re.compile(r"(writer|frame|ended|saved) (\d+) ([\d.]+)\n")
KILLS = ("program and writer", "program only", "writer only")
BY_WRITER = 128 + signal.SIGKILL  # How a program ends whose writer was killed, as in a shell.

LEROBOT = """
import logging, os, sys, time
os.environ["HF_HUB_OFFLINE"] = "1"; logging.disable(logging.CRITICAL)
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset
root, seed = sys.argv[1], int(sys.argv[2])
features = {
    "observation.state": {"dtype": "float32", "shape": (4,), "names": list("abcd")},
    "action": {"dtype": "float32", "shape": (3,), "names": list("abc")},
    "observation.images.scene": {
        "dtype": "video", "shape": (480, 640, 3), "names": ["height", "width", "channels"]
    },
}
dataset = LeRobotDataset.create("local/x", fps=20, root=root, features=features, use_videos=True)
random, episode = np.random.default_rng(seed), 0
while True:
    start = time.monotonic()
    for k in range(random.integers(5, 50)):
        time.sleep(max(0.0, start + k / 20 - time.monotonic()))
        image = np.full((480, 640, 3), 5 * k, np.uint8)
        row = {"observation.state": np.full(4, 1000.0 * episode + k, np.float32),
               "action": np.zeros(3, np.float32), "observation.images.scene": image, "task": "x"}
        dataset.add_frame(row)
        print("frame", episode, time.monotonic(), flush=True)
    dataset.save_episode()
    print("saved", episode, time.monotonic(), flush=True)
    episode += 1
"""
LEROBOT_READ = """
import logging, os, sys
os.environ["HF_HUB_OFFLINE"] = "1"; logging.disable(logging.CRITICAL)
from lerobot.datasets.lerobot_dataset import LeRobotDataset
dataset = LeRobotDataset("local/x", root=sys.argv[1])
for i in range(len(dataset)):
    dataset[i]
print(dataset.num_episodes)
"""


# -- The program that is killed ------------------------------------------------------------


def row(episode: int, k: int) -> dict[str, object]:
    """Return the columns of a frame: its state tells which one it is."""
    return {
        "observation.state": np.full(4, 1000.0 * episode + k),
        "action": np.zeros(3),
        "intervention": False,
        "authority": 0.0,
        "source": 0,
        "mode": 1,
        "segment_index": 0,
        "t_mono": time.monotonic(),
    }


def image(k: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return a picture whose brightness tells ``k`` below 50."""
    return np.full((HEIGHT, WIDTH, 3), 5 * (k % 50), dtype=np.uint8)


def record_for_ever(root: Path, seed: int) -> None:
    """Record, and say on standard output what has been handed over and what is on disk."""
    with ProcessWriter(root, FEATURES, FPS) as writer:
        process = writer._process  # noqa: SLF001
        print("writer", process.pid, 0.0, flush=True)
        try:
            record_episodes(writer, np.random.default_rng(seed))
        except StorageError:
            sys.exit(128 - process.wait())


def record_episodes(writer: ProcessWriter, random: np.random.Generator) -> None:
    """Record one after the other."""
    while True:
        episode, start_s = writer.n_episodes, time.monotonic()
        writer.begin_episode(str(episode))
        for k in range(random.integers(5, 50)):
            time.sleep(max(0.0, start_s + k / FPS - time.monotonic()))
            writer.add_frame(row(episode, k), {"scene": image(k)})
            print("frame", episode, time.monotonic(), flush=True)
        writer.end_episode(success=True)
        print("ended", episode, time.monotonic(), flush=True)
        if random.random() < 0.5:  # The other half goes on while the episode is saved.
            writer.flush()
            print("saved", episode, time.monotonic(), flush=True)


# -- Killing it ----------------------------------------------------------------------------


@dataclass
class Said:
    """What a program said until it was killed.

    Attributes:
        frames: When each frame was handed over [s], by episode.
        ended: When each episode was ended [s].
        saved: Episodes that were said to be on disk.
        killed_s: When it was killed; 0 if it was not.
    """

    frames: dict[int, list[float]] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)
    saved: set[int] = field(default_factory=set)
    killed_s: float = 0.0

    def take(self, verb: str, episode: int, stamp_s: float) -> None:
        """Note one line."""
        if verb == "frame":
            self.frames.setdefault(episode, []).append(stamp_s)
        elif verb == "ended":
            self.ended[episode] = stamp_s
        else:
            self.saved.add(episode)


def run_and_kill(command: list[str], whom: str, event: str, after_s: float) -> Said:
    """Start a program and kill it some time after it first said that ``event``.

    Raises:
        RuntimeError: If it ended before, or of something else: then nothing was measured.
    """
    said, writer = Said(), 0
    program = subprocess.Popen(  # noqa: S603  # Ourselves, or the peer that was asked for.
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )

    def kill() -> None:
        now_s = time.monotonic()
        with suppress(ProcessLookupError):
            if whom != "writer only":
                program.kill()
            if writer and whom != "program only":
                os.kill(writer, signal.SIGKILL)
            said.killed_s = now_s

    timer = None
    with cast("TextIO", program.stdout) as lines:
        for line in lines:
            if not (told := TELLS.fullmatch(line)):
                continue  # Libraries print, too.
            verb, number, stamp_s = told.groups()
            if verb == "writer":
                writer = int(number)
                continue
            said.take(verb, int(number), float(stamp_s))
            if timer is None and verb == event:
                timer = threading.Timer(after_s, kill)
                timer.start()
    status = program.wait()
    if timer is not None:
        timer.cancel()  # If it is too late for a kill, whoever has that number now must live.
        timer.join()
    wanted = BY_WRITER if whom == "writer only" else -signal.SIGKILL
    if not said.killed_s or status != wanted:
        raise RuntimeError(f"{whom}: ended by itself with status {status}, before it was killed.")
    return said


@dataclass
class Toll:
    """What a number of kills cost.

    Attributes:
        kills: How many.
        in_saving: How many of them came soon after the end of an episode, which was being saved.
        saved: Episodes that were on disk.
        lost: Of those, and of all that an earlier kill had left, those that are not whole or no
            longer labelled.
        lost_s: Longest recording that is missing from the end of an episode [s].
        spoilt: Frames that are not the ones that were handed over.
        repair_s: Longest time to put the dataset right [s].
        known: Length and label of every episode that the last run left, by dataset.
    """

    kills: int = 0
    in_saving: int = 0
    saved: int = 0
    lost: int = 0
    lost_s: float = 0.0
    spoilt: int = 0
    repair_s: float = 0.0
    known: dict[Path, list[tuple[int, bool | None]]] = field(default_factory=dict)

    def add(self, said: Said, root: Path) -> None:
        """Put the dataset right and compare it with what was handed over."""
        self.kills += 1
        self.in_saving += any(
            said.killed_s - ended_s < SAVING_S
            for episode, ended_s in said.ended.items()
            if episode not in said.saved
        )
        self.saved += len(said.saved)
        start_s = time.monotonic()
        repair(root, apply=True)
        self.repair_s = max(self.repair_s, time.monotonic() - start_s)
        self.spoilt += len(check(root))
        reader = DatasetReader(root)
        before = self.known.get(root, [])
        self.known[root] = [(entry.length, entry.success) for entry in reader.episodes]
        still = self.known[root][: len(before)]
        self.lost += sum(was != found for was, found in zip_longest(before, still))
        self.spoilt += sum(spoilt_frames(reader, episode) for episode in range(len(reader)))
        for episode, stamps in said.frames.items():
            found = reader.episodes[episode] if episode < len(reader) else None
            n_found = 0 if found is None else found.length
            if episode in said.saved:
                self.lost += found is None or n_found != len(stamps) or found.success is not True
            if n_found < len(stamps):
                self.lost_s = max(self.lost_s, said.killed_s - stamps[n_found])


def spoilt_frames(reader: DatasetReader, episode: int) -> int:
    """Return how many frames are not those that were handed over."""
    states = reader.episode(episode).columns["observation.state"][:, 0]
    k = np.arange(len(states))
    brightness = np.array([picture.mean() for picture in reader.images(episode, "scene")])
    wrong = (states != 1000.0 * episode + k) | (np.abs(brightness - 5.0 * (k % 50)) > 4.0)
    return int(wrong.sum())


def kill_ours(n: int, whom: str, seed: int, longest_run_s: float) -> Toll:
    """Kill the recording program ``n`` times; it goes on where it was killed."""
    toll, random = Toll(), np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(n):
            # Another one now and then: putting right a dataset looks at all its episodes.
            root = Path(folder) / f"dataset_{i // 10}"
            command = [sys.executable, __file__, "--record", str(root), "--seed", str(seed + i)]
            # Every other one while an episode is saved.
            event, longest_s = ("ended", SAVING_S) if i % 2 else ("frame", longest_run_s)
            said = run_and_kill(command, whom, event, random.uniform(0.0, longest_s))
            wait_until_unlocked(root)
            toll.add(said, root)
    return toll


def kill_peer(n: int, python: str, seed: int, longest_run_s: float) -> tuple[int, int]:
    """Kill LeRobot's recorder; return the episodes it saved and those its reader finds."""
    saved = found = 0
    random = np.random.default_rng(seed)
    for i in range(n):
        with tempfile.TemporaryDirectory() as folder:
            root = str(Path(folder) / "dataset")
            command = [python, "-c", LEROBOT, root, str(seed + i)]
            said = run_and_kill(command, "program", "saved", random.uniform(0.0, longest_run_s))
            saved += len(said.saved)
            read = subprocess.run(  # noqa: S603  # The peer that was asked for.
                [python, "-c", LEROBOT_READ, root], capture_output=True, text=True, check=False
            )
            if read.returncode == 0:
                found += min(int(read.stdout), len(said.saved))
    return saved, found


def wait_until_unlocked(root: Path) -> None:
    """Wait until no process writes the dataset any more."""
    descriptor = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


# -- The table -----------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> None:
    """Print one table of kills."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="of the whole program")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest-run-s", type=float, default=3.0, help="until a kill")
    parser.add_argument("--peer", help="Python of an environment with LeRobot")
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)  # The program itself.
    options = parser.parse_args(arguments)
    if options.record is not None:
        record_for_ever(options.record, options.seed)
    table = Table(title=f"SIGKILL while recording {WIDTH}×{HEIGHT} at {FPS} Hz")
    logging.disable()  # What is worth telling is in the table.
    columns = ("killed", "kills", "in saving", "episodes on disk", "lost", "most lost [s]")
    for column in (*columns, "spoilt frames", "repair [s]"):
        table.add_column(column, justify="right")
    for whom in KILLS:
        n = options.kills if whom == KILLS[0] else max(1, options.kills // 5)
        toll = kill_ours(n, whom, options.seed, options.longest_run_s)
        counts = (toll.kills, toll.in_saving, toll.saved, toll.lost)
        rest = (f"{toll.lost_s:.2f}", str(toll.spoilt), f"{toll.repair_s:.2f}")
        table.add_row(whom, *map(str, counts), *rest)
    if options.peer:
        n = max(1, options.kills // 10)
        saved, found = kill_peer(n, options.peer, options.seed, options.longest_run_s)
        table.add_row("LeRobot's writer", str(n), "–", str(saved), str(saved - found), *"–––")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
