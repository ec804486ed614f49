"""Every number that a rig may set about teleoperation, in one table."""

from dataclasses import dataclass, fields
from math import isfinite

import numpy as np

from dexhil.retarget.filters import DEFAULT_FILTER, FilterName

Vector3 = tuple[float, float, float]

# Every other number must be above 0: with a bound of the wrong sign, nothing would be bounded.
_SHARES = {"arm_speed_fraction", "hand_speed_fraction"}
_SIGNED = {"workspace_low", "workspace_high", "table_height", "cube_position", "cube_rpy"}
_MAY_BE_ZERO = {"ramp_s", "arm_margin", "bleed_rate", "policy_prefetch_steps", "camera_frozen_s"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TeleopConfig:
    """The ``[teleop]`` table of a rig file.

    Attributes:
        policy_rate_hz: Observations, actions and frames [1/s].
        arm_rate_hz: Commands to the arm [1/s].
        hand_rate_hz: Commands to the hand; also how often the switch is asked [1/s].
        ramp_s: How long a new driver takes to full authority; 0 gives it at once [s].
        workspace_low: Lower corner of the palm's box in the arm's base frame [m].
        workspace_high: Upper corner of the palm's box in the arm's base frame [m].
        arm_speed_fraction: Share of the arm's joint speeds that may be used.
        arm_acceleration: Largest of the arm's joints while a person drives [rad/s²]. By their
            makers an xArm takes 20, and an FR3 10; a UR5e has no published limit. At 10 a cube
            that is seen at uneven times is followed too softly for the last centimetres.
        arm_scale: Of the palm's displacement to the person's, 0.1 to 3; turns are never scaled.
        arm_margin: Distance that arm, palm and table keep from each other [m].
        table_height: Of the table's top above the arm's base, if there is one to avoid [m].
        hand_speed_fraction: Share of the hand's joint speeds that may be used.
        cube_position: Palm in the cube's frame, the translation of X in DexHiL Eq. 3 [m].
        cube_rpy: Palm in the cube's frame, the rotation of X in DexHiL Eq. 3 [rad].
        hand_filter: Of what the glove asks of the hand, from least lag to most smoothness; see
            `dexhil.retarget.filters`.
        bleed_rate: Fastest the hand's offset from the glove may shrink [rad/s].
        shadow: Ask the policy while a person drives too, to record what it proposed.
        robot_max_age_s: Oldest usable sample of arm and hand [s].
        glove_max_age_s: Oldest usable sample of the glove [s].
        tracker_max_age_s: Oldest usable sample of the tracker [s].
        switch_max_age_s: Oldest sign of life of the switch [s].
        camera_max_age_s: Oldest usable picture [s].
        policy_max_age_s: Longest the policy may go without an action while it drives [s].
        policy_prefetch_steps: How many steps before a chunk of actions is used up a policy in
            another process is asked for the next; as many as its answers take when left out.
        camera_frozen_s: Longest time a live camera repeats a picture bit by bit [s]; 0 never
            asks. When left out, 1 s for real cameras, and simulated ones, where nothing
            trembles, are not asked.
        tracker_speed: Fastest the wearer's wrist moves [m/s]; a jump beyond is no motion.
        tracker_turn_rate: Fastest the wearer's wrist turns [rad/s].
        glove_speed: Fastest a fingertip moves against the wrist [m/s].
        presses_per_s: Most presses of one button by a person within a second.
        arm_first_action_rad: How far from the arm's last command a policy may begin [rad].
        hand_first_action_rad: How far from the hand's last command a policy may begin [rad].
        arm_lead_rad: How far an arm's joint may stay behind its command [rad].
        hand_lead_rad: Farthest that a command may be from where a finger's joint is [rad],
            which bounds its grip and how it moves when it comes free; not bounded when left
            out.
        frozen_samples: Longest run of bit-identical samples of a live glove or tracker.
        frozen_s: Longest time a live glove or tracker repeats itself [s].

    Raises:
        ValueError: A number is not finite, not above 0 where it must be, or a share above 1; or
            the box is empty.
    """

    policy_rate_hz: float = 20
    arm_rate_hz: float = 30
    hand_rate_hz: float = 90
    ramp_s: float = 0.25
    workspace_low: Vector3 = (-1.0, -1.0, 0.0)
    workspace_high: Vector3 = (1.0, 1.0, 1.5)
    arm_speed_fraction: float = 0.5
    arm_acceleration: float = 20.0
    arm_scale: float = 1.0
    arm_margin: float = 0.005
    table_height: float | None = None
    hand_speed_fraction: float = 1.0
    cube_position: Vector3 = (0.0, 0.0, 0.0)
    cube_rpy: Vector3 = (0.0, 0.0, 0.0)
    hand_filter: FilterName = DEFAULT_FILTER
    bleed_rate: float = 0.5
    shadow: bool = True
    robot_max_age_s: float = 0.1
    glove_max_age_s: float = 0.2
    tracker_max_age_s: float = 0.2
    switch_max_age_s: float = 0.5
    camera_max_age_s: float = 0.5
    policy_max_age_s: float = 0.5
    policy_prefetch_steps: int | None = None
    camera_frozen_s: float | None = None
    tracker_speed: float = 5.0
    tracker_turn_rate: float = 12.0
    glove_speed: float = 7.0
    presses_per_s: int = 8
    arm_first_action_rad: float = 0.5
    hand_first_action_rad: float = 1.0
    arm_lead_rad: float = 0.35
    hand_lead_rad: float | None = None
    frozen_samples: int = 30
    frozen_s: float = 0.5

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if value is None or isinstance(value, bool | str):
                continue
            for number in np.ravel(value):
                _require(each.name, float(number))
        for axis, low, high in zip("xyz", self.workspace_low, self.workspace_high, strict=True):
            if not low < high:
                raise ValueError(
                    f"workspace_low is {low:g} m in {axis}, must be below workspace_high, "
                    f"which is {high:g} m"
                )


def _require(name: str, number: float) -> None:
    if not isfinite(number):
        raise ValueError(f"{name} is {number:g}, must be finite")
    if name in _SHARES and not 0.0 < number <= 1.0:
        raise ValueError(f"{name} is {number:g}, allowed above 0 to 1")
    if name in _MAY_BE_ZERO and number < 0.0:
        raise ValueError(f"{name} is {number:g}, must be 0 or more")
    if name not in _SIGNED | _MAY_BE_ZERO and number <= 0.0:
        raise ValueError(f"{name} is {number:g}, must be above 0")
