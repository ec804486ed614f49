"""How far the command jumps when the driver changes, and how soon the new one is obeyed.

    python benchmarks/takeover.py [--threads] [--n TAKEOVERS] [--paces 1 2] [--rigs ur5e_leap ...]

A smooth policy drives a simulated rig through the real session. At random moments the
operator, whose hand and fingers never rest, steps on the pedal; at random moments later
the policy gets the robot back. Every jump is from the last command that the devices took
to the next: for hands the largest of the joints, for arms at the palm, by the arm's kinematics.

On the simulated clock nothing is ever late. With --threads the same session runs on the host's
clock: one thread for each loop, one that moves the person and one that presses, at moments that
have nothing to do with those of the loops; the devices are still simulated.

ours         the session's first command of the new driver. How far the policy may begin from the
             robot is not bounded here, so that the hand-back is seen at its worst
hard switch  what the new driver asks for, taken as it is: the retargeted glove, and the
             cube's pose as calibrated once at the start; or the policy's next action
in 0.3 s     the largest step from one command to the next in the first 0.3 s of the person, so
             that nothing hides behind the first command; and how fast the person moved
1 s slide    LeRobot's way: the robot slides for 1 s to what the person asked for at the
             press, then follows; the jump is at the end of the slide
press to     with --threads: from the pedal to when the device had taken the first command of the
             person; allowed is one tick of that loop and 1 ms
pace         1: about 0.3 m/s and 1 rad/s, fingers open and close once a second; 2: twice that
"""

import argparse
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import degrees
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.clock import Clock, MonotonicClock, SimClock
from dexhil.integration.bench import cube_mount
from dexhil.integration.live import make_ik, make_session, teleop_config
from dexhil.integration.operator.person import (
    RATE_HZ,
    Person,
    Presses,
    ShowsKeypoints,
    ShowsPose,
)
from dexhil.integration.operator.wander import Wander
from dexhil.integration.rig import Rig, build_rig
from dexhil.retarget.retargeter import Retargeter
from dexhil.teleop import se3
from dexhil.teleop.authority import Drive
from dexhil.teleop.mapping import ArmMapping
from dexhil.teleop.schedule import Loop, run_events, run_threads
from dexhil.teleop.session import Session
from dexhil.teleop.takeover import Mode

RIGS = Path(__file__).parent.parent / "rigs"
SLIDE_S = 1.0
GROWING_S = 0.3  # Authority grows for 0.25 s.
HORIZON = 8
FEET_HZ = 97  # Shares no phase with any loop.
GROWING, MOVING = "takeover, in 0.3 s", "person, in 0.3 s"
# Latencies: a tick of the loop, at 30 and 90 Hz, and 1 ms.
AIMS = {
    "hand rad": 0.005,
    "arm mm": 0.5,
    "arm deg": 0.2,
    "arm ms": 1e3 / 30 + 1,
    "hand ms": 1e3 / 90 + 1,
}
# Palm jumps [mm, deg], joint jumps [rad] and latencies [ms], by how the driver changed.
Jumps = defaultdict[tuple[str, str], list[float]]


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
        return np.array([self.at(t) for t in times_s])

    def at(self, time_s: float) -> Vector:
        """Return where it wants the robot [rad]. Shape (n,)."""
        wanted: Vector = self._middle + self._motion.at(time_s)
        return wanted


class Operator:
    """A person whose hand never rests and who changes the driver at random moments."""

    def __init__(
        self,
        person: Person,
        session: Session,
        clock: Clock,
        seed: int,
        *,
        pace: float,
        stay_s: float,
    ) -> None:
        self._person, self._session, self._clock = person, session, clock
        self._rng, self._stay_s = np.random.default_rng(seed), stay_s
        reach, slow, fast = [0.15, 0.15, 0.15, 0.4, 0.4, 0.4], 0.2 * pace, 0.7 * pace
        self._reach = Wander(self._rng, reach, slow, fast)
        self._closing = Wander(self._rng, [1.0], 0.3 * pace, 1.2 * pace)
        self._pose = self._pose_at(clock.now_s())
        self._press_s = clock.now_s() + 0.5
        self.pressed_s = 0.0

    def move(self) -> None:
        """Move, and let the devices see it; to be called at ``RATE_HZ``."""
        now_s = self._clock.now_s()
        before, self._pose = self._pose, self._pose_at(now_s)
        self._person.carry(se3.inverse(before) @ self._pose)
        self._person.closure = 0.5 + 0.8 * float(self._closing.at(now_s)[0])
        self._person.tick()

    def step(self) -> None:
        """Press, when it is time to; to be called often."""
        now_s = self._clock.now_s()
        if now_s < self._press_s:
            return
        human = self._session.mode is Mode.HUMAN
        self.pressed_s = self._clock.now_s()
        self._person.press("start" if human else "takeover")
        # Long enough that authority has grown, and, alone on the clock, the slide has ended.
        stay_s = 0.1 if human else self._stay_s
        self._press_s = now_s + stay_s + self._rng.uniform(0.1, 0.6)

    def _pose_at(self, now_s: float) -> Matrix:
        reach = self._reach.at(now_s)
        return se3.make_pose(reach[:3], se3.exp_rotation(reach[3:]))


@dataclass(slots=True)
class Takeover:
    """One, while it is followed: when it was, what was asked for then, the largest steps since."""

    since_s: float
    asked: Vector
    steps: dict[tuple[str, str], float] = field(default_factory=dict)


@dataclass(slots=True)
class Tap:
    """Watches the commands of one device, right after each tick of its loop.

    Attributes:
        name: Of the device.
        obeyed: What the last command obeyed.
        command: The last command the device took.
        person: What the person asks for without any anchor.
        policy: What the policy asks for.
        distance: How far apart two of those are, by name.
        pressed_s: When the pedal was last pressed.
        taken_s: When the device had taken the last command.
        jumps: Where to note them.
    """

    name: str
    clock: Clock
    obeyed: Callable[[], Drive]
    command: Callable[[], Vector]
    person: Callable[[], Vector]
    policy: Callable[[], Vector]
    distance: Callable[[Vector, Vector], dict[str, float]]
    pressed_s: Callable[[], float]
    taken_s: Callable[[], float]
    jumps: Jumps
    takeovers: int = 0
    _epoch: int = -1
    _mode: Mode = Mode.HOLD
    _last: tuple[Vector, Vector] | None = None
    _followed: list[Takeover] = field(default_factory=list)

    def tick(self) -> None:
        now_s, drive = self.clock.now_s(), self.obeyed()
        command, asked = self.command(), self.person()
        if self._last is not None:
            last, last_asked = self._last
            if drive.epoch != self._epoch:
                self._changed(drive.mode, now_s, last, command, asked)
            for takeover in tuple(self._followed):
                self._follow(takeover, now_s, (last, command), (last_asked, asked))
        self._epoch, self._mode, self._last = drive.epoch, drive.mode, (command, asked)

    def _changed(
        self, mode: Mode, now_s: float, last: Vector, command: Vector, asked: Vector
    ) -> None:
        if (self._mode, mode) == (Mode.POLICY, Mode.HUMAN):
            self.takeovers += 1
            self.jumps["press to first command", f"{self.name} ms"].append(
                1e3 * (self.taken_s() - self.pressed_s())
            )
            self._note("takeover, ours", last, command)
            self._note("takeover, hard switch", last, asked)
            self._followed.append(Takeover(now_s, asked))
        elif (self._mode, mode) == (Mode.HUMAN, Mode.POLICY):
            self._note("hand back, ours", last, command)
            self._note("hand back, hard switch", last, self.policy())

    def _follow(
        self,
        takeover: Takeover,
        now_s: float,
        commands: tuple[Vector, Vector],
        wishes: tuple[Vector, Vector],
    ) -> None:
        """Keep the largest steps while authority grows; note all when the slide would end."""
        elapsed_s = now_s - takeover.since_s + 1e-6  # Clocks round.
        if elapsed_s < GROWING_S:
            for what, (a, b) in ((GROWING, commands), (MOVING, wishes)):
                for name, step in self.distance(a, b).items():
                    takeover.steps[what, name] = max(step, takeover.steps.get((what, name), 0.0))
        if elapsed_s >= SLIDE_S:
            self._note("takeover, 1 s slide", takeover.asked, wishes[1])
            for key, step in takeover.steps.items():
                self.jumps[key].append(step)
            self._followed.remove(takeover)

    def _note(self, what: str, a: Vector, b: Vector) -> None:
        for name, distance in self.distance(a, b).items():
            self.jumps[what, name].append(distance)


def run_rig(
    rig_name: str, n: int, seed: int, jumps: Jumps, *, pace: float = 1.0, threads: bool = False
) -> int:
    """Take over at least ``n`` times on one rig; return how often it was."""
    clock: Clock = MonotonicClock() if threads else SimClock()
    rig = _unbounded(
        build_rig(RIGS / f"sim_{rig_name}.toml", clock, cameras=False, world={"scene": "empty"})
    )
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
        warm_up = Loop("person", RATE_HZ, person.tick)
        _run([warm_up], clock, lambda: warm_up.stats.ticks > 0.2 * RATE_HZ)
        policy = WanderingPolicy(rig, 1 / config.policy_rate_hz, rng)
        taken_s = _stamped(rig.arm, clock), _stamped(rig.hand, clock)
        session = make_session(rig, policy=policy)
        session.begin()
        # On the host's clock the person holds the robot for less long than the slide lasts.
        stay_s = 0.4 if threads else 0.3 + SLIDE_S
        operator = Operator(person, session, clock, seed, pace=pace, stay_s=stay_s)
        taps = _taps(rig, session, policy, operator, taken_s=taken_s, jumps=jumps)
        asks, arm, hand = session.loops()
        loops = [
            Loop("operator", RATE_HZ, operator.move, background=True),
            Loop("feet", FEET_HZ if threads else RATE_HZ, operator.step, background=True),
            asks,
            _tapped(arm, taps[0]),
            _tapped(hand, taps[1]),
        ]
        _run(loops, clock, lambda: min(tap.takeovers for tap in taps) >= n)
    return min(tap.takeovers for tap in taps)


def _unbounded(rig: Rig) -> Rig:
    """Return the rig with any distance allowed to the policy's first action."""
    free = {"arm_first_action_rad": 99.0, "hand_first_action_rad": 99.0}
    return replace(rig, file=replace(rig.file, teleop={**rig.file.teleop, **free}))


def _tapped(loop: Loop, tap: Tap) -> Loop:
    def tick() -> None:
        loop.tick()
        tap.tick()

    return Loop(loop.name, loop.rate_hz, tick)


def _run(loops: list[Loop], clock: Clock, over: Callable[[], bool]) -> None:
    if isinstance(clock, SimClock):
        run_events(loops, clock, until=over)
        return
    stop = threading.Event()

    def watch() -> None:
        if over():
            stop.set()

    run_threads([*loops, Loop("over", 10, watch, background=True)], stop, clock=clock)


def _stamped(device: Any, clock: Clock) -> Callable[[], float]:
    """Have a device note when it has taken a command; return what tells when that last was."""
    command, taken_s = device.command, clock.now_s()

    def stamped(wanted: Any) -> Any:
        nonlocal taken_s
        sent = command(wanted)
        taken_s = clock.now_s()
        return sent

    device.command = stamped
    return lambda: taken_s


def _taps(
    rig: Rig,
    session: Session,
    policy: WanderingPolicy,
    operator: Operator,
    *,
    taken_s: tuple[Callable[[], float], Callable[[], float]],
    jumps: Jumps,
) -> tuple[Tap, Tap]:
    ik, retargeter = make_ik(rig), Retargeter(rig.hand.spec.kinematics)
    n = len(rig.arm.spec.joint_names)
    cube = ArmMapping(cube_mount(teleop_config(rig)))
    cube.anchor(ik.fk(session.executed[:n]), _cube(rig))

    def joints_apart(a: Vector, b: Vector) -> dict[str, float]:
        return {"hand rad": float(np.abs(a - b).max())}

    clock, soon_s = rig.clock, 1 / teleop_config(rig).policy_rate_hz
    arm = Tap(
        "arm",
        clock,
        obeyed=lambda: session.obeyed[0],
        command=lambda: ik.fk(session.executed[:n]),
        person=lambda: cube.target(_cube(rig)),
        policy=lambda: ik.fk(policy.at(clock.now_s() + soon_s)[:n]),
        pressed_s=lambda: operator.pressed_s,
        taken_s=taken_s[0],
        distance=_poses_apart,
        jumps=jumps,
    )
    hand = Tap(
        "hand",
        clock,
        obeyed=lambda: session.obeyed[1],
        command=lambda: session.executed[n:],
        person=lambda: retargeter.retarget(rig.glove.observe().keypoints),
        policy=lambda: policy.at(clock.now_s() + soon_s)[n:],
        pressed_s=lambda: operator.pressed_s,
        taken_s=taken_s[1],
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
    """Print a table for each pace."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", action="store_true", help="on the host's clock; one rig")
    parser.add_argument("--n", type=int, default=402, help="takeovers in all, at each pace")
    parser.add_argument("--paces", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument(
        "--rigs", nargs="+", default=None, help="such as ur5e_leap; all if left out"
    )
    options = parser.parse_args(arguments)
    every = sorted(path.stem.removeprefix("sim_") for path in RIGS.glob("sim_*.toml"))
    rigs = options.rigs or (["ur5e_leap"] if options.threads else every)
    for pace in options.paces:
        jumps: Jumps = defaultdict(list)
        share = -(-options.n // len(rigs))
        takeovers = sum(
            run_rig(rig, share, seed, jumps, pace=pace, threads=options.threads)
            for seed, rig in enumerate(rigs)
        )
        clock = "host's clock, in threads" if options.threads else "simulated clock"
        print(f"{takeovers} takeovers on {', '.join(rigs)}; {clock}; pace {pace:g}")
        _print(jumps, threads=options.threads)


def _print(jumps: Jumps, *, threads: bool) -> None:
    print(f"{'change of driver':22} {'jump':9} {'p50':>9} {'p99':>9} {'max':>9} {'aim':>7}")
    for (what, name), values in sorted(jumps.items()):
        if name.endswith(" ms") and not threads:
            continue  # On the simulated clock it says nothing about this machine.
        p50, p99 = np.percentile(values, (50, 99))
        aimed = name in AIMS and (what.endswith("ours") or name.endswith(" ms"))
        aim = f"{AIMS[name]:7.4g}" if aimed else ""
        print(f"{what:22} {name:9} {p50:9.4f} {p99:9.4f} {max(values):9.4f} {aim:>7}")


if __name__ == "__main__":
    main()
