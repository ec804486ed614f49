"""Pictures of a marker cube whose pose is known exactly.

A camera looks at a cube among clutter. The markers are made of triangles and not of textures,
so that no texture filter shifts their edges. The picture goes the way light goes in a camera:
lens distortion, defocus and motion blur in linear light, photon and read noise, then the sRGB
curve and eight bits.

The world's frame is the camera's, as in OpenCV: x to the right, y down, z forward; the middle of
the top left pixel is (0, 0).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import mujoco
import numpy as np
import numpy.typing as npt

from dexhil.drivers.arrays import Image, Matrix, Vector
from dexhil.drivers.sim.painter import Painter

FloatImage = npt.NDArray[np.float32]

# MuJoCo's cameras look along -z with y up; OpenCV's along z with y down.
_CAMERA_QUATERNION: Final = (0.0, 1.0, 0.0, 0.0)
_BLACK, _WHITE = (0.03, 0.03, 0.03, 1.0), (0.82, 0.82, 0.82, 1.0)  # Toner and paper: reflectance.
_SKIN: Final = (0.45, 0.24, 0.17, 1.0)
_TOWARDS_CAMERA: Final = np.array([0.0, 2.0, 0.0, 0.0])  # Paper turned to it, more or less.
_AWAY: Final = (0.0, 0.0, -10.0)  # Behind the camera.
_N_CLUTTER: Final = 24
_TILE: Final = 0.16  # Of the wall behind [m].
_N_FINGERS: Final = 3
_FINGER: Final = (0.008, 0.035)  # Radius and half length [m].
_STEPS: Final = 4096
_GOLDEN: Final = np.array([0.7548776662, 0.5698402910])  # R2 sequence: spreads points evenly.
_LIGHT: Final = np.linspace(0.0, 1.0, _STEPS)
_LINEAR: Final = np.round(255.0 * _LIGHT).astype(np.uint8)
_SRGB: Final = np.round(  # IEC 61966-2-1.
    255.0 * np.where(_LIGHT <= 0.0031308, 12.92 * _LIGHT, 1.055 * _LIGHT ** (1 / 2.4) - 0.055)
).astype(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Light and camera of one picture.

    Attributes:
        exposure: Linear value of a surface that is white and fully lit; 1 saturates.
        defocus_px: Standard deviation of the lens's blur [pixel].
        full_well: Photoelectrons of a saturated pixel: photon noise is the square root.
        read_noise: Of each pixel [photoelectrons].
        linear: Whether the picture is stored as light, and not along the sRGB curve.
        fingers: Whether fingers hold the cube and hide parts of it.
    """

    exposure: float = 0.9
    defocus_px: float = 0.5
    full_well: float = 6000.0
    read_noise: float = 6.0
    linear: bool = False
    fingers: bool = False


class CubeStage:
    """A camera, a cube and things that might be taken for one. Not for several threads at once.

    Args:
        dictionary: Of the markers, a name in ``cv2.aruco``.
        marker_ids: One per face.
        corners_in_cube: Of each marker: top left, top right, bottom right, bottom left as seen
            from outside [m]. Shape (k, 4, 3).
        edge_m: Of the cube [m]; the paper around a marker reaches that far.
        matrix: Of the camera [pixel]. Shape (3, 3).
        distortion: In OpenCV's order. Shape (n,).
        width: Of the picture [pixel].
        height: Of the picture [pixel].
        seed: Of clutter, light and noise.
    """

    def __init__(
        self,
        *,
        dictionary: str,
        marker_ids: Sequence[int],
        corners_in_cube: Matrix,
        edge_m: float,
        matrix: Matrix,
        distortion: Vector,
        width: int,
        height: int,
        seed: int = 0,
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._size = (width, height)
        self._matrix = matrix
        self._lens = _Lens(matrix, distortion, width, height)
        self._edge_m = edge_m
        spec = _empty_room(*self._lens.source_size)
        markers = [
            _paper(_bits(dictionary, marker_id), corners, edge_m)
            for marker_id, corners in zip(marker_ids, corners_in_cube, strict=True)
        ]
        _add_cube(spec, markers, edge_m)
        _add_clutter(spec, dictionary, marker_ids, self._rng)
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._painter = Painter(self._model)
        self._noise = self._rng.standard_normal(2 * width * height * 3, dtype=np.float32)
        self.shuffle()

    def close(self) -> None:
        """Free the renderer."""
        self._painter.close()

    def shuffle(self) -> None:
        """Put clutter, fingers and light elsewhere."""
        rng, model = self._rng, self._model
        for i in range(_N_CLUTTER):
            body = model.body(f"clutter{i}").id
            model.body_pos[body] = rng.uniform((-1.3, -0.8, 1.1), (1.3, 0.8, 1.9))
            model.body_quat[body] = _unit(rng.normal(size=4) + _TOWARDS_CAMERA)
        for i in range(_N_FINGERS):
            finger = model.geom(f"finger{i}").id
            outwards, along, aside = rng.permutation(np.eye(3)) * rng.choice([-1.0, 1.0])
            lift = 0.5 * self._edge_m + _FINGER[0]
            shift = rng.uniform(0.2, 0.6) * self._edge_m  # From the middle of the face.
            model.geom_pos[finger] = lift * outwards + shift * aside
            mujoco.mju_quatZ2Vec(model.geom_quat[finger], along)
        light = model.light("lamp").id
        model.light_pos[light] = rng.uniform((-2.0, -2.0, -1.0), (2.0, 1.0, 0.2))
        model.light_dir[light] = _unit(np.array([0.0, 0.0, 0.6]) - model.light_pos[light])
        ambient = rng.uniform(0.25, 0.8)
        model.vis.headlight.ambient[:] = ambient
        model.light_diffuse[light] = 1.0 - ambient

    def picture(self, poses: Sequence[Matrix], look: Look | None = None, samples: int = 6) -> Image:
        """Return what the camera sees. Shape (height, width, 3), RGB, uint8.

        Args:
            poses: Of the cube in the camera's frame while the shutter is open, evenly spread in
                time; one if it rests, none if there is no cube. Each has shape (4, 4).
            look: Light and camera.
            samples: How many images are averaged, at least one per pose. They are shifted by
                parts of a pixel against each other, which also smooths the edges.

        Raises:
            SimulationError: There is no EGL here.
        """
        look = look or Look()
        for i in range(_N_FINGERS):
            self._model.geom_rgba[self._model.geom(f"finger{i}").id, 3] = float(look.fingers)
        return self._develop(self._expose(poses, max(samples, len(poses))), look)

    def _expose(self, poses: Sequence[Matrix], samples: int) -> FloatImage:
        width, height = self._lens.source_size
        total = np.zeros((height, width, 3), dtype=np.float32)
        shifts = (_GOLDEN * np.arange(samples)[:, None]) % 1.0
        for i, shift_px in enumerate(shifts - shifts.mean(axis=0)):
            self._place(poses[i * len(poses) // samples] if poses else None)
            self._aim(shift_px)
            cv2.accumulate(self._painter.paint(self._data, "camera", width, height), total)
        return total * np.float32(1.0 / (255.0 * samples))

    def _place(self, pose: Matrix | None) -> None:
        self._data.mocap_pos[0] = _AWAY if pose is None else pose[:3, 3]
        if pose is not None:
            mujoco.mju_mat2Quat(self._data.mocap_quat[0], pose[:3, :3].ravel())
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)

    def _aim(self, shift_px: Vector) -> None:
        """Shift what is seen by ``shift_px`` to the right and down. Shape (2,)."""
        camera, (width, height) = self._model.camera("camera").id, self._lens.source_size
        matrix = self._lens.source_matrix
        # MuJoCo measures from the corner of the picture's pixels, and against both axes.
        right = matrix[0, 2] + 0.5 + shift_px[0] - 0.5 * width
        down = matrix[1, 2] + 0.5 + shift_px[1] - 0.5 * height
        self._model.cam_intrinsic[camera] = (matrix[0, 0], matrix[1, 1], -right, -down)

    def _develop(self, light: FloatImage, look: Look) -> Image:
        seen = self._lens.distort(light)
        if look.defocus_px > 0.0:
            seen = cv2.GaussianBlur(seen, (0, 0), look.defocus_px).astype(np.float32, copy=False)
        seen *= np.float32(look.exposure)
        start = int(self._rng.integers(len(self._noise) - seen.size))
        noise = self._noise[start : start + seen.size].reshape(seen.shape)
        variance = seen * np.float32(1.0 / look.full_well)
        variance += np.float32((look.read_noise / look.full_well) ** 2)
        seen += noise * cv2.sqrt(variance)
        steps = np.clip(seen * np.float32(_STEPS - 1), 0, _STEPS - 1).astype(np.uint16)
        curve = _LINEAR if look.linear else _SRGB
        image: Image = curve[steps]
        return image


class _Lens:
    """Bends the picture of a pinhole, which is taken a little larger than needed."""

    def __init__(self, matrix: Matrix, distortion: Vector, width: int, height: int) -> None:
        self._maps: tuple[Any, Any] | None = None
        self.source_size, self.source_matrix = (width, height), matrix
        if not np.any(distortion):
            return
        u, v = np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float))
        pixels = np.stack([u.ravel(), v.ravel()], axis=1)
        seen = cv2.undistortPoints(pixels[:, None], matrix, distortion, P=matrix)[:, 0]
        low = np.minimum(np.floor(seen.min(axis=0)).astype(int) - 2, 0)
        high = np.ceil(seen.max(axis=0)).astype(int) + 3
        self.source_size = (max(width, high[0]) - low[0], max(height, high[1]) - low[1])
        self.source_matrix = matrix.copy()
        self.source_matrix[:2, 2] -= low
        u, v = (seen - low).T.reshape(2, height, width).astype(np.float32)
        self._maps = (u, v)

    def distort(self, light: FloatImage) -> FloatImage:
        if self._maps is None:
            return light
        bent: FloatImage = cv2.remap(light, *self._maps, cv2.INTER_LINEAR).astype(np.float32)
        return bent


def _empty_room(width: int, height: int) -> mujoco.MjSpec:
    spec = mujoco.MjSpec()
    spec.compiler.balanceinertia = True  # A sheet has A + B = C but for rounding.
    spec.visual.global_.offwidth, spec.visual.global_.offheight = width, height
    spec.visual.quality.shadowsize, spec.visual.quality.offsamples = 1, 0
    spec.visual.headlight.diffuse = spec.visual.headlight.specular = (0.0, 0.0, 0.0)
    spec.visual.map.znear, spec.stat.extent = 0.02, 1.0
    spec.stat.center = (0.0, 0.0, 1.0)
    spec.worldbody.add_light(name="lamp", castshadow=False, specular=[0.0, 0.0, 0.0])
    spec.worldbody.add_camera(
        name="camera",
        quat=_CAMERA_QUATERNION,
        resolution=(width, height),
        sensor_size=(width, height),  # So that lengths on the sensor are in pixels.
        focal_pixel=(width, width),
    )
    return spec


def _add_cube(spec: mujoco.MjSpec, markers: Sequence["_Paper"], edge_m: float) -> None:
    body = spec.worldbody.add_body(name="cube", mocap=True)
    _add_papers(spec, body, "cube", markers)
    inside = 0.49 * edge_m  # Closes the cube where a face is missing.
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=[inside] * 3, rgba=(0.3, 0.3, 0.32, 1.0))
    for i in range(_N_FINGERS):
        body.add_geom(
            name=f"finger{i}",
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            size=(*_FINGER, 0.0),
            pos=_AWAY,  # MuJoCo never moves a geom that begins at its body's origin.
            quat=(0.5, 0.5, 0.5, 0.5),
            rgba=_SKIN,
        )


def _add_clutter(
    spec: mujoco.MjSpec, dictionary: str, own_ids: Sequence[int], rng: np.random.Generator
) -> None:
    """Boxes, cards with squares on them, and markers that are not the cube's."""
    wall = spec.worldbody.add_body(name="wall", pos=(0.0, 0.0, 2.2))
    tiles = (rng.random((14, 24)) < 0.5).astype(np.uint8)
    _add_papers(spec, wall, "wall", [_flat(tiles, _TILE)])
    n_markers = len(cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, dictionary)).bytesList)
    foreign = [number for number in range(n_markers) if number not in own_ids]
    for i in range(_N_CLUTTER):
        body = spec.worldbody.add_body(name=f"clutter{i}")
        kind = ("box", "marker", "marker of another kind", "square")[i % 4]
        if kind == "box":
            size, colour = rng.uniform(0.03, 0.12, 3), (*rng.uniform(0.05, 0.9, 3), 1.0)
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=size, rgba=colour)
            continue
        if kind == "marker":
            bits = _bits(dictionary, int(rng.choice(foreign)))
        elif kind == "square":
            bits = np.zeros((6, 6), dtype=np.uint8)
        else:
            bits = _bits("DICT_5X5_50", int(rng.integers(50)))
        side = rng.uniform(0.04, 0.1)
        right, up = np.array([0.5 * side, 0.0, 0.0]), np.array([0.0, 0.5 * side, 0.0])
        corners = np.array([up - right, up + right, right - up, -up - right])
        _add_papers(spec, body, f"clutter{i}", [_paper(bits, corners, 1.4 * side)])


@dataclass(frozen=True, slots=True)
class _Paper:
    """Rectangles of paper and of toner. Each has shape (n, 4, 3), seen from in front clockwise."""

    white: Matrix
    black: Matrix


def _bits(dictionary: str, marker_id: int) -> npt.NDArray[np.uint8]:
    """Return a marker's cells with its black border, 1 for white. Shape (n, n)."""
    table = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, dictionary))
    side = table.markerSize + 2
    image = cv2.aruco.generateImageMarker(table, marker_id, side, borderBits=1)
    return (image > 127).astype(np.uint8)


def _paper(bits: npt.NDArray[np.uint8], corners: Matrix, edge_m: float) -> _Paper:
    """Return a marker with white paper around it, on the face that its corners span."""
    side = np.linalg.norm(corners[1] - corners[0])
    margin = 0.5 * (edge_m / side - 1.0)
    n = len(bits)
    cuts = np.concatenate([[-margin], np.arange(n + 1) / n, [1.0 + margin]])
    top_left, right, down = corners[0], corners[1] - corners[0], corners[3] - corners[0]
    skew = corners[2] - corners[1] - down  # Zero on a perfect square.
    u, v = np.meshgrid(cuts, cuts)
    grid = (
        top_left
        + u[..., None] * right
        + v[..., None] * down
        + (np.clip(u, 0, 1) * np.clip(v, 0, 1))[..., None] * skew
    )
    return _rectangles(np.pad(bits, 1, constant_values=1), grid)


def _flat(tiles: npt.NDArray[np.uint8], side: float) -> _Paper:
    """Return tiles on a wall that faces the camera."""
    rows, columns = tiles.shape
    x, y = np.meshgrid(
        side * (np.arange(columns + 1) - 0.5 * columns), side * (np.arange(rows + 1) - 0.5 * rows)
    )
    return _rectangles(tiles, np.stack([x, y, np.zeros_like(x)], axis=-1))


def _rectangles(cells: npt.NDArray[np.uint8], grid: Matrix) -> _Paper:
    clockwise = (grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1])
    quads = np.stack(clockwise, axis=2)
    return _Paper(quads[cells == 1], quads[cells == 0])


def _add_papers(spec: mujoco.MjSpec, body: Any, name: str, papers: Sequence[_Paper]) -> None:
    for colour, rgba in (("white", _WHITE), ("black", _BLACK)):
        quads = np.concatenate([getattr(paper, colour) for paper in papers])
        first = 4 * np.arange(len(quads))[:, None, None]
        # MuJoCo shows the side from which a triangle goes counterclockwise.
        faces = first + np.array([[0, 3, 2], [0, 2, 1]])
        mesh = spec.add_mesh(name=f"{name} {colour}")
        mesh.uservert, mesh.userface = quads.ravel(), faces.ravel()
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname=f"{name} {colour}",
            rgba=rgba,
            contype=0,  # Nothing collides, and what is flat has no hull.
            conaffinity=0,
        )


def _unit(vector: Vector) -> Vector:
    unit: Vector = vector / np.linalg.norm(vector)
    return unit
