"""An emulator, seen from the process that started it."""

import json
import select
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Self

from dexhil.drivers.errors import DeviceError

START_S = 30.0  # Importing NumPy on a busy machine takes a while [s].
ANSWER_S = 10.0


class EmulatorError(DeviceError, RuntimeError):
    """An emulator did not start, did not answer, or refused."""


class EmulatorProcess:
    """One emulator in a process of its own, ended with the ``with`` block.

    Args:
        name: Registered under ``dexhil.emulator``.
        seed: Of its noise and of what goes wrong by chance.
    """

    def __init__(self, name: str, *, seed: int = 0) -> None:
        self.name = name
        self.kind = self.driver = ""
        self.options: dict[str, Any] = {}
        self._seed = seed
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def faults(self) -> "RemoteFaults":
        return RemoteFaults(self)

    @property
    def pid(self) -> int:
        """Of the process, e.g. to measure its share of the processor."""
        return self._running().pid

    def start(self) -> None:
        """Start it and wait until it can be reached.

        Raises:
            EmulatorError: It did not start.
        """
        command = [sys.executable, "-m", "dexhil.drivers.emulators", self.name]
        self._process = subprocess.Popen(  # noqa: S603  # Ourselves.
            [*command, "--until-eof", "--seed", str(self._seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        try:
            ready = self._answer(START_S)
        except EmulatorError:
            self.stop()
            raise
        self.kind, self.driver = ready["kind"], ready["driver"]
        self.options = ready["options"]

    def stop(self) -> None:
        """End it. Repeating does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def tell(self, verb: str, *values: object) -> dict[str, Any]:
        """Have it do something, and return what it answered once it has.

        Raises:
            EmulatorError: It refused, or is gone.
        """
        line = " ".join([verb, *map(str, values)]) + "\n"
        try:
            stdin = self._running().stdin
            assert stdin is not None  # noqa: S101  # Opened as a pipe above.
            stdin.write(line.encode())
        except OSError as error:
            raise EmulatorError(f"emulator {self.name!r} is gone ({error}).") from error
        answer = self._answer(ANSWER_S)
        if not answer["ok"]:
            raise EmulatorError(f"emulator {self.name!r} refused {verb!r}: {answer['error']}.")
        return answer

    def state(self) -> dict[str, Any]:
        """Return what is true at the far end."""
        state: dict[str, Any] = self.tell("state")["state"]
        return state

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise EmulatorError(f"emulator {self.name!r} is not running.")
        return self._process

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        stdout = self._running().stdout
        assert stdout is not None  # noqa: S101  # Opened as a pipe above.
        give_up_s = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            if not select.select([stdout], [], [], max(0.0, give_up_s - time.monotonic()))[0]:
                raise EmulatorError(f"emulator {self.name!r} said nothing for {timeout_s:g} s.")
            data = stdout.read(65536)
            if not data:
                raise EmulatorError(f"emulator {self.name!r} ended; its own words are above.")
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        answer: dict[str, Any] = json.loads(line)
        return answer


class RemoteFaults:
    """The knobs of an emulator, with the verbs of ``dexhil.drivers.faults.Faults``."""

    def __init__(self, emulator: EmulatorProcess) -> None:
        self._emulator = emulator

    def clear(self) -> None:
        """Mend everything, the cable included."""
        self._emulator.tell("clear")

    def freeze(self) -> None:
        """Hang: hear nothing and say nothing, with the link up."""
        self._emulator.tell("freeze")

    def repeat(self) -> None:
        """Say the same measured values again and again."""
        self._emulator.tell("repeat")

    def nan(self) -> None:
        """Lose what it measures."""
        self._emulator.tell("nan")

    def unplug(self) -> None:
        """Pull the cable."""
        self._emulator.tell("unplug")

    def echo(self) -> None:
        """Send back whatever is heard."""
        self._emulator.tell("echo")

    def drop(self, probability: float) -> None:
        """Lose messages, either way."""
        self._emulator.tell("drop", probability)

    def delay(self, duration_s: float) -> None:
        """Say everything ``duration_s`` later [s]."""
        self._emulator.tell("delay", duration_s)

    def corrupt(self, probability: float) -> None:
        """Flip a bit of a message."""
        self._emulator.tell("corrupt", probability)

    def partial(self, probability: float) -> None:
        """Break a message off half-way."""
        self._emulator.tell("partial", probability)

    def duplicate(self, probability: float) -> None:
        """Say a message twice."""
        self._emulator.tell("duplicate", probability)

    def rewind(self, duration_s: float) -> None:
        """Turn its clock back [s]."""
        self._emulator.tell("rewind", duration_s)
