"""A simulated rig with a task: attempts by a policy, by a simulated operator, or by both.

Every attempt starts from a seed and runs on the simulated clock: the same seed, the
same operator and the same policy give the same frames.
"""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import numpy as np

from dexhil.drivers.clock import SimClock
from dexhil.drivers.sim.world import World
from dexhil.integration.live import make_ik, make_session, teleop_config
from dexhil.integration.operator import Operator, OperatorConfig, Role, make_operator
from dexhil.integration.operator.person import (
    RATE_HZ,
    Person,
    PersonConfig,
    Presses,
    ShowsKeypoints,
    ShowsPose,
)
from dexhil.integration.rig import build_rig
from dexhil.integration.tasks import JUDGE_HZ, make_task
from dexhil.retarget.build import make_retargeter
from dexhil.teleop.actions import Policy
from dexhil.teleop.config import TeleopConfig
from dexhil.teleop.frame import Sink, together
from dexhil.teleop.schedule import Loop, run_events
from dexhil.teleop.se3 import from_rpy, make_pose
from dexhil.teleop.session import Session
from dexhil.teleop.takeover import Event

# Longest latency of a person's devices, run before each attempt so that they have samples.
LEAD_S = 0.2
# A person who has taken over may use this many time limits in all.
PATIENCE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What became of one attempt.

    Attributes:
        seed: Of start, operator and policy.
        success: Whether the task was done in time.
        duration_s: Simulated [s].
        alarm: Why the operator took over, or would have; ``None`` if it saw no reason.
        alarm_s: When it first did, from the start [s].
        taken_over: Whether a person drove at all.
        human_s: How long a person drove [s].
        tries: Grasps that the person began.
    """

    seed: int
    success: bool
    duration_s: float
    alarm: str | None = None
    alarm_s: float | None = None
    taken_over: bool = False
    human_s: float = 0.0
    tries: int = 0


class Bench:
    """One simulated rig with one task, for any number of attempts.

    Args:
        rig_path: A rig file with a ``[world]``.
        task: Name of the task.
        cameras: Whether to render, which costs most of the time.
        person: The operator's body.
        operator: The operator's skill.

    Attributes:
        watcher: Takes the frames of every attempt too, if anybody watches.

    Raises:
        DeviceError, RunError: The rig file is wrong, or the task cannot be done on it.
    """

    def __init__(
        self,
        rig_path: Path,
        task: str = "plush",
        *,
        cameras: bool = False,
        person: PersonConfig | None = None,
        operator: OperatorConfig | None = None,
    ) -> None:
        self.clock = SimClock()
        self.rig = build_rig(rig_path, self.clock, cameras=cameras, world={"scene": task})
        self.task = make_task(task, self.rig.world)
        self._person, self._operator = person or PersonConfig(), operator or OperatorConfig()
        self.config = teleop_config(self.rig)
        self._retargeter, self._eyes_retargeter = (
            make_retargeter(self.rig.hand.spec.kinematics) for _ in range(2)
        )
        self._ik = make_ik(self.rig)
        self.watcher: Sink | None = None
        try:
            self.rig.connect()
            self.rig.enable()
        except BaseException:
            self.close()
            raise

    @property
    def world(self) -> World:
        """The simulated world."""
        return self.task.world

    def close(self) -> None:
        """Let go of the devices and the renderer."""
        self.rig.disconnect()
        self.world.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def attempt(
        self,
        seed: int,
        *,
        role: Role | None,
        familiar: bool = False,
        policy: Policy | None = None,
        sink: Sink | None = None,
    ) -> Attempt:
        """Run one attempt from the start that belongs to ``seed``.

        Args:
            seed: Of the start, and of all that is random in the operator.
            role: What the operator is here for; ``None`` leaves the policy alone.
            familiar: Start within what demonstrations show.
            policy: Drives from the first moment, unless the operator demonstrates.
            sink: Takes the frames.
        """
        self.task.reset(seed, familiar=familiar)
        session = make_session(
            self.rig,
            policy=policy,
            perception=self.task.perceive,
            sink=together(sink, self.watcher),
            retargeter=self._retargeter,
            ik=self._ik,
        )
        session.begin()
        loops, operator = session.loops(), None
        if role is not None:
            operator = self._make_operator(role, seed, session)
            loops = [Loop("operator", RATE_HZ, operator.tick), *loops]
        loops.append(Loop("judge", JUDGE_HZ, self.task.update))
        if policy is not None and role is not Role.DEMONSTRATE:
            session.set_event(Event.START)
        start_s = self.clock.now_s()

        def over() -> bool:
            elapsed_s = self.clock.now_s() - start_s
            driven = operator is not None and operator.driving_s > 0
            return self.task.succeeded or elapsed_s >= self.task.time_limit_s * (
                PATIENCE if driven else 1.0
            )

        run_events(loops, self.clock, until=over)
        session.flush()
        human_s = 0.0 if operator is None else operator.driving_s
        return Attempt(
            seed=seed,
            success=self.task.succeeded,
            duration_s=self.clock.now_s() - start_s,
            alarm=None if operator is None else operator.alarm,
            alarm_s=None if operator is None else operator.alarm_s,
            taken_over=human_s > 0,
            human_s=human_s,
            tries=0 if operator is None else operator.tries,
        )

    def _make_operator(self, role: Role, seed: int, session: Session) -> Operator:
        rng = np.random.default_rng([seed, 1])
        person = Person(
            tracker=cast("ShowsPose", self.rig.tracker),
            glove=cast("ShowsKeypoints", self.rig.glove),
            switch=cast("Presses", self.rig.switch),
            clock=self.clock,
            rng=rng,
            pose_ee_in_cube=cube_mount(self.config),
            config=self._person,
        )
        operator = make_operator(
            self.task,
            person,
            self._eyes_retargeter,
            role=role,
            mode=lambda: session.mode,
            clock=self.clock,
            rng=rng,
            config=self._operator,
        )
        run_events([Loop("person", RATE_HZ, person.tick)], self.clock, duration_s=LEAD_S)
        return operator


def cube_mount(config: TeleopConfig) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return X of DexHiL Eq. 3, the palm's pose in the cube's frame. Shape (4, 4)."""
    return make_pose(config.cube_position, from_rpy(config.cube_rpy))
