"""Compilation by numba, kept on disk.

A compiled function that calls one of another file would not notice when that file
changes: its result on disk is only as fresh as its own file. Whatever compiled code
calls must therefore stand in the same file as the caller.
"""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile ``function`` on first call and keep the result on disk where that is possible."""
    fast: Callable[..., Any]
    try:
        fast = numba.njit(cache=True)(function)
    except RuntimeError:  # No folder for the cache is writable; compile in every process.
        fast = numba.njit(function)
    return fast
