"""One MuJoCo world: a scene, an arm and a hand, moving as the clock says.

Simulated devices are its ports. Nobody steps it: whoever looks at it or touches
it first lets it catch up with the clock, in whole physics steps. So the same
world runs beside a real clock with threads and far faster on a simulated one,
and the same commands at the same times give the same motion, bit for bit.

The world frame is the arm's base frame: x to the front, z up, the table at z = 0.
"""

import logging
from dataclasses import dataclass
from threading import RLock
from typing import ClassVar

import mujoco
import numpy as np

from dexhil.drivers.arrays import Image, Vector
from dexhil.drivers.clock import Clock
from dexhil.drivers.errors import ConfigError, SimulationError
from dexhil.drivers.models.kinematics import Kinematics, Side, load_kinematics
from dexhil.drivers.sim.compose import ARM, HAND, compose
from dexhil.drivers.sim.painter import Painter
from dexhil.drivers.sim.port import JointPort

log = logging.getLogger(__name__)
# Otherwise MuJoCo writes its warnings to a file in whatever folder is the current one.
mujoco.set_mju_user_warning(log.error)

# Set points walk every second step of 2 ms: 250 times a second, as in real controllers.
_STEPS_PER_WALK = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldConfig:
    """What to simulate.

    Attributes:
        arm: Model of the arm, e.g. ``"ur5e"``.
        hand: Model of the hand, e.g. ``"leap"``.
        side: Which hand it is.
        scene: ``"empty"``, ``"table"``, ``"plush"`` or ``"tissue"``.
        timestep_s: Of the physics [s].
    """

    arm: str
    hand: str
    side: Side = "right"
    scene: str = "table"
    timestep_s: float = 0.002


class World:
    """Physics on a clock. Every method may be called from any thread.

    Attributes:
        arm: Joints of the arm.
        hand: Joints of the hand.
        model: Compiled by MuJoCo; do not change it.
        data: State of MuJoCo; hold ``lock`` while reading it.
        clock: What physical time follows.
        lock: Held while physics runs.
    """

    config_type: ClassVar[type] = WorldConfig

    def __init__(self, config: WorldConfig, *, clock: Clock) -> None:
        arm, hand = load_kinematics(config.arm), load_kinematics(config.hand, config.side)
        for kinematics, kind in ((arm, "arm"), (hand, "hand")):
            if kinematics.kind != kind:
                raise ConfigError(f"[world]: {kinematics.model!r} is no {kind}.")
        self.config = config
        self.clock = clock
        self.lock = RLock()
        self.model = compose(arm, hand, config.scene, config.timestep_s)
        self.data = mujoco.MjData(self.model)
        self.arm = self._port(arm, ARM)
        self.hand = self._port(hand, HAND)
        self._palm = HAND + hand.root
        self._subtrees: dict[str, np.ndarray] = {}
        self._painter: Painter | None = None
        self.reset()

    def _port(self, kinematics: Kinematics, prefix: str) -> JointPort:
        return JointPort(
            self.model,
            self.data,
            kinematics,
            prefix=prefix,
            catch_up=self.advance,
            lock=self.lock,
        )

    # -- Time ----------------------------------------------------------------

    def advance(self) -> None:
        """Run the whole physics steps that fit before the clock's present."""
        with self.lock:
            # A thousandth of a step forgives the rounding of clocks that add up.
            due = (self.clock.now_s() - self._anchor_s) / self.config.timestep_s + 1e-3
            if int(due) > self._steps:
                self._run(int(due) - self._steps)

    def settle(self, duration_s: float) -> None:
        """Let physics run for ``duration_s`` while the clock stands, e.g. after a reset."""
        with self.lock:
            self.advance()
            self._run(round(duration_s / self.config.timestep_s))
            self._anchor()

    def _run(self, steps: int) -> None:
        end = self._steps + steps
        while self._steps < end:
            into_walk = self._steps % _STEPS_PER_WALK
            if into_walk == 0:
                for port in (self.arm, self.hand):
                    port.walk(_STEPS_PER_WALK * self.config.timestep_s)
            steps = min(_STEPS_PER_WALK - into_walk, end - self._steps)
            mujoco.mj_step(self.model, self.data, nstep=steps)
            self._steps += steps
        self._posed = False

    def _anchor(self) -> None:
        self._anchor_s = self.clock.now_s()
        self._steps = 0

    # -- State ---------------------------------------------------------------

    def reset(
        self, *, arm_positions: Vector | None = None, hand_positions: Vector | None = None
    ) -> None:
        """Start anew: objects as in the scene's file, robots at rest and holding.

        Args:
            arm_positions: Where the arm starts [rad]; its home when ``None``.
            hand_positions: Where the hand starts [rad]; open when ``None``.
        """
        with self.lock:
            mujoco.mj_resetData(self.model, self.data)
            for port, positions, key in (
                (self.arm, arm_positions, "home"),
                (self.hand, hand_positions, "open"),
            ):
                start = port.kinematics.extra[key] if positions is None else positions
                port.place(np.array(start, dtype=np.float64))
            self._anchor()
            self._posed = False

    def place(self, body: str, position: Vector, orientation: Vector) -> None:
        """Put a body that is free, or that nothing moves but this, somewhere, at rest.

        Args:
            body: Its name.
            position: [m]. Shape (3,).
            orientation: Quaternion wxyz. Shape (4,).

        Raises:
            SimulationError: The scene has no such body, or it is fixed.
        """
        with self.lock:
            self.advance()
            self._posed = False
            if (fixed := self.model.body_mocapid[self._body(body)]) >= 0:
                self.data.mocap_pos[fixed], self.data.mocap_quat[fixed] = position, orientation
                return
            joint = self.model.body_jntadr[self._body(body)]
            if joint < 0 or self.model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_FREE:
                raise SimulationError(f"The body {body!r} is not free, so it cannot be placed.")
            qpos, qvel = self.model.jnt_qposadr[joint], self.model.jnt_dofadr[joint]
            self.data.qpos[qpos : qpos + 7] = [*position, *orientation]
            self.data.qvel[qvel : qvel + 6] = 0.0

    def body_pose(self, body: str) -> tuple[Vector, Vector]:
        """Return position [m], shape (3,), and quaternion wxyz, shape (4,), in the world.

        Raises:
            SimulationError: There is no such body.
        """
        with self.lock:
            self.advance()
            self._pose()
            index = self._body(body)
            return self.data.xpos[index].copy(), self.data.xquat[index].copy()

    def palm_pose(self) -> tuple[Vector, Vector]:
        """Return the pose of the palm frame, the hand's root link, as ``body_pose`` does."""
        return self.body_pose(self._palm)

    def touching(self, a: str, b: str) -> bool:
        """Whether anything on body ``a`` touches anything on body ``b``.

        Raises:
            SimulationError: There is no such body.
        """
        with self.lock:
            self.advance()
            pairs = self.data.contact.geom
            on_a, on_b = self._geoms_on(a)[pairs], self._geoms_on(b)[pairs]
            return bool(np.any(on_a & on_b[:, ::-1]))

    def _pose(self) -> None:
        # Stepping leaves link poses one step behind the joints.
        if not self._posed:
            mujoco.mj_kinematics(self.model, self.data)
            mujoco.mj_comPos(self.model, self.data)
            mujoco.mj_camlight(self.model, self.data)
            self._posed = True

    def _body(self, name: str) -> int:
        index = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, name)
        if index < 0:
            raise SimulationError(f"The scene {self.config.scene!r} has no body {name!r}.")
        return int(index)

    def _geoms_on(self, name: str) -> np.ndarray:
        """Which geoms belong to a body or to what hangs on it. Shape (ngeom,), bool."""
        if name not in self._subtrees:
            inside = np.zeros(self.model.nbody, dtype=bool)
            inside[self._body(name)] = True
            for body in range(1, self.model.nbody):  # Parents come before children.
                inside[body] |= inside[self.model.body_parentid[body]]
            self._subtrees[name] = inside[self.model.geom_bodyid]
        return self._subtrees[name]

    # -- Pictures ------------------------------------------------------------

    def render(self, camera: str, width: int, height: int) -> Image:
        """Paint what ``camera`` sees. Shape (height, width, 3), RGB, uint8.

        Raises:
            SimulationError: There is no such camera, no EGL, or the picture is too large.
        """
        with self.lock:
            self.advance()
            self._pose()
            if self._painter is None:
                self._painter = Painter(self.model)
            return self._painter.paint(self.data, camera, width, height)

    def close(self) -> None:
        """Give back what rendering took. Repeating does nothing."""
        with self.lock:
            if self._painter is not None:
                self._painter.close()
                self._painter = None
