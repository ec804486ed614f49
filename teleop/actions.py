"""Where the next action of a policy comes from: a chunk it gave, or the next one it gives.

A policy in this process is asked when its chunk is used up, and everything waits for the answer:
simple, and the same run for the same seed. A policy that answers later, from another process,
is asked ahead of time and nothing waits. Its action k is meant for the instant k steps after the
observation it was computed from; actions whose instant is over when the answer arrives are left
out, so a slow answer does not make the robot replay the past.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from dexhil.teleop.errors import DoubtError
from dexhil.teleop.se3 import Vector

Observation = Mapping[str, npt.NDArray[Any]]

_LATENCIES = 8  # Answers that the next request looks back on.


class Policy(Protocol):
    """What the runtime needs of a policy.

    Attributes:
        execute_steps: Actions of a chunk to execute before asking again.
    """

    execute_steps: int

    def reset(self) -> None:
        """Forget the past: somebody else drove."""

    def infer(self, observation: Observation) -> npt.NDArray[Any]:
        """Return the next actions [rad]. Shape (horizon, n), arm first."""


class Answer(Protocol):
    """A chunk, and what it is the answer to.

    Attributes:
        chunk: Actions [rad]. Shape (horizon, n), arm first.
        epoch: The one of the request.
        stamp_s: When the observation in the request was taken [s].
    """

    @property
    def chunk(self) -> npt.NDArray[Any]: ...
    @property
    def epoch(self) -> int: ...
    @property
    def stamp_s(self) -> float: ...


@runtime_checkable
class AsyncPolicy(Protocol):
    """A policy that answers later. None of its methods waits.

    Attributes:
        execute_steps: Actions of a chunk to execute before the next one should be there.
    """

    execute_steps: int

    @property
    def problem(self) -> str | None:
        """Why it will not answer, if it will not."""

    @property
    def busy(self) -> bool:
        """Whether it still owes an answer, or the last one was not taken."""

    def ask(self, observation: Observation, *, epoch: int, stamp_s: float) -> None:
        """Ask for a chunk. It forgets the past when the epoch is a new one. Not while busy."""

    def take(self) -> Answer | None:
        """Return the answer if it is there, once."""


class Actions(Protocol):
    """Gives one action per step.

    Attributes:
        observed_s: When the observation behind the last action was taken [s].
        late: Answers dropped because they were computed for another drive.
    """

    observed_s: float
    late: int

    def reset(self) -> None:
        """Forget everything: an episode begins."""

    def next(self, observation: Observation, epoch: int, stamp_s: float) -> Vector | None:
        """Return the action for this step [rad] (n,), or ``None`` while there is none.

        Args:
            observation: What is seen in this step.
            epoch: Of the drive. A new one voids all that was planned.
            stamp_s: When the observation was taken [s].

        Raises:
            DoubtError: The policy is gone or talks nonsense.
        """


class PromptActions:
    """From a policy that is waited for."""

    late = 0

    def __init__(self, policy: Policy, n_joints: int) -> None:
        self._policy = policy
        self._n_joints = n_joints
        self.reset()

    def reset(self) -> None:
        """Forget everything: an episode begins."""
        self._chunk: deque[Vector] = deque()
        self._epoch = -1
        self.observed_s = -np.inf

    def next(self, observation: Observation, epoch: int, stamp_s: float) -> Vector | None:
        """Return the next action of the chunk, or the first of a new one."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._chunk.clear()
            self._policy.reset()
        if not self._chunk:
            chunk = _checked(self._policy.infer(observation), self._n_joints)
            self.observed_s = stamp_s
            self._chunk.extend(chunk[: self._policy.execute_steps])
        action = self._chunk.popleft()
        if not np.isfinite(action).all():
            self._chunk.clear()
            raise _not_finite()
        return action


class LaterActions:
    """From a policy that is asked ahead of time.

    The next chunk is asked for so early that it should arrive when ``execute_steps`` of the
    present one are used up: as many steps before as the slowest of the last answers took. If
    it comes later still, the present chunk goes on to its end.

    Args:
        policy: Who is asked.
        n_joints: Of an action.
        period_s: Between steps [s].
        prefetch_steps: How many steps before; measured when ``None``.
    """

    def __init__(
        self,
        policy: AsyncPolicy,
        n_joints: int,
        *,
        period_s: float,
        prefetch_steps: int | None = None,
    ) -> None:
        self._policy = policy
        self._n_joints = n_joints
        self._period_s = period_s
        self._prefetch_steps = prefetch_steps
        self._took: deque[int] = deque([1], maxlen=_LATENCIES)
        self.late = 0
        self.reset()

    def reset(self) -> None:
        """Forget everything but how long answers took: an episode begins."""
        self._policy.take()
        self._chunk: npt.NDArray[np.float64] | None = None
        self._epoch = -1
        self.observed_s = -np.inf

    def next(self, observation: Observation, epoch: int, stamp_s: float) -> Vector | None:
        """Return the action that the newest chunk has for this instant, and ask ahead."""
        if self._policy.problem is not None:
            raise DoubtError(self._policy.problem)
        if epoch != self._epoch:
            self._epoch, self._chunk = epoch, None
        self._receive(stamp_s)
        step = self._steps_since(self.observed_s, stamp_s)
        if self._is_time_to_ask(step) and not self._policy.busy:
            self._policy.ask(observation, epoch=epoch, stamp_s=stamp_s)
        if self._chunk is None or step >= len(self._chunk):
            return None
        action: Vector = self._chunk[step]
        if not np.isfinite(action).all():
            self._chunk = None
            raise _not_finite()
        return action

    def _receive(self, stamp_s: float) -> None:
        answer = self._policy.take()
        if answer is None:
            return
        if answer.epoch != self._epoch:
            self.late += 1  # How long it took, nobody knows: it may have waited for minutes.
            return
        self._took.append(self._steps_since(answer.stamp_s, stamp_s))
        self._chunk = _checked(answer.chunk, self._n_joints)
        self.observed_s = answer.stamp_s

    def _is_time_to_ask(self, step: int) -> bool:
        if self._chunk is None:
            return True
        ahead = max(self._took) if self._prefetch_steps is None else self._prefetch_steps
        return step + ahead >= min(self._policy.execute_steps, len(self._chunk))

    def _steps_since(self, stamp_s: float, now_s: float) -> int:
        # Steps are whole; what is left over is how late this one started.
        return round((now_s - stamp_s) / self._period_s) if np.isfinite(stamp_s) else 0


def _checked(chunk: npt.NDArray[Any], n_joints: int) -> npt.NDArray[np.float64]:
    chunk = np.asarray(chunk, dtype=np.float64)
    if chunk.ndim != 2 or chunk.shape[1] != n_joints or len(chunk) == 0:
        raise DoubtError(
            f"policy: actions have shape {chunk.shape}, expected (horizon, {n_joints}). "
            "Was it trained for this arm and hand?"
        )
    return chunk


def _not_finite() -> DoubtError:
    return DoubtError("policy: the action is not finite. Check its inputs and its training.")


def actions_of(
    policy: Policy | AsyncPolicy | None,
    n_joints: int,
    *,
    period_s: float,
    prefetch_steps: int | None,
) -> Actions | None:
    """Return where the actions of ``policy`` come from, whichever kind it is."""
    if policy is None:
        return None
    if isinstance(policy, AsyncPolicy):
        return LaterActions(policy, n_joints, period_s=period_s, prefetch_steps=prefetch_steps)
    return PromptActions(policy, n_joints)
