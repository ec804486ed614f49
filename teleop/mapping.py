"""A person's motion becomes the robot's, relative to where both were at takeover.

Both mappings are anchored at the last executed command, so the first command
after an anchor is that command itself, wherever the person's hand happens to be.
"""

import numpy as np

from dexhil.teleop.errors import KinematicsError, TeleopError
from dexhil.teleop.se3 import Pose, Vector, inverse

_LEAST_SCALE, _MOST_SCALE = 0.1, 3.0
# Share of a finger's motion that may be spent on closing the offset. Below 1 the robot's
# finger never moves against the person's.
_BLEED_SHARE = 0.5
# A glove at rest trembles; motion within this band is tremble [rad].
_TREMBLE = 0.02


class ArmMapping:
    """Cube pose to end-effector pose, DexHiL Eq. 3.

        T_EE = T_EE0 X^-1 T_M0^-1 T_M X

    The cube's own axes drive the end effector's own axes, so the frame in which
    the tracker sees the cube does not matter. What the end effector moves away from the
    anchor may be scaled; its turns never are, so that it always points as the person does.

    Args:
        pose_ee_in_cube: X, how the cube would sit on the end effector: p_cube = X p_EE.
        scale: Of the end effector's displacement, 0.1 to 3; 1 is Eq. 3 itself.

    Raises:
        KinematicsError: The scale is out of range.
    """

    def __init__(self, pose_ee_in_cube: Pose, scale: float = 1.0) -> None:
        if not _LEAST_SCALE <= scale <= _MOST_SCALE:
            raise KinematicsError(
                f"The arm's scale is {scale:g}, allowed {_LEAST_SCALE:g} to {_MOST_SCALE:g}."
            )
        self._x = pose_ee_in_cube
        self._scale = scale
        self._before: Pose | None = None

    def anchor(self, pose_ee: Pose, pose_cube: Pose) -> None:
        """Let the cube at ``pose_cube`` mean the end effector at ``pose_ee`` from here on."""
        self._before = pose_ee @ inverse(self._x) @ inverse(pose_cube)
        self._origin = pose_ee[:3, 3].copy()

    def target(self, pose_cube: Pose) -> Pose:
        """Return where the end effector should be, in the frame of the anchor's ``pose_ee``.

        Raises:
            TeleopError: Nothing was anchored.
        """
        if self._before is None:
            raise TeleopError("The arm mapping has no anchor. Call anchor() at takeover.")
        target = self._before @ pose_cube @ self._x
        target[:3, 3] = self._origin + self._scale * (target[:3, 3] - self._origin)
        return target


class HandMapping:
    """Retargeted glove joints to hand joints, relative to takeover.

        q = q0 + R(h) - R(h0), clipped to the joint limits

    The offset q0 - R(h0) is a debt: it is paid off joint by joint, only by moving
    fingers, until the mapping is absolute again.

    Args:
        position_limits: Lower and upper [rad]. Shape (n, 2).
        bleed_rate: Fastest the offset of a joint may shrink [rad/s].
    """

    def __init__(self, position_limits: Vector, bleed_rate: float) -> None:
        self._low, self._high = position_limits.T
        self._bleed_rate = bleed_rate
        self._offset: Vector | None = None

    @property
    def offset(self) -> Vector:
        """What is still added to the retargeted joints [rad]. Shape (n,)."""
        if self._offset is None:
            raise TeleopError("The hand mapping has no anchor. Call anchor() at takeover.")
        return self._offset

    def anchor(self, executed: Vector, retargeted: Vector) -> None:
        """Let the glove's ``retargeted`` joints mean ``executed`` from here on [rad]."""
        self._offset = executed - retargeted
        self._followed = retargeted

    def target(self, retargeted: Vector, dt_s: float) -> Vector:
        """Return the hand's joints for the glove's [rad]. Shape (n,).

        Args:
            retargeted: What the glove alone would ask for, within the limits [rad]. Shape (n,).
            dt_s: Since the last call [s].

        Raises:
            TeleopError: Nothing was anchored.
        """
        offset = self.offset
        followed = np.clip(self._followed, retargeted - _TREMBLE, retargeted + _TREMBLE)
        moved = np.abs(followed - self._followed)
        self._followed = followed
        paid = np.minimum(_BLEED_SHARE * moved, self._bleed_rate * dt_s)
        offset = np.copysign(np.maximum(np.abs(offset) - paid, 0.0), offset)
        target: Vector = np.clip(retargeted + offset, self._low, self._high)
        # What the limits cut off is forgotten, so that a finger that turns back is
        # followed at once. It only ever shrinks the offset.
        self._offset = target - retargeted
        return target
