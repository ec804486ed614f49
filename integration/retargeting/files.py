"""Files that are written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from dexhil.policy.episodes.layout import publish, sync_path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a file to write that takes the place of ``path``, unless something goes wrong.

    Raises:
        OSError: The folder cannot be made or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        sync_path(partial)
        publish(partial, path)
    finally:
        partial.unlink(missing_ok=True)
