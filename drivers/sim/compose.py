"""One model of a scene, an arm and the hand on it."""

from importlib.resources import files

import mujoco
import numpy as np

from dexhil.drivers.errors import ConfigError
from dexhil.drivers.models.kinematics import Kinematics
from dexhil.drivers.models.mjspec import quaternion_of_rpy, to_mjspec

ARM = "arm_"
HAND = "hand_"

# Under the palm, looking along the fingers; its up is the world's up while the palm is down.
# In a frame at the flange that is turned like the palm, so that every hand is seen alike.
_WRIST_CAMERA_POSITION = np.array([0.15, -0.04, -0.02])
_WRIST_CAMERA_XYAXES = [0.0, -1.0, 0.0, -0.93, 0.0, -0.37]
_WRIST_CAMERA_FOVY = 75.0

# Fills the gap between flange and hand for the eye; it touches nothing.
_ADAPTER = {
    "type": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "fromto": [0.0, 0.0, 0.0, 0.0, 0.0, 0.035],
    "size": [0.022, 0.0, 0.0],
    "mass": 0.05,
    "rgba": [0.30, 0.31, 0.34, 1.0],
    "contype": 0,
    "conaffinity": 0,
}


def compose(arm: Kinematics, hand: Kinematics, scene: str, timestep_s: float) -> mujoco.MjModel:
    """Compile a scene with an arm at the world's origin and a hand at its flange.

    Names of the arm start with ``ARM``, those of the hand with ``HAND``. Actuators
    are the arm's, then the hand's, each in the order of ``joint_names``.

    Raises:
        ConfigError: There is no such scene.
    """
    world = read_scene(scene)
    world.option.timestep = timestep_s
    # A finger knows nothing of the other fingers' joints; below 60 joints MuJoCo would not care.
    world.option.jacobian = mujoco.mjtJacobian.mjJAC_SPARSE
    base = world.worldbody.add_frame()
    world.attach(to_mjspec(arm, actuated=True), frame=base, prefix=ARM)
    flange = world.body(ARM + arm.tips["flange"])
    mount = hand.extra["mount"]
    frame = flange.add_frame(pos=mount["position"], quat=quaternion_of_rpy(mount["rpy"]))
    flange.add_geom(**_ADAPTER)
    world.attach(to_mjspec(hand, actuated=True), frame=frame, prefix=HAND)
    # On the little finger's side of either hand.
    mirror = np.array([1.0, 1.0 if hand.side == "right" else -1.0, 1.0])
    world.body(HAND + hand.root).add_camera(
        name="wrist",
        pos=mirror * _WRIST_CAMERA_POSITION - [0.0, 0.0, mount["position"][2]],
        xyaxes=_WRIST_CAMERA_XYAXES,
        fovy=_WRIST_CAMERA_FOVY,
    )
    return world.compile()


def read_scene(scene: str) -> mujoco.MjSpec:
    """Read a scene that ships with us.

    Raises:
        ConfigError: There is no such scene.
    """
    folder = files(__package__).joinpath("scenes")
    path = folder.joinpath(f"{scene}.xml")
    if not path.is_file():
        known = sorted(entry.name.removesuffix(".xml") for entry in folder.iterdir())
        raise ConfigError(f"No scene is called {scene!r}. Known: {', '.join(known)}.")
    spec = mujoco.MjSpec.from_string(path.read_text(encoding="utf-8"))
    spec.compiler.degree = False
    return spec
