"""Whether real drivers keep up with their devices: each alone, then all together.

    python benchmarks/rates.py [--devices leap ur ...] [--seconds S] [--skip-together]

Every device is an emulator in a process of its own; all drivers run in this process, as on a
robot. Joints are commanded at 90 Hz all the while, as teleoperation does.

wanted      samples per second that the device should give
samples     fresh samples per second that the driver took
writes      set points per second that arrived at the emulator
p50 p99 max intervals between samples [ms]; p99 - p50 is the jitter
driver      share of one core that this process used, this benchmark included
emulator    share of one core that the emulator used
"""

import argparse
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.joints import JointActuator
from dexhil.drivers.registry import AnyDevice, RigEntry
from dexhil.drivers.streamed import Sample, StreamedJoints

COMMAND_HZ = 90.0
WANTED_HZ = {
    "leap": 90.0,
    "inspire": 90.0,
    "inspire_tcp": 90.0,
    "ability": 90.0,
    "dexhand021": 90.0,
    "allegro": 300.0,
    "ur": 125.0,
    "xarm": 90.0,
    "manus": 60.0,
    "rokoko": 60.0,
    "lucid": 60.0,
    "quest": 60.0,
    "opencv": 30.0,
    "realsense": 30.0,
    "opencv 2": 30.0,
}
TOGETHER = ("ur", "leap", "inspire", "ability", "dexhand021", "allegro", "opencv", "opencv 2")
TICK_S = 0.002


@dataclass(slots=True)
class Bench:
    """One device at work."""

    name: str
    device: AnyDevice
    emulator: EmulatorProcess
    stamps: list[float] = field(default_factory=list)
    start: Any = None
    commanded_s: float = 0.0

    def listen(self) -> None:
        """Write every sample's stamp down, joints in their own thread and others as seen."""
        if not isinstance(self.device, StreamedJoints):
            return
        accept = self.device._accept  # noqa: SLF001  # Polling at 500 Hz would be measured too.

        def noted(sample: Sample, now_s: float) -> None:
            self.stamps.append(sample.stamp_s)
            accept(sample, now_s)

        self.device._accept = noted  # type: ignore[method-assign]  # noqa: SLF001

    def tick(self, now_s: float) -> None:
        """Command joints at their rate; look at anything else."""
        if not isinstance(self.device, JointActuator):
            stamp_s = self.device.observe().stamp_s
            if not self.stamps or stamp_s != self.stamps[-1]:
                self.stamps.append(stamp_s)
        elif now_s >= self.commanded_s + 1.0 / COMMAND_HZ:
            self.commanded_s = now_s
            low, high = self.device.spec.position_limits.T
            target = np.clip(self.start + 0.2 * np.sin(4.0 * now_s), low, high)
            self.device.command(self.device.command_type(joint_positions=target))

    def writes(self) -> int:
        """Set points that arrived so far."""
        joints = isinstance(self.device, JointActuator)
        return int(self.emulator.state()["n_commands"]) if joints else 0


def busy_s(pid: int) -> float:
    """Processor time of a process so far [s]. Known on Linux only."""
    columns = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(columns[11]) + int(columns[12])) / os.sysconf("SC_CLK_TCK")


def measure(names: Sequence[str], seconds: float) -> list[str]:
    """Run some devices at once; return the lines of the table."""
    with ExitStack() as stack:
        benches = [_start(name, stack) for name in names]
        _run(benches, 1.0)
        for bench in benches:
            bench.stamps.clear()
        writes = [bench.writes() for bench in benches]
        busy = [busy_s(bench.emulator.pid) for bench in benches]
        own_s, start_s = time.process_time(), time.monotonic()
        _run(benches, seconds)
        wall_s = time.monotonic() - start_s
        own = (time.process_time() - own_s) / wall_s
        lines = []
        for bench, before, before_s in zip(benches, writes, busy, strict=True):
            rate = len(bench.stamps) / wall_s
            gaps_ms = np.diff(bench.stamps) * 1e3
            written = bench.writes() - before
            used = (busy_s(bench.emulator.pid) - before_s) / wall_s
            wanted = WANTED_HZ[bench.name]
            p50, p99 = np.percentile(gaps_ms, (50, 99))
            lines.append(
                f"{bench.name:12}{wanted:8.0f}{rate:9.1f}"
                + (f"{written / wall_s:8.1f}" if written else f"{'-':>8}")
                + f"{p50:8.2f}{p99:8.2f}{gaps_ms.max():8.2f}"
                + (f"{own:8.0%}" if len(names) == 1 else f"{'':8}")
                + f"{used:9.0%}"
                + ("" if rate >= wanted * 0.99 else "  too slow")
            )
        if len(names) > 1:
            lines.append(f"all drivers in one process: {own:.0%} of one core")
        return lines


def _start(name: str, stack: ExitStack) -> Bench:
    emulator = stack.enter_context(EmulatorProcess(name.split(maxsplit=1)[0]))
    device = RigEntry(emulator.kind, name, emulator.driver, emulator.options).build()
    stack.callback(device.disconnect)
    device.connect()
    bench = Bench(name, device, emulator)
    if isinstance(device, JointActuator):
        bench.start = device.observe().joint_positions
        device.enable()
    bench.listen()
    return bench


def _run(benches: Sequence[Bench], seconds: float) -> None:
    due_s = time.monotonic()
    end_s = due_s + seconds
    while due_s < end_s:
        for bench in benches:
            bench.tick(time.monotonic())
        due_s += TICK_S
        time.sleep(max(0.0, due_s - time.monotonic()))


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    alone = [name for name in WANTED_HZ if " " not in name]
    parser.add_argument("--devices", nargs="+", default=alone, choices=alone, metavar="NAME")
    parser.add_argument("--seconds", type=float, default=10.0, help="to measure each [s]")
    parser.add_argument("--skip-together", action="store_true", help="only each alone")
    options = parser.parse_args(arguments)
    head = f"{'':12}{'wanted':>8}{'samples':>9}{'writes':>8}"
    head += f"{'p50':>8}{'p99':>8}{'max':>8}{'driver':>8}{'emulator':>9}"
    print(f"each alone\n{head}")
    for name in options.devices:
        print("\n".join(measure([name], options.seconds)), flush=True)
    if not options.skip_together:
        print(f"\nall together on {os.cpu_count()} cores, emulators included\n{head}")
        print("\n".join(measure(TOGETHER, options.seconds)))


if __name__ == "__main__":
    main()
