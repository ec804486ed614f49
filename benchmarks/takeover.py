"""How far the command jumps when the driver changes, with an operator who keeps moving.

    python benchmarks/takeover.py [--n TAKEOVERS] [--rigs ur5e_leap ...]

A smooth policy drives a simulated rig through the real session. At random moments the
operator, whose hand and fingers never rest, steps on the pedal; at random moments later
the policy gets the robot back. Every jump is from the last command that the devices took
to the next: for hands the largest of the joints, for arms at the palm, by the arm's kinematics.

ours         the session's first command of the new driver
hard switch  what the new driver asks for, taken as it is: the retargeted glove, and the
             cube's pose as calibrated once at the start
in 0.3 s     the largest step from one command to the next in the first 0.3 s of the person, so
             that nothing hides behind the first command; and how fast the person moved
1 s slide    LeRobot's way: the robot slides for 1 s to what the person asked for at the
             press, then follows; the jump is at the end of the slide
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import degrees, pi
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.clock import SimClock
from dexhil.integration.bench import cube_mount, make_ik, teleop_config
from dexhil.integration.live import make_session
from dexhil.integration.operator.person import (
    RATE_HZ,
    Person,
    Presses,
    ShowsKeypoints,
    ShowsPose,
)
from dexhil.integration.rig import Rig, build_rig
from dexhil.retarget.retargeter import Retargeter
from dexhil.teleop import se3
from dexhil.teleop.mapping import ArmMapping
from dexhil.teleop.schedule import Loop, run_events
from dexhil.teleop.session import Session
from dexhil.teleop.takeover import Mode

RIGS = Path(__file__).parent.parent / "rigs"
SLIDE_S = 1.0
GROWING_S = 0.3  # Authority grows for 0.25 s.
HORIZON = 8
GROWING, MOVING = "takeover, in 0.3 s", "person, in 0.3 s"
AIMS = {"hand rad": 0.005, "arm mm": 0.5, "arm deg": 0.2}
# Palm jumps [m, rad] and joint jumps [rad], by how the driver changed.
Jumps = defaultdict[tuple[str, str], list[float]]


class Wander:
    """A smooth motion without rest or repetition: three sines for each coordinate.

    Args:
        rng: Draws frequencies and phases.
        reach: Largest value of each coordinate. Shape (n,).
        slowest: Of the sines [Hz].
        fastest: Of the sines [Hz].
    """

    def __init__(
        self, rng: np.random.Generator, reach: npt.ArrayLike, slowest: float, fastest: float
    ) -> None:
        self._reach = np.asarray(reach, dtype=np.float64)
        self._rates = 2.0 * pi * rng.uniform(slowest, fastest, (3, self._reach.size))
        self._phases = rng.uniform(-pi, pi, (3, self._reach.size))

    def at(self, time_s: float) -> Vector:
        """Return where it is. Shape (n,)."""
        wave: Vector = np.sin(self._rates * time_s + self._phases).mean(axis=0)
        return self._reach * wave


class WanderingPolicy:
    """Moves arm and hand smoothly about their home, arm first."""

    execute_steps = HORIZON

    def __init__(self, rig: Rig, period_s: float, rng: np.random.Generator) -> None:
        arm, hand = rig.arm.spec, rig.hand.spec
        low, high = hand.position_limits.T
        home = np.array(arm.kinematics.extra["home"])
        self._middle = np.concatenate([home, 0.5 * (low + high)])
        reach = np.concatenate([np.full(home.size, 0.3), 0.4 * (high - low)])
        self._motion = Wander(rng, reach, 0.1, 0.5)
        self._clock, self._period_s = rig.clock, period_s

    def reset(self) -> None:
        """Nothing to forget: where it is depends on time alone."""

    def infer(self, observation: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
        """Return the next actions [rad]. Shape (HORIZON, n)."""
        del observation
        times_s = self._clock.now_s() + self._period_s * np.arange(1, HORIZON + 1)
        actions: Matrix = self._middle + np.array([self._motion.at(t) for t in times_s])
        return actions


class Operator:
    """A person whose hand never rests and who changes the driver at random moments."""

    def __init__(self, person: Person, session: Session, clock: SimClock, seed: int) -> None:
        self._person, self._session, self._clock = person, session, clock
        self._rng = np.random.default_rng(seed)
        # About 0.3 m/s and 1 rad/s; fingers close and open about once a second.
        self._reach = Wander(self._rng, [0.15, 0.15, 0.15, 0.4, 0.4, 0.4], 0.2, 0.7)
        self._closing = Wander(self._rng, [1.0], 0.3, 1.2)
        self._pose = self._pose_at(clock.now_s())
        self._press_s = clock.now_s() + 0.5

    def tick(self) -> None:
        """Move, press, and let the devices see it; to be called at ``RATE_HZ``."""
        now_s = self._clock.now_s()
        before, self._pose = self._pose, self._pose_at(now_s)
        self._person.carry(se3.inverse(before) @ self._pose)
        self._person.closure = 0.5 + 0.8 * float(self._closing.at(now_s)[0])
        if now_s >= self._press_s:
            human = self._session.mode is Mode.HUMAN
            self._person.press("start" if human else "takeover")
            # A person drives longer than the slide takes, so that its end is seen.
            self._press_s = now_s + self._rng.uniform(0.4, 1.2) + (0.0 if human else SLIDE_S)
        self._person.tick()

    def _pose_at(self, now_s: float) -> Matrix:
        reach = self._reach.at(now_s)
        return se3.make_pose(reach[:3], se3.exp_rotation(reach[3:]))


@dataclass(slots=True)
class Tap:
    """Watches the commands of one device, right after each tick of its loop.

    Attributes:
        session: Says who drives.
        command: The last command the device took.
        absolute: What the person asks for without any anchor.
        distance: How far apart two of those are, by name.
        jumps: Where to note them.
    """

    session: Session
    clock: SimClock
    command: Callable[[], Vector]
    absolute: Callable[[], Vector]
    distance: Callable[[Vector, Vector], dict[str, float]]
    jumps: Jumps
    takeovers: int = 0
    _epoch: int = -1
    _mode: Mode = Mode.HOLD
    _last: tuple[Vector, Vector] | None = None
    _pressed: tuple[float, Vector] | None = None
    _steps: dict[tuple[str, str], float] = field(default_factory=dict)

    def tick(self) -> None:
        command, asked, drive = self.command(), self.absolute(), self.session.drive
        if self._last is not None:
            last, last_asked = self._last
            if drive.epoch != self._epoch:
                self._changed(drive.mode, last, command, asked)
            if self._pressed is not None:
                self._follow(self._pressed, (last, command), (last_asked, asked))
        self._epoch, self._mode, self._last = drive.epoch, drive.mode, (command, asked)

    def _changed(self, mode: Mode, last: Vector, command: Vector, asked: Vector) -> None:
        if (self._mode, mode) == (Mode.POLICY, Mode.HUMAN):
            self.takeovers += 1
            self._note("takeover, ours", last, command)
            self._note("takeover, hard switch", last, asked)
            self._pressed = (self.clock.now_s(), asked)
        elif (self._mode, mode) == (Mode.HUMAN, Mode.POLICY):
            self._note("hand back, ours", last, command)

    def _follow(
        self,
        pressed: tuple[float, Vector],
        commands: tuple[Vector, Vector],
        wishes: tuple[Vector, Vector],
    ) -> None:
        """Keep the largest steps while authority grows; note all when the slide would end."""
        pressed_s, asked_then = pressed
        elapsed_s = self.clock.now_s() - pressed_s + 1e-6  # Clocks round.
        if elapsed_s < GROWING_S:
            for what, (a, b) in ((GROWING, commands), (MOVING, wishes)):
                for name, step in self.distance(a, b).items():
                    self._steps[what, name] = max(step, self._steps.get((what, name), 0.0))
        if elapsed_s >= SLIDE_S:
            self._note("takeover, 1 s slide", asked_then, wishes[1])
            for key, step in self._steps.items():
                self.jumps[key].append(step)
            self._steps.clear()
            self._pressed = None

    def _note(self, what: str, a: Vector, b: Vector) -> None:
        for name, distance in self.distance(a, b).items():
            self.jumps[what, name].append(distance)


def run_rig(rig_name: str, n: int, seed: int, jumps: Jumps) -> int:
    """Take over at least ``n`` times on one rig; return how often it was."""
    clock = SimClock()
    rig = build_rig(RIGS / f"sim_{rig_name}.toml", clock, cameras=False, world={"scene": "empty"})
    config, rng = teleop_config(rig), np.random.default_rng(seed)
    with rig.running():
        person = Person(
            tracker=cast("ShowsPose", rig.tracker),
            glove=cast("ShowsKeypoints", rig.glove),
            switch=cast("Presses", rig.switch),
            clock=clock,
            rng=rng,
            pose_ee_in_cube=cube_mount(config),
        )
        run_events([Loop("person", RATE_HZ, person.tick)], clock, duration_s=0.2)
        session = make_session(rig, policy=WanderingPolicy(rig, 1 / config.policy_rate_hz, rng))
        session.begin()
        operator = Operator(person, session, clock, seed)
        taps = _taps(rig, session, clock, jumps)
        policy, arm, hand = session.loops()
        loops = [
            Loop("operator", RATE_HZ, operator.tick),
            policy,
            arm,
            Loop("arm tap", arm.rate_hz, taps[0].tick),
            hand,
            Loop("hand tap", hand.rate_hz, taps[1].tick),
        ]
        run_events(loops, clock, until=lambda: min(tap.takeovers for tap in taps) >= n)
    return min(tap.takeovers for tap in taps)


def _taps(rig: Rig, session: Session, clock: SimClock, jumps: Jumps) -> tuple[Tap, Tap]:
    ik, retargeter = make_ik(rig), Retargeter(rig.hand.spec.kinematics)
    n = len(rig.arm.spec.joint_names)
    cube = ArmMapping(cube_mount(teleop_config(rig)))
    cube.anchor(ik.fk(session.executed[:n]), _cube(rig))

    def joints_apart(a: Vector, b: Vector) -> dict[str, float]:
        return {"hand rad": float(np.abs(a - b).max())}

    arm = Tap(
        session,
        clock,
        command=lambda: ik.fk(session.executed[:n]),
        absolute=lambda: cube.target(_cube(rig)),
        distance=_poses_apart,
        jumps=jumps,
    )
    hand = Tap(
        session,
        clock,
        command=lambda: session.executed[n:],
        absolute=lambda: retargeter.retarget(rig.glove.observe().keypoints),
        distance=joints_apart,
        jumps=jumps,
    )
    return arm, hand


def _cube(rig: Rig) -> Matrix:
    sample = rig.tracker.observe()
    return se3.from_quaternion(sample.position, sample.orientation)


def _poses_apart(a: Matrix, b: Matrix) -> dict[str, float]:
    apart_m, apart_rad = se3.distance(a, b)
    return {"arm mm": 1e3 * apart_m, "arm deg": degrees(apart_rad)}


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=402, help="takeovers in all")
    parser.add_argument(
        "--rigs", nargs="+", default=None, help="such as ur5e_leap; all if left out"
    )
    options = parser.parse_args(arguments)
    rigs = options.rigs or sorted(p.stem.removeprefix("sim_") for p in RIGS.glob("sim_*.toml"))
    jumps: Jumps = defaultdict(list)
    takeovers = 0
    for seed, rig in enumerate(rigs):
        takeovers += run_rig(rig, -(-options.n // len(rigs)), seed, jumps)
    print(f"{takeovers} takeovers on {', '.join(rigs)}; the operator keeps moving")
    print(f"{'change of driver':22} {'jump':9} {'p50':>9} {'p95':>9} {'max':>9} {'aim':>7}")
    for (what, name), values in sorted(jumps.items()):
        p50, p95 = np.percentile(values, (50, 95))
        aim = f"{AIMS[name]:7g}" if what.endswith("ours") else f"{'':7}"
        print(f"{what:22} {name:9} {p50:9.4f} {p95:9.4f} {max(values):9.4f} {aim}")


if __name__ == "__main__":
    main()
