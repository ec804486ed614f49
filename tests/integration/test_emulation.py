"""``dexhil emulate`` and ``dexhil recover``, as somebody at a terminal meets them."""

import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dexhil.drivers.device import State
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.registry import read_rig
from dexhil.integration import cli

COMMAND = [sys.executable, "-c", "from dexhil.integration.cli import main; main()", "emulate"]


@contextmanager
def emulating(
    *names: str, rig: Path, stdin: int = subprocess.PIPE
) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [*COMMAND, *names, "--rig", str(rig)],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        give_up_s = time.monotonic() + 60.0
        while not (rig.exists() and rig.stat().st_size):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < give_up_s
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def test_the_rig_file_leads_to_the_emulators(tmp_path: Path) -> None:
    rig = tmp_path / "emulated.toml"
    with emulating("leap", "manus", rig=rig):
        for entry in read_rig(rig).devices:
            with entry.build() as device:
                device.observe(max_age_s=1.0)
                assert device.state is State.CONNECTED


def test_a_line_breaks_a_device_and_another_mends_it(tmp_path: Path) -> None:
    rig = tmp_path / "emulated.toml"
    with emulating("manus", rig=rig) as process:
        assert process.stdin is not None
        (entry,) = read_rig(rig).devices
        with entry.build() as device:
            process.stdin.write("manus freeze\n")
            process.stdin.flush()
            time.sleep(0.6)
            assert not device.health().ok
            process.stdin.write("nonsense\nmanus clear\n")
            process.stdin.flush()
            time.sleep(0.6)
            assert device.health().ok


def test_it_serves_on_when_nothing_can_be_typed(tmp_path: Path) -> None:
    rig = tmp_path / "emulated.toml"
    with emulating("manus", rig=rig, stdin=subprocess.DEVNULL):
        time.sleep(0.3)
        (entry,) = read_rig(rig).devices
        with entry.build() as device:
            device.observe(max_age_s=1.0)


def test_it_serves_in_the_background_of_a_terminal(tmp_path: Path) -> None:
    # A background job that read its terminal would be stopped by the kernel.
    rig = tmp_path / "emulated.toml"
    pid, terminal = pty.fork()
    if pid == 0:  # An interactive shell that starts it in the background.
        emulate = shlex.join([*COMMAND, "manus", "--rig", str(rig)])
        os.execv("/bin/bash", ["bash", "--norc", "-ic", f"{emulate} & wait"])  # noqa: S606
    try:
        give_up_s = time.monotonic() + 30.0
        while not (rig.exists() and rig.stat().st_size):
            assert time.monotonic() < give_up_s
            time.sleep(0.05)
        time.sleep(0.5)
        (entry,) = read_rig(rig).devices
        with entry.build() as device:
            device.observe(max_age_s=1.0)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        states = [
            Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()[0] for each in children
        ]
        assert states
        assert "T" not in states
        for each in children:
            os.kill(int(each), signal.SIGINT)
    finally:
        os.kill(pid, signal.SIGTERM)
        os.close(terminal)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_an_unknown_emulator_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["emulate", "leep"])
    assert stop.value.code == 1
    assert "No emulator is called leep. Known: ability, allegro" in capsys.readouterr().err


def test_recovering_clears_what_a_motor_latched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = tmp_path / "bench.toml"
    with EmulatorProcess("leap") as emulator:
        rig.write_text(f'[hand.right]\ndriver = "leap"\nport = "{emulator.options["port"]}"\n')
        emulator.tell("error", 3, 32)
        with pytest.raises(SystemExit) as stop:
            cli.main(["recover", "hand.right", "--rig", str(rig)])
        assert stop.value.code == 0
        assert "It is not enabled." in " ".join(capsys.readouterr().out.split())
        (entry,) = read_rig(rig).devices
        with entry.build() as device:
            device.observe()
        assert not emulator.state()["enabled"]


def test_recovering_what_the_rig_has_not_says_what_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = tmp_path / "bench.toml"
    rig.write_text('[hand.right]\ndriver = "leap"\nport = "/dev/none"\n')
    with pytest.raises(SystemExit):
        cli.main(["recover", "arm.main", "--rig", str(rig)])
    assert "has no device 'arm.main'. It has: hand.right." in capsys.readouterr().err
