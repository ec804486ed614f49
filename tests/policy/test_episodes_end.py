"""Whatever ends the program that records, its recorder finishes what it was given."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from dexhil.policy.episodes import DatasetReader, DatasetWriter, check
from tests.policy.datasets import states, wait_until_unlocked

PROGRAM = """
import os, signal, sys, time
import numpy as np
from dexhil.policy.episodes import Features, ProcessWriter
features = Features.for_rig(arm_joints=["a", "b"], hand_joints=["c"], cameras=CAMERAS)
image = np.zeros((48, 64, 3), np.uint8)
writer = ProcessWriter(sys.argv[1], features, 20)
writer.begin_episode("lift")
for k in range(int(sys.argv[2])):
    if k == 10:  # From now on the disk stands still: what follows is only handed over.
        writer.flush()
        os.kill(writer._process.pid, signal.SIGSTOP)
    frame = {
        "observation.state": np.full(4, 0.1 * k), "action": np.zeros(3), "intervention": False,
        "authority": 0.0, "source": 0, "mode": 1, "segment_index": 0, "t_mono": 0.05 * k,
    }
    writer.add_frame(frame, dict.fromkeys(features.cameras, image))
print(writer._process.pid, flush=True)
"""
PROGRAM = 'CAMERAS = {"scene": (48, 64)}' + PROGRAM
WAITING = PROGRAM + "signal.pause()\n"
# Somebody else's process that was forked off holds all that the program had open.
FORKING = PROGRAM + "os.fork()\nsignal.pause()\n"
WARNINGS = ("-W", "error", "-W", "ignore::DeprecationWarning")  # Of forking beside threads.
N_FRAMES = 40


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """``start(program, n_frames)`` runs it in a session of its own."""
    started = []

    def run(program: str, n_frames: int) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error",
                "-W",
                "ignore::DeprecationWarning",
                "-c",
                program,
                str(tmp_path),
                str(n_frames),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def pid_of(program: "subprocess.Popen[str]") -> int:
    """Wait until it has handed over its frames; return which process writes them."""
    assert program.stdout is not None
    return int(program.stdout.readline())


def test_a_killed_program_loses_nothing_that_it_handed_over(
    tmp_path: Path, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    program = start(FORKING, N_FRAMES)
    writing = pid_of(program)
    program.kill()
    program.wait()
    os.kill(writing, signal.SIGCONT)
    wait_until_unlocked(tmp_path)
    assert check(tmp_path) == []
    np.testing.assert_allclose(states(tmp_path, 0), 0.1 * np.arange(N_FRAMES), rtol=1e-6)
    assert DatasetReader(tmp_path).episodes[0].success is None
    assert not (tmp_path / ".staging").exists()


def test_a_program_killed_as_a_whole_keeps_what_reached_the_journal(
    tmp_path: Path, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    program = start("CAMERAS = {}" + WAITING.partition("}")[2], N_FRAMES)
    writing = pid_of(program)
    os.kill(writing, signal.SIGKILL)
    program.kill()
    wait_until_unlocked(tmp_path)
    with DatasetWriter.reopen(tmp_path) as again:
        assert "interrupted episode as episode 0" in again.repairs[0]
    assert check(tmp_path) == []
    assert len(states(tmp_path, 0)) == 10, "all but those that only waited in memory"


def test_a_program_that_ends_without_closing_keeps_its_episode(
    tmp_path: Path, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    said = start(PROGRAM, 8).communicate()
    assert said[1] == ""
    assert len(states(tmp_path, 0)) == 8, "on disk when the program has ended"
    assert check(tmp_path) == []


def test_ctrl_c_stops_the_program_and_not_its_recorder(
    tmp_path: Path, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    program = start(WAITING.replace("signal.pause()", "\nwith writer: signal.pause()"), 8)
    pid_of(program)
    os.killpg(program.pid, signal.SIGINT)  # As a terminal does.
    _, said = program.communicate()
    assert said.count("Traceback") == 1
    assert said.endswith("KeyboardInterrupt\n")
    assert len(states(tmp_path, 0)) == 8
