"""Is this machine, and this rig, fit to run? Every check says how to mend what it finds."""

import importlib.metadata
import itertools
import math
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from packaging.requirements import Requirement

from dexhil.drivers.clock import MonotonicClock
from dexhil.drivers.errors import DeviceError
from dexhil.drivers.registry import KINDS, AnyDevice, RigEntry, RigFile, load, parse, read_rig
from dexhil.integration.machine import Finding, Machine
from dexhil.teleop import realtime

LISTEN_S = 1.0
DRIFT = 0.05  # Largest difference in speed between a device's clock and ours.
REORDERED_S = 1e-3  # A device's clock may go back this far, by rounding [s].


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """One registered driver.

    Attributes:
        kind: Of device.
        name: In rig files.
        package: What to install for it.
        problem: Why it cannot be loaded, if it cannot.
    """

    kind: str
    name: str
    package: str
    problem: str | None


def drivers() -> list[Driver]:
    """Return every registered driver of every kind."""
    found = []
    extras = set(importlib.metadata.metadata("dexhil").get_all("Provides-Extra") or ())
    for kind in KINDS:
        entries = importlib.metadata.entry_points(group=f"dexhil.{kind}")
        for entry in sorted(entries, key=lambda each: each.name):
            package = entry.dist.name if entry.dist is not None else ""
            if package == "dexhil" and entry.name in extras:
                package = f"dexhil[{entry.name}]"
            problem = _problem(kind, entry.name)
            found.append(Driver(kind=kind, name=entry.name, package=package, problem=problem))
    return found


def examine(rig: Path | None = None, machine: Machine | None = None) -> Iterator[Finding]:
    """Look at the machine, then at the rig if there is one. Nothing moves."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding(name="Python", ok=sys.version_info >= (3, 11), measured=f"{version}, needs 3.11")
    yield from _packages()
    yield _clock()
    yield _realtime()
    yield _egl()
    known = drivers()
    n_loadable = sum(driver.problem is None for driver in known)
    said = f"{n_loadable} of {len(known)} load; dexhil devices says what the others need"
    yield Finding(name="drivers", ok=n_loadable > 0, measured=said)
    if rig is not None:
        yield from _rig(rig, machine or Machine())


# -- The machine ---------------------------------------------------------------------


def _problem(kind: str, name: str) -> str | None:
    try:
        load(kind, name)
    except DeviceError as error:
        return str(error)
    return None


def _packages() -> Iterator[Finding]:
    """Compare what is installed with what the package asks for."""
    for text in importlib.metadata.requires("dexhil") or ():
        wanted = Requirement(text)
        trains = wanted.marker is not None and wanted.marker.evaluate({"extra": "train"})
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            yield _package(wanted, f"pip install '{wanted.name}{wanted.specifier}'")
        elif trains:
            yield _package(wanted, "pip install 'dexhil[train]'")


def _package(wanted: Requirement, mend: str) -> Finding:
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name=wanted.name, ok=False, measured=f"not installed. Try: {mend}")
    if not wanted.specifier.contains(version, prereleases=True):
        said = f"{version}, needs {wanted.specifier}. Try: {mend}"
        return Finding(name=wanted.name, ok=False, measured=said)
    return Finding(name=wanted.name, ok=True, measured=version)


def _clock() -> Finding:
    clock, gaps = MonotonicClock(), []
    for _ in range(20):
        start_s = clock.now_s()
        clock.sleep(0.001)
        gaps.append(clock.now_s() - start_s)
    worst_s = max(gaps)
    return Finding(
        name="sleep of 1 ms",
        ok=min(gaps) >= 0.001 and worst_s < 0.02,
        measured=f"takes {worst_s * 1e3:.1f} ms at worst; above 20 ms close other programs",
    )


def _realtime() -> Finding:
    # No failure: a laptop that drives a simulated robot does without.
    allowed = realtime.may_claim_priority()
    said = "allowed" if allowed else f"not allowed: {realtime.HINT}"
    return Finding(name="real-time priority", ok=True, measured=said)


def _egl() -> Finding:
    import mujoco  # noqa: PLC0415  # Reads MUJOCO_GL when it is imported.

    name = f"rendering with MUJOCO_GL={os.environ.get('MUJOCO_GL', 'unset')}"
    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    try:
        start_s = time.perf_counter()
        with mujoco.Renderer(model, 48, 64) as renderer:
            renderer.render()
    except Exception as error:  # noqa: BLE001  # OpenGL bindings raise anything at all.
        return Finding(
            name=name,
            ok=False,
            measured=f"fails ({error}). Set MUJOCO_GL=egl and install libegl1; cameras need it",
        )
    return Finding(name=name, ok=True, measured=f"{(time.perf_counter() - start_s) * 1e3:.0f} ms")


# -- The rig -------------------------------------------------------------------------


def _rig(path: Path, machine: Machine) -> Iterator[Finding]:
    """Look at each device of a rig by itself: a bench may have a single hand."""
    clock = MonotonicClock()
    try:
        file = read_rig(path)
        world = file.build_world(clock)
    except DeviceError as error:
        yield Finding(name=str(path), ok=False, measured=str(error))
        return
    yield _completeness(file)
    try:
        for entry in file.devices:
            yield from _entry(entry, machine, clock, world)
    finally:
        if world is not None:
            cast("Any", world).close()


def _completeness(file: RigFile) -> Finding:
    missing = [k for k in KINDS if k != "camera" and all(e.kind != k for e in file.devices)]
    said = f"devices: {len(file.devices)}"
    if missing:
        said += f"; enough for hil_tests, but teleoperation needs {', '.join(missing)} as well"
    return Finding(name=str(file.path), ok=bool(file.devices), measured=said)


def _entry(
    entry: RigEntry, machine: Machine, clock: MonotonicClock, world: object | None
) -> Iterator[Finding]:
    name = f"[{entry.kind}.{entry.name}]"
    try:
        device = entry.build(clock, world)
        config = parse(cast("Any", type(device)).config_type, entry.options, name)
    except DeviceError as error:
        yield Finding(name=name, ok=False, measured=str(error))
        return
    reachable = True
    for finding in machine.examine(config):
        yield finding
        reachable &= finding.ok
    if reachable:  # Otherwise connecting only says the same again, less well.
        yield from _device(device)


def _device(device: AnyDevice) -> Iterator[Finding]:
    """Connect, count fresh samples and compare clocks. Connecting never moves."""
    samples: dict[float, float | None] = {}  # The device's own stamp by ours, both [s].
    ahead_s = -math.inf
    try:
        device.connect()
        end_s = time.monotonic() + LISTEN_S
        while time.monotonic() < end_s:
            sample = device.observe()
            samples.setdefault(sample.stamp_s, getattr(sample, "device_stamp_s", None))
            ahead_s = max(ahead_s, sample.stamp_s - device.clock.now_s())
            time.sleep(0.002)
    except DeviceError as error:
        yield Finding(name=str(device), ok=False, measured=str(error))
        return
    finally:
        device.disconnect()
    yield _rate(device, len(samples) / LISTEN_S)
    if ahead_s > 0:
        said = f"stamps {ahead_s * 1e3:.0f} ms in the future; its driver uses another clock"
        yield Finding(name=f"{device} clock", ok=False, measured=said)
    stamps = [(ours, theirs) for ours, theirs in sorted(samples.items()) if theirs is not None]
    if len(stamps) > 2:
        yield _device_clock(device, stamps)


def _rate(device: AnyDevice, rate_hz: float) -> Finding:
    promised_hz = getattr(device.spec, "rate_hz", None)
    measured = f"{rate_hz:.0f} fresh samples a second"
    if promised_hz is not None:
        measured += f", promised {promised_hz:.0f}"
    ok = rate_hz > 0.8 * (promised_hz or 0.0)
    return Finding(name=str(device), ok=ok, measured=measured)


def _device_clock(device: AnyDevice, stamps: list[tuple[float, float]]) -> Finding:
    """Compare the device's clock with ours. Only its speed matters, not what it shows."""
    name = f"{device} clock"
    back_s = max(before - after for (_, before), (_, after) in itertools.pairwise(stamps))
    if back_s > REORDERED_S:
        said = f"went back by {back_s * 1e3:.0f} ms; samples arrive out of order"
        return Finding(name=name, ok=False, measured=said)
    (first_s, first_device_s), (last_s, last_device_s) = stamps[0], stamps[-1]
    drift = (last_device_s - first_device_s) / (last_s - first_s) - 1.0
    said = f"runs {drift:+.1%} against ours, allowed {DRIFT:.0%}"
    return Finding(name=name, ok=abs(drift) <= DRIFT, measured=said)
