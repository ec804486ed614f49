"""What a simulated operator sees, and when that makes it doubt a policy."""

from dataclasses import dataclass

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector

# How long it must look bad before it is bad: a policy may catch what it fumbles [s].
_PATIENCE_S = 0.3
_UP_M, _LOW_M = 0.03, 0.015  # Lift that counts as up, and as still on the table.
_PUSHED_M, _BESIDE_M = 0.07, 0.10
_CLOSED = 0.6
# Who has not lifted the toy after this share of the time does not get it up and held.
_LATE = 0.85


@dataclass(slots=True)
class View:
    """What the operator believes to see, smoothed over about 30 ms.

    Attributes:
        palm: Palm pose in the world. Shape (4, 4).
        toy: Centre of the toy in the world [m]. Shape (3,).
        closure: How closed the robot's hand looks, from 0 to 1.
    """

    palm: Matrix
    toy: Vector
    closure: float

    @property
    def toy_in_palm(self) -> Vector:
        """Centre of the toy in the palm frame [m]. Shape (3,)."""
        return self.palm[:3, :3].T @ (self.toy - self.palm[:3, 3])


class Doubt:
    """Decides, look by look, whether a policy is about to fail.

    It doubts late and for a reason that lasts: a takeover that was not needed teaches
    the policy that what it did was wrong.

    Args:
        start: The first look.
        in_hand: Where the toy's centre is in the palm when it is grasped [m]. Shape (3,).
        time_limit_s: Of the attempt.
    """

    def __init__(self, start: View, in_hand: Vector, time_limit_s: float) -> None:
        self._toy_start, self._in_hand = start.toy, in_hand
        self._late_s = _LATE * time_limit_s
        self._was_up = False
        self._since_s: dict[str, float] = {}

    def look(self, view: View, now_s: float) -> str | None:
        """Return the reason to take over, if there is one.

        Args:
            view: What is seen.
            now_s: Since the attempt began.
        """
        looks_bad = self._reasons(view, now_s)
        self._since_s = {reason: self._since_s.get(reason, now_s) for reason in looks_bad}
        lasting = (r for r, since_s in self._since_s.items() if now_s - since_s >= _PATIENCE_S)
        return next(lasting, None)

    def _reasons(self, view: View, now_s: float) -> list[str]:
        """Return all that looks bad right now, the most telling first."""
        lift = float(view.toy[2] - self._toy_start[2])
        self._was_up = self._was_up or lift > _UP_M
        if lift > _LOW_M:
            return []
        beside = float(np.linalg.norm(view.toy_in_palm - self._in_hand)) > _BESIDE_M
        moved = float(np.linalg.norm((view.toy - self._toy_start)[:2]))
        reasons = {
            "dropped": self._was_up,
            "pushed": beside and moved > _PUSHED_M,
            "missed": beside and view.closure > _CLOSED,
            "stalled": now_s > self._late_s,
        }
        return [reason for reason, seen in reasons.items() if seen]
