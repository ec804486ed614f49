"""One model of a scene, an arm and the hand on it."""

from importlib.resources import files

import mujoco

from dexhil.drivers.errors import ConfigError
from dexhil.drivers.models.kinematics import Kinematics
from dexhil.drivers.models.mjspec import quaternion_of_rpy, to_mjspec

ARM = "arm_"
HAND = "hand_"

# Looks from behind the wrist over the palm at the fingertips, along the hand.
_WRIST_CAMERA = {
    "pos": [0.11, 0.0, -0.06],
    "xyaxes": [0.0, 1.0, 0.0, 0.9, 0.0, 0.43],
    "fovy": 70.0,
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
    base = world.worldbody.add_frame()
    world.attach(to_mjspec(arm, actuated=True), frame=base, prefix=ARM)
    flange = world.body(ARM + arm.tips["flange"])
    mount = hand.extra["mount"]
    frame = flange.add_frame(pos=mount["position"], quat=quaternion_of_rpy(mount["rpy"]))
    world.attach(to_mjspec(hand, actuated=True), frame=frame, prefix=HAND)
    world.body(HAND + hand.root).add_camera(name="wrist", **_WRIST_CAMERA)
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
