"""What goes wrong above the devices.

RunError
 +-- RigError        the rig lacks a device that this command needs, or devices did not connect
 +-- TaskError       no such task, or the rig cannot do it
"""


class RunError(Exception):
    """Base of every error raised by ``integration``."""


class RigError(RunError):
    """The rig cannot do what was asked."""


class TaskError(RunError):
    """There is no such task, or the rig cannot do it."""
