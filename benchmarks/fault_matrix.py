"""Every driver against every fault that its wire or its device can have.

    python benchmarks/fault_matrix.py [--drivers leap ur ...] [--faults unplug ...] [--out FILE]

Each cell starts from a healthy emulator in a process of its own. Joints are kept moving by
commands at 50 Hz. Then one thing breaks, and for 1.5 s the driver is watched from both ends:

held 40     whoever asks for a sample as young as allowed is refused; the newest one is from
            40 ms after the fault, by its own stamp. Or: no set point changed after 40 ms
fault 310   a fault latched after 310 ms; its set points stopped within the time allowed
works       it goes on with fresh and right samples at half its rate or more
(a)         cannot happen here; the reason is below the table

Allowed for held and fault is 100 ms or two periods of the device, whichever is longer. Every
cell also requires: one sentence that says why, no command outside the limits, a working
device after the fault has been cleared and recovery was asked for.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from dexhil.drivers.device import State
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.errors import DeviceError
from dexhil.drivers.joints import JointActuator
from dexhil.drivers.registry import AnyDevice, RigEntry

LOOK_S = 1.5
ALLOWED_S = 0.1
SLACK_S = 0.06  # For two processes on busy cores to look at the same moment [s].
COMMAND_S = 0.02
SPEED = 0.4  # Of every joint [rad/s].
RECOVER_S = 15.0  # A real UR refuses to unlock for five seconds.

FAULTS: Mapping[str, Sequence[str]] = {
    "silent": ("freeze",),
    "unplug": ("unplug",),
    "drop 30%": ("drop", "0.3"),
    "delay": ("delay", "0.5"),
    "corrupt": ("corrupt", "1"),
    "partial": ("partial", "1"),
    "twice": ("duplicate", "1"),
    "repeat": ("repeat",),
    "echo": ("echo",),
    "rewind": ("rewind", "3"),
    "error": (),
    "p-stop": ("protective_stop",),
}
ERRORS: Mapping[str, Sequence[str]] = {
    "leap": ("error", "3", "32"),  # Motor 3 is overloaded.
    "inspire": ("error", "2", "1"),  # The middle finger is too hot.
    "inspire_tcp": ("error", "2", "1"),
    "allegro": ("servo_trip",),
    "dexhand021": ("error", "2", "1"),  # Overload of a motor.
    "ability": ("stopped", "4"),  # It stopped a finger itself.
    "ur": ("stop",),  # Somebody pressed stop on the pendant.
    "xarm": ("error", "31"),  # Collision.
}
CAUSES_END = {"ability": ("stopped", "0")}  # Where no request can clear what still goes on.
HARMLESS = {"drop 30%", "twice", "echo"}  # These may also just work.

STREAM_HARMLESS = {*HARMLESS, "rewind"}  # Their samples are stamped when they arrive.

WHY_NOT = {
    "a": "TCP delivers every byte once and in order, or breaks the connection",
    "b": "nothing on this wire carries a checksum: CAN's own is checked by the adapter",
    "c": "the device sends no clock of its own",
    "d": "the device reports no error of its own",
    "e": "only arms have a protective stop",
    "f": "nothing that we send could be taken for something of the device",
    "g": "values that do not change are the truth while nobody touches it",
    "h": "a datagram or a report arrives whole or not at all",
    "i": "the network's own checksum drops what was damaged",
    "j": "no checksum on this wire: a flipped digit is a small bend; leaps are refused",
}
SERIAL = {"rewind": "c", "p-stop": "e"}
CAN = {"corrupt": "b", "partial": "h", "rewind": "c", "p-stop": "e"}
TCP = {"drop 30%": "a", "corrupt": "a", "echo": "a"}
STREAM = {"echo": "f", "error": "d", "p-stop": "e"}
NETWORK = {**STREAM, "corrupt": "i", "partial": "h"}
SWITCH = {"repeat": "g", "rewind": "c", "error": "d", "p-stop": "e", "echo": "f"}
DOES_NOT_APPLY: Mapping[str, Mapping[str, str]] = {
    "ur": {**TCP, "partial": "a"},
    "xarm": {**TCP, "rewind": "c", "p-stop": "e"},
    "leap": SERIAL,
    "inspire": SERIAL,
    "inspire_tcp": {**TCP, "rewind": "c", "p-stop": "e"},
    "ability": SERIAL,
    "allegro": CAN,
    "dexhand021": CAN,
    "manus": {**NETWORK, "rewind": "c"},
    "rokoko": NETWORK,
    "lucid": {**STREAM, "corrupt": "j", "rewind": "c"},
    "quest": NETWORK,
    "opencv": {**STREAM, "corrupt": "i", "rewind": "c"},
    "realsense": {**STREAM, "corrupt": "i"},
    "keyboard": SWITCH,
    "pedal": SWITCH,
    "spacemouse": SWITCH,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one driver did about one fault.

    Attributes:
        driver: Name of the emulator.
        fault: Name of the fault.
        verdict: ``works``, ``held``, ``fault``, or ``n/a``.
        after_ms: When it held or faulted, after the fault [ms].
        allowed_ms: How long that may take [ms].
        reason: What it said.
        recovered_ms: Until it worked again, once asked [ms].
        problem: What is wrong with the cell, if anything is.
    """

    driver: str
    fault: str
    verdict: str
    after_ms: float = 0.0
    allowed_ms: float = 0.0
    reason: str = ""
    recovered_ms: float = 0.0
    problem: str = ""

    def __str__(self) -> str:
        if self.verdict == "n/a":
            return f"({self.reason})"
        shown = "works" if self.verdict == "works" else f"{self.verdict} {self.after_ms:.0f}"
        return f"{shown} !" if self.problem else shown


class Watch:
    """One device, observed and kept moving."""

    def __init__(self, device: AnyDevice, emulator: EmulatorProcess) -> None:
        self.device = device
        self.stamps: list[float] = []
        self.looks: list[tuple[float, float]] = []  # When, and the stamp seen [s].
        self.reason = ""
        self.faulted_s: float | None = None
        self.set_points: list[tuple[float, Any]] = []
        self._emulator = emulator
        self._commanded_s = 0.0
        self._start = self._slope = np.zeros(0)
        self._start_s = time.monotonic()
        if isinstance(device, JointActuator):
            low, high = device.spec.position_limits.T
            self._start = np.clip(device.observe().joint_positions, low, high)
            # Ever onward, to where there is room: the set point must not rest on the way.
            self._slope = np.where(high - self._start > self._start - low, SPEED, -SPEED)

    def run(self, duration_s: float) -> None:
        """Observe, and command if it can move, for a while or until it faults."""
        end_s = time.monotonic() + duration_s
        while time.monotonic() < end_s and self.faulted_s is None:
            try:
                self._tick()
            except DeviceError as error:
                self.reason, self.faulted_s = str(error), time.monotonic()
                # Being told to stay, on the way out, is no motion.
                while self.set_points and self.set_points[-1][0] > self.faulted_s - 0.03:
                    self.set_points.pop()
            time.sleep(0.004)

    def _tick(self) -> None:
        self._note_set_points()
        stamp_s = self.device.observe().stamp_s
        if not self.stamps or stamp_s != self.stamps[-1]:
            self.stamps.append(stamp_s)
        now_s = time.monotonic()
        self.looks.append((now_s, stamp_s))
        reasons = self.device.health().reasons
        self.reason = reasons[0] if reasons else self.reason
        if not isinstance(self.device, JointActuator) or now_s < self._commanded_s + COMMAND_S:
            return
        self._commanded_s = now_s
        low, high = self.device.spec.position_limits.T
        target = np.clip(self._start + self._slope * (now_s - self._start_s), low, high)
        self.device.command(self.device.command_type(joint_positions=target))

    def _note_set_points(self) -> None:
        if isinstance(self.device, JointActuator):
            targets = self._emulator.state()["targets"]
            if not self.set_points or targets != self.set_points[-1][1]:
                self.set_points.append((time.monotonic(), targets))


def examine(driver: str, fault: str) -> Cell:
    """Break one thing and see what the driver makes of it."""
    letter = DOES_NOT_APPLY[driver].get(fault)
    if letter is not None:
        return Cell(driver=driver, fault=fault, verdict="n/a", reason=letter)
    with EmulatorProcess(driver) as emulator:
        entry = RigEntry(emulator.kind, driver, emulator.driver, emulator.options)
        device = entry.build()
        try:
            return _examine(device, emulator, driver, fault)
        finally:
            device.disconnect()


def _examine(device: AnyDevice, emulator: EmulatorProcess, driver: str, fault: str) -> Cell:
    device.connect()
    watch = Watch(device, emulator)
    if isinstance(device, JointActuator):
        device.enable()
    watch.run(0.6)
    problems = [] if watch.faulted_s is None else [f"unwell before the fault: {watch.reason}"]
    period_s = 0.6 / max(1, len(watch.stamps))
    allowed_s = max(ALLOWED_S, 2 * period_s)
    emulator.tell(*(FAULTS[fault] or ERRORS[driver]))
    broken_s = time.monotonic()
    watch.reason = ""
    watch.run(LOOK_S)
    verdict, after_s = judge(watch, broken_s, allowed_s)
    if verdict == "works":
        harmless = HARMLESS if isinstance(device, JointActuator) else STREAM_HARMLESS
        problems += [] if fault in harmless else ["it went on as if nothing had happened"]
    else:
        # What goes wrong by chance need not do so at once.
        on_time = fault in HARMLESS or after_s <= allowed_s + SLACK_S
        problems += [] if on_time else ["too late"]
        problems += [] if watch.reason or fault in HARMLESS else ["it does not say why"]
    outside = emulator.state().get("out_of_range", 0)
    problems += [f"{outside} commands outside the limits"] if outside else []
    try:
        recovered_s = recover(device, emulator)
    except DeviceError as error:
        recovered_s, problems = 0.0, [*problems, f"it does not recover: {error}"]
    return Cell(
        driver=driver,
        fault=fault,
        verdict=verdict,
        after_ms=round(after_s * 1e3, 1),
        allowed_ms=round(allowed_s * 1e3, 1),
        reason=watch.reason,
        recovered_ms=round(recovered_s * 1e3),
        problem="; ".join(problems),
    )


def judge(watch: Watch, broken_s: float, allowed_s: float) -> tuple[str, float]:
    """Return what happened, and how long after the fault it did."""
    ends_s = [watch.stamps[-1]]
    if watch.set_points:
        ends_s.append(watch.set_points[-1][0])
    if watch.faulted_s is not None:
        return "fault", max(0.0, min(*ends_s, watch.faulted_s) - broken_s)
    for now_s, stamp_s in watch.looks:
        # Whoever asks for a sample as young as allowed is refused from here on.
        if now_s > broken_s and now_s - stamp_s > allowed_s + SLACK_S:
            return "held", max(0.0, stamp_s - broken_s)
    if ends_s[-1] < broken_s + 0.5 * LOOK_S:
        return "held", max(0.0, ends_s[-1] - broken_s)
    return "works", 0.0


def recover(device: AnyDevice, emulator: EmulatorProcess) -> float:
    """Clear the fault, ask for recovery, and return how long it took to be well [s]."""
    emulator.tell("clear")
    if emulator.name in CAUSES_END:
        emulator.tell(*CAUSES_END[emulator.name])
    start_s = time.monotonic()
    if device.state is not State.ENABLED or not device.health().ok:
        device.recover(timeout_s=RECOVER_S)
        if isinstance(device, JointActuator):
            device.enable()
    watch = Watch(device, emulator)
    while not watch.stamps or watch.stamps[-1] < start_s or not device.health().ok:
        if time.monotonic() > start_s + RECOVER_S:
            raise TimeoutError(f"still unwell: {device.health().reasons}")
        watch.run(0.05)
        if watch.faulted_s is not None:
            raise DeviceError(watch.reason)
    return time.monotonic() - start_s


def safely(job: tuple[str, str]) -> Cell:
    """Examine one cell; whatever goes wrong there is that cell's problem."""
    driver, fault = job
    logging.getLogger("dexhil").setLevel(logging.CRITICAL + 1)  # The matrix says it all.
    try:
        return examine(driver, fault)
    except Exception as error:  # noqa: BLE001  # A cell may break in any way at all.
        said = f"{type(error).__name__}: {error}"
        return Cell(driver=driver, fault=fault, verdict="broken", problem=said)


def show(cells: Sequence[Cell], drivers: Sequence[str], faults: Sequence[str]) -> None:
    """Print the matrix, the reasons of empty cells, what was said and what is wrong."""
    found = {(cell.driver, cell.fault): cell for cell in cells}
    print(f"{'':12}" + "".join(f"{fault:>11}" for fault in faults))
    for driver in drivers:
        print(f"{driver:12}" + "".join(f"{found[driver, fault]!s:>11}" for fault in faults))
    used = sorted({cell.reason for cell in cells if cell.verdict == "n/a"})
    print("\n" + "\n".join(f"({letter}) {WHY_NOT[letter]}" for letter in used))
    print("\nWhat they say:")
    for cell in cells:
        if cell.verdict not in ("n/a", "works"):
            print(f"  {cell.driver} / {cell.fault}: {cell.reason}")
    bad = [cell for cell in cells if cell.problem]
    tested = sum(cell.verdict != "n/a" for cell in cells)
    print(f"\n{tested} cells tested, {len(bad)} with a problem")
    for cell in bad:
        print(f"  {cell.driver} / {cell.fault}: {cell.problem}")


def main(arguments: list[str] | None = None) -> None:
    """Fill the matrix."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drivers", nargs="+", default=list(DOES_NOT_APPLY), metavar="NAME")
    parser.add_argument("--faults", nargs="+", default=list(FAULTS), choices=FAULTS, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=2, help="cells at once")
    parser.add_argument("--out", type=Path, help="write the cells as JSON")
    options = parser.parse_args(arguments)
    jobs = [(driver, fault) for driver in options.drivers for fault in options.faults]
    if options.jobs == 1:
        cells = [safely(job) for job in jobs]
    else:
        with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
            cells = list(pool.map(safely, jobs))
    show(cells, options.drivers, options.faults)
    if options.out is not None:
        options.out.write_text(json.dumps([asdict(cell) for cell in cells], indent=1) + "\n")
    sys.exit(any(cell.problem for cell in cells))


if __name__ == "__main__":
    main()
