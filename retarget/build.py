"""Which retargeter for which wish: the one place that knows all methods."""

from pathlib import Path
from typing import Literal, Protocol

import numpy.typing as npt

from dexhil.drivers.arrays import Vector
from dexhil.drivers.models.kinematics import Kinematics
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.human import HumanHand, HumanProportions
from dexhil.retarget.learned import LearnedMap, LearnedRetargeter
from dexhil.retarget.retargeter import Retargeter

Method = Literal["two-stage", "solver", "both"]
"""The learned map alone, the solver alone, or the solver starting from the learned map."""

AnyRetargeter = Retargeter | LearnedRetargeter


class Retargets(Protocol):
    """Keypoints in, joint targets out, by any method; see `Retargeter`."""

    def retarget(self, keypoints: npt.ArrayLike) -> Vector: ...
    def reset(self, joint_positions: npt.ArrayLike) -> None: ...


def chosen_method(
    kinematics: Kinematics, method: Method | None = None, weights: Path | None = None
) -> Method:
    """Return the method that is meant by what was said.

    Where nothing was: ``"both"`` if there is a learned map, given or shipped for this very hand,
    else ``"solver"``. Another table of a known hand, say with a narrower limit, has no map either.

    Raises:
        RetargetError: The method has no use for the weights.
    """
    if method == "solver" and weights is not None:
        raise RetargetError("Weights are of a learned map, which the method solver does not use.")
    if method is not None:
        return method
    return "both" if weights is not None or LearnedMap.shipped(kinematics) else "solver"


def make_retargeter(
    kinematics: Kinematics,
    *,
    method: Method | None = None,
    human: HumanProportions | None = None,
    weights: Path | None = None,
) -> AnyRetargeter:
    """Return a retargeter of one hand.

    Args:
        kinematics: The robot hand, left or right.
        method: How; that of `chosen_method` if not given.
        human: The person's proportions; an average adult if not given.
        weights: File of a learned map of your own; the shipped one if not given.

    Raises:
        RetargetError: The method needs a learned map and none fits the hand, or it has no use for
            the weights.
    """
    method = chosen_method(kinematics, method, weights)
    human = human or HumanHand().proportions
    if method == "solver":
        return Retargeter(kinematics, human=human)
    map_ = LearnedMap.read(weights, kinematics) if weights else LearnedMap.load(kinematics)
    if method == "two-stage":
        return LearnedRetargeter(kinematics, human=human, map_=map_)
    return Retargeter(kinematics, human=human, start=map_)
