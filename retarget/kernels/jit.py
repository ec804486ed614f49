"""Compilation by numba, kept on disk.

What is kept of a compiled function has what it calls inside, so it is stale once any of that
changes. `numba` looks at the function's own file only; `compiled` at its whole folder. Compiled
code may call and read whatever stands in its folder, but nothing else that may change.
"""

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` on first call and keep the result on disk where that is possible."""
    name = function.__qualname__
    # numba names the files after the function, when it decorates. A stale file must not even be
    # opened: it may tell of classes that are gone.
    function.__qualname__ = f"{name}-{_stamp(Path(function.__code__.co_filename).parent)}"
    fast: Callable[..., Any]
    try:
        fast = numba.njit(cache=True)(function)
    except RuntimeError:  # No folder for the cache is writable; compile in every process.
        fast = numba.njit(function)
    finally:
        function.__qualname__ = name
    return fast


@cache
def _stamp(folder: Path) -> str:
    """Return a hash of all sources in a folder, short enough for the name of a file."""
    digest = sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
