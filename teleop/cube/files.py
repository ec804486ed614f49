"""Calibrations on disk: small TOML files, read strictly and written whole."""

import contextlib
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dexhil.drivers.errors import ConfigError
from dexhil.drivers.registry import parse
from dexhil.teleop.errors import CubeError

FORMAT: Final = 1
"""Version of the files. Another one is refused."""


def read(path: Path, file_type: type, what: str) -> Any:
    """Return the file as a ``file_type``, a dataclass whose fields are its keys.

    Args:
        path: Of the file.
        file_type: Whose ``__post_init__`` refuses what cannot be, with a ``ValueError``.
        what: It should be, for messages, e.g. ``cube``.

    Raises:
        CubeError: There is no such file, or it is not what this version reads.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CubeError(f"{path}: cannot read the {what} file ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CubeError(f"{path}: not a TOML file ({error}).") from error
    if table.pop("format", None) != FORMAT:
        raise CubeError(f"{path}: not a {what} file of format {FORMAT}, which this version reads.")
    try:
        return parse(file_type, table, str(path))
    except ConfigError as error:
        raise CubeError(str(error)) from error


def write(path: Path, lines: Iterable[str]) -> None:
    """Write a file whole or not at all.

    Raises:
        CubeError: The folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise CubeError(f"{path}: cannot be written ({error.strerror}).") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def numbers(values: npt.ArrayLike, digits: int = 9) -> str:
    """Return an array of numbers as TOML. A nanometre, or a nanoradian, is beyond any camera."""
    array = np.round(np.asarray(values, dtype=np.float64), digits) + 0.0  # No minus zero.
    return repr(array.tolist())
