"""The person as a source of joint targets: cube to arm, glove to hand."""

from typing import Protocol

import numpy as np

from dexhil.drivers.glove import GloveObservation
from dexhil.drivers.tracker import TrackerObservation
from dexhil.retarget.build import Retargets
from dexhil.retarget.filters import JointFilter
from dexhil.teleop.errors import DoubtError
from dexhil.teleop.ik import ArmIK
from dexhil.teleop.mapping import ArmMapping, HandMapping
from dexhil.teleop.pursuit import Pursuit
from dexhil.teleop.safety import Watch, Workspace
from dexhil.teleop.se3 import Pose, Vector, distance, from_quaternion, interpolate

# How far inside the walls a person's arm stays, so that rounding does not make the limiter stop
# an arm that slides along one.
_SKIN_M = 1e-3
_ARRIVED = 1e-9  # [rad]
_MET_M, _MET_RAD = 1e-3, 1e-2  # A palm this near is where it was asked for.
_SETTLING = 100  # Solves at takeover at most: one that still settles would move a still hand.
_SETTLED = 1e-4  # [rad]


class Human(Protocol):
    """The person, as the loop of one device sees them."""

    def look(self, now_s: float) -> None:
        """Take the newest sample of the person. Never raises for what a device does."""

    def anchor(self, executed: Vector) -> None:
        """Let the person's present pose mean ``executed`` [rad] from here on.

        Raises:
            DoubtError: The present pose is not known.
        """

    def target(self, share: float, executed: Vector) -> Vector:
        """Return the joints the person asks for [rad].

        Args:
            share: The person's authority; 0 gives the anchor, 1 what they ask.
            executed: The last executed command [rad].

        Raises:
            DoubtError: The present pose is not known.
        """


class HumanArm:
    """The arm follows the cube.

    The palm is solved for on joints of its own, which go where the cube says within the speed
    limits; the arm's joints pursue those within the acceleration limit too. Taking over stops the
    arm first: the anchor is the last executed command, and its motion begins at rest.

    Args:
        tracker: Sees the cube.
        mapping: Cube to palm.
        ik: Palm to joints.
        workspace: Where the palm may be asked to go; it slides along the walls.
        period_s: Of the loop that asks [s].
    """

    def __init__(
        self,
        tracker: Watch[TrackerObservation],
        mapping: ArmMapping,
        ik: ArmIK,
        workspace: Workspace,
        period_s: float,
    ) -> None:
        self._tracker = tracker
        self._mapping = mapping
        self._ik = ik
        self._workspace = workspace
        self._box = (workspace.low + _SKIN_M, workspace.high - _SKIN_M)
        self._pursuit = Pursuit(ik.position_limits, ik.speeds, ik.acceleration, period_s)
        self._period_s = period_s
        self._anchor: Pose = np.eye(4)

    def look(self, now_s: float) -> None:
        self._tracker.look(now_s)

    def anchor(self, executed: Vector) -> None:
        self._anchor = self._ik.fk(executed)
        self._goal = self._posture = executed
        self._met = True
        self._pursuit.begin(executed)
        self._mapping.anchor(self._anchor, self._cube())

    def target(self, share: float, executed: Vector) -> Vector:
        asked = self._workspace.clip(self._mapping.target(self._cube()))
        pose = interpolate(self._anchor, asked, share)
        self._goal = self._ik.solve(
            pose, self._goal, self._period_s, posture=self._posture, box=self._box
        )
        metres, radians = distance(self._ik.fk(self._goal), pose)
        met, self._met = self._met, metres < _MET_M and radians < _MET_RAD
        # Joints that are still on their way to the pose move by themselves, not by the person.
        step = self._pursuit.step(self._goal, executed, led=met and self._met)
        if np.abs(executed + step.wanted - self._goal).max() < _ARRIVED:
            return self._goal  # What was solved for keeps off walls and collisions already.
        return self._ik.steer(executed, step, self._period_s, self._box)

    def _cube(self) -> Pose:
        sample = self._tracker.trusted
        try:
            return from_quaternion(sample.position, sample.orientation)
        except ValueError as error:
            raise DoubtError(f"tracker: {error}.") from error


class HumanHand:
    """The hand follows the glove.

    Args:
        glove: Sees the fingers.
        mapping: Glove joints to hand joints.
        retargeter: Keypoints to glove joints.
        period_s: Of the loop that asks [s].
        smoother: Filters what is asked, if wanted. It comes last, at the loop's own even rate:
            before the mapping, it would still be moving when the fingers are not.
    """

    def __init__(
        self,
        glove: Watch[GloveObservation],
        mapping: HandMapping,
        retargeter: Retargets,
        period_s: float,
        smoother: JointFilter | None = None,
    ) -> None:
        self._glove = glove
        self._mapping = mapping
        self._retargeter = retargeter
        self._period_s = period_s
        self._smoother = smoother
        self._stamp_s = -np.inf
        self._anchor = self._retargeted = np.zeros(0)

    def look(self, now_s: float) -> None:
        self._glove.look(now_s)

    def anchor(self, executed: Vector) -> None:
        sample = self._glove.trusted
        self._retargeter.reset(executed)
        joints = self._retargeter.retarget(sample.keypoints)
        for _ in range(_SETTLING):
            before, joints = joints, self._retargeter.retarget(sample.keypoints)
            if np.abs(joints - before).max() < _SETTLED:
                break
        self._anchor, self._retargeted, self._stamp_s = executed, joints, sample.stamp_s
        self._mapping.anchor(executed, joints)
        if self._smoother is not None:
            self._smoother.reset(executed)

    def target(self, share: float, executed: Vector) -> Vector:
        del executed  # Fingers are mapped absolutely from their anchor.
        sample = self._glove.trusted
        if sample.stamp_s != self._stamp_s:  # Gloves are often slower than the loop.
            self._retargeted = self._retargeter.retarget(sample.keypoints)
            self._stamp_s = sample.stamp_s
        asked = self._mapping.target(self._retargeted, self._period_s)
        if self._smoother is not None:
            asked = self._smoother.step(asked, self._period_s)
        blended: Vector = self._anchor + share * (asked - self._anchor)
        return blended
