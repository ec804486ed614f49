"""Episodes on disk: a LeRobotDataset v3.0 with the columns that takeovers need.

LeRobot's own reader loads what is written here; LeRobot is not needed for it,
and neither is torch.
"""

from dexhil.policy.episodes.check import check
from dexhil.policy.episodes.episode import Episode
from dexhil.policy.episodes.errors import (
    CorruptError,
    DatasetError,
    EpisodeError,
    FeaturesError,
    FrameError,
    StorageError,
)
from dexhil.policy.episodes.process import ProcessWriter
from dexhil.policy.episodes.reader import DatasetReader
from dexhil.policy.episodes.schema import Feature, Features, Source
from dexhil.policy.episodes.writer import DatasetWriter, EpisodeWriter

__all__ = [
    "CorruptError",
    "DatasetError",
    "DatasetReader",
    "DatasetWriter",
    "Episode",
    "EpisodeError",
    "EpisodeWriter",
    "Feature",
    "Features",
    "FeaturesError",
    "FrameError",
    "ProcessWriter",
    "Source",
    "StorageError",
    "check",
]
