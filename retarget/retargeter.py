"""The first retargeter: 21 keypoints to joint targets by damped least squares.

Minimised over the commanded joints q, in the robot's palm frame:

    sum_f |tip_f(q) - wrist - s_f h_f|^2                                   each tip
    + sum_f w_f |tip_f(q) - tip_thumb(q) - (1 - c_f) s (h_f - h_thumb)|^2  each pair with the thumb
    + sum_j p_j |q_j - posture_j(human flexion)|^2                         the shape of fingers
    + w_o sum max(0, depth)^2                                              links that meet
    + w_s |q - q_start|^2                                                  smoothness

h are human fingertips in the palm frame, s_f = robot reach / human reach and s
their mean. The contact c_f = sigmoid((d0 - d_f) / width) of the human gap d_f
rises smoothly where a threshold would jump: it takes the target gap to zero and
raises the pair's weight w_f from ``pair_weight`` to ``contact_weight``, so that a
pinch of the person becomes a touch of the robot. The posture makes a fist a fist:
fingertips alone do not tell how a finger is bent. It is weak while a finger is open,
where tips matter, and strong once it is closed, where its shape does.
"""

import math
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Matrix, Vector
from dexhil.drivers.models.kinematics import Kinematics
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.human import HumanHand, HumanProportions
from dexhil.retarget.kernels.arrays import Setup, Task, no_nets
from dexhil.retarget.keypoints import FINGERS, shaped, to_palm
from dexhil.retarget.learned import LearnedMap, person_of
from dexhil.retarget.model import FingerModel


@dataclass(frozen=True, slots=True, kw_only=True)
class RetargetConfig:
    """Weights of the cost and the budget of the solver.

    Attributes:
        pair_weight: Of thumb-to-fingertip vectors out of contact, against 1 for wrist vectors.
        contact_weight: The same in contact.
        contact_distance_m: Human gap at which contact is half on, for a hand whose fingers
            reach `human.USUAL_REACH_M` on average; it grows with the hand, so that people of
            all sizes pinch alike [m].
        contact_width_m: How gradually it comes on, likewise [m].
        posture_weight: Pull of flexing finger joints to the human's flexion [m²/rad²].
        side_weight: Pull of the fingers' sideways joints to the open hand [m²/rad²]. Sideways
            and twist are one motion of a curled finger; without it LEAP's fingers flip.
        thumb_weight: Pull of the thumb's joints to the open hand [m²/rad²].
        closing_weight: What a closed finger adds to ``posture_weight`` [m²/rad²].
        closing_angle_rad: Human flexion at which a finger counts as half closed [rad].
        closing_width_rad: How gradually it does [rad].
        overlap_weight: Of links of different fingers that meet, against 1 for wrist vectors.
        allowed_overlap_m: How deep they may overlap: their shapes are only capsules [m].
        stay_weight: Pull to where the solve starts [m²/rad²].
        damping: Of each Gauss-Newton step [m²/rad²].
        steps: Gauss-Newton steps per frame.
        follow: Share of the way from the last answer to the solution that the answer goes.
        max_step_rad: Largest motion of any joint per frame [rad].
    """

    pair_weight: float = 0.4
    contact_weight: float = 18.0
    contact_distance_m: float = 0.018
    contact_width_m: float = 0.003
    posture_weight: float = 3e-5
    side_weight: float = 2e-4
    thumb_weight: float = 2e-5
    closing_weight: float = 6e-4
    closing_angle_rad: float = 2.8
    closing_width_rad: float = 0.3
    overlap_weight: float = 10.0
    allowed_overlap_m: float = 0.001
    stay_weight: float = 6e-4
    damping: float = 1e-2
    steps: int = 3
    follow: float = 0.73
    max_step_rad: float = 0.65

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0.0):
                raise RetargetError(f"Retargeter: {field.name} is {value}, must be 0 or more.")
        for name in ("contact_width_m", "closing_width_rad", "damping", "steps", "max_step_rad"):
            if not getattr(self, name) > 0:
                raise RetargetError(
                    f"Retargeter: {name} is {getattr(self, name)}, must be above 0."
                )
        if not 0.0 < self.follow <= 1.0:
            raise RetargetError(f"Retargeter: follow is {self.follow}, allowed above 0 to 1.")


ALONE: Final = RetargetConfig(damping=1e-3, stay_weight=3e-4, steps=6)
"""For a solver without a learned start: it has further to go."""


class Retargeter:
    """Turns human keypoints into joint targets of one robot hand.

    It remembers its last answer, where the next solve starts. Construction compiles
    (or loads) the solver and runs it once, so the first frame is as fast as the rest.

    Args:
        kinematics: The robot hand.
        human: The person's proportions; an average adult if not given.
        config: Weights and budget; `RetargetConfig()` if not given, `ALONE` without a start.
        start: A map of this hand, to joints near the solution. With it every frame is solved
            afresh, from there and pulled there where tips leave a choice, so that a bad frame is
            forgotten; without it, from the last answer.
    """

    def __init__(
        self,
        kinematics: Kinematics,
        *,
        human: HumanProportions | None = None,
        config: RetargetConfig | None = None,
        start: LearnedMap | None = None,
    ) -> None:
        # Here and not above: it loads the compiler, see `FingerModel`.
        from dexhil.retarget.kernels.frame import step  # noqa: PLC0415
        from dexhil.retarget.kernels.held import hold  # noqa: PLC0415

        config = config or (ALONE if start is None else RetargetConfig())
        human = human or HumanHand().proportions
        self._step = step
        self._side = kinematics.side
        self._start = start.of(human) if start else None
        self.model = FingerModel(kinematics)
        self.joint_names = kinematics.joint_names
        # Where a person's wrist would be in the robot's palm frame [m].
        self.wrist = np.array(kinematics.extra.get("wrist", (0.0, 0.0, 0.0)), dtype=np.float64)
        self.fingers = np.array([_human_row(kinematics, name) for name in self.model.fingers])
        self.scales = self.model.reach(self.wrist) / human.reaches[self.fingers]
        self._box = np.ascontiguousarray(self.model.limits.T)
        self._open = np.clip(_open_posture(kinematics), *self._box)
        if start and len(start.nets.order) != len(self.joint_names):
            raise RetargetError(f"Retargeter: the map is not one of {kinematics.model}.")
        self._setup = Setup(
            mirror=kinematics.side == "left",
            thumb_offset=human.thumb_offset,
            hand=(self.model.chains, self.model.capsules),
            task=self._task(kinematics, human, config, led=start is not None),
            nets=start.nets if start else no_nets(self.model.chains),
            person=person_of(human, size=human.size),
        )
        self._held = hold(self._setup)
        self.reset(self._open)
        for points in (HumanHand().keypoints(np.zeros((5, 4))), np.zeros((21, 3))):
            with suppress(RetargetError):  # To refuse a frame is also to be compiled by now.
                self.retarget(points)
        self.reset(self._open)

    def reset(self, joint_positions: npt.ArrayLike) -> None:
        """Start the next solve from here, e.g. from where the hand is [rad]. Shape (n,).

        Raises:
            RetargetError: Wrong shape or not finite.
        """
        q = np.array(joint_positions, dtype=np.float64)
        if q.shape != self._box[0].shape or not np.isfinite(q).all():
            raise RetargetError(
                f"Retargeter: cannot start from {q.tolist()}; "
                f"{len(self.joint_names)} finite joint positions needed."
            )
        self._q = np.clip(q, *self._box)

    def retarget(self, keypoints: npt.ArrayLike) -> Vector:
        """Return joint targets within the limits, ordered as ``joint_names`` [rad]. Shape (n,).

        No joint moves more than ``max_step_rad`` from the last answer. After an
        error the last answer is still the start of the next solve.

        Args:
            keypoints: Of a right hand, in any rigid frame [m]. Shape (21, 3).

        Raises:
            RetargetError: The keypoints are not a plausible right hand, or the solver failed.
        """
        answer: Vector | None = self._step(self._held, shaped(keypoints), self._q)
        if answer is not None:
            return answer
        # Nothing below is done while all is well. What fails in compiled code fails here, too.
        points = to_palm(keypoints, self._side, thumb_offset=self._setup.thumb_offset)
        if self._start is not None:
            self._start(points)
        raise RetargetError("Retargeter: the solver failed on these keypoints. Hold the hand.")

    def _task(
        self,
        kinematics: Kinematics,
        human: HumanProportions,
        config: RetargetConfig,
        *,
        led: bool,
    ) -> Task:
        touch_gaps = np.concatenate((np.zeros(1), human.touch_gaps))[self.fingers]
        flexing = np.asarray(self.model.flexion_gains.any(axis=0))
        thumb = np.isin(kinematics.joint_names, kinematics.chains["thumb"])
        weights = np.where(thumb, config.thumb_weight, config.side_weight)
        return Task(
            fingers=self.fingers,
            scales=self.scales,
            wrist=self.wrist,
            rest=np.where(flexing, 0.0, self._open),
            flexion=_flexion_map(self.model, self.fingers),
            posture_weights=np.where(flexing, config.posture_weight, weights),
            closing_weights=np.where(self.model.flexion_gains.T > 0.0, config.closing_weight, 0.0),
            closing_angle=config.closing_angle_rad,
            closing_width=config.closing_width_rad,
            touch_gaps=touch_gaps,
            pair_weight=config.pair_weight,
            contact_weight=config.contact_weight,
            contact_distance=human.size * config.contact_distance_m,
            contact_width=human.size * config.contact_width_m,
            overlap_weight=config.overlap_weight,
            allowed_overlap=config.allowed_overlap_m,
            stay_weight=config.stay_weight,
            damping=config.damping,
            steps=config.steps,
            box=self._box,
            flexing=flexing,
            led=led,
            follow=config.follow,
            max_step=config.max_step_rad,
        )


def _human_row(kinematics: Kinematics, finger: str) -> int:
    name = "little" if finger == "pinky" else finger
    if name not in FINGERS:
        raise RetargetError(f"{kinematics.model}: no human finger is called {finger!r}.")
    return FINGERS.index(name)


def _open_posture(kinematics: Kinematics) -> Vector:
    return np.array(
        kinematics.extra.get("open", np.zeros(len(kinematics.joint_names))), dtype=np.float64
    )


def _flexion_map(model: FingerModel, fingers: npt.NDArray[np.int64]) -> Matrix:
    """Return joint angles per human flexion, shape (n, 15): knuckle, middle, end of each finger.

    A finger's bending drives take the human joints in order, the last one all that
    remain; a drive that bends several coupled joints turns by less.
    """
    out = np.zeros((model.n_joints, 15))
    for row, finger in enumerate(fingers):
        chain = model.chains.columns[slice(*model.chains.starts[row : row + 2])]
        drives = [column for column in dict.fromkeys(chain) if model.flexion_gains[row, column]]
        for number, column in enumerate(drives):
            last = 3 if column == drives[-1] else number + 1
            share = slice(3 * finger + number, 3 * finger + last)
            out[column, share] = 1.0 / model.flexion_gains[row, column]
    return out
