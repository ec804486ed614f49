"""The robot in three dimensions: as measured, as sent, and as person and policy wanted it."""

from typing import Any, Final

import numpy as np

from dexhil.drivers.arrays import Matrix
from dexhil.integration.recorder import MODE_NUMBERS
from dexhil.integration.view.layout import DRIVER_COLOURS, LINES, colours
from dexhil.integration.view.plots import Rows
from dexhil.integration.view.robot import Robot

_SENT: Final = tuple(line for line in LINES if line != "measured")
_MODE_NAMES: Final = {number: mode.name for mode, number in MODE_NUMBERS.items()}
_LABEL_M: Final = 0.012  # Radius of the ball at the palm.


class RobotScene:
    """Logs a robot to a ``rerun.RecordingStream``, under ``world/robot``.

    What was measured is solid. What was executed, and what person and policy wanted, are lines
    along its bones in the colours of the plots; they are away where nobody wanted anything.

    Args:
        recording: Where to.
        robot: Its shapes.
    """

    def __init__(self, recording: Any, robot: Robot) -> None:
        self._recording = recording
        self._robot = robot
        self._log_shapes()

    def log(self, rows: Rows, labels: list[str] | None = None) -> Matrix:
        """Log some frames.

        Args:
            rows: With columns of a dataset.
            labels: What is written at the palm; the mode, if there is one, when ``None``.

        Returns:
            Rotation and position of the measured palm [m]. Shape (t, 3, 4).
        """
        columns, n = rows.columns, self._robot.n
        silent = np.full((len(rows), n), np.nan)
        sent = [columns.get(LINES[line][0], silent) for line in _SENT]
        joints = np.concatenate([columns["observation.state"][:, :n], *sent]).astype(np.float64)
        there = np.asarray(np.isfinite(joints).all(axis=1))
        # All postures at once: it costs the same for one as for many.
        poses = self._robot.poses(np.where(there[:, None], joints, 0.0))
        t = len(rows)
        self._log_measured(rows, {link: (r[:t], p[:t]) for link, (r, p) in poses.items()})
        for number, line in enumerate(_SENT, start=1):
            skeletons = [
                self._robot.skeleton(poses, row) if there[row] else []
                for row in range(number * t, (number + 1) * t)
            ]
            self._log_skeletons(rows, line, skeletons)
        rotations, positions = (part[:t] for part in self._robot.palm(poses))
        self._log_palm(rows, positions, labels)
        return np.concatenate([rotations, positions[:, :, None]], axis=2)

    def _log_measured(self, rows: Rows, poses: Any) -> None:
        import rerun as rr  # noqa: PLC0415 - an extra, and slow to load

        for kind, shapes in self._robot.shapes.items():
            positions, quaternions = (p.reshape(-1, p.shape[2]) for p in shapes.placed(poses))
            if kind == "box":
                columns = rr.Boxes3D.columns(centers=positions, quaternions=quaternions)
            elif kind == "sphere":
                columns = rr.Points3D.columns(positions=positions)
            else:
                columns = rr.Capsules3D.columns(translations=positions, quaternions=quaternions)
            self._recording.send_columns(
                f"world/robot/measured/{kind}",
                indexes=rows.timelines(),
                columns=columns.partition([len(shapes.links)] * len(rows)),
            )

    def _log_skeletons(self, rows: Rows, line: str, skeletons: list[list[Matrix]]) -> None:
        import rerun as rr  # noqa: PLC0415

        strips = [strip for skeleton in skeletons for strip in skeleton]
        columns = rr.LineStrips3D.columns(strips=strips)
        self._recording.send_columns(
            f"world/robot/{line}",
            indexes=rows.timelines(),
            columns=columns.partition([len(skeleton) for skeleton in skeletons]),
        )

    def _log_palm(self, rows: Rows, positions: Matrix, labels: list[str] | None) -> None:
        """Log a ball at the palm in the colour of who drives, with words beside it."""
        import rerun as rr  # noqa: PLC0415

        if "mode" not in rows.columns:
            return
        modes = [_MODE_NAMES.get(number, "none") for number in rows.columns["mode"].astype(int)]
        columns = rr.Points3D.columns(
            positions=positions,
            colors=colours(*(DRIVER_COLOURS[mode] for mode in modes)),
            labels=modes if labels is None else labels,
        )
        self._recording.send_columns("world/robot/palm", indexes=rows.timelines(), columns=columns)

    def _log_shapes(self) -> None:
        """Log what does not change."""
        import rerun as rr  # noqa: PLC0415

        log = self._recording.log
        log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        for kind, shapes in self._robot.shapes.items():
            rgba, sizes = shapes.colours.astype(np.uint8), shapes.sizes
            look: Any
            if kind == "box":
                look = rr.Boxes3D.from_fields(half_sizes=sizes, colors=rgba, fill_mode="solid")
            elif kind == "sphere":
                look = rr.Points3D.from_fields(radii=sizes[:, 0], colors=rgba)
            else:
                look = rr.Capsules3D.from_fields(
                    radii=sizes[:, 0], lengths=sizes[:, 1], colors=rgba, fill_mode="solid"
                )
            log(f"world/robot/measured/{kind}", look, static=True)
        for line in _SENT:
            look = rr.LineStrips3D.from_fields(colors=colours(LINES[line][1]), radii=[0.003])
            log(f"world/robot/{line}", look, static=True)
        log("world/robot/palm", rr.Points3D.from_fields(radii=[_LABEL_M]), static=True)
