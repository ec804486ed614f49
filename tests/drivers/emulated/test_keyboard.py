"""The keyboard's driver against a pseudo-terminal whose far end types."""

import os
import select
import signal
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest

from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.errors import ConfigError, ConnectError
from dexhil.drivers.switch import Switch
from dexhil.drivers.switch.keyboard import KeyboardConfig, KeyboardSwitch
from dexhil.drivers.testing.conformance_sensors import EmulatedFinger, Finger
from dexhil.drivers.wire.keys import I_AM
from dexhil.drivers.wire.replay import ReplayWire
from tests.drivers.emulated.helpers import PATIENCE_S, EmulatedSwitch, happens, is_stale, until

EMULATOR = "keyboard"


class TestKeyboard(EmulatedSwitch):
    emulator = EMULATOR
    # A keyboard set to repeat quickly, and patience with a busy machine; the default times have
    # a test of their own.
    options: ClassVar[dict[str, Any]] = {"hold_s": 0.9, "repeat_s": 0.7}

    @pytest.fixture
    def finger(self, process: EmulatorProcess, switch: Switch) -> Finger:
        process.tell("typematic", 0.1, 0.03)
        return EmulatedFinger(process, switch)


@pytest.fixture
def config(emulator: EmulatorProcess) -> KeyboardConfig:
    return KeyboardConfig(tty=Path(emulator.options["tty"]))


@pytest.mark.parametrize("delay_s", [0.25, 0.5, 0.66])
def test_a_long_press_counts_once_with_the_times_that_desktops_come_with(
    emulator: EmulatorProcess, config: KeyboardConfig, delay_s: float
) -> None:
    def is_one_press(switch: KeyboardSwitch) -> bool:
        """Press for long, and say whether the key never seemed to be let go."""
        before = switch.observe().counts["takeover"]
        emulator.tell("press", "takeover")
        until(lambda: "takeover" in switch.observe().pressed)
        held_until_s = time.monotonic() + 1.5
        held = True
        while time.monotonic() < held_until_s:
            held = held and switch.observe().pressed == {"takeover"}
            time.sleep(0.01)
        emulator.tell("release", "takeover")
        until(lambda: not switch.observe().pressed)
        return held and switch.observe().counts["takeover"] == before + 1

    with KeyboardSwitch(config, name="keys") as switch:
        emulator.tell("typematic", delay_s, 1 / 30)
        # The emulator may be held up on a busy machine, once or twice but not each time.
        assert any(is_one_press(switch) for _ in range(5))


@pytest.mark.parametrize("ask_s", [0.0, 0.1])
def test_two_keys_may_press_the_same_button(
    emulator: EmulatorProcess, config: KeyboardConfig, ask_s: float
) -> None:
    with KeyboardSwitch(replace(config, ask_s=ask_s), name="keys") as switch:
        emulator.tell("type", "x")
        until(lambda: switch.observe().counts["stop"] == 1)
        until(lambda: not switch.observe().pressed)
        emulator.tell("type", "\x1b")
        until(lambda: switch.observe().counts["stop"] == 2)


def test_keys_that_mean_nothing_press_nothing(
    emulator: EmulatorProcess, config: KeyboardConfig
) -> None:
    with KeyboardSwitch(config, name="keys") as switch:
        emulator.tell("type", "bcd123ü\x1b[A\x1b[15~\x1bOPs")
        until(lambda: switch.observe().counts["success"] == 1)
        assert sum(switch.observe().counts.values()) == 1


def test_keys_pressed_before_connecting_are_forgotten(
    emulator: EmulatorProcess, config: KeyboardConfig
) -> None:
    fd = os.open(str(config.tty), os.O_RDWR | os.O_NOCTTY)
    try:
        tty.setraw(fd)  # Whatever an earlier test left: this must not wait for a whole line.
        emulator.tell("type", "x")
        assert select.select([fd], [], [], PATIENCE_S)[0]
    finally:
        os.close(fd)
    with KeyboardSwitch(config, name="keys") as switch:
        emulator.tell("type", "s")
        until(lambda: switch.observe().counts["success"] == 1)
        assert switch.observe().counts["stop"] == 0


def test_a_terminal_that_does_not_answer_is_refused_unless_not_asked(
    emulator: EmulatorProcess, config: KeyboardConfig
) -> None:
    emulator.tell("mute")
    with pytest.raises(ConnectError, match="says nothing"):
        KeyboardSwitch(config, name="keys").connect(timeout_s=0.3)
    with KeyboardSwitch(replace(config, ask_s=0.0), name="keys") as switch:
        time.sleep(0.3)
        switch.observe(max_age_s=0.2)


def test_an_answer_that_is_torn_apart_presses_nothing(
    emulator: EmulatorProcess, config: KeyboardConfig
) -> None:
    answer = I_AM.decode()
    with KeyboardSwitch(config, name="keys") as switch:
        for cut in range(len(answer)):
            emulator.tell("type", answer[cut:])
        emulator.tell("type", "s")
        until(lambda: switch.observe().counts["success"] == 1)
        assert sum(switch.observe().counts.values()) == 1


def test_a_terminal_that_stops_answering_goes_stale_and_comes_back(
    emulator: EmulatorProcess, config: KeyboardConfig
) -> None:
    with KeyboardSwitch(config, name="keys") as switch:
        emulator.faults.freeze()
        until(lambda: is_stale(switch, 0.5))
        assert "no sign of life" in switch.health().reasons[0]
        emulator.faults.clear()
        until(lambda: not is_stale(switch, 0.5))


def test_a_slow_connection_shows_in_the_stamps(
    emulator: EmulatorProcess, config: KeyboardConfig
) -> None:
    emulator.faults.delay(0.4)
    with KeyboardSwitch(config, name="keys") as switch:
        for _ in range(20):
            age_s = switch.clock.now_s() - switch.observe().stamp_s
            assert age_s > 0.35
            time.sleep(0.05)
    emulator.faults.clear()


def test_the_terminal_is_as_it_was_after_disconnecting(config: KeyboardConfig) -> None:
    fd = os.open(str(config.tty), os.O_RDWR | os.O_NOCTTY)
    try:
        before = termios.tcgetattr(fd)
        before[3] |= termios.ECHO | termios.ICANON
        termios.tcsetattr(fd, termios.TCSANOW, before)
        before = termios.tcgetattr(fd)
        with KeyboardSwitch(config, name="keys"):
            assert not termios.tcgetattr(fd)[3] & (termios.ECHO | termios.ICANON)
        assert termios.tcgetattr(fd) == before
    finally:
        os.close(fd)


def test_no_answer_is_left_for_the_shell(config: KeyboardConfig) -> None:
    fd = os.open(str(config.tty), os.O_RDWR | os.O_NOCTTY)
    try:
        for _ in range(5):
            with KeyboardSwitch(replace(config, ask_s=0.01), name="keys"):
                time.sleep(0.05)
        assert not select.select([fd], [], [], 0.3)[0], os.read(fd, 100)
    finally:
        os.close(fd)


def test_what_was_captured_can_be_replayed(emulator: EmulatorProcess, tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    config = KeyboardConfig(tty=Path(emulator.options["tty"]), capture=path)
    with KeyboardSwitch(config, name="keys") as switch:
        emulator.tell("press", "takeover")
        until(lambda: switch.observe().counts["takeover"] == 1)
    with KeyboardSwitch(KeyboardConfig(), name="keys", source=ReplayWire(path)) as replayed:
        until(lambda: replayed.observe().counts["takeover"] == 1)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"keys": {}}, "keys is empty"),
        ({"hold_s": 0.1, "repeat_s": 0.2}, "repeat_s <= hold_s"),
        ({"repeat_s": float("nan")}, "repeat_s <= hold_s"),
        ({"ask_s": -1.0}, "must not be negative"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        KeyboardConfig(**wrong)


# -- A whole program in a terminal of its own ------------------------------------------

PROGRAM = """
import fcntl, os, sys, termios, time
if os.isatty(0):
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Ctrl-C shall reach it.
from dexhil.drivers.switch.keyboard import KeyboardConfig, KeyboardSwitch
switch = KeyboardSwitch(KeyboardConfig(), name="keys")
switch.connect(timeout_s=20.0)
print("CONNECTED", flush=True)
while True:
    if switch.observe().counts["stop"]:
        raise RuntimeError("CRASHED")
    if switch.observe().counts["success"]:
        print("SUCCESS", flush=True)
        sys.exit(0)
    time.sleep(0.01)
"""


class Terminal:
    """The person's side of a terminal in which a program runs."""

    def __init__(self, code: str) -> None:
        self.said = b""
        self.fd, self._far = os.openpty()
        self.modes = termios.tcgetattr(self.fd)
        self._program = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=self._far,
            stdout=self._far,
            stderr=self._far,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._program.kill()
        self._program.wait()
        os.close(self.fd)
        os.close(self._far)

    def type(self, text: bytes) -> None:
        os.write(self.fd, text)

    def hear(self, text: bytes) -> bool:
        """Answer like a terminal until the program says ``text``."""
        return happens(lambda: text in self._listen())

    def status(self) -> int | None:
        """Wait for the end of the program."""
        happens(lambda: self._listen() is not None and self._program.poll() is not None)
        return self._program.poll()

    def _listen(self) -> bytes:
        while select.select([self.fd], [], [], 0)[0]:
            data = os.read(self.fd, 1024)
            os.write(self.fd, b"\x1b[0n" * data.count(b"\x1b[5n"))
            self.said += data
        return self.said


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with Terminal(PROGRAM) as terminal:
        yield terminal


@pytest.mark.parametrize(
    ("typed", "status", "last_words"),
    [(b"\x03", -signal.SIGINT, b"KeyboardInterrupt"), (b"x", 1, b"CRASHED"), (b"s", 0, b"")],
    ids=["Ctrl-C", "crash", "forgotten to disconnect"],
)
def test_the_terminal_is_as_it_was_however_the_program_ends(
    terminal: Terminal, typed: bytes, status: int, last_words: bytes
) -> None:
    assert terminal.hear(b"CONNECTED"), terminal.said
    assert termios.tcgetattr(terminal.fd) != terminal.modes
    terminal.type(typed)
    assert terminal.status() == status
    assert last_words in terminal.said
    assert termios.tcgetattr(terminal.fd) == terminal.modes


def test_neither_ctrl_z_nor_ctrl_s_stops_the_program(terminal: Terminal) -> None:
    assert terminal.hear(b"CONNECTED"), terminal.said
    assert termios.tcgetattr(terminal.fd)[6][termios.VSUSP] == b"\0"
    terminal.type(b"\x13s")
    assert terminal.hear(b"SUCCESS"), "its output was stopped"
    assert terminal.status() == 0


def test_a_standard_input_that_is_no_terminal_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=b"", capture_output=True, timeout=60, check=False
    )
    assert ConfigError.__name__ in done.stderr.decode()
    assert "the standard input is no terminal" in done.stderr.decode()
