"""How much faster than real time the whole teleoperation loop runs, and where the time goes.

    python benchmarks/simulation.py [--n RUNS] [--rigs ur5e_leap ...]

Every row is one demonstration, the same in every run: simulated operator, three loops,
safety, physics, judge. Speeds are simulated seconds per second of the wall clock and of
the processor, best of the runs, because other programs can only make a run slower.
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

from dexhil.drivers.device import Actuator, Device
from dexhil.drivers.sim import world
from dexhil.integration.bench import Bench
from dexhil.integration.operator.plush import PlushOperator, Role
from dexhil.integration.recorder import Recorder, rig_features
from dexhil.policy.episodes import DatasetWriter
from dexhil.retarget.retargeter import Retargeter
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
    """Simulated seconds per second of the wall clock and of the processor."""

    wall: float
    cpu: float


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


def speed_of(bench: Bench, n: int, *, record: bool = False) -> Speed:
    """Return the best speed of ``n`` equal demonstrations."""
    fps = bench.config.policy_rate_hz
    features = rig_features(bench.rig, bench.task.environment_names)
    wall = cpu = 0.0
    for _ in range(n):
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            sink = None
            if record:
                root = Path(folder) / "dataset"
                writer = stack.enter_context(DatasetWriter(root, features, fps))
                writer.begin_episode(bench.task.prompt)
                sink = Recorder(writer)
            start_s = bench.clock.now_s()
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            bench.attempt(0, role=Role.DEMONSTRATE, sink=sink)
            if sink is not None:
                writer.end_episode()
            wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
            simulated_s = bench.clock.now_s() - start_s
        wall, cpu = max(wall, simulated_s / wall_s), max(cpu, simulated_s / cpu_s)
    return Speed(wall, cpu)


def physics_speed(still: world.World, n: int, duration_s: float = 1.0) -> Speed:
    """Return the best speed of ``n`` stretches of physics with the robot at rest."""
    wall = cpu = 0.0
    for _ in range(n):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        still.settle(duration_s)
        wall = max(wall, duration_s / (time.perf_counter() - wall_s))
        cpu = max(cpu, duration_s / (time.process_time() - cpu_s))
    return Speed(wall, cpu)


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
    ratio = speed.wall / AIM
    print(f"{rig:14} {what:32} {speed.wall:7.1f}x {speed.cpu:7.1f}x {ratio:8.2f}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=5, help="runs, of which the best counts")
    parser.add_argument(
        "--rigs", nargs="+", default=None, help="such as ur5e_leap; all if left out"
    )
    parser.add_argument(
        "--no-cameras", action="store_true", help="leave out the rows that need EGL"
    )
    options = parser.parse_args(arguments)
    rigs = options.rigs or sorted(p.stem.removeprefix("sim_") for p in RIGS.glob("sim_*.toml"))
    print(f"{'rig':14} {'simulated seconds per second':32} {'wall':>8} {'cpu':>8} {'wall/aim':>8}")
    parts: dict[str, dict[str, float]] = {}
    for rig in rigs:
        with bench_of(rig) as bench:
            print_speed(rig, "loop", speed_of(bench, options.n))
            print_speed(rig, "loop, recording", speed_of(bench, options.n, record=True))
            parts[rig] = breakdown(bench, options.n)
            bench.task.reset(0)
            print_speed(rig, "physics alone, at rest", physics_speed(bench.world, options.n))
    for width, height in () if options.no_cameras else PICTURES:
        with bench_of(rigs[0], (width, height)) as bench:
            what = f"loop, 2 cameras {width} x {height}"
            print_speed(rigs[0], what, speed_of(bench, options.n))
            speed = speed_of(bench, options.n, record=True)
            print_speed(rigs[0], f"{what}, recording", speed)
    names = list(dict.fromkeys(name for spent in parts.values() for name in spent))
    print(f"\n{'cpu ms per s':14}" + "".join(f" {name:>11}" for name in [*names, "all"]))
    for rig, spent in parts.items():
        row = [spent.get(name, 0.0) for name in names]
        print(f"{rig:14}" + "".join(f" {ms:11.1f}" for ms in [*row, sum(row)]))


if __name__ == "__main__":
    main()
