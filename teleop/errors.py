"""What goes wrong between a person or a policy and the robot.

TeleopError
 +-- DoubtError        a tick cannot vouch for its command; the runtime holds  (caught there)
 +-- KinematicsError   the arm's table and the request do not fit              (also ValueError)
 +-- ScheduleError     the loops cannot be run as asked                        (also ValueError)
 +-- CubeError         a marker cube or its camera cannot be, or be measured   (also ValueError)

A message has three parts: what it is about, what was measured against what was
allowed (with units), and what to do next.
"""


class TeleopError(Exception):
    """Base of every error raised by ``teleop``."""


class DoubtError(TeleopError):
    """Something is stale, frozen, malformed or gone. The message says what; the robot holds."""


class KinematicsError(TeleopError, ValueError):
    """The model lacks a link, or a pose or joint vector is not made of finite numbers."""


class ScheduleError(TeleopError, ValueError):
    """There are no loops, or a rate cannot be kept exactly."""


class CubeError(TeleopError, ValueError):
    """A marker cube, its camera, or a calibration of them is impossible or not good enough."""
