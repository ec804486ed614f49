"""A policy that never rests, and everything that can be wrong with one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Vector
from dexhil.integration.operator.wander import Wander
from dexhil.policy.process_main import Answer
from dexhil.teleop.actions import AsyncPolicy, Observation

HORIZON = 8
_PULL = 0.5  # Share of the way home per second.
_ARM_RAD, _HAND_SHARE = 0.3, 0.4  # How far it wanders.


class Wanderer:
    """Moves arm and hand smoothly from wherever they are, and slowly towards their home.

    Args:
        home: Of arm and hand [rad]. Shape (n,).
        hand_limits: Of the hand's joints [rad]. Shape (m, 2).
        period_s: Between actions [s].
        seed: Of the motion.
    """

    execute_steps = HORIZON
    cameras: tuple[str, ...] = ()

    def __init__(
        self,
        home: Sequence[float],
        hand_limits: Sequence[Sequence[float]],
        period_s: float,
        seed: int,
    ) -> None:
        self._home, limits = np.asarray(home), np.asarray(hand_limits)
        self._n_hand = len(limits)
        n_arm = self._home.size - self._n_hand
        reach = np.concatenate([np.full(n_arm, _ARM_RAD), _HAND_SHARE * np.ptp(limits, axis=1)])
        self._motion = Wander(np.random.default_rng(seed), reach, 0.1, 0.5)
        self._times_s = period_s * np.arange(1, HORIZON + 1)
        self._passed_s = 0.0

    def reset(self) -> None:
        """Nothing to forget: it goes on from wherever the robot is."""

    def infer(self, observation: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
        """Return the next actions [rad]. Shape (HORIZON, n)."""
        state, n = observation["observation.state"], self._home.size
        start = state[:n].copy()
        start[-self._n_hand :] += state[n:]  # The hand's last command.
        here = self._motion.at(self._passed_s)
        moved = np.array([self._motion.at(self._passed_s + t) - here for t in self._times_s])
        back = _PULL * self._times_s[:, None] * (self._home - start)
        self._passed_s += float(self._times_s[-1])
        actions: npt.NDArray[np.float64] = start + moved + back
        return actions


class Prompt:
    """A policy in this process behind the manners of one that answers later: one step later.

    Args:
        policy: Answers at once.
    """

    problem: str | None = None

    def __init__(self, policy: Wanderer) -> None:
        self._policy = policy
        self.execute_steps = policy.execute_steps
        self._answer: Answer | None = None

    @property
    def busy(self) -> bool:
        """Whether it still owes an answer."""
        return self._answer is not None

    def ask(self, observation: Observation, *, epoch: int, stamp_s: float) -> None:
        """Ask for a chunk."""
        chunk = self._policy.infer(observation)
        self._answer = Answer(chunk=chunk, epoch=epoch, stamp_s=stamp_s)

    def take(self) -> Answer | None:
        """Return the answer, once."""
        answer, self._answer = self._answer, None
        return answer


class DrilledPolicy:
    """Any policy that answers later, with knobs. They stay until ``clear``.

    Args:
        policy: A healthy one.
        now_s: Says when it is [s].

    Attributes:
        hurt_s: When the first answer came that was changed [s].
    """

    def __init__(self, policy: AsyncPolicy, now_s: Callable[[], float]) -> None:
        self._policy, self._now_s = policy, now_s
        self.execute_steps = policy.execute_steps
        self.clear()

    # -- Knobs -------------------------------------------------------------------------------

    def clear(self) -> None:
        """Mend everything."""
        self._change: Callable[[Vector], Vector] | None = None
        self._silent = False
        self._ended: str | None = None
        self.hurt_s: float | None = None

    def be_silent(self) -> None:
        """Think and never answer."""
        self._silent = True

    def end(self) -> None:
        """Have ended, as a process that was killed."""
        self._ended = "policy process: it ended with exit code -9."

    def change(self, change: Callable[[Vector], Vector]) -> None:
        """Say something else: ``change`` gets every chunk [rad], (horizon, n), and returns it."""
        self._change = change

    # -- What the runtime asks -------------------------------------------------------------------

    @property
    def problem(self) -> str | None:
        """Why it will not answer, if it will not."""
        return self._ended or self._policy.problem

    @property
    def busy(self) -> bool:
        """Whether it still owes an answer."""
        return self._policy.busy

    def ask(self, observation: Observation, *, epoch: int, stamp_s: float) -> None:
        """Ask for a chunk."""
        self._policy.ask(observation, epoch=epoch, stamp_s=stamp_s)

    def take(self) -> Any:
        """Return the answer if it is there, once."""
        answer: Any = None if self._silent else self._policy.take()
        if answer is None or self._change is None:
            return answer
        self.hurt_s = self._now_s() if self.hurt_s is None else self.hurt_s
        return replace(answer, chunk=self._change(answer.chunk))
