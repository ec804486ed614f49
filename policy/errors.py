"""Everything learning may raise.

PolicyError
 +-- CheckpointError   the file is missing, damaged, or for another robot  (also ValueError)
 +-- TrainingError     there is nothing to learn from, or it does not fit  (also ValueError)
"""


class PolicyError(Exception):
    """Base of every error raised by ``policy``'s learning part."""


class CheckpointError(PolicyError, ValueError):
    """The checkpoint cannot be read, or does not fit what is asked of it."""


class TrainingError(PolicyError, ValueError):
    """The episodes cannot be trained on as they are."""
