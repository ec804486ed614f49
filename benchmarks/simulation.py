"""How much faster than real time the whole teleoperation loop runs, and where the time goes.

    python benchmarks/simulation.py [--n RUNS] [--rigs ur5e_leap ...]

Every row is one demonstration, the same in every run: simulated operator, three loops,
safety, physics, judge. Speeds are simulated seconds per second, of the best run by the
wall clock, of the best by the processor's, and undisturbed: as every run does the same
work, each 50 ms of it are taken from the run in which they took the processor least.
Other programs can only make a run slower, so this is nearest to a machine of one's own.
Physics alone is the same world at rest, stepped without anybody around it.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.device import Actuator, Device
from dexhil.drivers.sim import world
from dexhil.integration.bench import Bench
from dexhil.integration.operator import Role
from dexhil.integration.operator.plush import PlushOperator
from dexhil.integration.recorder import Recorder, rig_features
from dexhil.policy.episodes import DatasetWriter
from dexhil.retarget.retargeter import Retargeter
from dexhil.teleop.frame import Frame
from dexhil.teleop.ik import ArmIK

RIGS = Path(__file__).parent.parent / "rigs"
AIM = 20.0
PICTURES = ((96, 96), (320, 240))
# Each part without the parts it calls; what is left belongs to the loops themselves.
PARTS = (
    ("physics", world.World, "advance"),
    ("retargeting", Retargeter, "retarget"),
    ("IK", ArmIK, "solve"),
    ("operator", PlushOperator, "tick"),
    ("devices", Device, "observe"),
    ("devices", Actuator, "command"),
    ("recording", Recorder, "write"),
    ("pictures", world.World, "render"),
)


@dataclass(frozen=True, slots=True)
class Speed:
    """Simulated seconds per second: by the wall clock, by the processor's, and undisturbed."""

    wall: float
    cpu: float
    undisturbed: float


class Laps:
    """Wall and processor time of each step of equal runs."""

    def __init__(self, simulated_s: float) -> None:
        self.simulated_s = simulated_s
        self._runs: list[Matrix] = []
        self._marks: list[tuple[float, float]] = []

    def mark(self) -> None:
        """Note that a step ends and the next begins."""
        self._marks.append((time.perf_counter(), time.process_time()))

    def end(self) -> None:
        """Note that the run has ended."""
        self.mark()
        self._runs.append(np.diff(self._marks, axis=0))
        self._marks.clear()

    @property
    def speed(self) -> Speed:
        wall_s, cpu_s = np.sum(self._runs, axis=1).min(axis=0)
        undisturbed_s = np.min(self._runs, axis=0)[:, 1].sum()
        seconds = (wall_s, cpu_s, undisturbed_s)
        return Speed(*(float(self.simulated_s / s) for s in seconds))


@dataclass(frozen=True, slots=True)
class LapSink:
    """Ends a lap with every frame, and hands it on if somebody records."""

    laps: Laps
    recorder: Recorder | None

    def write(self, frame: Frame) -> None:
        if self.recorder is not None:
            self.recorder.write(frame)
        self.laps.mark()


class Stopwatch:
    """Processor time by part; while a part calls another, only the inner one's clock runs."""

    def __init__(self) -> None:
        self.spent_s: defaultdict[str, float] = defaultdict(float)
        self._running = ["loops"]
        self._since_s = time.process_time()

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``function`` on the clock of ``part``."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self._book()
            self._running.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self._book()
                self._running.pop()

        return run

    def _book(self) -> None:
        now_s = time.process_time()
        self.spent_s[self._running[-1]] += now_s - self._since_s
        self._since_s = now_s

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Time every part of ``PARTS`` within the block."""
        with ExitStack() as stack:
            for part, owner, name in PARTS:
                function = self.timed(part, getattr(owner, name))
                stack.enter_context(patch.object(owner, name, function))
            self._since_s = time.process_time()
            yield
            self._book()


@contextmanager
def bench_of(rig: str, pictures: tuple[int, int] | None = None) -> Iterator[Bench]:
    """Build a rig, with its two cameras painting pictures of a size if one is given."""
    path = RIGS / f"sim_{rig}.toml"
    with tempfile.TemporaryDirectory() as folder:
        if pictures is not None:
            width, height = pictures
            size = f'driver = "sim"\nwidth = {width}\nheight = {height}\n'
            devices, _ = path.read_text().split("[camera.", maxsplit=1)
            path = Path(folder) / path.name
            path.write_text(f"{devices}[camera.scene]\n{size}[camera.wrist]\n{size}")
        with Bench(path, cameras=pictures is not None) as bench:
            yield bench


def speed_of(
    rig: str, n: int, *, pictures: tuple[int, int] | None = None, record: bool = False
) -> Speed:
    """Return the speed of ``n`` equal demonstrations, equal because each has a world of its own."""
    laps = Laps(0.0)
    for _ in range(n):
        with ExitStack() as stack:
            bench, recorder = stack.enter_context(bench_of(rig, pictures)), None
            if record:
                root = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "dataset"
                features = rig_features(bench.rig, bench.task.environment_names)
                writer = DatasetWriter(root, features, bench.config.policy_rate_hz)
                stack.enter_context(writer).begin_episode(bench.task.prompt)
                recorder = Recorder(writer)
            start_s = bench.clock.now_s()
            laps.mark()
            bench.attempt(0, role=Role.DEMONSTRATE, sink=LapSink(laps, recorder))
            if record:
                writer.end_episode()
            laps.end()
            laps.simulated_s = bench.clock.now_s() - start_s
    return laps.speed


def physics_speed(still: world.World, n: int, duration_s: float = 1.0) -> Speed:
    """Return the speed of ``n`` stretches of physics with the robot at rest."""
    laps = Laps(duration_s)
    for _ in range(n):
        laps.mark()
        for _ in range(20):
            still.settle(duration_s / 20)
            laps.mark()
        laps.end()
    return laps.speed


def breakdown(bench: Bench, n: int) -> dict[str, float]:
    """Return processor time per simulated second by part [ms], of the fastest of ``n`` runs."""
    runs = []
    for _ in range(n):
        stopwatch, start_s = Stopwatch(), bench.clock.now_s()
        with stopwatch.watching():
            bench.attempt(0, role=Role.DEMONSTRATE)
        simulated_s = bench.clock.now_s() - start_s
        runs.append({part: 1e3 * s / simulated_s for part, s in stopwatch.spent_s.items()})
    return min(runs, key=lambda run: sum(run.values()))


def print_speed(rig: str, what: str, speed: Speed) -> None:
    """Print one line of the first table."""
    print(
        f"{rig:14} {what:38} {speed.wall:7.1f}x {speed.cpu:7.1f}x {speed.undisturbed:11.1f}x"
        f" {speed.undisturbed / AIM:7.2f}",
        flush=True,
    )


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=8, help="equal runs of each")
    parser.add_argument(
        "--rigs", nargs="+", default=None, help="such as ur5e_leap; all if left out"
    )
    parser.add_argument(
        "--no-cameras", action="store_true", help="leave out the rows that need EGL"
    )
    options = parser.parse_args(arguments)
    rigs = options.rigs or sorted(p.stem.removeprefix("sim_") for p in RIGS.glob("sim_*.toml"))
    print(
        f"{'rig':14} {'simulated seconds per second':38} {'wall':>8} {'cpu':>8}"
        f" {'undisturbed':>12} {f'of {AIM:g}x':>7}"
    )
    parts: dict[str, dict[str, float]] = {}
    for rig in rigs:
        print_speed(rig, "loop", speed_of(rig, options.n))
        print_speed(rig, "loop, recording", speed_of(rig, options.n, record=True))
        with bench_of(rig) as bench:
            parts[rig] = breakdown(bench, options.n)
            bench.task.reset(0)
            print_speed(rig, "physics alone, at rest", physics_speed(bench.world, options.n))
    for width, height in () if options.no_cameras else PICTURES:
        for record in (False, True):
            what = f"loop, 2 x {width} x {height}" + ", recording" * record
            speed = speed_of(rigs[0], options.n, pictures=(width, height), record=record)
            print_speed(rigs[0], what, speed)
    names = list(dict.fromkeys(name for spent in parts.values() for name in spent))
    print(f"\n{'cpu ms per s':14}" + "".join(f" {name:>11}" for name in [*names, "all"]))
    for rig, spent in parts.items():
        row = [spent.get(name, 0.0) for name in names]
        print(f"{rig:14}" + "".join(f" {ms:11.1f}" for ms in [*row, sum(row)]))


if __name__ == "__main__":
    main()
