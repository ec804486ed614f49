"""Everything a dataset may raise.

    DatasetError
     +-- FrameError      a frame does not fit the features; nothing was recorded  (also ValueError)
     +-- EpisodeError    the right call, but no episode is open, or one is already
     +-- FeaturesError   the features are wrong, or not those of the dataset      (also ValueError)
     +-- CorruptError    a file of the dataset is missing or cannot be read
     +-- StorageError    the disk refuses a read or a write, or cannot keep up    (also OSError)

A message says which file or feature, what was found against what was expected,
and what to do next.
"""


class DatasetError(Exception):
    """Base of every error raised by ``policy.episodes``."""


class FrameError(DatasetError, ValueError):
    """A frame has a missing, unknown, misshapen or non-finite value. Nothing was recorded."""


class EpisodeError(DatasetError):
    """The call is legal, but not while an episode is (or is not) open."""


class FeaturesError(DatasetError, ValueError):
    """The features cannot be stored, or differ from those already in the dataset."""


class CorruptError(DatasetError):
    """A file of the dataset is missing, unreadable or disagrees with another."""


class StorageError(DatasetError, OSError):
    """The disk refuses a read or a write, or cannot keep up. A writer is closed then.

    Finished episodes are whole, and of the open one all that was written is kept.
    """
