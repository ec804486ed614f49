"""The robot in three dimensions, live and of a recorded episode."""

from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt
import pytest

from dexhil.drivers.clock import SimClock
from dexhil.drivers.models.kinematics import Side, load_kinematics
from dexhil.drivers.models.mjspec import to_mjspec
from dexhil.integration import cli
from dexhil.integration.errors import RunError
from dexhil.integration.live import drive, make_session
from dexhil.integration.recorder import Recorder, open_dataset
from dexhil.integration.rig import build_rig
from dexhil.integration.view.robot import Robot, robot_of
from dexhil.policy.episodes import DatasetReader
from dexhil.teleop.ik import ArmIK
from dexhil.teleop.se3 import from_quaternion
from dexhil.teleop.takeover import Event
from tests.integration.recordings import logged


@pytest.mark.parametrize(
    ("arm", "hand", "side"),
    [("fr3", "inspire", "right"), ("ur5e", "leap", "left"), ("xarm7", "shadow", "right")],
)
def test_the_palm_is_where_inverse_kinematics_has_it(arm: str, hand: str, side: Side) -> None:
    tables = load_kinematics(arm), load_kinematics(hand, side)
    robot, ik = Robot(*tables), ArmIK(tables[0], tables[1].extra["mount"])
    low, high = np.vstack([table.position_limits for table in tables]).T
    q = np.random.default_rng(1).uniform(low, high, (5, robot.n))
    rotations, positions = robot.palm(robot.poses(q))
    for row in range(5):
        pose = ik.fk(q[row, : robot.n_arm])
        np.testing.assert_allclose(rotations[row], pose[:3, :3], atol=1e-9)
        np.testing.assert_allclose(positions[row], pose[:3, 3], atol=1e-9)


@pytest.mark.parametrize("hand", ["ability", "leap", "shadow"])
def test_every_shape_is_where_mujoco_has_it(hand: str) -> None:
    arm, table = load_kinematics("ur5e"), load_kinematics(hand)
    robot, rng = Robot(arm, table), np.random.default_rng(2)
    low, high = table.position_limits.T
    q = np.concatenate([np.zeros(6), rng.uniform(low, high)])
    poses = robot.poses(q[None])
    rotation, origin = (part[0] for part in robot.palm(poses))
    model = to_mjspec(table, actuated=False).compile()
    data = mujoco.MjData(model)
    for name, angle in zip(table.joint_names, q[6:], strict=True):
        data.joint(name).qpos = angle
    for joint in table.joints:
        if joint.mimic is not None:
            driver, multiplier, offset = joint.mimic
            data.joint(joint.name).qpos = multiplier * data.joint(driver).qpos + offset
    mujoco.mj_kinematics(model, data)
    expected = sorted(map(tuple, np.round(data.geom_xpos, 6)))
    found = []
    for kind, shapes in robot.shapes.items():
        positions, quaternions = (part[0] for part in shapes.placed(poses))
        for k, link in enumerate(shapes.links):
            if not link.startswith("hand/"):
                continue
            pose = from_quaternion(positions[k], np.roll(quaternions[k], 1))
            middle = [0.0, 0.0, 0.5 * shapes.sizes[k, 1] if kind == "capsule" else 0.0, 1.0]
            found.append(rotation.T @ ((pose @ middle)[:3] - origin))
    np.testing.assert_allclose(
        np.array(sorted(map(tuple, np.round(found, 6)))), np.array(expected), atol=5e-6
    )


def test_a_robot_without_a_table_or_with_other_joints_is_told_of() -> None:
    names = [f"arm.{name}" for name in load_kinematics("ur5e").joint_names]
    names += [f"hand.{name}" for name in load_kinematics("leap").joint_names]
    assert robot_of("ur5e_leap", names).n == 22
    assert robot_of("ur5e_leap", names).side == "right"
    assert robot_of("ur5e_leap_left", names).side == "left"
    assert robot_of("ur5e_leap", names, "left").side == "left"
    with pytest.raises(RunError, match="robot_type 'koch_gripper': no shape is known"):
        robot_of("koch_gripper", names)
    with pytest.raises(RunError, match=r"its joints are arm\.shoulder_pan_joint"):
        robot_of("fr3_leap", names)


# -- Of a recorded episode --------------------------------------------------------------------


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recorded") / "dataset"
    path = Path(__file__).resolve().parents[2] / "rigs" / "sim_fr3_inspire.toml"
    rig = build_rig(path, SimClock(), cameras=False)
    with rig.running(), open_dataset(root, rig) as writer:
        for _ in range(2):
            writer.begin_episode("wave")
            session = make_session(rig, sink=Recorder(writer))
            drive(rig, session, first=Event.TAKE_OVER, duration_s=0.5)
            writer.end_episode(True)
    return root


def run(*arguments: object) -> Any:
    with pytest.raises(SystemExit) as stop:
        cli.main(["dataset", "view", *map(str, arguments)])
    return stop.value.code


def strips(entity: dict[str, npt.NDArray[Any]]) -> list[int]:
    return [len(value or ()) for value in entity["LineStrips3D:strips"]]


def test_the_recorded_robot_moves_as_it_did(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rerun")
    out = tmp_path / "deep" / "one.rrd"
    assert run(dataset, "--episode", 1, "--out", out) == 0
    assert capsys.readouterr().out.split() == ["Wrote", f"{out}."]
    found, columns = logged(out), DatasetReader(dataset).episode(1).columns
    robot = Robot(load_kinematics("fr3"), load_kinematics("inspire"))
    poses = robot.poses(columns["observation.state"][:, : robot.n].astype(np.float64))
    for kind, archetype, field in (
        ("capsule", "Capsules3D", "translations"),
        ("sphere", "Points3D", "positions"),
        ("box", "Boxes3D", "centers"),
    ):
        entity = found[f"/world/robot/measured/{kind}"]
        expected, _ = robot.shapes[kind].placed(poses)
        shown = np.array(list(entity[f"{archetype}:{field}"]))
        np.testing.assert_allclose(shown, expected, atol=1e-6)
        stamps_ns = np.round(1e9 * (columns["t_mono"] - columns["t_mono"][0]))
        np.testing.assert_array_equal(entity["time"], stamps_ns.astype(np.int64))
    n = len(columns["t_mono"])
    assert strips(found["/world/robot/executed"]) == [1 + 5] * n
    assert strips(found["/world/robot/policy"]) == [0] * n
    spoke = np.isfinite(columns["action.human"]).all(axis=1)
    assert spoke.any()
    assert strips(found["/world/robot/person"]) == [6 * said for said in spoke.tolist()]
    labels = [label[0] for label in found["/world/robot/palm"]["Points3D:labels"]]
    assert labels == [{0: "HOLD", 2: "HUMAN"}[mode] for mode in columns["mode"].astype(int)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--episode", 2), "has no episode 2, it has 2"),
        (("--out", "view.mp4"), "--out is view.mp4, must end in .rrd"),
    ],
)
def test_mistakes_are_one_sentence(
    dataset: Path, options: tuple[object, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rerun")
    assert run(dataset, *options) == 1
    assert message in " ".join(capsys.readouterr().err.split())
