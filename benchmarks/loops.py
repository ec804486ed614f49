"""How well the three loops keep time while everything else happens on the same cores.

    python benchmarks/loops.py [--duration S] [--block S]

Real drivers of a UR arm, a LEAP hand, a Quest 3 and a keyboard, and two 640x480 cameras at 30 Hz;
every device is an emulator in a process of its own, because physics in this process would be
measured instead of drivers. Emulators go before others, where allowed: devices have cores of
their own. The policy (torch, seeing both cameras) answers from its process, the
recorder encodes both cameras at 20 Hz in its own, and the live view is drawn. The policy drives
half of the time, then a person for a quarter, then the policy again.

Two ways to keep time take turns, in blocks, with the same rig, policy, recorder and ticks:

ours    ``run_threads``: absolute deadlines, real-time priority, the process before others
sleep   one thread per loop that does its work and sleeps for the rest of the period, as
        LeRobot and HIL-SERL do

ticks   that ran
missed  deadlines that no tick ran for, and per 10,000; for ``sleep``, what it made fewer than
        its rate says
late    from the deadline to the start of the tick [ms]; for ``sleep``, a deadline is one period
        after the tick before began, the kindest there is
used    age of the samples when they were used [ms]; ``policy``: of what its action is based on
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rich.console import Console

from dexhil.drivers.clock import Clock, MonotonicClock
from dexhil.drivers.device import State
from dexhil.drivers.emulators import EmulatorProcess
from dexhil.integration.console import LiveView
from dexhil.integration.emulation import rig_table
from dexhil.integration.live import (
    CONTROL_HZ,
    make_ik,
    make_session,
    policy_process,
    retargeter_of,
)
from dexhil.integration.recorder import Recorder, open_dataset
from dexhil.integration.rig import Rig, build_rig
from dexhil.policy.episodes import EpisodeWriter
from dexhil.teleop import realtime
from dexhil.teleop.errors import DoubtError
from dexhil.teleop.schedule import Loop, run_threads
from dexhil.teleop.session import Session
from dexhil.teleop.takeover import Event, Mode
from dexhil.teleop.timing import Spread

EMULATORS = ("ur", "leap", "quest", "keyboard", "opencv", "opencv")
WAYS = ("ours", "sleep")
AIM_LATE_S, AIM_MISSED = 1e-3, 1e-4

# In a process of its own: a robot's program loads no torch either. Actions are relative to where
# the robot is and small, so that an untrained policy drives without leaving its place.
MAKE_POLICY = """
import sys
from pathlib import Path
from dexhil.policy.checkpoint import Checkpoint
from dexhil.policy.flow import FlowPolicy, FlowPolicyConfig
folder, n_state, n_action, *cameras = sys.argv[1:]
config = FlowPolicyConfig(
    observations={"observation.state": int(n_state)},
    action_dim=int(n_action),
    relative=tuple(range(int(n_action))),
    cameras=tuple(cameras),
    width=512,
    integration_steps=10,
)
policy = FlowPolicy(config)
policy.chunk_normalizer.scale.fill_(0.01)
Checkpoint(config=config, tensors=policy.state_dict()).save(Path(folder))
"""


class Pacing:
    """One way to keep time: its session, and what became of it."""

    def __init__(self, name: str, session: Session, rig: Rig, view: LiveView) -> None:
        self.name, self.session, self._rig, self._view = name, session, rig, view
        self._clock = rig.clock
        self.modes = dict.fromkeys(Mode, 0)
        self.reasons: set[str] = set()

    def block(self, duration_s: float) -> None:
        """Drive for a while."""
        session, stop, start_s = self.session, threading.Event(), self._clock.now_s()
        steps = [(0.5, Event.TAKE_OVER), (0.75, Event.START)]

        def control() -> None:
            share = (self._clock.now_s() - start_s) / duration_s
            if steps and share >= steps[0][0]:
                session.set_event(steps.pop(0)[1])
            elif session.mode is Mode.HOLD:
                self.reasons.add(session.drive.reason)
                session.set_event(Event.START)
            self.modes[session.mode] += 1
            self._view.show(session)
            if share >= 1.0:
                stop.set()

        loops = [*session.loops(), Loop("control", CONTROL_HZ, control, background=True)]
        _begin(session, self._rig, self._clock)
        try:
            if self.name == "ours":
                run_threads(loops, stop, clock=self._clock)
            else:
                run_sleeping(loops, stop, self._clock)
        finally:
            session.set_event(Event.STOP)
            session.flush()


def _begin(session: Session, rig: Rig, clock: Clock) -> None:
    """Begin as soon as every device says where it is; recover one that faulted meanwhile."""
    give_up_s = clock.now_s() + 5.0
    while True:
        try:
            return session.begin()
        except DoubtError:
            if clock.now_s() > give_up_s:
                raise
            for device in (rig.arm, rig.hand):
                if device.state is State.FAULTED:
                    device.recover()
                    device.enable()
            clock.sleep(0.05)


def run_sleeping(loops: Sequence[Loop], stop: threading.Event, clock: Clock) -> None:
    """Run loops as most do: work, then sleep for what is left of the period."""

    def run(loop: Loop) -> None:
        period_s, n = float(loop.period), 0
        start_s = began_s = clock.now_s()
        deadline_s = start_s
        while not stop.is_set():
            began_s = clock.now_s()
            loop.run_once(clock, deadline_s)
            deadline_s, n = began_s + period_s, n + 1
            clock.sleep(max(0.0, deadline_s - clock.now_s()))
        loop.skip(max(0, int((clock.now_s() - start_s) / period_s) - n))
        loop.rest()

    threads = [threading.Thread(target=run, args=(loop,)) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextmanager
def first_served() -> Iterator[None]:
    """Let what is started here go before other processes, where this user may."""
    parameter = os.sched_param(realtime.HELPERS_PRIORITY)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, parameter)  # Children inherit it.
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextmanager
def bench(folder: Path) -> Iterator[tuple[Rig, EpisodeWriter, list[Session]]]:
    """Start everything there is on a robot's machine, and its devices; wire two sessions."""
    with ExitStack() as stack:
        with first_served():
            emulators = [stack.enter_context(EmulatorProcess(name)) for name in EMULATORS]
        tables = [rig_table(each) for each in emulators]
        tables[-1] = tables[-1].replace("[camera.opencv]", "[camera.second]")
        tables.append(f'[tracker.wrist]\ndriver = "quest"\nport = {emulators[2].options["port"]}\n')
        path = folder / "rig.toml"
        path.write_text("\n".join(tables), encoding="utf-8")
        rig = build_rig(path, MonotonicClock())
        n_arm, n_hand = len(rig.arm.spec.joint_names), len(rig.hand.spec.joint_names)
        cameras = [f"observation.images.{name}" for name in rig.cameras]
        sizes = [str(n_arm + 2 * n_hand), str(n_arm + n_hand)]
        checkpoint = folder / "policy"
        subprocess.run(  # noqa: S603  # Ourselves.
            [sys.executable, "-c", MAKE_POLICY, str(checkpoint), *sizes, *cameras], check=True
        )
        policy = stack.enter_context(policy_process(rig, checkpoint))
        writer = stack.enter_context(open_dataset(folder / "data", rig))
        retargeter, ik = retargeter_of(rig), make_ik(rig)  # They compile: before devices stream.
        stack.enter_context(rig.running())
        yield (
            rig,
            writer,
            [
                make_session(
                    rig, policy=policy, sink=Recorder(writer), retargeter=retargeter, ik=ik
                )
                for _ in WAYS
            ],
        )


def measure(folder: Path, duration_s: float, block_s: float) -> None:
    """Let both ways take turns, and print the table."""
    n_blocks = max(1, round(duration_s / block_s))
    with bench(folder) as (rig, writer, sessions), Path(os.devnull).open("w") as nowhere:
        with LiveView(Console(file=nowhere, force_terminal=True, width=100)) as view:
            ways = [Pacing(*way, rig, view) for way in zip(WAYS, sessions, strict=True)]
            own_s, busy_s, start_s = time.process_time(), _busy_s(), time.monotonic()
            for _ in range(n_blocks):
                for way in ways:
                    writer.begin_episode("keep time")
                    way.block(block_s)
                    writer.end_episode(success=True)
        wall_s = time.monotonic() - start_s
        own, busy = (time.process_time() - own_s) / wall_s, (_busy_s() - busy_s) / wall_s
    granted = "granted" if realtime.may_claim_priority() else "refused"
    print(
        f"{n_blocks * block_s:g} s each in blocks of {block_s:g} s on {os.cpu_count()} cores; "
        f"real-time priority is {granted}; this process used {own:.0%} of one core, everything "
        f"together {busy:.0%}"
    )
    for way in ways:
        _print(way)
    hand = ways[0].session.status().loops["hand"]
    share = hand.misses / (hand.ticks + hand.misses)
    print(
        f"\nours, hand: late p99 {hand.lateness_s.p99 * 1e3:.2f} ms, aim {AIM_LATE_S * 1e3:g}; "
        f"missed {share * 1e4:.2f} of 10,000, aim {AIM_MISSED * 1e4:g}"
    )


def _print(way: Pacing) -> None:
    status, looks = way.session.status(), sum(way.modes.values())
    print(f"\n{way.name:12}{'ticks':>8}{'missed':>8}{'of 1e4':>8}{'late':>9}{'p99':>9}{'max':>9}")
    for name, stats in status.loops.items():
        share = stats.misses / (stats.ticks + stats.misses)
        print(
            f"{way.name + ' ' + name:12}{stats.ticks:8}{stats.misses:8}{share * 1e4:8.1f}"
            + _ms(stats.lateness_s)
        )
    print(f"{way.name:12}{'':24}{'used':>9}{'p99':>9}{'max':>9}")
    for name, ages_s in status.used_s.items():
        print(f"{way.name + ' ' + name:18}{'':18}{_ms(ages_s)}")
    driven = ", ".join(f"{mode.name} {n / looks:.0%}" for mode, n in way.modes.items())
    print(f"{way.name + ' drove':12} {driven}; answers dropped as too late: {status.late_answers}")
    for reason in sorted(way.reasons - {"not started"}):
        print(f"{way.name + ' held':12} {reason}")


def _ms(spread: Spread) -> str:
    return "".join(f"{each_s * 1e3:9.2f}" for each_s in spread)


def _busy_s() -> float:
    """Time that all cores were busy since they started [s]. Known on Linux only."""
    cpu = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
    user, nice, system, _idle, _wait, interrupts, soft, *_ = (int(word) for word in cpu[1:])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--duration", type=float, default=600.0, help="of each way [s]")
    parser.add_argument("--block", type=float, default=30.0, help="until they take turns [s]")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), options.duration, min(options.block, options.duration))


if __name__ == "__main__":
    main()
