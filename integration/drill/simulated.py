"""Drills on a simulated rig and the simulated clock: nothing is ever late but what is broken."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.clock import SimClock
from dexhil.drivers.registry import RigEntry
from dexhil.integration.bench import LEAD_S, cube_mount
from dexhil.integration.drill.drill import ANYBODY, ARM, HAND, POLICY, Fault, Hurt
from dexhil.integration.drill.policy import HORIZON, DrilledPolicy, Prompt, Wanderer
from dexhil.integration.drill.seen import Seen, Shows
from dexhil.integration.drill.stage import Player, Stage
from dexhil.integration.drill.tape import Palm
from dexhil.integration.operator.person import (
    RATE_HZ,
    Person,
    Presses,
    ShowsKeypoints,
    ShowsPose,
)
from dexhil.integration.operator.wander import Wander
from dexhil.integration.recorder import open_dataset
from dexhil.integration.rig import build_rig
from dexhil.teleop import se3
from dexhil.teleop.config import TeleopConfig
from dexhil.teleop.cube.filter import FilterConfig
from dexhil.teleop.schedule import Loop, run_events

# What docs/safety.md promises, whatever the rig under test is set to.
PROMISED = TeleopConfig(camera_frozen_s=1.0)
# One small one: painting would take longer than all the rest.
_CAMERA = RigEntry("camera", "scene", "sim", {"width": 48, "height": 48})
_TREMBLE = 2.0  # Of the simulated camera's picture: without it every camera is a frozen one.
_BOX_M = 0.08  # Around the palm's home, so small that many drills reach its faces.
_DIRECTOR_HZ = 100
_CUBE_S, _GLOVE_S = 3 / RATE_HZ, 1 / RATE_HZ


class SimStage(Stage):
    """A simulated rig with a person whose hand never rests, before a camera that trembles.

    Args:
        rig_path: Of the rig file.
        root: Of the dataset.
        teleop: Options of the rig file's ``[teleop]`` table, instead of its own.
    """

    def __init__(self, rig_path: Path, root: Path, **teleop: Any) -> None:
        self.sim_clock = SimClock()
        rig = build_rig(rig_path, self.sim_clock, world={"scene": "empty"}, replacing=_CAMERA)
        arm = rig.arm.spec
        home = Palm(arm.model, rig.hand.spec.model).position(arm.kinematics.extra["home"])
        options = {
            **rig.file.teleop,
            "camera_frozen_s": PROMISED.camera_frozen_s,
            "workspace_low": list(home - _BOX_M),
            "workspace_high": list(home + _BOX_M),
            **teleop,
        }
        rig = replace(rig, file=replace(rig.file, teleop=options))
        super().__init__(rig, open_dataset(root, rig))
        assert rig.world is not None  # noqa: S101  # The file has one.
        self.world = rig.world
        for part, port in (("arm", self.world.arm), ("hand", self.world.hand)):
            self._tap(part, port)
        self.seen = Seen(
            cast("ShowsPose", rig.tracker), cast("ShowsKeypoints", rig.glove), self.sim_clock
        )

    @classmethod
    @contextmanager
    def opened(cls, rig_path: Path, root: Path, **teleop: Any) -> Iterator[Self]:
        """Connect everything; let go of it with the block."""
        stage = cls(rig_path, root, **teleop)
        with stage.rig.running(), stage.writer:
            yield stage

    def device(self, name: str) -> Any:
        """Return a simulated device, by what it is."""
        return self.rig.cameras[_CAMERA.name] if name == "camera" else getattr(self.rig, name)

    def _tap(self, part: str, port: Any) -> None:
        """Note what reaches the simulated joints, past every driver."""
        set_target = port.set_target

        def noted(joints: Vector) -> None:
            if part in self.tapes:
                self.tapes[part].note(self.clock.now_s(), joints)
            set_target(joints)

        port.set_target = noted

    # -- What a stage does -------------------------------------------------------------------

    def make_policy(self, seed: int) -> DrilledPolicy:
        arm, hand = self.rig.arm.spec, self.rig.hand.spec
        home = [*arm.kinematics.extra["home"], *hand.kinematics.extra["open"]]
        limits = hand.position_limits.tolist()
        policy = Wanderer(home, limits, 1 / self.config.policy_rate_hz, seed)
        return DrilledPolicy(Prompt(policy), self.clock.now_s)

    def prepare(self, seed: int) -> None:
        self.clear()
        self.world.reset()
        rng = np.random.default_rng(seed)
        self._person = Person(
            tracker=cast("ShowsPose", Shows(self.seen.show_cube)),
            glove=cast("ShowsKeypoints", Shows(self.seen.show_hand)),
            switch=cast("Presses", self.rig.switch),
            clock=self.clock,
            rng=rng,
            pose_ee_in_cube=cube_mount(self.config),
        )
        self._reach = Wander(rng, [0.3, 0.3, 0.3, 0.4, 0.4, 0.4], 0.2, 0.7)
        self._closing = Wander(rng, [1.0], 0.3, 1.2)
        self._began_s = self.now_s
        self._palm = self._palm_at(0.0)
        lead = Loop("person", RATE_HZ, self._move)
        run_events([lead], self.sim_clock, duration_s=LEAD_S)

    def run(self, player: Player) -> None:
        loops = [
            Loop("person", RATE_HZ, self._move),
            Loop("director", _DIRECTOR_HZ, player.step),
            *self.loops(),
        ]
        # No loop ticks twice at one instant, nor do the end of one run and the start of the next.
        self.sim_clock.advance_to(self.now_s + 1 / _DIRECTOR_HZ)
        run_events(loops, self.sim_clock, until=lambda: player.ended)

    def press(self, button: str) -> None:
        self._person.press(button)

    def clear(self) -> None:
        for name in ("arm", "hand", "glove", "tracker", "switch", "camera"):
            self.device(name).faults.clear()
        self.device("camera").faults.noise(_TREMBLE)
        for button in self.rig.switch.spec.buttons:
            self.device("switch").release(button)
        self.seen.clear()
        self.policy.clear()

    def settle(self) -> None:
        """Every simulated device answers at once."""

    def _move(self) -> None:
        passed_s = self.now_s - self._began_s  # The same seed moves alike whatever came before.
        before, self._palm = self._palm, self._palm_at(passed_s)
        self._person.carry(se3.inverse(before) @ self._palm)
        self._person.closure = 0.5 + 0.8 * float(self._closing.at(passed_s)[0])
        self._person.tick()

    def _palm_at(self, passed_s: float) -> Matrix:
        reach = self._reach.at(passed_s)
        return se3.make_pose(reach[:3], se3.exp_rotation(reach[3:]))


# -- What can be broken ----------------------------------------------------------------------

Break = Callable[[SimStage, np.random.Generator], None]


def _ticks_s(config: TeleopConfig) -> float:
    """Return the time in which every loop has looked [s]."""
    return 1 / min(config.policy_rate_hz, config.arm_rate_hz, config.hand_rate_hz)


def _hurt(
    hurt: Break, says: str, within_s: float = 0.0
) -> Callable[[Stage, np.random.Generator], Hurt]:
    def apply(stage: Stage, rng: np.random.Generator) -> Hurt:
        assert isinstance(stage, SimStage)  # noqa: S101  # The catalogue below is for these.
        hurt(stage, rng)
        return Hurt(says=says, within_s=within_s + _ticks_s(stage.config))

    return apply


def _knob(device: str, knob: str, *values: Any) -> Break:
    return lambda stage, _: getattr(stage.device(device).faults, knob)(*values)


def _somewhere(rng: np.random.Generator, low: float, high: float) -> Vector:
    way = rng.normal(size=3)
    far: Vector = rng.uniform(low, high) * way / np.linalg.norm(way)
    return far


def _leap_of_fingers(stage: SimStage, rng: np.random.Generator) -> None:
    stage.seen.fingers_m = _somewhere(rng, 0.3, 0.6)


def _leap_of_cube(stage: SimStage, rng: np.random.Generator) -> None:
    stage.seen.cube_m = _somewhere(rng, 0.35, 1.0)


def _flip(stage: SimStage, rng: np.random.Generator) -> None:
    """Tell of a turn that no hand makes, as a tracker that looks at each picture alone would."""
    stage.seen.cube_turn = _flipped(rng, 1.0, 3.0)


def _flip_face(stage: SimStage, rng: np.random.Generator) -> None:
    """Take the other of the two poses that one face allows, before the cube's own filter.

    They are apart by twice the face's tilt: often too little to be told from a motion of the hand
    by two samples alone.
    """
    stage.seen.filter_cube()
    stage.seen.cube_turn = _flipped(rng, 0.35, 1.2)


def _flipped(rng: np.random.Generator, low_rad: float, high_rad: float) -> Matrix:
    """Return a turn about an axis in a face. Shape (3, 3)."""
    angle, azimuth = rng.uniform(low_rad, high_rad), rng.uniform(-np.pi, np.pi)
    axis = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    return se3.exp_rotation(angle * axis)


def _lose_cube(stage: SimStage, rng: np.random.Generator) -> None:
    # Trackers say it in one of two ways.
    faults = stage.device("tracker").faults
    faults.freeze() if rng.random() < 0.5 else faults.nan()


def _loose(stage: Stage, rng: np.random.Generator) -> Hurt:
    button = str(rng.choice(["takeover", "start", "takeover_hand"]))
    allowed = PROMISED.presses_per_s
    return Hurt(
        says=rf"{button} was pressed {allowed + 1} times",
        within_s=(allowed + 1) / _DIRECTOR_HZ + 1 / stage.config.hand_rate_hz,
        each=lambda: stage.press(button),
    )


def _step_clock(stage: Stage, rng: np.random.Generator) -> Hurt:
    assert isinstance(stage, SimStage)  # noqa: S101  # The catalogue below is for these.
    name = str(rng.choice(["arm", "hand", "glove", "tracker", "switch", "camera"]))
    device = stage.device(name)
    device.faults.rewind(rng.uniform(0.6, 5.0) * rng.choice([-1.0, 1.0]))
    period_s = 1 / device.spec.rate_hz if name in {"camera", "tracker", "glove"} else 0.0
    return Hurt(
        says=f"Sim{name.capitalize()}.*(ms old|stepped back)",
        within_s=period_s + _ticks_s(stage.config),
    )


def say_nonsense(stage: Stage, rng: np.random.Generator) -> Hurt:
    """Put NaN into the policy's answers."""
    stage.policy.change(spoiled(rng))
    return _of_policy(stage, "policy: the action is not finite")


def begin_far(stage: Stage, rng: np.random.Generator) -> Hurt:
    """Have the policy begin far from the robot, and ask for it."""
    n = len(stage.rig.arm.spec.joint_names)
    joint = int(rng.integers(n + len(stage.rig.hand.spec.joint_names)))
    bound = PROMISED.arm_first_action_rad if joint < n else PROMISED.hand_first_action_rad
    away = bound * rng.uniform(1.3, 3.0)
    stage.policy.change(lambda chunk: chunk + away * (np.arange(chunk.shape[1]) == joint))
    stage.press("start")
    # What was asked in shadow is dropped, then its own answer is a step away, then a part's tick.
    return Hurt(
        says="policy: its first action is .* rad from",
        within_s=3 / stage.config.policy_rate_hz + 1 / stage.config.arm_rate_hz,
    )


def spoiled(rng: np.random.Generator) -> Callable[[Matrix], Matrix]:
    """Return what puts NaN, or an infinity, into one joint of every action."""
    joint, value = rng.random(), float(rng.choice([np.nan, np.inf, -np.inf]))

    def change(chunk: Matrix) -> Matrix:
        bad = chunk.copy()
        bad[:, int(joint * chunk.shape[1])] = value
        return bad

    return change


def _of_policy(stage: Stage, says: str) -> Hurt:
    # It is noticed in the tick in which the answer comes, or, if that concerns one part alone, in
    # that part's next one.
    return Hurt(
        says=says,
        within_s=1 / stage.config.arm_rate_hz,
        shows_within_s=HORIZON / stage.config.policy_rate_hz + 1.0,
        since_s=lambda: stage.policy.hurt_s,
    )


SILENCE_S = HORIZON / PROMISED.policy_rate_hz + PROMISED.policy_max_age_s
"""For how long a policy that has just answered may be silent [s]."""

FAULTS: dict[str, Fault] = {
    "glove stale": Fault(
        hurt=_hurt(_knob("glove", "freeze"), "SimGlove.*ms old", PROMISED.glove_max_age_s),
        who=HAND,
        refuses=True,
    ),
    "glove frozen": Fault(
        hurt=_hurt(
            _knob("glove", "repeat"), "SimGlove.*bit-identical", PROMISED.frozen_s + _GLOVE_S
        ),
        who=HAND,
        refuses=True,
    ),
    "glove NaN": Fault(
        hurt=_hurt(_knob("glove", "nan"), "SimGlove.*not finite", _GLOVE_S),
        who=HAND,
        refuses=True,
    ),
    "glove teleports": Fault(
        hurt=_hurt(_leap_of_fingers, "SimGlove.*moved .* m in", _GLOVE_S), who=HAND
    ),
    "cube lost": Fault(
        hurt=_hurt(_lose_cube, "SimTracker.*(ms old|finite)", PROMISED.tracker_max_age_s),
        who=ARM,
        refuses=True,
    ),
    "cube flipped": Fault(hurt=_hurt(_flip, "SimTracker.*moved .* rad in", _CUBE_S), who=ARM),
    "face flipped": Fault(
        hurt=_hurt(_flip_face, "SimTracker.*not finite", FilterConfig().patience * _CUBE_S),
        who=ARM,
    ),
    "cube teleports": Fault(
        hurt=_hurt(_leap_of_cube, "SimTracker.*moved .* m in", _CUBE_S), who=ARM
    ),
    "camera stale": Fault(
        hurt=_hurt(_knob("camera", "freeze"), "SimCamera.*ms old", PROMISED.camera_max_age_s),
        who=ANYBODY,
        refuses=True,
    ),
    "camera frozen": Fault(
        hurt=_hurt(
            _knob("camera", "repeat"),
            "SimCamera.*bit-identical",
            1.0 + 0.05,
        ),
        who=ANYBODY,
        refuses=True,
    ),
    "policy late": Fault(
        hurt=_hurt(lambda s, _: s.policy.be_silent(), "policy: no action for", SILENCE_S),
        who=POLICY,
    ),
    "policy dead": Fault(
        hurt=_hurt(lambda s, _: s.policy.end(), "policy process: it ended"),
        who=POLICY,
    ),
    "policy NaN": Fault(hurt=say_nonsense, who=POLICY),
    "far first action": Fault(hurt=begin_far, who=("nobody", "both"), again=("start",)),
    "arm p-stop": Fault(
        hurt=_hurt(_knob("arm", "fail", "protective stop"), "SimArm.*protective stop"),
        who=ANYBODY,
        refuses=True,
    ),
    "hand over-current": Fault(
        hurt=_hurt(_knob("hand", "fail", "over-current"), "SimHand.*over-current"),
        who=ANYBODY,
        refuses=True,
    ),
    "stop stuck": Fault(
        hurt=_hurt(lambda s, _: s.device("switch").press("stop"), "stopped by"),
        who=ANYBODY,
        refuses=True,
    ),
    "contact loose": Fault(hurt=_loose, who=("both",), quiet_s=1.2),
    "switch silent": Fault(
        hurt=_hurt(_knob("switch", "freeze"), "SimSwitch.*ms old", PROMISED.switch_max_age_s),
        who=ANYBODY,
    ),
    "clock steps": Fault(hurt=_step_clock, who=("both",)),
    "glove not needed": Fault(
        hurt=_hurt(_knob("glove", "nan"), ""),
        who=("policy", "policy+arm", "arm"),
        holds=False,
    ),
    "cube not needed": Fault(
        hurt=_hurt(_lose_cube, ""),
        who=("policy", "policy+hand", "hand"),
        holds=False,
    ),
}
