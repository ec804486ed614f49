"""A whole rig of real drivers, with nothing but emulators at the far ends of their wires."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dexhil.drivers.emulators import EmulatorProcess
from dexhil.integration.emulation import rig_table
from dexhil.policy.episodes import DatasetReader

pytestmark = pytest.mark.alone

DURATION_S = 14.0
TELEOP = "from dexhil.integration.cli import main; main()"
HOLD, HUMAN = 0, 2

Emulators = dict[str, EmulatorProcess]


@pytest.fixture(scope="module")
def emulators() -> Iterator[Emulators]:
    with ExitStack() as stack:
        names = ("ur", "leap", "quest", "keyboard")
        yield {name: stack.enter_context(EmulatorProcess(name)) for name in names}


@pytest.fixture
def rig(emulators: Emulators, tmp_path: Path) -> Path:
    for emulator in emulators.values():
        emulator.tell("reset")
    tables = [rig_table(emulator) for emulator in emulators.values()]
    port = emulators["quest"].options["port"]
    tables.append(f'[tracker.wrist]\ndriver = "quest"\nport = {port}\n')
    path = tmp_path / "rig.toml"
    path.write_text("\n".join(tables))
    return path


@contextmanager
def teleoperating(rig: Path, out: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run ``dexhil teleop`` until it ends by itself."""
    words = ["teleop", "--rig", str(rig), "--record", str(out), "--duration-s", str(DURATION_S)]
    process = subprocess.Popen(
        [sys.executable, "-c", TELEOP, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
    finally:
        process.kill()
        process.communicate()


def wait(until: Callable[[], Any], timeout_s: float = 20.0) -> None:
    give_up_s = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < give_up_s, "it never happened"
        time.sleep(0.02)


def press(emulators: Emulators, button: str) -> None:
    emulators["keyboard"].tell("press", button)
    time.sleep(0.1)
    emulators["keyboard"].tell("release", button)


def take_over(emulators: Emulators, moved: float) -> None:
    """Press until the robot follows: a press before the loops run is no press."""
    before = targets(emulators)
    for _ in range(20):
        press(emulators, "takeover")
        give_up_s = time.monotonic() + 1.5
        while time.monotonic() < give_up_s:
            if np.abs(targets(emulators) - before).max() > moved:
                return
            time.sleep(0.02)
    pytest.fail("nothing moved")


def targets(emulators: Emulators) -> np.ndarray[Any, Any]:
    return np.array(emulators["ur"].state()["targets"] + emulators["leap"].state()["targets"])


def test_a_hand_in_a_headset_drives_arm_and_hand_once_a_key_is_pressed(
    rig: Path, emulators: Emulators, tmp_path: Path
) -> None:
    with teleoperating(rig, tmp_path / "data"):
        wait(lambda: emulators["ur"].state()["enabled"] and emulators["leap"].state()["enabled"])
        time.sleep(0.3)
        before = targets(emulators)
        time.sleep(0.3)
        np.testing.assert_allclose(targets(emulators), before, atol=0.01)  # Nobody drives yet.
        take_over(emulators, moved=0.2)
    episode = DatasetReader(tmp_path / "data").episode(0).columns
    modes = np.array(episode["mode"])
    assert {HOLD, HUMAN} <= set(modes.tolist())
    moved = np.ptp(np.array(episode["action"])[modes == HUMAN], axis=0)
    assert moved[:6].max() > 0.05, "the arm did not follow the wrist"
    assert moved[6:].max() > 0.2, "the hand did not follow the fingers"
    for name in ("ur", "leap"):
        state = emulators[name].state()
        assert state["out_of_range"] == 0
        assert not state["enabled"]


def test_a_headset_that_hangs_holds_everything_until_the_key_is_pressed_again(
    rig: Path, emulators: Emulators, tmp_path: Path
) -> None:
    with teleoperating(rig, tmp_path / "data"):
        wait(lambda: emulators["ur"].state()["enabled"] and emulators["leap"].state()["enabled"])
        take_over(emulators, moved=0.1)
        emulators["quest"].faults.freeze()
        time.sleep(0.5)
        held = targets(emulators)
        time.sleep(0.3)
        np.testing.assert_allclose(targets(emulators), held, atol=0.005)
        emulators["quest"].faults.clear()
        time.sleep(0.5)  # Well again, but nobody has said so.
        np.testing.assert_allclose(targets(emulators), held, atol=0.005)
        take_over(emulators, moved=0.1)
