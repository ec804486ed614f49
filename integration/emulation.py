"""``dexhil emulate``: devices that are not there, for the real drivers to talk to."""

import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from dexhil.drivers.emulators import EmulatorProcess
from dexhil.drivers.emulators.process import EmulatorError
from dexhil.drivers.registry import available
from dexhil.integration.errors import RunError

HINT = (
    "Ready. Type NAME and what shall happen, e.g. [bold]{name} unplug[/], [bold]{name} clear[/], "
    "[bold]{name} drop 0.3[/], [bold]{name} state[/]. Ctrl-C ends."
)


def emulate(names: Sequence[str], *, rig: Path | None, console: Console) -> None:
    """Run emulators until Ctrl-C, obeying lines from the terminal.

    Args:
        names: Which, of those registered.
        rig: Rig file to write, which leads to them.
        console: Where to say things that are not for a rig file.

    Raises:
        RunError: There is no such emulator.
        EmulatorError: One did not start, or ended.
    """
    unknown = sorted(set(names) - set(available("emulator")))
    if unknown or not names:
        known = ", ".join(available("emulator"))
        raise RunError(f"No emulator is called {', '.join(unknown) or 'that'}. Known: {known}.")
    with ExitStack() as stack:
        running = {name: stack.enter_context(EmulatorProcess(name)) for name in names}
        tables = "\n".join(rig_table(process) for process in running.values())
        sys.stdout.write(tables)
        sys.stdout.flush()
        if rig is not None:
            rig.write_text(tables, encoding="utf-8")
            console.print(f"{rig} leads to them: dexhil doctor --rig {rig}")
        if _attended():
            console.print(HINT.format(name=names[0]))
            _obey(sys.stdin, running, console)
        while True:  # Nobody types, or nobody does any more: serve on until Ctrl-C.
            time.sleep(0.5)
            for process in running.values():
                process.state()


def _attended() -> bool:
    """Whether lines may come. A job in the background that reads a terminal is stopped by it."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:  # A pipe, a file, or somebody else's terminal stops nobody.
        return True


def rig_table(process: EmulatorProcess) -> str:
    """Return the lines of a rig file that lead to an emulator."""
    lines = [f"[{process.kind}.{process.name}]", f'driver = "{process.driver}"']
    lines += [f"{key} = {_toml(value)}" for key, value in process.options.items()]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    # Strings, numbers, booleans and lists of them are written alike in JSON and in TOML.
    return json.dumps(value)


def _obey(lines: Iterable[str], running: dict[str, EmulatorProcess], console: Console) -> None:
    for line in lines:
        name, *verb = line.split() or [""]
        if name not in running or not verb:
            console.print(f"NAME WHAT, with NAME one of {', '.join(running)}")
            continue
        try:
            answer = running[name].tell(*verb)
        except EmulatorError as error:
            console.print(f"[red]{error}[/]")
        else:
            console.print_json(data=answer.get("state", answer))
