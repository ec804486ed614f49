"""Keypoints and robot over time, for the Rerun viewer."""

import importlib.util
from pathlib import Path
from typing import Any, Final

import numpy as np

from dexhil.drivers.arrays import Matrix
from dexhil.drivers.models.kinematics import Kinematics
from dexhil.integration.errors import RunError
from dexhil.integration.retargeting.colours import COLOURS, PALM
from dexhil.integration.retargeting.measures import Measures
from dexhil.integration.retargeting.run import Retargeted
from dexhil.retarget import batch
from dexhil.retarget.keypoints import FINGERS, PARENTS
from dexhil.retarget.score import human_row

_APART_M: Final = 0.28  # Between the two hands.


def require() -> None:
    """Tell early that the viewer is missing.

    Raises:
        RunError: It is.
    """
    if importlib.util.find_spec("rerun") is None:
        raise RunError(
            "The viewer needs rerun. Try: pip install 'dexhil[view]', "
            "or write a sheet by --out sheet.html."
        )


def show(
    kinematics: Kinematics,
    answer: Retargeted,
    measures: Measures,
    rate_hz: float,
    out: Path | None,
) -> None:
    """Open the viewer, or write what it would show to an ``.rrd`` file."""
    import rerun as rr  # noqa: PLC0415 - an extra, and slow to load

    with rr.RecordingStream(f"dexhil_{kinematics.model}_{kinematics.side}") as stream:
        if out is None:
            stream.spawn(default_blueprint=_layout())
        else:
            out.parent.mkdir(parents=True, exist_ok=True)
            stream.save(out, default_blueprint=_layout())
        stream.log("human", rr.Transform3D(translation=[0.0, -_APART_M, 0.0]), static=True)
        poses = batch.link_poses(kinematics, answer.joint_positions)
        _log_shapes(stream, kinematics)
        _log_lines(stream, kinematics)
        for number in range(len(measures.valid)):
            stream.set_time("time", duration=number / rate_hz)
            stream.set_time("frame", sequence=number)
            _log_person(stream, measures.points[number])
            for link in kinematics.geoms:
                rotation, position = (part[number] for part in poses[link])
                stream.log(f"robot/{link}", rr.Transform3D(translation=position, mat3x3=rotation))
            _log_targets(stream, kinematics, measures, number)
            _log_figures(stream, kinematics, measures, number)
        stream.flush()


def _layout() -> Any:
    import rerun.blueprint as rrb  # noqa: PLC0415

    plots = [
        rrb.TimeSeriesView(origin=f"/{name}", name=title)
        for name, title in (
            ("error_mm", "fingertip error [mm]"),
            ("gap_mm", "smallest thumb gap [mm]"),
            ("step_rad", "largest joint step [rad]"),
        )
    ]
    hands = rrb.Spatial3DView(
        origin="/",
        name="person and robot",
        # From the palms' side: the person on the left, the robot on the right.
        eye_controls=rrb.EyeControls3D(
            position=(0.52, 0.02, 0.24), look_target=(0.0, -0.5 * _APART_M, 0.1), eye_up=(0, 0, 1)
        ),
    )
    return rrb.Blueprint(
        rrb.Horizontal(hands, rrb.Vertical(*plots), column_shares=[2, 1]), collapse_panels=True
    )


def _log_person(stream: Any, points: Matrix) -> None:
    import rerun as rr  # noqa: PLC0415

    strips = [points[[PARENTS[number - 1], number]] for number in range(1, 21)]
    colours = [
        PALM if number in {5, 9, 13, 17} else COLOURS[FINGERS[(number - 1) // 4]]
        for number in range(1, 21)
    ]
    stream.log("human/bones", rr.LineStrips3D(strips, colors=_bytes(*colours), radii=0.004))
    stream.log("human/joints", rr.Points3D(points, colors=_bytes(PALM, *colours), radii=0.0055))


def _log_targets(stream: Any, kinematics: Kinematics, measures: Measures, number: int) -> None:
    import rerun as rr  # noqa: PLC0415

    wrist = batch.wrist(kinematics)
    targets, tips = wrist + measures.targets[number], wrist + measures.tips[number]
    colours = _bytes(*(COLOURS[FINGERS[human_row(finger)]] for finger in kinematics.tips))
    stream.log("targets", rr.Points3D(targets, colors=colours, radii=0.005))
    stream.log("errors", rr.LineStrips3D(np.stack((tips, targets), axis=1), radii=0.001))


def _log_figures(stream: Any, kinematics: Kinematics, measures: Measures, number: int) -> None:
    import rerun as rr  # noqa: PLC0415

    for finger, error in zip(kinematics.tips, measures.wrist[number], strict=True):
        stream.log(f"error_mm/{finger}", rr.Scalars(1e3 * error))
    stream.log("gap_mm/person", rr.Scalars(1e3 * measures.human_gaps[number].min()))
    stream.log("gap_mm/robot", rr.Scalars(1e3 * measures.gaps[number].min()))
    stream.log("step_rad", rr.Scalars(measures.steps[number]))


def _log_lines(stream: Any, kinematics: Kinematics) -> None:
    """Log how the plots look."""
    import rerun as rr  # noqa: PLC0415

    colours = {f"error_mm/{f}": COLOURS[FINGERS[human_row(f)]] for f in kinematics.tips}
    colours |= {"gap_mm/person": "#667085", "gap_mm/robot": "#d8743a", "step_rad": "#2f9c84"}
    for path, colour in colours.items():
        style = rr.SeriesLines(colors=_bytes(colour), names=path.split("/")[-1])
        stream.log(path, style, static=True)


def _log_shapes(stream: Any, kinematics: Kinematics) -> None:
    """Log what does not change: every link's shapes in its own frame."""
    import rerun as rr  # noqa: PLC0415

    finger_of = {
        joint.child: COLOURS[FINGERS[human_row(finger)]]
        for finger, tip in kinematics.tips.items()
        for joint in batch.path_to(kinematics, tip)
        if joint.type != "fixed" or joint.child == tip
    }
    for link, geoms in kinematics.geoms.items():
        colour = _bytes(finger_of.get(link, PALM))
        for number, geom in enumerate(geoms):
            path = f"robot/{link}/{number}"
            if geom["type"] == "box":
                half = geom["half_size"]
                stream.log(
                    path,
                    rr.Boxes3D(
                        centers=[geom["position"]],
                        half_sizes=[half],
                        colors=colour,
                        fill_mode="solid",
                    ),
                    static=True,
                )
            elif geom["type"] == "sphere":
                ball = rr.Points3D([geom["position"]], radii=geom["radius"], colors=colour)
                stream.log(path, ball, static=True)
            else:
                stream.log(path, _capsule(geom, colour), static=True)


def _capsule(geom: Any, colour: Any) -> Any:
    """Rerun's capsules start at the origin and point along z; this one does not."""
    import rerun as rr  # noqa: PLC0415

    start, end = np.array(geom["from"], np.float64), np.array(geom["to"], np.float64)
    length = float(np.linalg.norm(end - start))
    z = (end - start) / max(length, 1e-9)
    axis = np.cross((0.0, 0.0, 1.0), z)
    turn = float(np.arctan2(np.linalg.norm(axis), z[2]))
    if not axis.any():
        axis = np.array((1.0, 0.0, 0.0))
    return rr.Capsules3D(
        lengths=[length],
        radii=[geom["radius"]],
        translations=[start],
        rotation_axis_angles=[rr.RotationAxisAngle(axis=axis, radians=turn)],
        colors=colour,
        fill_mode="solid",
    )


def _bytes(*colours: str) -> list[list[int]]:
    return [[int(colour[start : start + 2], 16) for start in (1, 3, 5)] for colour in colours]
