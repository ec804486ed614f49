"""Every number that a rig may set about teleoperation, in one table."""

from dataclasses import dataclass

from dexhil.retarget.filters import DEFAULT_FILTER, FilterName

Vector3 = tuple[float, float, float]


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
        frozen_samples: Longest run of bit-identical samples of a live glove or tracker.
        frozen_s: Longest time a live glove or tracker repeats itself [s].
    """

    policy_rate_hz: float = 20
    arm_rate_hz: float = 30
    hand_rate_hz: float = 90
    ramp_s: float = 0.25
    workspace_low: Vector3 = (-1.0, -1.0, 0.0)
    workspace_high: Vector3 = (1.0, 1.0, 1.5)
    arm_speed_fraction: float = 0.5
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
    frozen_samples: int = 30
    frozen_s: float = 0.5
