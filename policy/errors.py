"""Everything learning may raise.

PolicyError
 +-- CheckpointError   the file is missing, damaged, or for another robot  (also ValueError)
 +-- TrainingError     there is nothing to learn from, or it does not fit  (also ValueError)
 +-- RemoteError       a policy elsewhere cannot be asked as it is said, or by this robot
      +-- LostError    it is gone or talks nonsense; it may come back
"""


class PolicyError(Exception):
    """Base of every error raised by ``policy``'s learning part."""


class CheckpointError(PolicyError, ValueError):
    """The checkpoint cannot be read, or does not fit what is asked of it."""


class TrainingError(PolicyError, ValueError):
    """The episodes cannot be trained on as they are."""


class RemoteError(PolicyError):
    """A policy server is another than said, or its policy is for another robot."""


class LostError(RemoteError):
    """A policy that was there is gone, late or talks nonsense. It may come back."""
