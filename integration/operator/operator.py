"""A simulated operator: whoever has eyes, a doubt and a plan, and acts as a person."""

from collections.abc import Callable
from enum import Enum, auto

import numpy as np

from dexhil.drivers.clock import Clock
from dexhil.integration.operator.person import Person
from dexhil.integration.operator.plan import TICK_S, OperatorConfig, Plan
from dexhil.integration.operator.watch import Doubt, Eyes, View
from dexhil.teleop.takeover import Mode


class Role(Enum):
    """What the operator is here for."""

    DEMONSTRATE = auto()  # Drive from the first moment.
    SUPERVISE = auto()  # Let the policy try; take over when it is about to fail.
    WATCH = auto()  # Let the policy try; note when one would have taken over.


class Operator:
    """A person at a task. Calls nothing but the ``Person`` it is.

    Args:
        person: Its body.
        eyes: See the scene.
        view: The first look.
        doubt: Tells when a policy is about to fail.
        plan: Its skill.
        role: What it is here for.
        mode: Who drives right now.
        clock: Of the attempt, which begins now.
        rng: Draws the reaction time.
        config: How well it does all that.

    Attributes:
        role: What it is here for.
        alarm: Why it wanted to take over, once it did.
        alarm_s: When, since the attempt began [s].
        driving_s: How long it has driven the robot so far [s].
    """

    def __init__(
        self,
        person: Person,
        eyes: Eyes,
        view: View,
        *,
        doubt: Doubt,
        plan: Plan,
        role: Role,
        mode: Callable[[], Mode],
        clock: Clock,
        rng: np.random.Generator,
        config: OperatorConfig,
    ) -> None:
        self._person, self._eyes, self._view = person, eyes, view
        self._doubt, self._plan = doubt, plan
        self.role, self._mode, self._clock, self._rng = role, mode, clock, rng
        self._config = config
        self._start_s = clock.now_s()
        self._press_s: float | None = None
        self._was_driving = False
        self.alarm: str | None = None
        self.alarm_s: float | None = None
        self.driving_s = 0.0

    def tick(self) -> None:
        """Look, think, move and let the devices see it; to be called at 90 Hz."""
        self._view = self._eyes.look(self._view, self._config.sight_noise)
        driving = self._mode() is Mode.HUMAN
        if driving:
            if not self._was_driving:
                self._plan.begin(self._view, self._person.closure, self._now_s)
            motion, closure = self._plan.step(self._view, self._now_s)
            self._person.carry(motion)
            self._person.closure = closure
            self.driving_s += TICK_S
        else:
            # Off duty the hand copies the robot's, so that it starts from there.
            lag = np.clip(self._view.closure - self._person.closure, -2 * TICK_S, 2 * TICK_S)
            self._person.closure += float(lag)
            self._supervise()
        self._was_driving = driving
        self._person.tick()

    @property
    def _now_s(self) -> float:
        return self._clock.now_s() - self._start_s

    @property
    def tries(self) -> int:
        """How many grasps it has begun."""
        return self._plan.tries

    def _supervise(self) -> None:
        """Press the pedal when it is time to."""
        if self._press_s is None:
            if self.role is Role.DEMONSTRATE:
                self._press_s = self._now_s + 0.2
            elif self._mode() is Mode.POLICY:
                self._watch()
        elif self._now_s >= self._press_s:
            self._person.press("takeover")
            self._press_s = self._now_s + 1.0  # Try again if it was refused or lost.

    def _watch(self) -> None:
        """Make up one's mind about the policy."""
        reason = self._doubt.look(self._view, self._now_s)
        if reason is not None and self.alarm is None:
            self.alarm, self.alarm_s = reason, self._now_s
            if self.role is Role.SUPERVISE:
                self._press_s = self._now_s + self._rng.uniform(*self._config.reaction_s)
