"""Where the wearer's palm is in the cube: X of DexHiL's Eq. 3, from two swings of the wrist.

The forearm rests on a table before the camera; the hand begins straight. First it bends
towards the palm and back (flexion), then sideways towards the little finger and back
(deviation). Each swing turns about one axis of the palm, which needs no camera pose to be
seen: it is the axis that stays still in the cube. Both swings together turn about the wrist,
which gives the lever from the cube to it (pivot calibration).

Palm frame (as in ``dexhil.retarget.keypoints``): origin at the wrist, z along the fingers,
x out of the palm. So a hand that bends towards its palm turns about +y, whichever hand; one
that bends towards its little finger turns about +x if it is a right one, about -x if a left.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from dexhil.teleop.errors import CubeError
from dexhil.teleop.se3 import Pose, exp_rotation, log_rotation, make_pose

FloatArray = npt.NDArray[np.float64]

MIN_POSES: Final = 30
"""Of each swing: one second at 30 images per second."""

MIN_FLEXION_RAD: Final = 0.45
MIN_DEVIATION_RAD: Final = 0.22
"""How far the hand must bend [rad]. A wrist bends by about 1.2 rad to the palm and 0.5 rad
towards the little finger (Kapandji, "The Physiology of the Joints", vol. 1)."""

MAX_WOBBLE: Final = 0.35  # Turning about other axes, as a share of that about the main one.
ONE_SIDED: Final = 0.5  # Bending to the wrong side, as a share of that to the right one.
MIN_AXES_RAD: Final = 1.1  # Between both axes: a wrist's own are within 0.2 rad of 90 degrees.
MAX_PIVOT_M: Final = 0.008
"""Root mean square wandering of the wrist [m]. A wrist's two axes miss each other by some
millimetres, so it is never zero; a forearm that lifts or slides shows centimetres."""

MAX_LEVER_M: Final = 0.25  # From the cube to the wrist of the hand that it is on.
MAX_UNSURE_M: Final = 0.004  # Standard deviation of the wrist's position.
_ROUNDS: Final = 4
MIN_CLEAR_M: Final = 0.01
"""How far the middle of a cube on the back of the hand is from the wrist at least: along the
fingers, and out of the back [m]. A swing the wrong way round puts it on the other side of one or
both, so that none goes unseen."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HandCalibration:
    """Where the palm is, and how well its motion fitted.

    Attributes:
        pose_hand_in_cube: X. Shape (4, 4).
        pivot_rms_m: How far the wrist wandered [m].
        sigma_m: Standard deviation of the wrist's position, worst direction [m].
        axes_rad: Angle between both measured axes, 90 degrees at best [rad].
        wobble: Turning about other axes, as a share: of flexion and deviation.
        reach_rad: How far the hand bent: flexion and deviation [rad].
    """

    pose_hand_in_cube: Pose
    pivot_rms_m: float
    sigma_m: float
    axes_rad: float
    wobble: tuple[float, float]
    reach_rad: tuple[float, float]


def calibrate_hand(
    flexion: FloatArray, deviation: FloatArray, side: Literal["right", "left"] = "right"
) -> HandCalibration:
    """Find the palm from both swings.

    Args:
        flexion: ``pose_cube_in_camera`` while the hand bends towards its palm. Shape (n, 4, 4).
        deviation: Likewise, while it bends towards its little finger. Shape (m, 4, 4).
        side: Which hand.

    Raises:
        CubeError: The swings are too short, too small, not about one axis, to both sides, about
            the same axis, the forearm moved, or the cube would not be on the back of the hand.
    """
    bend = _swing("flexion", flexion, MIN_FLEXION_RAD)
    lean = _swing("deviation", deviation, MIN_DEVIATION_RAD)
    apart = float(np.arccos(np.clip(bend.axis @ lean.axis, -1.0, 1.0)))
    if not MIN_AXES_RAD < apart < np.pi - MIN_AXES_RAD:
        raise CubeError(
            f"The two swings turn about axes {_deg(min(apart, np.pi - apart))} apart, at least "
            f"{_deg(MIN_AXES_RAD)} needed. Bend towards the palm in one, sideways in the other."
        )
    # Flexion is the larger and steadier motion of the two, so y is taken as it is.
    y = bend.axis
    x = lean.axis if side == "right" else -lean.axis
    x = x - (x @ y) * y
    x /= np.linalg.norm(x)
    rotation = np.stack([x, y, np.cross(x, y)], axis=1)
    wrist, rms_m, sigma_m = _pivot(flexion, deviation)
    pose = make_pose(wrist, rotation)
    _check_lever(-rotation.T @ wrist)
    return HandCalibration(
        pose_hand_in_cube=pose,
        pivot_rms_m=rms_m,
        sigma_m=sigma_m,
        axes_rad=apart,
        wobble=(bend.wobble, lean.wobble),
        reach_rad=(bend.reach_rad, lean.reach_rad),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Swing:
    axis: FloatArray
    wobble: float
    reach_rad: float


def _swing(name: str, poses: FloatArray, min_reach_rad: float) -> _Swing:
    """Return the axis in the cube about which the hand left its first pose."""
    if len(poses) < MIN_POSES:
        raise CubeError(
            f"The cube was seen {len(poses)} times during the {name}, at least {MIN_POSES} needed. "
            "Keep it in view, and swing for some seconds."
        )
    at_rest = poses[0, :3, :3]
    for _ in range(_ROUNDS):
        turns = np.array([log_rotation(at_rest.T @ pose[:3, :3]) for pose in poses])
        _, strengths, axes = np.linalg.svd(turns, full_matrices=False)
        angles = turns @ axes[0]
        # What all turns have beside the axis is the error of the first pose.
        at_rest = at_rest @ exp_rotation((turns - np.outer(angles, axes[0])).mean(axis=0))
    if -angles.min() > angles.max():
        axes, angles = -axes, -angles
    reach, back = float(angles.max()), float(max(0.0, -angles.min()))
    if reach < min_reach_rad:
        raise CubeError(
            f"The hand turned by {_deg(reach)} during the {name}, at least {_deg(min_reach_rad)} "
            "needed. Bend it farther."
        )
    if back > ONE_SIDED * reach:
        raise CubeError(
            f"During the {name} the hand turned {_deg(reach)} to one side and {_deg(back)} to the "
            "other, so that nobody can tell which is which. Begin straight and bend to one side."
        )
    wobble = float(strengths[1] / strengths[0])
    if wobble > MAX_WOBBLE:
        raise CubeError(
            f"During the {name} the hand turned about other axes by {wobble:.0%} of the main one, "
            f"allowed {MAX_WOBBLE:.0%}. Keep the forearm still and bend in one plane."
        )
    return _Swing(axes[0], wobble, reach)


def _pivot(flexion: FloatArray, deviation: FloatArray) -> tuple[FloatArray, float, float]:
    """Return the point of the cube (3,) about which both swings turn, its wandering and sigma [m].

    The point p of the cube and, for each swing, its place c in the camera solve
    R p + t = c over all poses; the forearm may have moved between the swings, not during one.
    """
    poses = np.concatenate([flexion, deviation])
    n = len(poses)
    first = np.arange(n) < len(flexion)
    rows = np.zeros((n, 3, 9))
    rows[:, :, :3] = poses[:, :3, :3]
    rows[first, :, 3:6] = rows[~first, :, 6:] = -np.eye(3)
    design, target = rows.reshape(3 * n, 9), -poses[:, :3, 3].ravel()
    solution = np.linalg.lstsq(design, target)[0]
    errors = (design @ solution - target).reshape(n, 3)
    rms_m = float(np.sqrt((errors**2).sum(axis=1).mean()))
    if rms_m > MAX_PIVOT_M:
        raise CubeError(
            f"The wrist wandered by {1e3 * rms_m:.1f} mm (rms) during the swings, allowed "
            f"{1e3 * MAX_PIVOT_M:.0f} mm. Rest the forearm on a table and move the hand alone."
        )
    covariance = np.linalg.inv(design.T @ design)[:3, :3] * (errors**2).mean()
    sigma_m = float(np.sqrt(np.linalg.eigvalsh(covariance)[-1]))
    if sigma_m > MAX_UNSURE_M:
        raise CubeError(
            f"The wrist is known to {1e3 * sigma_m:.1f} mm only, at most {1e3 * MAX_UNSURE_M:.0f} "
            "mm allowed. Bend the hand farther, or hold the cube nearer to the camera."
        )
    return solution[:3], rms_m, sigma_m


def _check_lever(cube_in_palm: FloatArray) -> None:
    lever_m = float(np.linalg.norm(cube_in_palm))
    if lever_m > MAX_LEVER_M:
        raise CubeError(
            f"The cube is {100 * lever_m:.0f} cm from the wrist, at most {100 * MAX_LEVER_M:.0f} "
            "cm allowed. Did the elbow bend instead of the wrist?"
        )
    above_m, along_m = -cube_in_palm[0], cube_in_palm[2]
    if min(above_m, along_m) < MIN_CLEAR_M:
        raise CubeError(
            f"The cube would be {100 * along_m:.1f} cm along the fingers from the wrist and "
            f"{100 * above_m:.1f} cm out of the back of the hand, at least {100 * MIN_CLEAR_M:.0f} "
            "cm each needed. Wear it on the back of the hand, not over the wrist; begin both "
            "swings with the hand straight; bend towards the palm first, then towards the little "
            "finger; and say which hand it is (--side)."
        )


def _deg(angle_rad: float) -> str:
    return f"{np.rad2deg(angle_rad):.0f}°"
