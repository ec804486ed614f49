"""What a simulated operator sees, and when that makes it doubt a policy."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.sim.world import World
from dexhil.integration.operator.person import Posture
from dexhil.retarget.build import AnyRetargeter
from dexhil.retarget.human import HumanHand
from dexhil.teleop import se3

CLOSURES = np.linspace(0.0, 1.0, 11)
# How long it must look bad before it is bad: a policy may catch what it fumbles [s].
_PATIENCE_S = 0.3
# Who has not got anywhere after this share of the time does not get there in the rest of it.
_LATE = 0.85


@dataclass(slots=True)
class View:
    """What the operator believes to see, smoothed over about 30 ms.

    Attributes:
        palm: Palm pose in the world. Shape (4, 4).
        thing: What the task is about, in the world [m]. Shape (3,).
        closure: How closed the robot's hand looks, from 0 to 1.
        heading: By how much the thing is turned about the vertical, where that matters [rad].
    """

    palm: Matrix
    thing: Vector
    closure: float
    heading: float = 0.0

    @property
    def thing_in_palm(self) -> Vector:
        """The thing in the palm frame [m]. Shape (3,)."""
        return self.palm[:3, :3].T @ (self.thing - self.palm[:3, 3])


class Eyes(ABC):
    """Looks at the simulated scene with a person's accuracy, and at the robot hand's posture.

    Args:
        world: To look at.
        postures: Of the robot's hand for each of `CLOSURES`. Shape (11, n).
        rng: Draws what the eye is wrong by.

    Attributes:
        grasp_point: Where in the palm frame the thing should be to be grasped [m].
    """

    grasp_point: Vector

    def __init__(self, world: World, postures: Matrix, rng: np.random.Generator) -> None:
        self._world, self._postures, self._rng = world, postures, rng

    def look(self, last: View | None, noise: float) -> View:
        """Return the scene, blended with the ``last`` look."""
        thing = self._thing() + noise * self._rng.normal(size=3)
        palm = se3.from_quaternion(*self._world.palm_pose())
        palm[:3, 3] += noise * self._rng.normal(size=3)
        distance = np.abs(self._postures - self._world.hand.read()[0]).sum(axis=1)
        closure = float(CLOSURES[int(distance.argmin())])
        if last is None:
            return View(palm, thing, closure, self._heading())
        palm[:3, 3] = last.palm[:3, 3] + 0.35 * (palm[:3, 3] - last.palm[:3, 3])
        thing = last.thing + 0.35 * (thing - last.thing)
        return View(palm, thing, closure, self._heading())

    @abstractmethod
    def _thing(self) -> Vector:
        """Return where the thing really is in the world [m]. Shape (3,)."""

    def _heading(self) -> float:
        return 0.0


def robot_postures(
    world: World, retargeter: AnyRetargeter, hand: HumanHand, posture: Posture
) -> Matrix:
    """Return what the robot's hand does for each of `CLOSURES` of a person's. Shape (11, n)."""
    retargeter.reset(np.array(world.hand.kinematics.extra["open"]))
    postures = []
    for closure in CLOSURES:
        keypoints = hand.keypoints(posture(closure))
        for _ in range(6):  # Let the warm-started solver settle.
            joints = retargeter.retarget(keypoints)
        postures.append(joints)
    return np.array(postures)


class Doubt(ABC):
    """Decides, look by look, whether a policy is about to fail.

    It doubts late and for a reason that lasts: a takeover that was not needed teaches
    the policy that what it did was wrong.

    Args:
        start: The first look.
        in_hand: Where in the palm the thing is when it is grasped [m]. Shape (3,).
        time_limit_s: Of the attempt.
    """

    def __init__(self, start: View, in_hand: Vector, time_limit_s: float) -> None:
        self._start, self._in_hand = start.thing, in_hand
        self._late_s = _LATE * time_limit_s
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

    @abstractmethod
    def _reasons(self, view: View, now_s: float) -> list[str]:
        """Return all that looks bad right now, the most telling first."""
