"""A session driven by whoever is there.

On the simulated clock if every device is simulated, else in real time with threads.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dexhil.drivers.arrays import Vector
from dexhil.drivers.clock import Clock, SimClock
from dexhil.drivers.device import State
from dexhil.drivers.registry import parse
from dexhil.integration.retargeting.users import User, check_glove
from dexhil.integration.rig import Rig
from dexhil.policy.process import ProcessPolicy
from dexhil.retarget.build import Retargets, make_retargeter
from dexhil.teleop.actions import AsyncPolicy, Policy
from dexhil.teleop.config import TeleopConfig
from dexhil.teleop.errors import DoubtError
from dexhil.teleop.frame import Sink
from dexhil.teleop.ik import ArmIK
from dexhil.teleop.schedule import Loop, run_events, run_threads
from dexhil.teleop.session import Session
from dexhil.teleop.takeover import Event, Mode
from dexhil.teleop.timing import LoopStats

CONTROL_HZ = 10
_BEGIN_S, _BEGIN_AGAIN_S = 1.0, 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What became of one stretch of driving.

    Attributes:
        duration_s: On the rig's clock [s].
        driven_s: How long somebody drove, to a tenth of a second [s].
        ended: Why it ended, in words.
        success: What the operator said, if anything.
        interrupted: Whether Ctrl-C ended it.
        loops: How well each loop kept time.
    """

    duration_s: float
    driven_s: float
    ended: str
    success: bool | None
    interrupted: bool
    loops: dict[str, LoopStats]


def teleop_config(rig: Rig) -> TeleopConfig:
    """Return the rig file's ``[teleop]`` table."""
    options: Mapping[str, Any] = rig.file.teleop
    config: TeleopConfig = parse(TeleopConfig, options, "[teleop]")
    return config


def make_ik(rig: Rig) -> ArmIK:
    """Return inverse kinematics for the rig's arm with its hand and table."""
    hand, config = rig.hand.spec.kinematics, teleop_config(rig)
    return ArmIK(
        rig.arm.spec.kinematics,
        hand.extra["mount"],
        speed_fraction=config.arm_speed_fraction,
        acceleration=config.arm_acceleration,
        hand=hand,
        table_height=config.table_height,
        margin=config.arm_margin,
    )


def retargeter_of(rig: Rig, user: User | None = None) -> Retargets:
    """Return a retargeter for the rig's hand.

    Make it before the robot is switched on: on a new machine it compiles for some seconds.

    Args:
        rig: Not necessarily connected.
        user: Who wears the glove, if calibrated; an average adult when ``None``.
    """
    human = None if user is None else user.proportions
    return make_retargeter(rig.hand.spec.kinematics, human=human)


def policy_process(rig: Rig, checkpoint: Path, *, seed: int = 0) -> ProcessPolicy:
    """Return a trained policy that thinks in a process of its own, not yet started.

    Args:
        rig: Whose cameras it may see.
        checkpoint: Folder.
        seed: Of its noise.
    """
    shapes = {
        f"observation.images.{name}": (camera.spec.height, camera.spec.width, 3)
        for name, camera in rig.cameras.items()
    }
    options = {"checkpoint": checkpoint, "seed": seed}
    return ProcessPolicy("dexhil.policy.runner:Runner.load", options, shapes)


def make_session(
    rig: Rig,
    *,
    policy: Policy | AsyncPolicy | None = None,
    perception: Callable[[], Vector] | None = None,
    sink: Sink | None = None,
    retargeter: Retargets | None = None,
    user: User | None = None,
    ik: ArmIK | None = None,
) -> Session:
    """Wire a session over the devices of a connected, enabled rig.

    Args:
        rig: The devices.
        policy: Who proposes actions, if anybody does.
        perception: What the task knows about the world, if it does.
        sink: Takes the frames, if anybody wants them.
        retargeter: To use again; made when ``None``.
        user: Who wears the glove; see `retargeter_of`. Another hand in it is refused.
        ik: To use again; made when ``None``.

    Raises:
        RunError: The user was calibrated with another glove.
        RetargetError: Somebody else wears it.
    """
    if user is not None:
        check_glove(user, rig.glove, rig.clock)
    return Session(
        arm=rig.arm,
        hand=rig.hand,
        glove=rig.glove,
        tracker=rig.tracker,
        switch=rig.switch,
        cameras=rig.cameras,
        retargeter=retargeter or retargeter_of(rig, user),
        ik=ik or make_ik(rig),
        config=teleop_config(rig),
        clock=rig.clock,
        policy=policy,
        perception=perception,
        sink=sink,
    )


def drive(
    rig: Rig,
    session: Session,
    *,
    first: Event | None = None,
    duration_s: float = 60.0,
    waits: bool = False,
    show: Callable[[Session], None] = lambda _: None,
) -> Stretch:
    """Run a session until the operator gives a verdict, lets go for good, or time is up.

    Ctrl-C ends it too: the robot holds, and what was recorded stays.

    Args:
        rig: Connected and enabled.
        session: Over its devices.
        first: An event to begin with, for rigs whose switch nobody presses; it is
            repeated until it is obeyed. After it, falling back to HOLD ends the run.
        duration_s: Longest run [s].
        waits: Count the duration from the moment somebody drives.
        show: Called ten times a second, for whoever watches.

    Raises:
        DoubtError: See `begin_attempt`.
    """
    control = _Control(session, rig.clock, first, duration_s, waits=waits, show=show)
    loops = [*session.loops(), Loop("control", CONTROL_HZ, control.tick, background=True)]
    begin_attempt(rig, session)
    interrupted = False
    try:
        if isinstance(rig.clock, SimClock):
            run_events(loops, rig.clock, until=control.over)
        else:
            control.stop = threading.Event()
            run_threads(loops, control.stop, clock=rig.clock)
    except KeyboardInterrupt:
        control.ended, interrupted = "stopped by Ctrl-C", True
    finally:
        end_attempt(session)
    verdict = session.verdict
    return Stretch(
        duration_s=rig.clock.now_s() - control.start_s,
        driven_s=control.driven_s,
        ended=control.ended,
        success=None if verdict not in {"success", "failure"} else verdict == "success",
        interrupted=interrupted,
        loops={loop.name: loop.stats for loop in session.loops()},
    )


def begin_attempt(rig: Rig, session: Session) -> None:
    """Begin as soon as arm and hand say where they are: one late sample ends no series.

    Args:
        rig: Connected and enabled.
        session: Over its devices, whose loops do not run.

    Raises:
        DoubtError: One faulted, or none of its samples could be used for a second.
    """
    give_up_s = rig.clock.now_s() + _BEGIN_S
    while True:
        try:
            return session.begin()
        except DoubtError:
            faulted = State.FAULTED in (rig.arm.state, rig.hand.state)
            if faulted or rig.clock.now_s() >= give_up_s:
                raise
            rig.clock.sleep(_BEGIN_AGAIN_S)


def end_attempt(session: Session) -> None:
    """Write what is still open as whoever drove left it, then hold. Not while loops run."""
    try:
        session.flush()
    finally:
        session.set_event(Event.STOP, "the attempt is over")


class _Control:
    """Decides when a run is over."""

    def __init__(
        self,
        session: Session,
        clock: Clock,
        first: Event | None,
        duration_s: float,
        *,
        waits: bool,
        show: Callable[[Session], None],
    ) -> None:
        self._session, self._clock, self._first = session, clock, first
        self._duration_s, self._waits, self._show = duration_s, waits, show
        self._started = False
        self.start_s = self._counted_from_s = self._looked_s = clock.now_s()
        self.driven_s = 0.0
        self.stop = threading.Event()
        self.ended = ""

    def over(self) -> bool:
        return bool(self.ended)

    def tick(self) -> None:
        session, now_s = self._session, self._clock.now_s()
        driving = session.mode is not Mode.HOLD
        self.driven_s += driving * (now_s - self._looked_s)
        self._looked_s = now_s
        if self._waits and not (self._started or driving):
            self._counted_from_s = now_s
        if self._first is not None and not self._started and not driving:
            session.set_event(self._first)
        if session.verdict is not None:
            self.ended = f"the operator said {session.verdict}"
        elif self._first is not None and self._started and not driving:
            self.ended = session.drive.reason
        elif now_s - self._counted_from_s >= self._duration_s:
            self.ended = f"{self._duration_s:g} s are over"
        self._started = self._started or session.mode is not Mode.HOLD
        self._show(session)
        if self.ended:
            self.stop.set()
