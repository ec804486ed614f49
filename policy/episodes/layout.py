"""Where each file of a dataset lies, and how to write one so that a kill cannot halve it."""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from dexhil.policy.episodes.errors import CorruptError, DatasetError, StorageError

CHUNK_SIZE = 1000  # Files in a folder; LeRobot's default.
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_BLOCK: Final = 2**20  # Bytes read at once.
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_DAMAGED: Final = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR)  # None: it is no parquet.
_NO_PLACE: Final = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of a dataset. ``place`` is (chunk_index, file_index)."""

    root: Path

    @property
    def info(self) -> Path:
        return self.root / "meta/info.json"

    @property
    def stats(self) -> Path:
        return self.root / "meta/stats.json"

    @property
    def tasks(self) -> Path:
        return self.root / "meta/tasks.parquet"

    @property
    def staging(self) -> Path:
        """The open episode, and files about to be renamed into place."""
        return self.root / ".staging"

    @property
    def salvage(self) -> Path:
        """What a killed writer left of its open episode."""
        return self.root / ".salvage"

    def data(self, place: tuple[int, int]) -> Path:
        return self.root / DATA_PATH.format(chunk_index=place[0], file_index=place[1])

    def episode(self, place: tuple[int, int]) -> Path:
        return self.root / EPISODES_PATH.format(chunk_index=place[0], file_index=place[1])

    def video(self, key: str, place: tuple[int, int]) -> Path:
        return self.root / VIDEO_PATH.format(
            video_key=key, chunk_index=place[0], file_index=place[1]
        )


def place_of(episode_index: int) -> tuple[int, int]:
    """Return (chunk_index, file_index) of an episode: each has files of its own."""
    return divmod(episode_index, CHUNK_SIZE)


def index_of(path: Path) -> int:
    """Return the episode whose file this is. Inverse of ``place_of``."""
    return int(path.parent.name.removeprefix("chunk-")) * CHUNK_SIZE + int(
        path.stem.removeprefix("file-")
    )


@contextmanager
def storing(path: Path, *, kept: str = "") -> Iterator[None]:
    """Turn a refused write under ``path`` into one clear sentence.

    Args:
        path: A folder, there already or to be made.
        kept: What is safe nevertheless, and how to get at it.

    Raises:
        StorageError: If the block raises ``OSError``.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        why = error.strerror or str(error)
        file = f": {error.filename}" if error.filename else ""
        said = f"{path}: cannot write ({why}{file}){_advice(path, error.errno)}"
        raise StorageError(f"{said} {kept}".strip()) from error


def _advice(path: Path, number: int | None) -> str:
    """Return how a sentence goes on that says that the disk answered error ``number``."""
    if number in _FULL:
        return f", {_free(path)}. Free some space."
    if number in _NO_PLACE:
        return ". Let this user write there, or name another folder."
    return ". Look whether the disk is still there and healthy."


def _free(path: Path) -> str:
    try:
        free = shutil.disk_usage(path if path.exists() else path.parent).free
    except OSError:
        return "free space unknown"
    return f"{free / 1e9:.1f} GB free"


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write one row group, durably."""
    with path.open("wb") as file:
        pq.write_table(
            table,
            file,
            compression="snappy",
            row_group_size=max(1, len(table)),
            write_page_checksum=True,
        )
        _sync(file.fileno())


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write ``content``, durably."""
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=4, allow_nan=False)
        file.flush()
        _sync(file.fileno())


def read_parquet(
    path: Path, columns: Sequence[str] | None = None, *, optional: Sequence[str] = ()
) -> pa.Table:
    """Read a table: all columns, or those named and those ``optional`` ones that are there.

    Raises:
        CorruptError: If it is missing, not parquet, damaged, or lacks a column.
        StorageError: If the disk withholds it.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            if columns is None:
                return file.read()
            present = set(file.schema_arrow.names)
            table = file.read([*columns, *(name for name in optional if name in present)])
    except (OSError, pa.ArrowException) as error:
        raise _not_read(path, "parquet", error) from error
    if missing := sorted(set(columns) - present):
        raise CorruptError(f"{path}: has no column {missing[0]!r}.")
    return table


def count_rows(path: Path) -> int:
    """Return the number of rows, from the footer alone.

    Raises:
        CorruptError, StorageError: As ``read_parquet``.
    """
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise _not_read(path, "parquet", error) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read an object.

    Raises:
        CorruptError: If it is missing or not a JSON object.
        StorageError: If the disk withholds it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _not_read(path, "JSON", error) from error
    if not isinstance(content, dict):
        raise CorruptError(f"{path}: holds a {type(content).__name__}, expected an object.")
    return content


def is_there(path: Path) -> bool:
    """Whether there is such a file.

    Raises:
        StorageError: If the disk withholds the folder that it would be in.
    """
    try:
        return path.exists()
    except OSError as error:
        raise withheld(path, error) from error


def require_readable(path: Path) -> None:
    """Read a file through, so that one which the disk withholds is not taken for damaged.

    Raises:
        StorageError: If the disk withholds any of it. A missing file is no such case.
    """
    try:
        with path.open("rb") as file:
            while file.read(_BLOCK):
                pass
    except OSError as error:
        if error.errno not in _DAMAGED:
            raise withheld(path, error) from error


def withheld(path: Path, error: OSError) -> StorageError:
    """Return what to say of a file or folder that is there, but that the disk does not give."""
    why = os.strerror(error.errno) if error.errno else str(error)  # The first is without the path.
    return StorageError(
        f"{path}: cannot be read ({why}); nothing was changed. It need not be damaged: let this "
        "user read it, or see to the disk, and try again."
    )


def publish(staged: Path, path: Path) -> None:
    """Rename a durable file into place, durably. It appears whole or not at all."""
    make_folder(path.parent)
    staged.replace(path)
    sync_path(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, durably."""
    if not path.exists():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_path(path.parent)


def sync_path(path: Path) -> None:
    """Make a file's content, or a folder's entries, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)


def _not_read(path: Path, kind: str, error: Exception) -> DatasetError:
    if isinstance(error, OSError) and error.errno not in _DAMAGED:
        return withheld(path, error)
    return CorruptError(f"{path}: cannot be read as {kind} ({_first_line(error)}).")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
