"""Is this machine, and this rig, fit to run? Every check says how to mend what it finds."""

import importlib.metadata
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dexhil.drivers.clock import MonotonicClock
from dexhil.drivers.errors import DeviceError
from dexhil.drivers.registry import KINDS, AnyDevice, available, load
from dexhil.integration.errors import RunError
from dexhil.integration.rig import build_rig

PACKAGES = ("mujoco", "mink", "numba", "numpy", "pyarrow", "av", "torch")
LISTEN_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check.

    Attributes:
        name: What was looked at.
        ok: Whether it is fit.
        measured: What was found, and what to do if it is not fit.
    """

    name: str
    ok: bool
    measured: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """One registered driver, and why it cannot be loaded, if it cannot."""

    kind: str
    name: str
    problem: str | None


def drivers() -> list[Driver]:
    """Return every registered driver of every kind."""
    found = []
    for kind in KINDS:
        for name in available(kind):
            try:
                load(kind, name)
            except DeviceError as error:
                found.append(Driver(kind=kind, name=name, problem=str(error)))
            else:
                found.append(Driver(kind=kind, name=name, problem=None))
    return found


def examine(rig: Path | None = None) -> Iterator[Finding]:
    """Look at the machine, then at the rig if there is one. Nothing moves."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding(name="Python", ok=sys.version_info >= (3, 11), measured=f"{version}, needs 3.11")
    for package in PACKAGES:
        yield _package(package)
    yield _clock()
    yield _egl()
    for driver in drivers():
        if driver.problem is not None:
            name = f"{driver.kind} driver {driver.name}"
            yield Finding(name=name, ok=False, measured=driver.problem)
    if rig is not None:
        yield from _rig(rig)


def _package(name: str) -> Finding:
    try:
        return Finding(name=name, ok=True, measured=importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        mend = "pip install 'dexhil[train]'" if name == "torch" else f"pip install {name}"
        return Finding(name=name, ok=False, measured=f"not installed. Try: {mend}")


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


def _rig(path: Path) -> Iterator[Finding]:
    try:
        rig = build_rig(path, MonotonicClock())
    except (DeviceError, RunError) as error:
        yield Finding(name=str(path), ok=False, measured=str(error))
        return
    try:
        for device in rig.devices:
            yield _device(device)
    finally:
        rig.disconnect()
        if rig.world is not None:
            rig.world.close()


def _device(device: AnyDevice) -> Finding:
    """Connect and count fresh samples. Connecting never moves."""
    try:
        device.connect()
        stamps = set()
        end_s = time.monotonic() + LISTEN_S
        while time.monotonic() < end_s:
            stamps.add(device.observe().stamp_s)
            time.sleep(0.002)
    except DeviceError as error:
        return Finding(name=str(device), ok=False, measured=str(error))
    rate_hz = len(stamps) / LISTEN_S
    promised_hz = getattr(device.spec, "rate_hz", None)
    ok = promised_hz is None or rate_hz > 0.8 * promised_hz
    measured = f"{rate_hz:.0f} fresh samples a second"
    if promised_hz is not None:
        measured += f", promised {promised_hz:.0f}"
    return Finding(name=str(device), ok=ok, measured=measured)
