"""Whether a dataset is what a training run relies on: files, indices, times, labels, statistics.

Reads LeRobot's own datasets as well; what their columns cannot tell is left out, and said so.
Follow-up errors are not reported: where a row of metadata is lost, totals are not compared.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dexhil.policy.episodes import content, stats
from dexhil.policy.episodes.about import VERSION
from dexhil.policy.episodes.errors import (
    CorruptError,
    DatasetError,
    FeaturesError,
    StorageError,
)
from dexhil.policy.episodes.findings import Finding, Report
from dexhil.policy.episodes.footage import Footage, count_decodable, probe
from dexhil.policy.episodes.layout import (
    Layout,
    index_of,
    is_there,
    read_json,
    read_parquet,
    withheld,
)
from dexhil.policy.episodes.metadata import EXACT, Row, read_tasks, row_stats, stats_differ
from dexhil.policy.episodes.pace import Pace
from dexhil.policy.episodes.schema import BOOKKEEPING, Features, from_table

Progress = Callable[[int, int], None]  # Steps done, of how many.

_ROWS: Final = "meta/episodes/chunk-[0-9]*/file-[0-9][0-9][0-9].parquet"
_NEEDS: Final = {
    "t_mono": "the true rate: there are no real stamps",
    "source": "who drove: there is no record of it",
    "intervention": "corrections: no frame says whether it is one",
    "next.done": "how episodes ended: there is no label",
}


def check(root: Path | str) -> list[str]:
    """Return what is wrong with a dataset, in words; empty if all is well."""
    return [str(finding) for finding in examine(root).problems]


def examine(
    root: Path | str, *, deep: bool = False, progress: Progress = lambda _done, _of: None
) -> Report:
    """Check everything that a training run relies on. Writes nothing.

    Args:
        root: Folder of the dataset.
        deep: Decode every frame of every video, instead of counting them.
        progress: Told as it goes.
    """
    examination = _Examination(Layout(Path(root)), deep=deep)
    try:
        examination.run(progress)
    except DatasetError as error:  # What all else stands on.
        examination.report.findings.append(Finding(episode=None, text=str(error)))
    except OSError as error:  # Whatever else the disk withholds.
        text = str(withheld(Path(error.filename or root), error))
        examination.report.findings.append(Finding(episode=None, text=text))
    report = examination.report
    report.findings.sort(key=lambda f: (f.warning, -1 if f.episode is None else f.episode))
    return report


def require_sound(root: Path, progress: Progress) -> None:
    """Refuse a dataset that was put together from others, if training would stumble over it.

    Raises:
        CorruptError: It would. The inputs are to blame.
    """
    problems = examine(root, progress=progress).problems
    if problems:
        raise CorruptError(
            f"What came of it is not sound: {problems[0]}. Nothing was written. "
            "Run dexhil dataset check on what it was made of."
        )


def read_features(info: Mapping[str, Any]) -> tuple[Features, list[str]]:
    """Return the features of an ``info.json`` that this room reads, and the names of the others.

    Raises:
        FeaturesError: If there are none.
    """
    known, unknown = {}, []
    for name, entry in dict(info["features"]).items():
        try:
            Features.from_info({name: entry})
        except (FeaturesError, KeyError, TypeError):
            unknown.append(name)
        else:
            known[name] = entry
    return Features.from_info(known), unknown


class _Examination:
    def __init__(self, layout: Layout, *, deep: bool) -> None:
        self.report = Report(root=layout.root)
        self._layout = layout
        self._deep = deep
        self._whole = True  # Every row of metadata is there, so that sums can be compared.
        self._table: tuple[Path, pa.Table] | None = None

    def run(self, progress: Progress) -> None:
        info = self._read_info()
        # Sums follow an episode; LeRobot loads what is there meanwhile.
        self._open = self._layout.staging.exists() or self._layout.salvage.exists()
        rows = self._rows(info["total_episodes"])
        # The first episode brings the first task.
        self._tasks = self._read_tasks() if rows or self._layout.tasks.exists() else {}
        self._sum_up(info, rows)
        videos = self._videos(rows)
        steps = len(rows) + len(videos)
        for k, row in enumerate(rows):
            self._check_episode(row)
            progress(k + 1, steps)
        for k, ((key, path), shown) in enumerate(videos.items()):
            self._check_video(info, key, path, shown)
            progress(len(rows) + k + 1, steps)
        self._check_strays(rows, videos)

    # -- The whole dataset ---------------------------------------------------------------------

    def _read_info(self) -> dict[str, Any]:
        path = self._layout.info
        if not is_there(path):
            raise DatasetError(f"{self._layout.root}: holds no dataset (no meta/info.json).")
        info = read_json(path)
        if info.get("codebase_version") != VERSION:
            raise DatasetError(
                f"{path}: version is {info.get('codebase_version')!r}, expected {VERSION!r}."
            )
        try:
            self._features, unknown = read_features(info)
            self._fps = float(info["fps"])
            self.report.n_episodes = int(info["total_episodes"])
            self.report.n_frames = int(info["total_frames"])
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"{path}: {error} is missing or of no use.") from error
        for name in BOOKKEEPING:
            if name not in info["features"]:
                self._say(None, f"{path}: has no feature {name!r}; LeRobot needs it.")
        self.report.left_out += [f"{name}: a kind of feature not known here" for name in unknown]
        self.report.left_out += [why for name, why in _NEEDS.items() if name not in self._features]
        return info

    def _rows(self, total: int) -> list[Row]:
        """Return the metadata of the episodes, in order; what cannot be read is left out."""
        rows: list[Row] = []
        unread = set()
        for path in sorted(self._layout.root.glob(_ROWS)):
            try:
                rows += [row for row in read_parquet(path).to_pylist() if _usable(row, path)]
            except (CorruptError, StorageError) as error:
                unread.add(index_of(path))
                self._say(None, str(error))
        rows.sort(key=lambda row: row["episode_index"])
        found = Counter(row["episode_index"] for row in rows)
        for index, times in found.items():
            if times > 1:
                self._say(index, f"has {times} rows of metadata")
        finished = []
        for row in rows:
            if row["episode_index"] < total or self._has_data(row):
                finished.append(row)
            else:
                self._say(row["episode_index"], "was never finished; it does not count", warn=True)
        lost = set(range(max([total, *(i + 1 for i in found)]))) - set(found) - unread
        for index in sorted(lost):
            self._say(index, "has no metadata; no later episode can be reached by its number")
        self._whole = not lost and not unread
        return finished

    def _has_data(self, row: Row) -> bool:
        place = row["data/chunk_index"], row["data/file_index"]
        return self._layout.data(place).exists()

    def _read_tasks(self) -> dict[str, int]:
        with self._finding(None):
            return read_tasks(self._layout.tasks)
        return {}

    def _sum_up(self, info: Mapping[str, Any], rows: Sequence[Row]) -> None:
        """Compare the totals and the statistics with the episodes they are made of."""
        if not self._whole:
            return
        n_frames = sum(row["length"] for row in rows)
        totals = {
            "total_episodes": len(rows),
            "total_frames": n_frames,
            # Unread tasks have been told of.
            "total_tasks": len(self._tasks) or info.get("total_tasks"),
        }
        for name, expected in totals.items():
            if info.get(name) != expected:
                said = f"{name} is {info.get(name)}, the episodes make {expected}"
                self._say(None, f"{self._layout.info}: {said}.", warn=self._open)
        self.report.n_episodes, self.report.n_frames = len(rows), n_frames
        with self._finding(None):
            self._check_stats(rows)

    def _check_stats(self, rows: Sequence[Row]) -> None:
        written = read_json(self._layout.stats)
        merged: dict[str, stats.Stats] = {}
        for row in rows:
            merged = stats.merge(merged, row_stats(row, self._features))
        for name, expected in merged.items():
            wrong = stats_differ(written.get(name, {}), expected)
            if wrong is not None:
                said = f"{wrong} of {name!r} is not that of the episodes"
                self._say(None, f"{self._layout.stats}: {said}.", warn=self._open)

    def _check_strays(self, rows: Sequence[Row], videos: Mapping[tuple[str, Path], Any]) -> None:
        """Look for files that belong to no episode; LeRobot reads every data file it finds."""
        if self._open:
            text = f"{self._layout.root}: an episode is being recorded, or was interrupted."
            self._say(None, text, warn=True)
        if not self._whole:
            return
        known = {path for _, path in videos}
        known |= {self._layout.data((r["data/chunk_index"], r["data/file_index"])) for r in rows}
        for pattern in ("data/chunk-*/file-*.parquet", "videos/*/chunk-*/file-*.mp4"):
            for path in sorted(self._layout.root.glob(pattern)):
                if path not in known:
                    harmless = path.suffix == ".mp4"
                    self._say(None, f"{path}: belongs to no episode.", warn=harmless)

    # -- One episode ---------------------------------------------------------------------------

    def _check_episode(self, row: Row) -> None:
        index = row["episode_index"]
        with self._finding(index):
            table = self._read_rows(row)
            try:
                columns = from_table(table, self._features)
            except (pa.ArrowException, ValueError, KeyError) as error:
                raise CorruptError(f"a column does not fit its feature ({error})") from error
            task_index = self._tasks.get(row["tasks"][0]) if len(row["tasks"]) == 1 else None
            said = content.bookkeeping(
                columns,
                episode_index=index,
                first_frame=row["dataset_from_index"],
                task_index=task_index,
                fps=self._fps,
            )
            if self._tasks:
                said += [
                    f"task {t!r} is not in tasks.parquet"
                    for t in row["tasks"]
                    if t not in self._tasks
                ]
            said += content.values(columns, self._features)
            said += content.stamps(columns)
            said += content.outcome(columns, row.get("success"))
            said += content.driver(columns)
            said += self._stale(row, columns)
            for text in said:
                self._say(index, text)
            self._check_pace(row, columns)

    def _read_rows(self, row: Row) -> pa.Table:
        index, length = row["episode_index"], row["length"]
        path = self._layout.data((row["data/chunk_index"], row["data/file_index"]))
        if self._table is None or self._table[0] != path:
            self._table = path, read_parquet(path, list(self._features.columns))
        table = self._table[1]
        table = table.filter(pc.equal(table["episode_index"], index))
        if len(table) != length or not length:
            raise CorruptError(f"{path}: has {len(table)} rows of it, the metadata says {length}")
        span = row["dataset_to_index"] - row["dataset_from_index"]
        if span != length:
            self._say(index, f"its rows are said to span {span} frames, it has {length}")
        return table

    def _stale(self, row: Row, columns: content.Columns) -> Iterator[str]:
        """Compare the statistics in the metadata with the columns.

        Nobody trains on indices, and merging with LeRobot leaves their statistics as they were.
        """
        for name, kept in row_stats(row, self._features).items():
            if name not in columns or name in BOOKKEEPING:
                continue
            if stats_differ(kept, stats.column_stats(columns[name]), EXACT):
                yield f"the statistics of {name!r} in its metadata are not those of its rows"

    def _check_pace(self, row: Row, columns: content.Columns) -> None:
        pace = Pace.of(columns.get("t_mono"))
        if pace is None or not pace.ordered:
            return
        for name in ("true_fps", "largest_gap_s"):
            said, true = row.get(name), getattr(pace, name)
            if said is not None and not np.isclose(said, true, rtol=1e-6):
                self._say(row["episode_index"], f"{name} is {said:g}, its stamps say {true:g}")
        departure = pace.departure(self._fps)
        if departure is not None:
            self._say(row["episode_index"], departure, warn=True)

    # -- One video -----------------------------------------------------------------------------

    def _videos(self, rows: Sequence[Row]) -> dict[tuple[str, Path], list[Row]]:
        """Return the episodes that each video file shows, by feature and file."""
        shown: dict[tuple[str, Path], list[Row]] = {}
        for row in rows:
            for key in self._features.cameras.values():
                try:
                    place = row[f"videos/{key}/chunk_index"], row[f"videos/{key}/file_index"]
                except KeyError:
                    self._say(row["episode_index"], f"its metadata names no video of {key!r}")
                    continue
                shown.setdefault((key, self._layout.video(key, place)), []).append(row)
        return shown

    def _check_video(
        self, info: Mapping[str, Any], key: str, path: Path, shown: Sequence[Row]
    ) -> None:
        episode = shown[0]["episode_index"] if len(shown) == 1 else None
        with self._finding(episode):
            footage = probe(path)
            height, width, _ = self._features[key].shape
            if footage.shape != (height, width):
                self._say(episode, f"{path}: is {footage.shape}, the feature {(height, width)}")
            codec = info["features"][key].get("info", {}).get("video.codec", footage.codec)
            if codec != footage.codec:
                self._say(episode, f"{path}: codec is {footage.codec!r}, info.json says {codec!r}")
            n_frames = sum(row["length"] for row in shown)
            if len(footage) != n_frames and self._whole:
                self._say(episode, f"{path}: has {len(footage)} frames, expected {n_frames}.")
                return
            for row in shown:
                self._check_times(key, path, row, footage)
            if self._deep and (n := count_decodable(path)) != len(footage):
                self._say(episode, f"{path}: only {n} of {len(footage)} frames can be decoded")

    def _check_times(self, key: str, path: Path, row: Row, footage: Footage) -> None:
        """Look for the frame of every row, where LeRobot will."""
        n = row["length"]
        start_s, end_s = (row[f"videos/{key}/{end}_timestamp"] for end in ("from", "to"))
        wanted = start_s + np.arange(n) / self._fps
        at = np.searchsorted(footage.times_s, wanted - content.TIME_TOLERANCE_S)
        found = np.append(footage.times_s, np.inf)[at]
        late = np.flatnonzero(~(np.abs(found - wanted) <= content.TIME_TOLERANCE_S))
        if len(late):
            k = late[0]
            self._say(
                row["episode_index"],
                f"{path}: has no frame at {wanted[k]:.4f} s, where row {k} looks for one "
                f"(allowed {content.TIME_TOLERANCE_S:g} s off)",
            )
        if abs(end_s - start_s - n / self._fps) > content.TIME_TOLERANCE_S:
            said = f"{end_s - start_s:.4f} s of {path.name}, its rows {n / self._fps:.4f} s"
            self._say(row["episode_index"], f"the metadata gives it {said}")

    # -- Saying --------------------------------------------------------------------------------

    def _say(self, episode: int | None, text: str, *, warn: bool = False) -> None:
        self.report.findings.append(Finding(episode=episode, text=text, warning=warn))

    @contextmanager
    def _finding(self, episode: int | None) -> Iterator[None]:
        try:
            yield
        except (CorruptError, StorageError) as error:
            self._say(episode, str(error))


def _usable(row: Row, path: Path) -> bool:
    """Refuse metadata without the columns that say where an episode lies."""
    for name in (
        "episode_index",
        "length",
        "tasks",
        "data/chunk_index",
        "data/file_index",
        "dataset_from_index",
        "dataset_to_index",
    ):
        if row.get(name) is None:
            raise CorruptError(f"{path}: has no column {name!r}.")
    return True
