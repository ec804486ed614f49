"""Frames of a running session, as the viewer shows them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from dexhil.drivers.arrays import Image, Matrix
from dexhil.integration.retargeting.colours import COLOURS, PALM
from dexhil.integration.view.layout import colours, flush, layout, path
from dexhil.integration.view.look import Look, Setup, words
from dexhil.integration.view.plots import Plots, Rows, joint_names
from dexhil.integration.view.robot import Robot
from dexhil.integration.view.scene import RobotScene
from dexhil.retarget.errors import RetargetError
from dexhil.retarget.keypoints import FINGERS, PARENTS, palm_frame
from dexhil.teleop.mapping import ArmMapping
from dexhil.teleop.se3 import Pose, from_quaternion, inverse

PLOTTED: Final = 5  # Frames plotted together: one by one, a plot costs five times as much.
_BESIDE_M: Final = 0.3  # From the robot's palm to where the person's hand is drawn.
_AXES_M: Final = 0.12
_GREY: Final = 0x98A2B3FF
_JPEG_QUALITY: Final = 75


class Frames:
    """Logs frames of a session to a ``rerun.RecordingStream``, one after the other.

    Args:
        recording: Where to.
        setup: What they are of.
    """

    def __init__(self, recording: Any, setup: Setup) -> None:
        self._recording, self._out = recording, setup.out
        robot = Robot(setup.arm, setup.hand)
        self._side = robot.side
        self._scene = RobotScene(recording, robot)
        self._plots = Plots(recording, setup.features)
        self._cube = _Cube(setup)
        self._waiting: list[Look] = []
        self._plotted = 0
        self._start_s: float | None = None
        self._said = ""
        self._log_fixed(setup.workspace)

    def log(self, look: Look, pictures: Mapping[str, Image]) -> None:
        """Log a frame. Its numbers are plotted together with those of the next ones.

        Raises:
            RunError: As `plot`.
        """
        rows = self._rows([look], self._plotted + len(self._waiting))
        self._set_time(look.stamp_s)
        self._recording.set_time("frame", sequence=rows.first)
        palm = np.eye(4)
        palm[:3] = self._scene.log(rows, [" ".join([words(look.drivers), *look.limits])])[0]
        self._log_hand(look, palm)
        self._log_cube(look, palm)
        self._log_pictures(pictures)
        self.say(look.stamp_s, words(look.drivers, look.reason), warning=bool(look.reason))
        self._waiting.append(look)
        if len(self._waiting) >= PLOTTED:
            self.plot()

    def plot(self) -> None:
        """Plot the numbers of the frames that still wait for it, and wait until all is shown.

        Raises:
            RunError: Nobody looks any more, or the file cannot be written.
        """
        looks, self._waiting = self._waiting, []
        if looks:
            self._plot(looks)
        flush(self._recording, self._out)

    def _plot(self, looks: Sequence[Look]) -> None:
        rows = self._rows(looks, self._plotted)
        self._plotted += len(looks)
        self._plots.log(rows)
        for number, part in enumerate(("arm", "hand")):
            self._plots.band(rows, part, [look.drivers[number] for look in looks])
        self._plots.band(rows, "limits", [", ".join(look.limits) or "none" for look in looks])

    def say(self, stamp_s: float, text: str, *, warning: bool = True) -> None:
        """Log a sentence, unless it is the last one again."""
        import rerun as rr  # noqa: PLC0415 - an extra, and slow to load

        if text != self._said:
            self._said = text
            self._set_time(stamp_s)
            self._recording.log("events", rr.TextLog(text, level="WARN" if warning else "INFO"))

    def _rows(self, looks: Sequence[Look], first: int) -> Rows:
        columns = {name: np.stack([look.row[name] for look in looks]) for name in looks[0].row}
        times_s = np.array([look.stamp_s for look in looks]) - self._origin_s(looks[0].stamp_s)
        return Rows(columns=columns, times_s=times_s, first=first)

    def _origin_s(self, stamp_s: float) -> float:
        """Return when all began: with the first that was shown [s]."""
        if self._start_s is None:
            self._start_s = stamp_s
        return self._start_s

    def _set_time(self, stamp_s: float) -> None:
        ns = round(1e9 * (stamp_s - self._origin_s(stamp_s)))
        self._recording.set_time("time", duration=np.timedelta64(ns, "ns"))

    def _log_fixed(self, workspace: Matrix) -> None:
        import rerun as rr  # noqa: PLC0415

        low, high = workspace
        box = rr.Boxes3D(
            mins=[low],
            sizes=[high - low],
            colors=colours(_GREY),
            radii=[0.001],
            fill_mode="majorwireframe",
        )
        self._recording.log("world/workspace", box, static=True)
        self._recording.log("world/person/cube", rr.TransformAxes3D(_AXES_M), static=True)
        # Of the keypoints 1 to 20, the knuckles of the four fingers belong to the palm.
        hexes = [
            PALM if number in {5, 9, 13, 17} else COLOURS[FINGERS[(number - 1) // 4]]
            for number in range(1, 21)
        ]
        rgb = [[int(colour[k : k + 2], 16) for k in (1, 3, 5)] for colour in (PALM, *hexes)]
        joints = rr.Points3D.from_fields(colors=rgb, radii=[0.0055])
        bones = rr.LineStrips3D.from_fields(colors=rgb[1:], radii=[0.004])
        self._recording.log("world/person/hand/joints", joints, static=True)
        self._recording.log("world/person/hand/bones", bones, static=True)

    def _log_hand(self, look: Look, palm: Pose) -> None:
        """Log the person's hand beside the robot's, turned like it; nothing if it is no hand."""
        import rerun as rr  # noqa: PLC0415

        if look.keypoints is None:
            return
        try:
            turn = palm_frame(look.keypoints, self._side)
        except RetargetError:
            points = np.zeros((0, 3))
        else:
            beside = (look.keypoints - look.keypoints[0]) @ turn - [0.0, _BESIDE_M, 0.0]
            points = palm[:3, 3] + beside @ palm[:3, :3].T
        bones = points[np.column_stack((PARENTS, np.arange(1, 21)))] if len(points) else []
        log = self._recording.log
        log("world/person/hand/joints", rr.Points3D.from_fields(positions=points))
        log("world/person/hand/bones", rr.LineStrips3D.from_fields(strips=bones))

    def _log_cube(self, look: Look, palm: Pose) -> None:
        import rerun as rr  # noqa: PLC0415

        pose = self._cube.pose(look, palm)
        if pose is not None:
            shown = rr.Transform3D.from_fields(translation=pose[:3, 3], mat3x3=pose[:3, :3])
            self._recording.log("world/person/cube", shown)

    def _log_pictures(self, pictures: Mapping[str, Image]) -> None:
        import rerun as rr  # noqa: PLC0415

        for name, picture in pictures.items():
            packed = rr.Image(picture).compress(jpeg_quality=_JPEG_QUALITY)
            self._recording.log(path("cameras", name), packed)


class _Cube:
    """Where the tracked body would be if it sat on the robot, by DexHiL Eq. 3.

    Its tracker's frame is nobody's: only its motion means something. It is drawn where the palm
    was when the arm last changed drivers, and moves from there as the person's does.
    """

    def __init__(self, setup: Setup) -> None:
        self._mapping = ArmMapping(setup.pose_palm_in_cube, setup.arm_scale)
        self._x = inverse(setup.pose_palm_in_cube)
        self._driver = ""

    def pose(self, look: Look, palm: Pose) -> Pose | None:
        """Return it in the arm's base; ``None`` where it is not known."""
        if look.cube is None or not np.isfinite(look.cube).all() or not look.cube[3:].any():
            return None
        seen = from_quaternion(look.cube[:3], look.cube[3:])
        if look.drivers[0] != self._driver:
            self._driver = look.drivers[0]
            self._mapping.anchor(palm, seen)
        return self._mapping.target(seen) @ self._x


def live_layout(setup: Setup) -> Any:
    """Return the blueprint for a running session."""
    return layout(setup.cameras, joint_names(setup.features), robot=True, events=True)
