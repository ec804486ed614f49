"""openpi's own client, in an environment of its own: it takes no NumPy of today's."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_FOLDER = Path(sys.prefix) / "openpi"

openpi = pytest.mark.skipif(
    not (_FOLDER / "installed").exists(),
    reason="openpi's own client is not installed: make .venv/openpi/installed",
)

_BEGIN = """
    import sys
    import numpy as np
    from openpi_client import image_tools, msgpack_numpy
    from openpi_client.websocket_client_policy import WebsocketClientPolicy
    assert np.__version__.startswith("1.")
"""


@contextmanager
def start_openpi(program: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """Run a program where openpi's client is imported; yield the process, and end it."""
    source = textwrap.dedent(_BEGIN) + textwrap.dedent(program)
    with subprocess.Popen(
        [str(_FOLDER / "bin" / "python"), "-I", "-c", source, *map(str, arguments)],
        env={"PATH": os.defpath},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run_openpi(program: str, *arguments: object) -> None:
    """Run a program where openpi's client is imported; its errors are the test's."""
    with start_openpi(program, *arguments) as process:
        said, _ = process.communicate(timeout=60.0)
        assert process.returncode == 0, said
