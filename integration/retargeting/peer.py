"""dex-retargeting, the optimiser most people use, behind the same two methods as ours.

It is an optional package and only ever loaded to be compared with. A fair comparison gives
it what ours gets: the person's scale, the palm frame, and a Shadow hand whose wrist an arm
owns (our tables have no wrist joints). ``calibrated=False`` is what its users run instead.
"""

import importlib
import importlib.util
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Vector
from dexhil.drivers.models.kinematics import Kinematics
from dexhil.drivers.models.urdf import to_urdf
from dexhil.integration.errors import RunError
from dexhil.retarget import batch
from dexhil.retarget.human import HumanProportions
from dexhil.retarget.keypoints import to_palm
from dexhil.retarget.score import human_row

PACKAGE: Final = "dex-retargeting==0.5.0 six"
"""For pip; it imports six without saying so."""
HANDS: Final = ("leap", "allegro", "inspire", "shadow", "ability")
"""Those that it has a configuration for, and we a table."""

_NO_FILTER: Final = 2.0
"""Its own sign for none: anything outside 0 to 1."""


def installed() -> bool:
    """Tell whether the peer can be loaded."""
    return importlib.util.find_spec("dex_retargeting") is not None


class Peer:
    """One of the peer's optimisers for one hand, as its configuration file sets it up.

    Args:
        kinematics: The hand; the URDF that the peer reads is made from it.
        method: Which optimiser.
        human: Sets its one scale to the mean of robot reach by human reach. ``None`` leaves
            the scale of its configuration file, which fits no person in particular.
        alpha: Of its low-pass filter, 0.2 in its files. ``None`` for no filter.

    Raises:
        RunError: It is not installed, or has no configuration of this hand.
    """

    def __init__(
        self,
        kinematics: Kinematics,
        *,
        method: Literal["vector", "dexpilot"],
        human: HumanProportions | None,
        alpha: float | None,
    ) -> None:
        if not installed():
            raise RunError(f"The peer is not installed: pip install {PACKAGE}")
        if kinematics.model not in HANDS:
            raise RunError(f"The peer has no configuration of {kinematics.model}; only {HANDS}.")
        constants = importlib.import_module("dex_retargeting.constants")
        configs = importlib.import_module("dex_retargeting.retargeting_config")
        path = constants.get_default_config_path(
            constants.RobotName[kinematics.model],
            constants.RetargetingType[method],
            constants.HandType[kinematics.side],
        )
        with TemporaryDirectory() as folder:
            urdf = Path(folder) / f"{kinematics.model}.urdf"
            urdf.write_text(to_urdf(kinematics), encoding="utf-8")
            override: dict[str, Any] = {
                "urdf_path": str(urdf),
                "low_pass_alpha": _NO_FILTER if alpha is None else alpha,
            }
            if human is not None:
                override["scaling_factor"] = mean_scale(kinematics, human)
            self._config = configs.RetargetingConfig.load_from_file(path, override)
            self._optimizer = self._config.build()
        self.joint_names = kinematics.joint_names
        self.scale = float(self._config.scaling_factor)
        self._side = kinematics.side
        self._limits = kinematics.position_limits
        theirs = list(self._optimizer.joint_names)
        self._columns = [theirs.index(kinematics.joint(n).urdf_name) for n in self.joint_names]
        self._origins, self._tasks = self._optimizer.optimizer.target_link_human_indices

    def retarget(self, keypoints: npt.ArrayLike) -> Vector:
        """Return joint targets, ordered as ``joint_names`` [rad]. Shape (n,)."""
        points = to_palm(keypoints, self._side)
        answer = self._optimizer.retarget(points[self._tasks] - points[self._origins])
        q: Vector = np.asarray(answer, dtype=np.float64)[self._columns]
        # It lets its solver exceed the limits by a milliradian.
        return np.clip(q, *self._limits.T)


def mean_scale(kinematics: Kinematics, human: HumanProportions) -> float:
    """Return robot reach by human reach, the mean of the fingers."""
    rows = [human_row(finger) for finger in kinematics.tips]
    return float((batch.reach(kinematics) / human.reaches[rows]).mean())
