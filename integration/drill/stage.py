"""Where drills happen: a rig that moves, with everything on it that can be hurt and mended."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

import numpy as np

from dexhil.drivers.clock import Clock
from dexhil.drivers.device import Actuator, State
from dexhil.integration.drill.policy import DrilledPolicy
from dexhil.integration.drill.tape import Palm, Tape
from dexhil.integration.live import (
    begin_attempt,
    end_attempt,
    make_ik,
    make_session,
    retargeter_of,
    teleop_config,
)
from dexhil.integration.recorder import Recorder
from dexhil.integration.rig import Rig
from dexhil.policy.episodes import EpisodeWriter
from dexhil.teleop.frame import Frame
from dexhil.teleop.schedule import Loop
from dexhil.teleop.session import Session
from dexhil.teleop.takeover import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """What a script waits for.

    Attributes:
        longest_s: Not longer than this [s].
        until: Nor once this is true.
        each: Done all the while.
    """

    longest_s: float
    until: Callable[[], bool] = lambda: False
    each: Callable[[], None] = lambda: None


Script = Generator[Wait, None, None]


class Player:
    """Goes through a script, a little at a time."""

    def __init__(self, script: Script, clock: Clock) -> None:
        self._script, self._clock = script, clock
        self.ended = False
        self._next()

    def step(self) -> None:
        """Go on if it is time to; to be called often."""
        if self.ended:
            return
        self._wait.each()
        if self._wait.until() or self._clock.now_s() - self._since_s >= self._wait.longest_s:
            self._next()

    def _next(self) -> None:
        self._since_s = self._clock.now_s()
        try:
            self._wait = next(self._script)
        except StopIteration:
            self.ended = True


@dataclass(slots=True)
class Frames:
    """Passes frames on, and remembers what the dataset must show later.

    Attributes:
        sink: Takes the frames.
        stamps_s: Of each.
        executed: Of each [rad].
    """

    sink: Recorder
    stamps_s: list[float] = field(default_factory=list)
    executed: list[np.ndarray] = field(default_factory=list)

    def write(self, frame: Frame) -> None:
        self.sink.write(frame)
        self.stamps_s.append(frame.stamp_s)
        self.executed.append(frame.executed)


class Stage(ABC):
    """One connected rig, for many drills.

    Args:
        rig: To be connected and enabled before the first drill.
        writer: Of the dataset.

    Attributes:
        grace_s: How much later than promised something may be seen: machines are busy [s].
        policy: Of this drill.
        session: Of this drill.
        tapes: What arm and hand were told in this drill.
        frames: Those of this drill.
    """

    grace_s: float = 0.0
    policy: DrilledPolicy
    session: Session

    def __init__(self, rig: Rig, writer: EpisodeWriter) -> None:
        self.rig, self.writer = rig, writer
        self.clock, self.config = rig.clock, teleop_config(rig)
        self._ik, self._retargeter = make_ik(rig), retargeter_of(rig)
        self.palm = Palm(rig.arm.spec.model, rig.hand.spec.model)
        self.tapes: Mapping[str, Tape] = {}
        self.frames = Frames(Recorder(writer))

    @property
    def now_s(self) -> float:
        return self.clock.now_s()

    @property
    def holds(self) -> bool:
        """Whether nobody drives."""
        return self.session.mode is Mode.HOLD

    @property
    def faulted(self) -> bool:
        """Whether a device must be recovered."""
        return any(each.state is State.FAULTED for each in self.rig.devices)

    def begin(self, seed: int, task: str) -> None:
        """Begin a drill: everything well, a session, an episode."""
        for part in ("arm", "hand"):
            tape = Tape.of(part, getattr(self.rig, part).spec, self.config)
            self.tapes = {**self.tapes, part: tape}
        self.policy = self.make_policy(seed)
        self.prepare(seed)
        self.frames = Frames(Recorder(self.writer))
        self.session = make_session(
            self.rig,
            policy=self.policy,
            sink=self.frames,
            retargeter=self._retargeter,
            ik=self._ik,
        )
        self._begin()
        self.writer.begin_episode(task)

    def play(self, script: Script) -> None:
        """Run the session's loops until the script has ended."""
        self.run(Player(script, self.clock))

    def end(self) -> int:
        """End the drill's episode and return its index."""
        end_attempt(self.session)
        episode = self.writer.end_episode()
        # The next drill is not to wait for this one's videos: that is another benchmark.
        self.writer.flush()
        return episode

    def nearest_m(self) -> float:
        """Return how near the arm was told to come to itself, the hand or the table [m]."""
        collision, told = self._ik.collision, self.tapes["arm"].told
        commands = (each.joints for k, each in enumerate(told) if each.changed or k == 0)
        farthest = 10.0 * collision.margin
        return min((collision.distance(joints, farthest) for joints in commands), default=farthest)

    def recover(self) -> bool:
        """Recover what faulted, as an operator does between attempts. Not while loops run.

        Returns:
            Whether anything had faulted; then the attempt began anew.
        """
        recovered = self.recover_devices()
        if recovered:
            for tape in self.tapes.values():
                tape.begin()
            self._begin()
        return recovered

    def _begin(self) -> None:
        """Begin the attempt as soon as every device has said where it is."""
        self.settle()
        begin_attempt(self.rig, self.session)

    def recover_devices(self) -> bool:
        """Recover what faulted, and return whether anything had."""
        faulted = [each for each in self.rig.devices if each.state is State.FAULTED]
        for device in faulted:
            device.recover()
            if isinstance(device, Actuator):
                device.enable()
        return bool(faulted)

    def loops(self) -> list[Loop]:
        """Return the session's loops, those of arm and hand with a look at the tape."""
        asks, arm, hand = self.session.loops()
        return [asks, self._taped(arm, self.tapes["arm"]), self._taped(hand, self.tapes["hand"])]

    def _taped(self, loop: Loop, tape: Tape) -> Loop:
        def tick() -> None:
            n_before = len(tape.told)
            loop.tick()
            tape.end_tick(held=self.holds, n_before=n_before)

        return Loop(loop.name, loop.rate_hz, tick)

    # -- What differs between rigs -----------------------------------------------------------

    @abstractmethod
    def make_policy(self, seed: int) -> DrilledPolicy:
        """Return a healthy policy."""

    @abstractmethod
    def prepare(self, seed: int) -> None:
        """Bring devices and person to where a drill begins."""

    @abstractmethod
    def run(self, player: Player) -> None:
        """Run the session's loops until the player has ended."""

    @abstractmethod
    def press(self, button: str) -> None:
        """Press a button and let go."""

    @abstractmethod
    def clear(self) -> None:
        """Mend every device, the policy, and the person."""

    @abstractmethod
    def settle(self) -> None:
        """Wait until every device has a fresh sample."""

    def far_end(self) -> list[str]:
        """Return what the far ends of the wires have to complain about, if they can."""
        return []
