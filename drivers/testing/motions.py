"""The moves of the suites: small, or of one joint that may move far.

The largest one turns one joint for about the watchdog time at full speed. Of an
arm that is the last joint, which turns the hand in place.
"""

from typing import Any

import numpy as np
import pytest

from dexhil.drivers.arm import Arm
from dexhil.drivers.arrays import Vector
from dexhil.drivers.joints import JointActuator, JointCommand

AnyJoints = JointActuator[Any, Any, Any]

PERIOD_S = 0.02  # Between commands; every runtime here is at least as fast [s].
STEP = 0.15  # A move that shows and endangers nothing [rad].
ARRIVED = 0.05  # Joints sag this much under gravity [rad].
STILL = 0.02  # Joints settle this much after they were told to hold [rad].


def positions(joints: AnyJoints) -> Vector:
    """Where the joints are, as an array of the caller's own [rad]. Shape (n,)."""
    here: Vector = joints.observe().joint_positions.copy()
    return here


def to(joints: AnyJoints, target: Vector) -> JointCommand:
    """Return the command that goes to ``target`` [rad]. Shape (n,)."""
    return joints.command_type(joint_positions=target)


def walk(joints: AnyJoints, goal: Vector, timeout_s: float = 2.0) -> Vector:
    """Command ``goal`` until it is reached or time is up. Returns what was sent."""
    sent = goal
    for _ in range(round(timeout_s / PERIOD_S)):
        sent = joints.command(to(joints, goal)).joint_positions
        joints.clock.sleep(PERIOD_S)
        if np.abs(positions(joints) - sent).max() < 0.2 * ARRIVED:
            break
    return sent


def moved(joints: AnyJoints, start: Vector, joint: int, distance: float) -> Vector:
    """Return ``start`` with one joint moved towards its farther limit."""
    low, high = joints.spec.position_limits[joint]
    goal: Vector = np.clip(start, *joints.spec.position_limits.T)
    upwards = high - goal[joint] > goal[joint] - low
    goal[joint] += min(distance, 0.4 * (high - low)) * (1 if upwards else -1)
    return goal


def free_joint(joints: AnyJoints) -> int:
    """Return the joint that may move far: an arm's last, or the one with the longest way."""
    if isinstance(joints, Arm):
        return joints.spec.n_joints - 1
    ranges = np.ptp(joints.spec.position_limits, axis=1)
    return int(np.argmax(ranges / joints.spec.velocity_limits))


def far(joints: AnyJoints) -> Vector:
    """Return a target that the watchdog stops short of, stepping back first to make room."""
    joint = free_joint(joints)
    low, high = joints.spec.position_limits[joint]
    watchdog_s = joints.spec.watchdog_s
    reach = joints.spec.velocity_limits[joint] * watchdog_s
    # Beyond what it reaches in time, and plainly so where it is slow.
    distance = reach + max(0.5 * reach, 2.5 * ARRIVED)
    goal: Vector = np.clip(positions(joints), *joints.spec.position_limits.T)
    if max(high - goal[joint], goal[joint] - low) < distance:
        goal[joint] = low
        goal = walk(joints, goal, timeout_s=2.0 + (high - low) * watchdog_s / reach).copy()
    room = high - goal[joint]
    if room >= goal[joint] - low:
        goal[joint] += min(distance, room)
    else:
        goal[joint] -= distance
    if abs(goal[joint] - positions(joints)[joint]) < reach + 2 * ARRIVED:
        pytest.fail(
            f"{joints}: joint {joints.spec.joint_names[joint]} crosses its range within "
            f"the watchdog time of {watchdog_s:g} s, so this proves nothing"
        )
    return goal
