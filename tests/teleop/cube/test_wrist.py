"""The palm is found from two swings of the wrist, and swings that cannot tell are refused."""

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dexhil.teleop.cube.wrist import calibrate_hand
from dexhil.teleop.errors import CubeError
from dexhil.teleop.mapping import ArmMapping
from dexhil.teleop.se3 import Pose, distance, exp_rotation, inverse, make_pose

Side = Literal["right", "left"]
Poses = NDArray[np.float64]
FOREARM = make_pose((0.05, 0.05, 0.45), exp_rotation((1.0, 0.4, 2.0)))
# On the back of the hand, its own z out of it, and not straight.
CUBE_IN_PALM = make_pose(
    (-0.05, 0.005, 0.06), exp_rotation((0, -np.pi / 2, 0)) @ exp_rotation((0.2, 0.1, 0.7))
)
AXES: dict[str, dict[Side, tuple[float, float, float]]] = {
    "flexion": {"right": (0, 1, 0), "left": (0, 1, 0)},
    "deviation": {"right": (1, 0, 0), "left": (-1, 0, 0)},
}


def _swing(
    which: str,
    *,
    side: Side = "right",
    cube_in_palm: Pose = CUBE_IN_PALM,
    reach: float | None = None,
    back: float = 0.0,
    slides_m: float = 0.0,
    wobble: float = 0.0,
    begins_bent: bool = False,
    n: int = 90,
    noise: float = 1.0,
    seed: int = 0,
) -> Poses:
    """Return what a camera sees of a hand that bends three times about one axis of its palm."""
    rng = np.random.default_rng(seed)
    reach = {"flexion": 1.0, "deviation": 0.45}[which] if reach is None else reach
    phases = np.linspace(0.0, 6 * np.pi, n)
    poses = []
    for phase in phases:
        share = 0.5 - 0.5 * np.cos(phase + np.pi * begins_bent)
        if back:
            share = max(np.sin(phase), back * np.sin(phase))
        angle = reach * share
        turn = exp_rotation(angle * np.array(AXES[which][side]))
        turn = turn @ exp_rotation((0.0, 0.0, wobble * np.sin(1.7 * phase)))
        hand = make_pose(slides_m * np.sin(phase / 3.0 * np.array([1, 2, 3])), turn)
        error = make_pose(
            noise * rng.normal(0.0, 5e-4, 3), exp_rotation(noise * rng.normal(0.0, 4e-3, 3))
        )
        poses.append(FOREARM @ hand @ cube_in_palm @ error)
    return np.array(poses)


@settings(max_examples=15)
@given(
    side=st.sampled_from(("right", "left")),
    place=st.tuples(st.floats(-0.08, -0.02), st.floats(-0.03, 0.03), st.floats(0.02, 0.1)),
    turn=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
)
def test_the_palm_is_found_wherever_the_cube_sits(
    side: Side, place: tuple[float, float, float], turn: tuple[float, float, float]
) -> None:
    cube = make_pose(place, exp_rotation(turn))
    swings = [_swing(each, side=side, cube_in_palm=cube, n=60) for each in AXES]
    result = calibrate_hand(swings[0], swings[1], side)
    metres, radians = distance(result.pose_hand_in_cube, inverse(cube))
    assert metres < 0.0025
    assert np.rad2deg(radians) < 1.0


def test_it_says_how_far_the_hand_bent_and_how_well_it_fitted() -> None:
    result = calibrate_hand(_swing("flexion"), _swing("deviation"))
    assert result.reach_rad == pytest.approx((1.0, 0.45), abs=0.05)
    assert np.rad2deg(result.axes_rad) == pytest.approx(90.0, abs=2.0)
    assert result.pivot_rms_m == pytest.approx(1e-3, rel=0.5)
    assert max(result.wobble) < 0.05
    assert result.sigma_m < 1e-3


def test_a_calibrated_hand_moves_the_robot_as_itself() -> None:
    """DexHiL's Eq. 3: the wrist that only bends only turns the palm of the robot."""
    x = calibrate_hand(_swing("flexion", noise=0.0), _swing("deviation", noise=0.0))
    mapping = ArmMapping(x.pose_hand_in_cube)
    start = make_pose((0.5, 0.1, 0.3), exp_rotation((0.3, 1.0, -0.5)))
    flexion = _swing("flexion", noise=0.0)
    mapping.anchor(start, flexion[0])
    bent = inverse(start) @ mapping.target(flexion[15])  # The middle of the first bend.
    np.testing.assert_allclose(bent, make_pose(rotation=exp_rotation((0, 1, 0))), atol=0.02)


def test_swings_of_noise_alone_move_it_little() -> None:
    """A second calibration of the same hand gives the same palm."""
    a, b = (
        calibrate_hand(_swing("flexion", seed=seed), _swing("deviation", seed=seed + 10))
        for seed in (1, 2)
    )
    metres, radians = distance(a.pose_hand_in_cube, b.pose_hand_in_cube)
    assert metres < 0.002
    assert np.rad2deg(radians) < 0.6


GOOD = _swing("flexion"), _swing("deviation")


@pytest.mark.parametrize(
    ("flexion", "deviation", "side", "message"),
    [
        (GOOD[0][:20], GOOD[1], "right", "seen 20 times during the flexion, at least 30"),
        (GOOD[0], GOOD[1][:0], "right", "seen 0 times during the deviation"),
        (_swing("flexion", reach=0.3), GOOD[1], "right", "turned by 17° during the flexion"),
        (GOOD[0], _swing("deviation", reach=0.15), "right", "during the deviation, at least 13°"),
        (_swing("flexion", back=0.9), GOOD[1], "right", "nobody can tell which is which"),
        (_swing("flexion", wobble=0.5), GOOD[1], "right", "turned about other axes by"),
        (GOOD[0], GOOD[0], "right", "about axes 0° apart, at least 63°"),
        (_swing("flexion", slides_m=0.05), GOOD[1], "right", "The wrist wandered by"),
        (GOOD[1], GOOD[0], "right", "Wear it on the back of the hand"),
        (GOOD[0], GOOD[1], "left", "Wear it on the back of the hand"),
    ],
)
def test_swings_that_cannot_tell_are_refused(
    flexion: Poses, deviation: Poses, side: Side, message: str
) -> None:
    with pytest.raises(CubeError, match=message):
        calibrate_hand(flexion, deviation, side)


@pytest.mark.parametrize("place", [(-0.05, 0.005, 0.06), (-0.015, -0.03, 0.015)])
@pytest.mark.parametrize(
    ("bent_flexion", "bent_deviation", "said"),
    [
        (True, False, "right"),
        (False, True, "right"),
        (True, True, "right"),  # Both palms' z are the same: only the back of the hand tells.
        (False, False, "left"),
        (True, False, "left"),
        (True, True, "left"),
    ],
)
def test_a_swing_the_wrong_way_round_never_goes_unseen(
    place: tuple[float, float, float], bent_flexion: bool, bent_deviation: bool, said: Side
) -> None:
    """Else the robot would go right where the hand goes left."""
    cube = make_pose(place, CUBE_IN_PALM[:3, :3])
    flexion = _swing("flexion", cube_in_palm=cube, begins_bent=bent_flexion)
    deviation = _swing("deviation", cube_in_palm=cube, begins_bent=bent_deviation)
    with pytest.raises(CubeError, match="begin both swings with the hand straight"):
        calibrate_hand(flexion, deviation, said)


def test_a_cube_over_the_wrist_is_refused_for_it_cannot_tell_a_reversed_swing() -> None:
    cube = make_pose((-0.05, 0.0, 0.004), CUBE_IN_PALM[:3, :3])
    swings = [_swing(each, cube_in_palm=cube) for each in AXES]
    with pytest.raises(CubeError, match=r"0\.\d cm along the fingers from the wrist"):
        calibrate_hand(swings[0], swings[1])


def test_an_elbow_that_bends_is_no_wrist() -> None:
    far = make_pose((-0.05, 0.0, 0.3), CUBE_IN_PALM[:3, :3])
    swings = [_swing(each, cube_in_palm=far) for each in AXES]
    with pytest.raises(CubeError, match="30 cm from the wrist, at most 25 cm"):
        calibrate_hand(swings[0], swings[1])


def test_a_wrist_that_is_not_known_well_is_refused() -> None:
    swings = [
        _swing("flexion", reach=0.5, n=30, noise=5.0),
        _swing("deviation", reach=0.25, n=30, noise=5.0),
    ]
    with pytest.raises(CubeError, match=r"The wrist is known to .* mm only"):
        calibrate_hand(swings[0], swings[1])
