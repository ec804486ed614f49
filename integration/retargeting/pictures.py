"""A human and a robot hand, painted side by side by the same camera."""

from collections.abc import Iterator, Mapping
from itertools import product
from types import TracebackType
from typing import Any, Final, Self

import mujoco
import numpy as np

from dexhil.drivers.arrays import Image, Matrix, Vector
from dexhil.drivers.models.kinematics import Kinematics, Side
from dexhil.drivers.models.mjspec import to_mjspec
from dexhil.integration.errors import RunError
from dexhil.integration.retargeting.colours import COLOURS, PALM
from dexhil.retarget import batch
from dexhil.retarget.keypoints import FINGERS, PARENTS
from dexhil.retarget.score import human_row

_BACKGROUND: Final = (0.965, 0.97, 0.98)
_SIZE: Final = 480  # [pixel]
_FIELD_DEG: Final = 18.0  # Narrow, so that near fingers look no larger than far ones.
_MARGIN_M: Final = 0.014  # Capsules are thicker than their axes.
_AZIMUTH_DEG: Final = 38.0  # From the palm's normal to the thumb's side.
_ELEVATION_DEG: Final = -14.0


class HandPainter:
    """Paints one robot hand and one person's. Use it in a ``with`` block, in one thread.

    The cameras stand where all frames of the clip fit into the picture.

    Args:
        kinematics: The robot hand.
        joint_positions: Of all frames [rad]. Shape (frames, n).
        points: The person's keypoints in the palm frame [m]. Shape (frames, 21, 3).
        targets: Where fingertips should be, from the wrist [m]. Shape (frames, fingers, 3).

    Raises:
        RunError: There is no OpenGL to paint with.
    """

    def __init__(
        self, kinematics: Kinematics, *, joint_positions: Matrix, points: Matrix, targets: Matrix
    ) -> None:
        self._kinematics = kinematics
        self._wrist = batch.wrist(kinematics)
        self._model = _robot_model(kinematics)
        self._data = mujoco.MjData(self._model)
        self._bare = _lit(mujoco.MjSpec()).compile()
        self._bare_data = mujoco.MjData(self._bare)
        mujoco.mj_forward(self._bare, self._bare_data)
        poses = batch.link_poses(kinematics, joint_positions)
        solid = [corner for link in poses for corner in _corners(kinematics, link, *poses[link])]
        robot = np.concatenate([*solid, (self._wrist + targets).reshape(-1, 3)])
        self._robot_camera = _camera(robot, kinematics.side)
        self._human_camera = _camera(points.reshape(-1, 3), kinematics.side)
        self._renderer = _renderer(self._model)
        try:
            self._bare_renderer = _renderer(self._bare)
        except BaseException:
            self._renderer.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._renderer.close()
        self._bare_renderer.close()

    def person(self, points: Matrix) -> Image:
        """Return a picture of keypoints in the palm frame. RGB, shape (480, 480, 3)."""
        self._bare_renderer.update_scene(self._bare_data, self._human_camera)
        scene = self._bare_renderer.scene
        for finger in (5, 9, 13, 17):
            _capsule(scene, points[0], points[finger], 0.0075, _rgba(PALM))
        for first, second in ((1, 5), (5, 9), (9, 13), (13, 17)):
            _capsule(scene, points[first], points[second], 0.0075, _rgba(PALM))
        for number in range(1, 21):
            finger, bone = divmod(number - 1, 4)
            if bone == 0 and finger > 0:
                continue  # The palm.
            radius = 0.0078 - 0.0006 * bone
            colour = _rgba(COLOURS[FINGERS[finger]])
            _capsule(scene, points[PARENTS[number - 1]], points[number], radius, colour)
        image: Image = self._bare_renderer.render()
        return image

    def robot(self, joint_positions: Vector, targets: Matrix, tips: Matrix) -> Image:
        """Return a picture of the robot with its targets as balls, joined to the fingertips.

        Args:
            joint_positions: Commanded joints [rad]. Shape (n,).
            targets: Where fingertips should be, from the wrist [m]. Shape (fingers, 3).
            tips: Where they are. Same shape.
        """
        for name, angle in self._angles(joint_positions).items():
            self._data.joint(name).qpos[0] = angle
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        self._renderer.update_scene(self._data, self._robot_camera)
        scene = self._renderer.scene
        for finger, target, tip in zip(self._kinematics.tips, targets, tips, strict=True):
            colour = _rgba(COLOURS[FINGERS[human_row(finger)]])
            _capsule(scene, self._wrist + tip, self._wrist + target, 0.0012, (0.1, 0.1, 0.12, 1.0))
            _ball(scene, self._wrist + target, 0.0055, colour)
        image: Image = self._renderer.render()
        return image

    def _angles(self, joint_positions: Vector) -> Mapping[str, float]:
        commanded = dict(zip(self._kinematics.joint_names, joint_positions, strict=True))
        angles = {}
        for joint in self._kinematics.joints:
            if joint.type != "fixed":
                driver, multiplier, offset = joint.mimic or (joint.name, 1.0, 0.0)
                angles[joint.name] = float(multiplier * commanded[driver] + offset)
        return angles


def _robot_model(kinematics: Kinematics) -> mujoco.MjModel:
    model = _lit(to_mjspec(kinematics, actuated=False)).compile()
    colours = {}
    for finger, tip in kinematics.tips.items():
        moving = False
        for joint in batch.path_to(kinematics, tip):
            moving = moving or joint.type != "fixed"
            if moving:
                colours[joint.child] = _rgba(COLOURS[FINGERS[human_row(finger)]])
    for geom in range(model.ngeom):
        link = model.body(model.geom_bodyid[geom]).name
        # The root is MuJoCo's world.
        model.geom_rgba[geom] = colours.get(link, _rgba(PALM))
    return model


def _lit(spec: mujoco.MjSpec) -> mujoco.MjSpec:
    """Add the studio: a plain background and two lamps."""
    spec.add_texture(
        name="background",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        rgb1=_BACKGROUND,
        width=16,
        height=96,
    )
    for place, strength in (((0.6, 0.5, 1.0), 0.55), ((0.8, -0.7, 0.2), 0.25)):
        spec.worldbody.add_light(
            pos=place,
            dir=[-value for value in place],
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
            diffuse=[strength] * 3,
            specular=[0.15] * 3,
            castshadow=False,
        )
    spec.visual.global_.fovy = _FIELD_DEG
    spec.visual.global_.offwidth = spec.visual.global_.offheight = _SIZE
    spec.visual.quality.offsamples = 8
    spec.visual.headlight.ambient = [0.42] * 3
    spec.visual.headlight.diffuse = [0.25] * 3
    spec.visual.headlight.specular = [0.05] * 3
    # Else the clipping planes are set by the size of the model, of which a bare one has none.
    spec.stat.extent, spec.visual.map.znear = 1.0, 0.01
    return spec


def _camera(points: Matrix, side: Side) -> mujoco.MjvCamera:
    """Return a camera that sees all points, from the palm's side and a little above."""
    camera = mujoco.MjvCamera()
    camera.azimuth = 180.0 + (_AZIMUTH_DEG if side == "right" else -_AZIMUTH_DEG)
    camera.elevation = _ELEVATION_DEG
    turn, rise = np.deg2rad((camera.azimuth, camera.elevation))
    view = np.array((np.cos(rise) * np.cos(turn), np.cos(rise) * np.sin(turn), np.sin(rise)))
    right = np.array((np.sin(turn), -np.cos(turn), 0.0))
    axes = np.stack((right, np.cross(right, view), view))
    low, high = (points @ axes.T).min(axis=0), (points @ axes.T).max(axis=0)
    # Looked at where the nearest point is: those behind it look smaller and fit all the more.
    camera.lookat[:] = np.array((*(0.5 * (low + high))[:2], low[2])) @ axes
    half = 0.5 * float((high - low)[:2].max()) + _MARGIN_M
    camera.distance = half / np.tan(np.deg2rad(0.5 * _FIELD_DEG))
    return camera


def _corners(
    kinematics: Kinematics, link: str, rotation: Matrix, position: Matrix
) -> Iterator[Matrix]:
    """Yield the corners of a link's shapes in all frames [m]. Shape (frames, 3) each."""
    for geom in kinematics.geoms.get(link, ()):
        if geom["type"] == "box":
            signs = np.array(list(product((-1.0, 1.0), repeat=3)))
            corners = np.array(geom["position"]) + signs * geom["half_size"]
        elif geom["type"] == "capsule":
            corners = np.array((geom["from"], geom["to"]))
        else:
            corners = np.array((geom["position"],))
        for corner in corners:
            yield rotation @ corner + position


def _renderer(model: mujoco.MjModel) -> mujoco.Renderer:
    try:
        return mujoco.Renderer(model, height=_SIZE, width=_SIZE)
    except Exception as error:
        raise RunError(
            f"Pictures of hands need OpenGL, which does not work here ({error}). Install libegl1 "
            "(and a GPU driver or libgl1-mesa-dri), set MUJOCO_GL=egl, and try again."
        ) from error


def _capsule(scene: Any, start: Vector, end: Vector, radius: float, rgba: Any) -> None:
    geom = scene.geoms[scene.ngeom]
    mujoco.mjv_initGeom(
        geom,
        mujoco.mjtGeom.mjGEOM_CAPSULE,
        np.zeros(3),
        np.zeros(3),
        np.zeros(9),
        np.array(rgba, np.float32),
    )
    mujoco.mjv_connector(geom, mujoco.mjtGeom.mjGEOM_CAPSULE, radius, start, end)
    scene.ngeom += 1


def _ball(scene: Any, centre: Vector, radius: float, rgba: Any) -> None:
    mujoco.mjv_initGeom(
        scene.geoms[scene.ngeom],
        mujoco.mjtGeom.mjGEOM_SPHERE,
        np.array([radius, 0.0, 0.0]),
        centre,
        np.eye(3).ravel(),
        np.array(rgba, np.float32),
    )
    scene.ngeom += 1


def _rgba(colour: str) -> tuple[float, float, float, float]:
    red, green, blue = (int(colour[start : start + 2], 16) / 255.0 for start in (1, 3, 5))
    return red, green, blue, 1.0
